"""What runs in the background: jobs, their apps, and upkeep."""
