"""SQL that loads many rows: imports of files, and the demo."""
