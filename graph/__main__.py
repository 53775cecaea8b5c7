"""`python -m graph` is `runglass`."""

from graph.cli import main

main()
