"""SQL of budgets, their events and their reservations."""
