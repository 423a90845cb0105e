"""Reports and answers that a model writes, and the check that every number in them is a fact."""
