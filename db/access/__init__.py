"""SQL of keys, sessions, rate limits, idempotency and the audit log."""
