"""Settings: read from the environment once, checked, and typed."""
