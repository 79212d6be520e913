"""What runs when nobody calls: claim, act, record. Each loop is correct by polling; hints only make it quick."""
