"""Moving everything from one SQL store to another."""
