"""The `deeptrader` command."""
