"""The version of the numbers in the cache: raised when a change of the code changes what cases are prepared to.

The cache builds its entries again for another version, and records of another one are stale. `tests/test_golden.py`
says when it must rise. The package `benchmark.records` reads it; it imports nothing.
"""

PREPARATION = 1
