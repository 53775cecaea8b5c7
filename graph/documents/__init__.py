"""Trusted documents, and the cache of documents that were prepared."""
