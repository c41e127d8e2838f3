"""The driver that runs a study, as other processes see it: its lease, and how far it is."""
