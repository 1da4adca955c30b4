"""Design: the pool's promises: alignment, reuse, refusal without harm, no page faults once warm.

Where to go next: `test_heap.py`, random requests against a model.

Limits on address space and environment variables are tried in processes of their own.
"""

import gc
import mmap
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from minigrad._kernels import memory
from minigrad.errors import ArgError, ShapeError

PAGE = max(4096, mmap.PAGESIZE)
LARGE = (2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**64, 2**100)


def run(code, **environment):
    """The output of `code` in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


def live():
    gc.collect()
    return memory.memory_stats()["live_blocks"]


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5000, 2**18, 2**20, 3 * 2**20])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_arrays_are_ordinary_owners_and_aligned(size, dtype):
    a = memory.empty_array(size, dtype)
    assert type(a) is np.ndarray and a.shape == (size,) and a.dtype == dtype
    assert a.flags.owndata and a.base is None and a.flags.writeable and a.flags.c_contiguous
    if a.nbytes >= 4096:
        assert a.ctypes.data % 64 == 0
    a[...] = 1
    assert a.sum(dtype=np.int64) == size


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (8, 16, 32, 32), (0, 3, 4, 5), (1, 1, 1, 1)])
def test_channels_last_is_nhwc_in_memory(shape):
    a = memory.empty_array(shape, channels_last=True)
    _, c, h, w = shape
    assert a.shape == shape and a.dtype == np.float32
    assert a.transpose(0, 2, 3, 1).flags.c_contiguous
    if a.size:
        assert a.strides == (4 * h * w * c, 4, 4 * w * c, 4 * c)


def test_a_block_comes_back_when_the_last_view_dies():
    before = live()
    a = memory.empty_array((100, 500))
    address, view = a.ctypes.data, a[3:5].T
    del a
    assert live() == before + 1
    del view
    assert live() == before
    assert memory.empty_array((500, 100)).ctypes.data == address


def test_small_arrays_are_numpys():
    before = memory.memory_stats()["requests"]
    arrays = [memory.empty_array(n) for n in range(0, 1000, 10)]
    assert memory.memory_stats()["requests"] == before and len(arrays) == 100


@pytest.mark.parametrize("size", [2**12, 2**20])
def test_statistics_add_up(size):
    memory.empty_cache()
    start = memory.memory_stats()
    assert start["cached_bytes"] == start["cached_blocks"] == 0
    a = memory.empty_array(size)
    stats = memory.memory_stats()
    given = stats["live_bytes"] - start["live_bytes"]
    assert a.nbytes <= given <= a.nbytes + 2 * PAGE
    assert stats["live_blocks"] == start["live_blocks"] + 1
    assert stats["peak_bytes"] >= stats["live_bytes"]
    held = stats["live_bytes"] + stats["cached_bytes"]
    del a
    stats = memory.memory_stats()
    assert stats["live_bytes"] == start["live_bytes"] == held - stats["cached_bytes"]
    assert given <= stats["cached_bytes"] <= given + 2**21 and stats["cached_blocks"] == 1
    a = memory.empty_array(size - 1)
    assert memory.memory_stats()["reused"] == stats["reused"] + 1
    del a
    memory.empty_cache()
    assert memory.memory_stats()["cached_bytes"] == 0


def test_blocks_waste_at_most_a_quarter_and_large_ones_two_pages():
    for nbytes in (4097, 5000, 5120, 5121, 65536, 65537, 2**18 - 1, 2**18, 10**6, 10**7 + 1):
        a = None
        before = memory.memory_stats()["live_bytes"]
        a = memory.empty_array(nbytes, "uint8")
        given = memory.memory_stats()["live_bytes"] - before
        assert nbytes <= given <= 1.25 * nbytes, a.nbytes
        assert nbytes < 2**18 or given <= nbytes + 2 * PAGE


def test_what_waits_is_bounded_by_the_peak():
    code = """
from minigrad._kernels import memory
for size in range(1, 120):
    memory.empty_array(size * 2**20, "uint8")
stats = memory.memory_stats()
assert stats["cached_bytes"] <= 2 * stats["peak_bytes"] + 2**26, stats
"""
    run(code)


@pytest.mark.parametrize(
    "size, other", [(a, b) for a in LARGE for b in (1, 2, 3, 2**31, 2**62) if 4 * a * b >= 2**63]
)
def test_impossible_sizes_are_refused_before_anything_happens(size, other):
    for shape in ((size, other), (other, size), (0, size, other)):
        with pytest.raises(ShapeError, match="not a possible shape"):
            memory.empty_array(shape)


def test_absurd_but_possible_sizes_are_a_memory_error_that_says_so():
    with pytest.raises(MemoryError, match=r"5\.24e\+05 GiB .*\(1048576, 134217728\).*float32"):
        memory.empty_array((2**20, 2**27))


@pytest.mark.parametrize(
    "arguments, keywords, error",
    [
        ((-1,), {}, ShapeError),
        (((2, -3),), {}, ShapeError),
        (((1,) * 65,), {}, ShapeError),
        (((2, 3),), {"channels_last": True}, ArgError),
        ((3, object), {}, TypeError),
        ((3, "complex64"), {}, TypeError),
        ((3, "S3"), {}, TypeError),
        ((2.5,), {}, TypeError),
        (("ab",), {}, TypeError),
        ((None,), {}, TypeError),
    ],
)
def test_bad_arguments(arguments, keywords, error):
    with pytest.raises(error):
        memory.empty_array(*arguments, **keywords)


def test_the_most_dimensions_that_numpy_has():
    assert memory.empty_array((1,) * 64).shape == (1,) * 64


def test_refusal_by_the_system_harms_nothing():
    code = """
