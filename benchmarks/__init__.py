"""Benchmarks: each prints ratios against a peer or a limit that it measured in the same run. Nothing here is asserted in tests.

`python -m benchmarks` lists them, `python -m benchmarks NAME …` runs one.
"""
