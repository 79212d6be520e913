"""The command line: the contract for people and scripts (design section 7)."""
