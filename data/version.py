"""The version of prepared cases. It rises when a change of the code changes their numbers.

With another version the cache prepares its entries again, and records are stale. `tests/test_golden.py`
says when it must rise. The package `benchmark.records` reads it; it imports nothing.
"""

PREPARATION = 1
