"""Run logs, alerts and cached answers."""
