"""Budgets: limits on tokens, how they stand, and whether something may still be spent."""
