"""Disburse: a payout engine that a business runs itself. Each payout goes out exactly once, and it can prove it."""

__version__ = "0.1.0"
