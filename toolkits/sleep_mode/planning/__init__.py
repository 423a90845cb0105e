"""Which token next, and within what limits: demand, lifetimes, worth, budgets."""