import resource
import numpy as np
from minigrad._kernels import memory
kept = memory.empty_array(2**22)
kept[...] = 7
freed = [memory.empty_array(2**24) for _ in range(4)]
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**26, -1))
if resource.getrlimit(resource.RLIMIT_AS)[0] != now + 2**26:
    print("unlimited")
    raise SystemExit
del freed
for _ in range(3):
    try:
        memory.empty_array(2**30)
    except MemoryError as error:
        assert "4 GiB" in str(error) and "(1073741824,)" in str(error), error
    else:
        raise SystemExit("no error")
assert memory.memory_stats()["cached_bytes"] == 0     # what waited was given up first
again = memory.empty_array(2**25)                     # 128 MiB, from what was given up
again[...] = 1
with memory.pooled_arrays():
    try:
        np.ones(2**29)
    except MemoryError:
        print("refused")
assert (kept == 7).all() and again.sum() == 2**25
"""
    pytest.importorskip("resource")
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    said = run(code).strip()
    if said == "unlimited":
        pytest.skip("this system does not limit address space (an emulator)")
    assert said == "refused"


def test_poison_shows_what_nobody_wrote():
    code = """
import numpy as np
from minigrad._kernels import memory
for size in (3, 5000, 200_000):
    for dtype, bits in (("float32", 0x7FA00000), ("float64", 0x7FF4000000000000)):
        a = memory.empty_array(size, dtype)
        assert (a.view(dtype.replace("float", "uint")) == bits).all()
    assert (memory.empty_array(size, "int64") == -1).all()
with memory.pooled_arrays():
    assert np.isnan(np.empty(2000)).all() and np.isnan(np.empty(9000, "f4")).all()
    assert np.isnan(np.empty(90_000)).all() and not np.zeros(90_000).any()
    assert not np.zeros(9000).any() and not np.zeros(9000).any()
"""
    run(code, MINIGRAD_POISON="1")


def test_huge_pages_can_be_switched_off():
    code = "from minigrad._kernels import memory as m; m.empty_array(2**22)[...] = 1; "
    code += "print(m.memory_stats()['huge_pages'])"
    assert run(code, MINIGRAD_HUGEPAGES="0").strip() == "False"
    assert run(code, MINIGRAD_HUGEPAGES="1").strip() == "True"


def test_numpys_results_come_from_the_pool_inside_the_context_only():
    before = live()
    x = np.ones(10_000)
    assert live() == before
    with memory.pooled_arrays():
        y = x + x
        with memory.pooled_arrays():
            z = x * 2
        w = x - 1
    outside = x + 1
    assert live() == before + 3
    assert outside.sum() == y.sum() == z.sum() == 20_000 and not w.any()
    del y, z, w
    assert live() == before


def test_the_context_is_left_with_an_exception_and_per_thread():
    before = live()
    with pytest.raises(ZeroDivisionError), memory.pooled_arrays():
        raise ZeroDivisionError
    kept = [np.ones(10_000)]
    with memory.pooled_arrays():
        thread = threading.Thread(target=lambda: kept.append(np.ones(10_000)))
        thread.start()
        thread.join()
    assert live() == before and len(kept) == 2


def test_pooled_numpy_arrays_grow_shrink_and_are_zeroed():
    with memory.pooled_arrays():
        for _ in range(3):
            dirty = np.full(5000, 7.0)
            del dirty
            assert not np.zeros(5000).any()
        a = np.arange(10.0)
        for size in (2000, 100_000, 300_000, 10, 0, 5):
            a.resize(size, refcheck=False)
            assert a.shape == (size,) and a[: min(size, 10)].tolist()[:1] in ([0.0], [])
    a.resize(70_000, refcheck=False)  # outside too: the array remembers whose it is


def test_many_threads_take_and_give():
    wrong = []

    def work(mark):
        rng = np.random.default_rng(mark)
        kept = []
        for step in range(400):
            a = memory.empty_array(int(rng.integers(1000, 150_000)))
            a[...] = mark
            kept.append(a)
            if step % 3:
                b = kept.pop(int(rng.integers(len(kept))))
                if not (b == mark).all():
                    wrong.append(mark)

    before = live()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    del workers
    assert live() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_pool_survives_fork_while_others_use_it():
    code = """
import os, threading
from minigrad._kernels import memory
stop = False
def churn():
    while not stop:
        memory.empty_array(50_000), memory.empty_array(90_000)
workers = [threading.Thread(target=churn) for _ in range(3)]
for w in workers: w.start()
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        a = memory.empty_array(80_000)
        a[...] = 3
        memory.empty_cache()
        os._exit(0 if a.sum() == 240_000 else 1)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for w in workers: w.join()
"""
    run("import warnings; warnings.simplefilter('ignore')\n" + code)


def test_no_page_faults_once_warm():
    resource = pytest.importorskip("resource")

    def step():
        arrays = [memory.empty_array(size) for size in (2**22, 2**20, 2**18, 70_000)]
        for a in arrays:
            a[...] = 1

    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step()  # 20 x 21 MB would be about 100,000 faults
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 200
