"""A run for other tools."""
