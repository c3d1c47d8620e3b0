"""The drill: real workers with the user's application, stopped, killed and frozen on a test store.

`scenarios` lists what is done and promised, `harness` does it and observes from outside, `checks`
compares what was promised with what was observed, and `report` shows it.
"""
