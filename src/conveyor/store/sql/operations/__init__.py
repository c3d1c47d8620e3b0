"""What the SQL stores do, as coroutines over a transaction: written once, without I/O."""
