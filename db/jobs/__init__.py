"""SQL of trigger jobs and batches."""
