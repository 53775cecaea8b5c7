"""From a document to its answer: limits, validation, and the run."""
