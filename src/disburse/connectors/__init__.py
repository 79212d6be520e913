"""Our side of a provider: one small contract, and the connectors that keep it."""
