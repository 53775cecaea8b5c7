"""The parts that statements are made of: scopes, conditions, pages, and the forms of columns."""
