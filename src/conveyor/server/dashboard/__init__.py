"""The dashboard: its pages, its session, and its stream of events. The rest is the public API."""
