"""Measurements, run apart from the tests: ``python -m benchmarks [conv|nets|ops|memory] ...``.

Design: each file prints one table with the line of the machine it ran on.  Machines are shared and
noisy, so what is compared is measured in one run, alternating, and reported as medians and ratios.
"""
