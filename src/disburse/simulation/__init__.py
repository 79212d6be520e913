"""The simulator: the production code under a seeded scheduler and a virtual clock, on real PostgreSQL (design.md section 2).

`loop.py` runs everything and knows what time it is; `process.py` is one simulated process, which can be killed and frozen;
`store.py` and `network.py` are what a process has instead of a database server and a network; `provider*.py` are providers that
keep the only truth about money sent; `clients.py` are merchants' programs; `faults.py` and `nemesis.py` do harm; `day.py` is one
seed from beginning to end. Nothing here may be imported by the product.
"""
