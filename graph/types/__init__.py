"""The types of the API, one file per noun; their fields read the rows of `db` directly."""
