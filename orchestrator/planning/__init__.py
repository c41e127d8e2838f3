"""Names -> facts -> the DAG of steps, with their ids and runs."""
