"""Design: every instruction set this CPU has, in its own process, under 1, 2, 3 and 5 threads.

Within an instruction set the bits must not depend on the number of threads; between them
the whole-number problems must agree exactly, with each other and with the twins.
"""

import functools
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minigrad._kernels import conv, dispatch, elementwise, gemm, memory, norm, pool, threads
from tests.kernels.child import printed
from tests.kernels.probe import THREADS, convolutions, digest, masks, others, pools, products
from tests.layouts import same
from tests.strategies import FLOATS, reals


@functools.cache
def probe(isa):
    """The report of `tests.kernels.probe` under an instruction set; None if the CPU lacks it."""
    found = printed(isa, "-m", "tests.kernels.probe")
    return found and json.loads(found)


def available():
    return [isa for isa in dispatch.isas() if probe(isa)]


@pytest.mark.parametrize("isa", dispatch.isas())
def test_whole_number_problems_equal_their_twins(isa):
    report = probe(isa)
    if report is None:
        pytest.skip(f"this CPU has no {isa}")
    assert report["isa"] == isa
    assert not report["wrong"]
    assert len(report["exact"]) >= 2 * 8 * len(THREADS)


@pytest.mark.parametrize("isa", dispatch.isas())
def test_bits_do_not_depend_on_the_number_of_threads(isa):
    report = probe(isa)
    if report is None:
        pytest.skip(f"this CPU has no {isa}")
    differ = {name: d for name, d in report["digests"].items() if len(set(d)) > 1}
    assert not differ, sorted(differ)
    assert len(report["digests"]) >= 30


def test_instruction_sets_agree_on_whole_numbers():
    reports = [probe(isa) for isa in available()]
    assert reports
    for name in set(reports[0]["exact"]):
        assert len({report["digests"][name][0] for report in reports}) == 1, name


def test_an_unknown_instruction_set_is_refused_at_import():
    run = subprocess.run(
        [sys.executable, "-c", "import minigrad._kernels.dispatch"],
        env={**os.environ, "MINIGRAD_ISA": "abacus"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and "abacus" in run.stderr and dispatch.isas()[-1] in run.stderr


def test_repeated_runs_give_the_same_bits():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 17, 30, 31)), rng.standard_normal((33, 17, 3, 3))
    kw = dict(stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
    gy = rng.standard_normal((4, 33, 30, 31))
    before = threads.get_num_threads()
    results = []
    try:
        for count in THREADS * 5:
            threads.set_num_threads(count)
            results.append(conv.conv2d_grad_w(gy, x, w_shape=w.shape, **kw))
    finally:
        threads.set_num_threads(before)
    assert all(same(results[0], other) for other in results[1:])


def test_work_for_a_team_that_is_awake_alone_gives_the_bits_of_one_thread():
    """A product of 1.3 MFLOP, and a pool, right behind work that gathers the team."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((64, 120), np.float32), rng.standard_normal((84, 120), np.float32)
    x, big = rng.standard_normal((33, 6, 14, 14), np.float32), np.ones(3_000_000, np.float32)
    kw = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0))
    before = threads.get_num_threads()
    results = []
    try:
        for count in (1, *THREADS):
            threads.set_num_threads(count)
            elementwise.add(big, big)
            y, z = pool.tanh_avg_pool2d(x, output=(7, 7), **kw)
            gx = pool.tanh_avg_pool2d_grad(y, z, **kw)
            results.append((gemm.linear(a, b), gemm.matmul(a.T, a), y, z, gx))
    finally:
        threads.set_num_threads(before)
    assert all(same(p, q) for other in results for p, q in zip(results[0], other, strict=True))


def test_float32_kernels_do_not_leave_flushing_on_in_any_thread():
    small = np.full((4, 16, 64, 64), 2.0**-1060)  # subnormal in float64
    x, w = np.ones((4, 16, 64, 64), np.float32), np.ones((16, 16, 3, 3), np.float32)
    kw = dict(stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
    for _ in range(3):
        y = conv.conv2d(x, w, **kw)
        pool.global_avg_pool2d(y)
        norm.batch_norm(y, None, None, eps=1e-5, relu=True)
        elementwise.add(y, y)
        got = conv.conv2d(small, w.astype(np.float64), **kw)
        assert (got[:, :, 1:-1, 1:-1] == 144 * 2.0**-1060).all()
        assert (elementwise.add(small, small) == 2.0**-1059).all()
        tiny = np.array([2.0**-1060, 1e-310]) * np.array([1.0, 1.0])
        assert (tiny > 0).all()


def poison_the_pool():
    """Leave NaN in a few blocks of every size that the pool may hand out next."""
    blocks = [memory.empty_array((2**e,), np.float32) for e in range(4, 24) for _ in range(3)]
    for block in blocks:
        block.fill(np.nan)


@pytest.mark.parametrize("dtype", FLOATS)
def test_kernels_do_not_read_memory_that_they_did_not_write(dtype):
    digests = []
    for _ in range(2):
        poison_the_pool()
        found = {}
        drawn = [family(dtype, reals) for family in (convolutions, products, pools, masks)]
        for name, outs, _ in itertools.chain(*drawn, others(dtype)):
            found[name] = digest(outs)
            assert not any(np.isnan(out).any() for out in outs)
            for out in outs:
                out.fill(np.nan if out.dtype.kind == "f" else 255)  # and back to the pool
        digests.append(found)
    assert digests[0] == digests[1]
    assert len(digests[0]) >= 10
