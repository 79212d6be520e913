"""Bytes into messages and back, for our server and our connectors alike. Pure: opens nothing, knows nobody."""
