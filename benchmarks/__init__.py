"""Benchmarks. docs/performance.md explains each figure.

The rules for every contestant: the same servers with their default durability, the same prefilled topic, a fresh
database for each run, alternating runs, medians, and a final table that is compared row by row with the sent orders.
No other package imports this one, and production code has no timers for it.
"""
