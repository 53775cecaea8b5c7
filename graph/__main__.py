"""`python -m graph` is `runglass`."""

from graph.cli.main import main

main()
