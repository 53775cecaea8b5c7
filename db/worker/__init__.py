"""SQL of the worker: the queue, the job engine, circuits and rescues."""
