"""Where machines come from: one module for each provider."""
