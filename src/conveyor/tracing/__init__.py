"""Traces across jobs, by OpenTelemetry if the application uses it."""
