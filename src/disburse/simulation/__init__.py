"""The simulator: the production code under a seeded scheduler and a virtual clock, on real PostgreSQL. The top of the house."""
