"""`make fuzz`: mutated inputs of every kind that a user hands in are accepted, or refused with one clear line.

Each target (`experiments.py`, `scans.py`, `masks.py`, `lists.py`, `results.py`) makes valid examples once. From a seed
and a number it then makes an input: a copy of an example in which something is changed, and the command lines that
meet it. `judging.py` runs the command lines and judges what they did, `guard.py` does so in a process whose
crash, hang or flood of memory is one more finding, and `__main__.py` counts.
"""
