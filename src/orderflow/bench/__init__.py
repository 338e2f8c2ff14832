"""How fast it is, measured so that others can believe it: see docs/performance.md for what each figure means.

The rules, for every contestant: the same servers with the durability they ship with, the same prefilled topic, a fresh
database for each run, runs side by side that alternate, medians, and the final table compared row by row with what was
sent. Nothing outside this package knows of it: production code carries no timers.
"""
