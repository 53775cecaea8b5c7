"""The root fields of the API: every query and every mutation."""
