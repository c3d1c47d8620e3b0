"""Contents of files: where they are kept, and how they are transferred."""
