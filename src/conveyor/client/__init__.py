"""What an application imports: declare tasks, enqueue jobs, wait for results."""
