"""What the SQL stores share: statements, rows, transactions and operations."""
