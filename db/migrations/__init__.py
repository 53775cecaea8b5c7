"""Migrations: the numbered files of this folder, and what applies them."""
