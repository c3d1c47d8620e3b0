"""Services that keep a store tidy."""
