"""The operations of the SQL stores: coroutines over a transaction."""
