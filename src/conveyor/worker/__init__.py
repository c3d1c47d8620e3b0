"""The loops that run jobs."""
