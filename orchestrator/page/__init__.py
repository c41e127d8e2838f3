"""The page of a recorded study: made from the record alone, recorded beside the report, written to disk."""
