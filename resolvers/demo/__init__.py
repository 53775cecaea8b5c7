"""Demo data: a made-up company's last 30 days."""
