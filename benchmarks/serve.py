"""What a child of ``nets.py`` does: warm up, then measure a round whenever it is told to.

Design: imported as a plain module by both children (a script's own folder is on its path), because
the PyTorch child runs in an interpreter that need not have minigrad.
"""

import resource
import sys
import time

# name of a net -> shape of its images
IMAGES = {
    "mlp": (784,),
    "lenet": (1, 28, 28),
    "resnet20": (3, 32, 32),
    "resnet56": (3, 32, 32),
    "nin_cifar10": (3, 32, 32),
    "alexnet": (3, 227, 227),
    "googlenet": (3, 224, 224),
    "resnet18": (3, 224, 224),
    "resnet50": (3, 224, 224),
    "vgg16": (3, 224, 224),
}


def serve(step, seconds=0.5):
    """One round of about `seconds` per line of input: milliseconds a step, peak memory in MB."""
    for _ in range(3):
        step()
    start = time.perf_counter()
    step()
    n = max(1, int(seconds / max(time.perf_counter() - start, 1e-6)))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(n):
            step()
        took = (time.perf_counter() - start) / n * 1e3
        print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
