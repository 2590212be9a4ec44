"""`python -m kumoi.main`."""

from kumoi.main import main

main()
