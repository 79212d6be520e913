"""Doors for programs: decode, who are you, operation, encode. No decision about money is taken here."""
