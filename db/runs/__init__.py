"""SQL of run logs, alerts and cached answers."""
