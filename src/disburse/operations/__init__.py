"""Use cases: one function is one transaction over a list of commands; group commit stands in front."""
