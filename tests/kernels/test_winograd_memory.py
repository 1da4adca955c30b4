"""Design: Winograd's algorithm and memory: scratch, what lies behind a result, two callers at once.

Promises. Scratch is at most 64 MB, whatever the shape and however many threads; nothing is written
outside a result.
"""

import ctypes
import json
import mmap
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minigrad
from minigrad._kernels import conv as kernel
from minigrad._kernels import memory
from tests.kernels.test_winograd_limits import draw, one_pass
from tests.kernels.winograd_probe import PLAIN, operands, passes
from tests.layouts import same
from tests.strategies import winograd_convs

SCRATCH = """
import json, sys, warnings
import numpy as np
import minigrad
from minigrad import memory_stats
from tests.kernels.test_winograd_limits import one_pass
from tests.kernels.test_winograd_memory import SHAPES
from tests.kernels.winograd_probe import PLAIN

warnings.simplefilter("ignore")  # more threads than processors
minigrad.set_num_threads(int(sys.argv[1]))

def zeros(n, c, h, w):  # channels-last, NumPy's own memory
    return np.zeros((n, h, w, c), np.float32).transpose(0, 3, 1, 2)

calls = []
for (n, c, h, w), (k, cg, r), pad in SHAPES[sys.argv[2]]:
    x, weight = zeros(n, c, h, w), np.zeros((k, cg, r, r), np.float32)
    gy = zeros(n, k, h + 2 * pad - r + 1, w + 2 * pad - r + 1)
    kw = {**PLAIN, "padding": (pad,) * 4, "groups": c // cg}
    calls += [(a.nbytes, i, (i, x, weight, gy, kw)) for i, a in enumerate((gy, x, weight))]
found = []
for nbytes, _, call in sorted(calls, key=lambda call: call[:2]):  # small results first
    out = one_pass(*call)
    stats = memory_stats()
    found.append((stats["peak_bytes"], stats["live_bytes"]))
    del out
print(json.dumps(found))
"""
SHAPES = {  # x, (K, C/G, R), padding
    "nets": [
        ((1, 1024, 7, 7), (1024, 1024, 3), 1),
        ((1, 1024, 5, 6), (512, 1024, 5), 2),
        ((2, 2048, 5, 5), (1024, 1024, 3), 1),
        ((400, 512, 2, 2), (64, 512, 3), 1),
        ((1, 24, 3, 5000), (32, 24, 3), 1),
        ((2, 64, 112, 112), (64, 64, 3), 1),
        ((8, 128, 28, 28), (128, 128, 3), 1),
    ],
    "along lines, or too many channels for them": [
        ((64, 6, 14, 14), (16, 6, 5), 0),
        ((512, 16, 8, 8), (24, 16, 5), 2),
        ((16, 96, 27, 27), (256, 96, 5), 2),
        ((64, 96, 16, 16), (192, 96, 5), 2),
    ],
    "seven owners of sums": [
        ((8, 128, 28, 28), (896, 128, 3), 1),
    ],
    "as many channels as are taken": [
        ((1, 2048, 3, 3), (70, 2048, 3), 1),
        ((1, 70, 3, 3), (2048, 70, 3), 1),
        ((4, 2048, 20, 20), (300, 2048, 3), 1),
    ],
}


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize("shapes", SHAPES)
def test_scratch_is_at_most_64_mb(shapes, threads):
    run = subprocess.run(
        [sys.executable, "-c", SCRATCH, str(threads), shapes],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found, largest = json.loads(run.stdout), 0
    assert len(found) == 3 * len(SHAPES[shapes])
    for peak, live in found:  # the peak only grows, so results are counted by the largest so far
        largest = max(largest, live)
        assert peak <= 2**26 + largest, (peak, live)
    assert found[0][0] > found[0][1] + 2**20  # scratch is counted at all


CHUNK, PAGE, MARK = 2**18, max(4096, mmap.PAGESIZE), 0xC0FFEE


def capacity(nbytes):
    """Bytes of the pool's small block for a request: four sizes to a power of two."""
    step = 2 ** (int(nbytes - 1).bit_length() - 3)
    return -(-nbytes // step) * step


def mark_the_pool(nbytes):
    """Write MARK over what the pool would give for `nbytes`; the starts that it may have then."""
    memory.empty_cache()  # of blocks that other tests left
    room = memory.empty_array(2**24, np.uint32)  # chunks are cut from here
    room.fill(MARK)
    if nbytes >= CHUNK:
        start = room.ctypes.data // PAGE * PAGE  # the chunk's: data start at varying distances
        return range(start, start + room.nbytes)
    size = min(capacity(nbytes), CHUNK - 4) // 4
    blocks = [memory.empty_array(size, np.uint32) for _ in range(12)]
    for block in blocks:
        block.fill(MARK)
    return {block.ctypes.data for block in blocks}


def check_nothing_behind(out, places):
    """All is MARK from the end of a result to the end of its block."""
    start, nbytes = out.ctypes.data, out.nbytes
    assert start in places, "the result has another block"
    end = start + min(capacity(nbytes), CHUNK - 4)
    if nbytes >= CHUNK:  # whole pages, room for headers and the least distance included
        end = start // PAGE * PAGE + -(-(nbytes + 3712) // PAGE) * PAGE
    spare = (ctypes.c_uint32 * ((end - start - nbytes) // 4)).from_address(start + nbytes)
    assert set(spare) <= {MARK}


@given(case=winograd_convs(), which=st.integers(0, 2), extra=st.integers(0, 3))
def test_nothing_is_written_behind_a_result(case, which, extra):
    x, w, gy = draw(case)
    nbytes = 4 * int(np.prod((case.y_shape, case.x_shape, case.w_shape)[which]))
    assume(nbytes >= 4096)
    with minigrad.threads(extra + 1):
        places = mark_the_pool(nbytes)
        out = one_pass(which, x, w, gy, case.kwargs)
    check_nothing_behind(out, places)


def test_two_python_threads_at_once_get_the_same_bits():
    kw = {**PLAIN, "padding": (1, 1, 1, 1)}
    x, w, _, gy = operands((4, 33, 20, 21), (40, 33, 3, 3), kw, 0)
    want, wrong = passes(kernel, x, w, gy, kw), []

    def repeat():
        for _ in range(10):
            outs = passes(kernel, x, w, gy, kw)
            wrong.extend(i for i in range(3) if not same(outs[i], want[i]))

    workers = [threading.Thread(target=repeat) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
