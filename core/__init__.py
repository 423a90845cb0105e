"""Vocabulary that every room shares: errors, clock, settings, tokens, figures, security reports.

Nothing here reads a market, opens a store or knows of agno, and every other room may import it.
"""
