"""Why an import did not happen. The message is one line for the person who typed the command."""

from __future__ import annotations


class ImportUsageError(Exception):
    """The command is wrong: no such file or column, or a value that its column cannot hold."""


class ImportFailed(Exception):
    """The file or the database stood in the way. Nothing was loaded."""
