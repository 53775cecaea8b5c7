"""The command line, `runglass`: one file for each group of commands."""
