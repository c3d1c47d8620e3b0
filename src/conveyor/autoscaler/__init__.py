"""Scaling: as many machines as the work needs, and never a busy one taken away."""
