"""What a child of ``nets.py`` does: warm up, then measure a round whenever it is told to.

Design: imported as a plain module by both children (a script's own folder is on its path), because
the PyTorch child runs in an interpreter that need not have minigrad.
"""

import sys
import time


def serve(step, seconds=0.5):
    """One round of about `seconds` per line of input: print milliseconds a step."""
    for _ in range(5):
        step()
    start = time.perf_counter()
    step()
    n = max(3, int(seconds / max(time.perf_counter() - start, 1e-6)))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(n):
            step()
        print((time.perf_counter() - start) / n * 1e3, flush=True)
