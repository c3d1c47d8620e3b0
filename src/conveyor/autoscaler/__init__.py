"""Starts and stops machines for agents as the number of waiting jobs changes."""
