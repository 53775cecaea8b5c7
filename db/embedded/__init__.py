"""A PostgreSQL server of our own, from a wheel's binaries."""
