"""The HTTP server: jobs for programs and agents on other machines."""
