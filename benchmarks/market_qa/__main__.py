"""`python -m benchmarks.market_qa`."""

from .run import main

main()
