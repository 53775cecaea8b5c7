"""Who calls, and what they may do: keys, tokens, sessions, roles and permissions."""
