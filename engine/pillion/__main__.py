"""`python -m pillion` is `pillion`."""

from pillion.cli import main

main()
