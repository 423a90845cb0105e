"""What sleep cost and what it saved, from measured runs."""
