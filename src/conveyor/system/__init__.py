"""The operating system's side: processes, locks, signals, service managers."""
