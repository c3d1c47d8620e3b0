"""Rules and vocabulary: pure functions and plain data, without I/O."""
