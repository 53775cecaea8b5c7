"""Connections: the pool, its errors, and how a statement is run."""
