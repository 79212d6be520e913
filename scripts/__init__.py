"""Longer proofs and chores, each behind a word of the Makefile. Nothing here is part of the product."""
