"""Design: deep layers (`test_winograd_deep.py`) on both sides of every number that they are cut by.

The fixed cases leave rests of one. `inputs` are the channels summed over and `outputs` those
computed: in grad_x they change places, so each case is a forward pass and, with turned filters, a
grad_x of the same values. The judge is the definition in float64.

`python -m tests.kernels.test_winograd_deep_edges` is what a child process runs.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import minigrad
from minigrad._kernels import conv as kernel
from minigrad._kernels import dispatch, memory
from tests.kernels.probe import THREADS
from tests.kernels.test_winograd_deep import BLOCK, CHUNK, PASS, wide
from tests.kernels.winograd_probe import PLAIN, check_gate, fenced, operands, rms
from tests.layouts import same


@dataclass(frozen=True)
class Fixed:
    """A layer by its counts of a group: inputs, outputs, images and their rows x columns of tiles.

    The last tile of a row is cut; the ends are padded unlike.
    """

    inputs: int
    outputs: int
    r: int
    n: int
    rows: int
    cols: int
    groups: int = 1

    @property
    def kwargs(self):
        return {**PLAIN, "padding": (self.r - 1, 1, 0, 2), "groups": self.groups}

    def operands(self):
        """x, w, b."""
        m = 7 - self.r
        p, q = m * self.rows, m * self.cols - 1
        top, bottom, left, right = self.kwargs["padding"]
        size = p + self.r - 1 - top - bottom, q + self.r - 1 - left - right
        shapes = (self.n, self.inputs * self.groups, *size), (
            self.outputs * self.groups, self.inputs, self.r, self.r,
        )  # fmt: skip
        return operands(*shapes, self.kwargs, seed=self.inputs + self.outputs)[:3]

    def forward(self, x, w, b):
        return kernel.conv2d(x, w, b, algorithm="winograd", **self.kwargs)

    def turned(self, x, w):
        """The same values as a grad_x: of x, by filters turned round, of the other padding."""
        (n, _, h, width), r, g = x.shape, self.r, self.groups
        pads = self.kwargs["padding"]
        size = h + pads[0] + pads[1] - r + 1, width + pads[2] + pads[3] - r + 1
        w = w.reshape(g, self.outputs, self.inputs, r, r).swapaxes(1, 2)
        w = np.ascontiguousarray(w.reshape(-1, self.outputs, r, r)[:, :, ::-1, ::-1])
        kw = {**self.kwargs, "padding": tuple(r - 1 - v for v in pads)}
        shape = (n, self.outputs * g, *size)
        return kernel.conv2d_grad_x(x, w, x_shape=shape, algorithm="winograd", **kw)


CASES = {
    "63 inputs": Fixed(63, 80, 3, 1, 3, 4), "64 inputs": Fixed(64, 80, 3, 1, 3, 4),
    "63 outputs": Fixed(80, 63, 5, 1, 3, 4), "64 outputs": Fixed(80, 64, 5, 1, 3, 4),
    "256 tiles": Fixed(64, 65, 3, 1, 16, 16), "257 tiles": Fixed(64, 65, 3, 257, 1, 1),
    "256 small tiles": Fixed(64, 65, 5, 4, 8, 8), "257 small tiles": Fixed(64, 65, 5, 1, 1, 257),
    "a column of 256 tiles": Fixed(66, 64, 3, 1, 256, 1), "72,630": Fixed(269, 270, 5, 1, 10, 26),
    "72,900": Fixed(270, 270, 5, 1, 10, 26), "72,800": Fixed(280, 260, 5, 1, 26, 10),
    "73,060": Fixed(260, 281, 5, 1, 26, 10), "few inputs": Fixed(40, 1900, 3, 1, 3, 4),
    "few outputs": Fixed(1900, 40, 3, 1, 3, 4), "a chunk + 1": Fixed(CHUNK + 1, 64, 3, 1, 2, 3),
    "few inputs for many tiles": Fixed(40, 1900, 5, 1, 13, 20),
    "few outputs for many tiles": Fixed(1900, 40, 5, 1, 13, 20),
    "2 chunks - 1": Fixed(2 * CHUNK - 1, 64, 3, 2, 2, 3),
    "2 chunks": Fixed(2 * CHUNK, 64, 5, 1, 2, 3), "4 panels of 16 + 1": Fixed(64, 65, 3, 1, 2, 3),
    "2 chunks + 1": Fixed(2 * CHUNK + 1, 80, 5, 2, 2, 3), "1 tile": Fixed(64, 64, 3, 1, 1, 1),
    "5 chunks + 1": Fixed(5 * CHUNK + 1, 64, 3, 1, 1, 1), "1 small tile": Fixed(65, 65, 5, 1, 1, 1),
    "3 panels of 32": Fixed(64, 96, 3, 1, 2, 3), "3 panels of 32 + 1": Fixed(64, 97, 5, 1, 2, 3),
    "9 panels of 8": Fixed(64, 72, 3, 1, 2, 3), "9 panels of 8 + 1": Fixed(64, 73, 3, 1, 2, 3),
    "4 panels of 32 - 1": Fixed(64, 127, 5, 1, 2, 3), "a block": Fixed(72, 65, 3, 1, 11, 12),
    "a block - 1": Fixed(72, 65, 3, 1, 1, BLOCK - 1), "a block + 1": Fixed(65, 72, 3, 1, 7, 19),
    "batch of a block + 1": Fixed(129, 65, 5, BLOCK + 1, 1, 1),
    "2 blocks + 1": Fixed(270, 272, 5, 1, 5, 53), "1 pass of 2048": Fixed(2048, 64, 3, 1, 7, 8),
    "groups of a block + 1": Fixed(65, 65, 3, 1, 19, 7, groups=2),
    "three groups": Fixed(129, 97, 5, 3, 2, 3, groups=3),
    "2 passes of 2048": Fixed(2048, 64, 3, 1, 3, 19), "1 pass of 456": Fixed(456, 72, 5, 1, 15, 17),
    "1 pass of 1024": Fixed(1024, 65, 5, 1, 1, PASS // 1024),
    "a pass + 1": Fixed(1024, 65, 5, 1, PASS // 1024 + 1, 1),
    "1 pass of 512": Fixed(512, 64, 3, 1, 1, PASS // 512), "2 passes": Fixed(2048, 64, 5, 2, 5, 10),
    "2 passes of 512": Fixed(512, 64, 3, 1, 12, 19), "5 passes": Fixed(2048, 64, 5, 1, 15, 16),
    "2 passes of 456": Fixed(456, 72, 5, 1, 16, 16),
    "passes and blocks": Fixed(512, 144, 3, 3, 10, 10),
    "passes in groups": Fixed(1025, 66, 5, 2, 1, 57, groups=2),
}  # fmt: skip


def test_the_fixed_cases_are_where_they_say():
    for channels, tiles in ((512, 12 * 19 - 1), (2048, 7 * 8), (456, 15 * 17), (1024, 113)):
        assert PASS // channels == tiles
    assert BLOCK * 2 + 1 == 5 * 53 and BLOCK + 1 == 7 * 19


@pytest.mark.parametrize("name", CASES)
def test_the_gate_holds_on_both_sides_of_every_number(name):
    check_fixed(CASES[name], 1)


def check_fixed(case, threads, at_end=None):
    """The gate, relative to the output's own rms, of forward and grad_x. Returns both."""
    x, w, b = case.operands()
    want = kernel.conv2d(*wide(x, w), algorithm="direct", **case.kwargs)
    with_bias = want + b.astype(np.float64).reshape(1, -1, 1, 1)
    if at_end is not None:
        x, w, b = (fenced(a, at_end=at_end) for a in (x, w, b))
    with minigrad.threads(threads):
        y, gx = case.forward(x, w, b), case.turned(x, w)
    assert [-(-side // (7 - case.r)) for side in y.shape[2:]] == [case.rows, case.cols]
    check_gate(y, with_bias, rms(with_bias), f"forward {case}")
    check_gate(gx, want, rms(want), f"grad_x {case}")
    return y, gx


# -- bits -----------------------------------------------------------------------------------------

OF_EACH_KIND = (
    "64 outputs", "a chunk + 1", "5 chunks + 1", "1 small tile",
    "3 panels of 32 + 1", "9 panels of 8 + 1", "a block + 1",
    "batch of a block + 1", "groups of a block + 1", "three groups",
    "a pass + 1", "passes in groups", "few inputs",
)  # fmt: skip


@pytest.mark.parametrize("name", [*OF_EACH_KIND, "2 blocks + 1", "passes and blocks"])
def test_bits_do_not_depend_on_threads_or_repetition(name):
    case = CASES[name]
    x, w, b = case.operands()
    y, gx = case.forward(x, w, b), case.turned(x, w)
    for count in (*THREADS, *THREADS[::-1]):
        with minigrad.threads(count):
            assert same(case.forward(x, w, b), y) and same(case.turned(x, w), gx), count


# -- child processes: memory, instruction sets ----------------------------------------------------


def child(*arguments, **environment):
    """What this file prints as a program."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    if "this CPU does not have" in run.stderr:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, f"ended with {run.returncode}: {run.stderr}"
    return json.loads(run.stdout)


LARGE = (  # peaks only grow, so small results come first
    Fixed(2048, 64, 5, 1, 1, 4), Fixed(64, 2048, 5, 1, 1, 4), Fixed(2048, 64, 5, 1, 15, 16),
    Fixed(512, 144, 3, 3, 10, 10), Fixed(1024, 1024, 3, 1, 10, 10),
    Fixed(1024, 128, 3, 4, 5, 5, groups=3), Fixed(64, 2048, 3, 1, 16, 16),
)  # fmt: skip


def print_peaks():
    """Of each of LARGE: the most that was live in the pool so far, and what is live with y, gx."""
    found = []
    for case in LARGE:
        x, w, b = (np.array(a) for a in case.operands())  # NumPy's memory
        outs = case.forward(x, w, b), case.turned(x, w)
        stats = memory.memory_stats()
        found.append((stats["peak_bytes"], stats["live_bytes"]))
        del outs
    print(json.dumps(found))


@pytest.mark.parametrize("threads", ["1", "16"])
def test_scratch_is_at_most_64_mb(threads):
    largest, found = 0, child("peaks", threads)
    assert len(found) == len(LARGE)
    for peak, live in found:
        largest = max(largest, live)
        assert peak <= 2**26 + largest, (peak, live)
    assert found[0][0] > found[0][1] + 2**20  # scratch is counted at all


def print_checked():
    """Check OF_EACH_KIND for fenced operands; print how many had the same bits from all threads."""
    alike = []
    for name in OF_EACH_KIND:
        first = check_fixed(CASES[name], 1, at_end=True)
        second = check_fixed(CASES[name], 3, at_end=False)
        alike.append(all(map(same, first, second)))
    print(json.dumps({"isa": dispatch.isa(), "alike": sum(alike)}))


@pytest.mark.parametrize("isa", dispatch.isas())
def test_every_instruction_set_keeps_the_gate_and_reads_nothing_unwritten(isa):
    found = child("checked", "1", MINIGRAD_ISA=isa, MINIGRAD_POISON="1")
    assert found == {"isa": isa, "alike": len(OF_EACH_KIND)}


if __name__ == "__main__":
    minigrad.set_num_threads(int(sys.argv[2]))
    {"peaks": print_peaks, "checked": print_checked}[sys.argv[1]]()
