"""SQL of the roll-ups and what is read from them: dashboard, usage, prices, estimates."""
