"""One pass of sleep: observe, plan, fetch, compute, check, verify, publish, and the report of what it did."""
