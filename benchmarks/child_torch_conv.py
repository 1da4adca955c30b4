"""The PyTorch half of ``sweep.py``: a layer as JSON per line of input, three times per line out.

Runs in an interpreter that has PyTorch and need not have minigrad.
"""

import json
import sys
import time

import torch


def best_of(run, seconds):
    """The shortest of the runs that fit in `seconds`."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def passes(x, w, stride, pad, groups, seconds):
    """Seconds of y, gx and gw, each alone."""
    y = torch.nn.functional.conv2d(x, w, None, stride, pad, 1, groups)
    gy = torch.randn_like(y)
    rest = ([0], [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups)

    def backward(mask):
        return lambda: torch.ops.aten.convolution_backward(gy, x, w, *rest, mask)

    forward = best_of(
        lambda: torch.nn.functional.conv2d(x, w, None, stride, pad, 1, groups), seconds
    )
    return [
        forward,
        best_of(backward([True, False, False]), seconds),
        best_of(backward([False, True, False]), seconds),
    ]


def main():
    """One layer after the other, the better of both memory formats."""
    seconds = float(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    torch.set_flush_denormal(True)
    for line in sys.stdin:
        n, c, h, k, r, stride, pad, groups = json.loads(line)
        x, w = torch.randn(n, c, h, h), torch.randn(k, c // groups, r, r)
        found = []
        with torch.no_grad():
            for form in (torch.contiguous_format, torch.channels_last):
                xf, wf = x.to(memory_format=form), w.to(memory_format=form)
                found.append(passes(xf, wf, stride, pad, groups, seconds / 2))
        print(json.dumps([min(pair) for pair in zip(*found, strict=True)]), flush=True)


if __name__ == "__main__":
    main()
