"""What is true about payouts, whoever asks: states, money, books, refusals. Pure: no I/O, no clock, no randomness."""
