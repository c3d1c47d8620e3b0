"""Conveyor: a bounded, durable job queue for Python. One file, no broker, four kinds of job."""

__version__ = "0.1.0"
