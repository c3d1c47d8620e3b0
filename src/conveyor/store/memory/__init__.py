"""The memory store: the specification that every other store must match."""
