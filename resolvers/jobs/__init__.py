"""Trigger jobs and batches: list, estimate, start, retry and stop them."""
