"""Providers of machines, one module each."""
