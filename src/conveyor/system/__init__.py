"""Processes, locks, signals and service managers of the operating system."""
