"""The drill: real workers of the user's own program, stopped, killed and frozen on a scratch store.

`scenes` says what is done, `stage` does it and looks on from outside, `verdict` compares what was
promised with what was seen, and `table` shows it.
"""
