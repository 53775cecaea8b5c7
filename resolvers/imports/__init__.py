"""Importing run logs from a file: everything in it is loaded, or nothing is.

`load` is the use-case. A file is read once (`streams`), a batch of columns at a time (`csv_rows`,
`json_rows`); its cells are checked (`columns`, `numbers`, `times`, `vocabulary`), and `db.imports.load` takes
them.
"""
