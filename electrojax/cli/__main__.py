"""``python -m electrojax.cli`` is ``electrojax``."""

from electrojax.cli import main

main()
