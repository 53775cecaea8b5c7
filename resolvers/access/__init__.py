"""Callers and their access: keys, sessions, rate limits, idempotency and the audit log."""
