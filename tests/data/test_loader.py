"""The loader: the same batches for any number of workers, exact resume, clean endings."""

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import (
    ArrayDataset,
    Compose,
    Cutout,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
)
from minigrad.data.loader import THREAD_NAME
from minigrad.errors import ArgError, CheckpointError

AUGMENT = Compose([RandomCrop(6, 2), RandomHorizontalFlip(), Cutout(3), Normalize(0.5, 0.5)])


def images(n: int = 23) -> ArrayDataset:
    x = np.random.default_rng(0).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return ArrayDataset(x, np.arange(n))


class OneByOne:
    """A dataset without ``batch``, optionally slow or failing at one index."""

    def __init__(self, n: int, *, fail_at: int = -1, delay: float = 0.0) -> None:
        self.n, self.fail_at, self.delay, self.asked = n, fail_at, delay, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        self.asked += 1
        time.sleep(self.delay)
        if index == self.fail_at:
            raise KeyError(f"sample {index} is broken")
        return np.full((6, 6, 3), index, np.uint8), index


def make(dataset=None, **options) -> DataLoader:
    settings = {"shuffle": True, "seed": 5, "transform": AUGMENT, "as_tensors": False}
    return DataLoader(images() if dataset is None else dataset, 4, **(settings | options))


def bits(batch) -> list[bytes]:
    return [np.ascontiguousarray(field).tobytes() for field in batch]


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(THREAD_NAME)]


def wait_for_no_threads(seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while loader_threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert not loader_threads()


@pytest.mark.parametrize("dataset", [images(), OneByOne(23)], ids=["batch", "one_by_one"])
def test_the_number_of_workers_changes_no_bit(dataset):
    epochs = {}
    for workers in (0, 1, 3):
        loader = make(dataset, num_workers=workers)
        epochs[workers] = [[bits(b) for b in loader] for _ in range(2)]
    assert epochs[0] == epochs[1] == epochs[3]
    assert epochs[0][0] != epochs[0][1]


def test_every_batch_of_every_epoch_is_augmented_differently():
    same = ArrayDataset(np.repeat(images(1).arrays[0], 12, axis=0))
    loader = DataLoader(same, 4, transform=AUGMENT, as_tensors=False, seed=1)
    batches = [bits(batch)[0] for _ in range(3) for batch in loader]
    assert len(set(batches)) == 9


def test_an_epoch_has_every_sample_once_in_a_new_order():
    loader = make(transform=None)
    orders = [np.concatenate([y for _, y in loader]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    plain = make(transform=None, shuffle=False)
    assert np.concatenate([y for _, y in plain]).tolist() == list(range(23))


@given(st.integers(0, 12), st.integers(1, 5), st.booleans())
def test_the_length_is_the_number_of_batches(n, size, drop_last):
    loader = DataLoader(OneByOne(n), size, drop_last=drop_last, as_tensors=False)
    sizes = [len(y) for _, y in loader]
    assert len(loader) == len(sizes)
    assert sum(sizes) == (n // size * size if drop_last else n)
    assert all(s == size for s in sizes[:-1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", range(13))
def test_resume_yields_exactly_what_was_left(cut, workers):
    whole = make()
    expected = [bits(b) for _ in range(3) for b in whole]  # three epochs of six batches
    first, got = make(num_workers=workers), []
    state = first.state_dict()
    while len(got) < cut:
        for batch in first:
            got.append(bits(batch))
            state = first.state_dict()
            if len(got) == cut:
                break
    state = json.loads(json.dumps(state))
    second = make(seed=999, num_workers=workers)
    second.load_state_dict(state)
    while second.epoch < 3:
        got.extend(bits(b) for b in second)
    assert got == expected


def test_a_state_taken_after_the_last_batch_resumes_with_the_rest_that_is_empty():
    loader = make()
    for _ in loader:
        state = loader.state_dict()
    other = make()
    other.load_state_dict(state)
    assert list(other) == []
    assert other.epoch == 1 == loader.epoch


def test_a_loop_after_a_break_is_a_new_epoch():
    loader, whole = make(), make()
    next(iter(loader))
    epochs = [[bits(b) for b in whole] for _ in range(2)]
    assert [bits(b) for b in loader] == epochs[1]


def test_an_old_loop_does_not_move_a_loader_that_was_resumed():
    loader = make()
    old = iter(loader)
    next(old)
    state = loader.state_dict()
    loader.load_state_dict(state)
    next(old)
    assert loader.state_dict() == state


def test_states_that_do_not_fit_change_nothing():
    loader = make()
    next(iter(loader))
    before = loader.state_dict()
    for change, message in [
        ({"samples": 24}, "samples=24, this loader samples=23"),
        ({"batch_size": 8}, "batch_size=8"),
        ({"shuffle": 0}, "shuffle"),
        ({"position": 7}, "position 7 of 6"),
        ({"epoch": -1}, "epoch -1"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            loader.load_state_dict(before | change)
    with pytest.raises(CheckpointError, match="lacks epoch, seed"):
        loader.load_state_dict({k: v for k, v in before.items() if k not in ("seed", "epoch")})
    assert loader.state_dict() == before


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_sample_arrives_with_its_traceback(workers):
    dataset = OneByOne(20, fail_at=9)
    seen = []
    with pytest.raises(KeyError, match="sample 9 is broken") as caught:
        for _, y in make(dataset, shuffle=False, num_workers=workers):
            seen.extend(y.tolist())
    assert seen == list(range(8))  # the batches before it, in order
    assert "in __getitem__" in "".join(traceback.format_exception(caught.value))
    wait_for_no_threads()


def test_leaving_early_stops_the_workers_at_the_sample_at_hand():
    dataset = OneByOne(10_000, delay=0.01)
    loader = DataLoader(dataset, 100, num_workers=2, as_tensors=False, seed=0)
    iterator = iter(loader)
    started = time.monotonic()
    next(iterator)
    first = time.monotonic() - started
    iterator.close()
    assert time.monotonic() - started - first < first / 2  # not to the end of their batches
    wait_for_no_threads(first)
    asked = dataset.asked
    time.sleep(0.05)
    assert dataset.asked == asked < 1000


class SlowBatches(OneByOne):
    """A dataset whose ``batch`` takes its time."""

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        time.sleep(0.1)
        return np.zeros((len(indices), 6, 6, 3), np.uint8), indices


def test_leaving_early_drops_the_batches_that_nobody_began():
    dataset = SlowBatches(1000)
    iterator = iter(DataLoader(dataset, 4, num_workers=1, prefetch=20, as_tensors=False))
    next(iterator)
    iterator.close()
    wait_for_no_threads()
    assert dataset.asked <= 3


def test_an_abandoned_iterator_leaves_no_threads():
    for _ in range(3):
        for _ in make(num_workers=3):
            break
    iterator = iter(make(num_workers=2))
    next(iterator)
    cycle = [iterator]
    cycle.append(cycle)
    del iterator, cycle
    gc.collect()
    wait_for_no_threads()


def test_workers_prefetch_and_no_more_than_asked():
    dataset = OneByOne(400)
    iterator = iter(DataLoader(dataset, 4, num_workers=2, prefetch=3, as_tensors=False))
    next(iterator)
    time.sleep(0.1)
    assert dataset.asked <= 4 * (2 * 3 + 1)
    iterator.close()


def script(body: str) -> str:
    return textwrap.dedent(
        """
        import signal, time
        import numpy as np
        from minigrad.data import DataLoader
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
        class Slow:
            def __len__(self): return 10000
            def __getitem__(self, i): time.sleep(0.01); return np.zeros(3, np.float32)
        loader = DataLoader(Slow(), 8, num_workers=3, as_tensors=False)
        """
    ) + textwrap.dedent(body)


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_ends_the_program_at_once():
    code = script("for i, batch in enumerate(loader): print(i, flush=True)")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = child.communicate(timeout=20)
    assert time.monotonic() - started < 3
    assert "KeyboardInterrupt" in errors
    assert child.returncode != 0


def test_a_program_that_keeps_an_iterator_still_exits():
    code = script("it = iter(loader); next(it); print('end')")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "end\n" and "Traceback" not in done.stderr


def test_custom_collate_and_dictionaries():
    loader = make(
        OneByOne(6), transform=None, shuffle=False, collate=lambda s: {"y": np.array(s[0][1])}
    )
    assert [b["y"].tolist() for b in loader] == [0, 4]
    with pytest.raises(ArgError, match="the batch is dict"):
        list(make(OneByOne(6), collate=lambda s: {"y": 1}))


def test_a_numpy_generator_gives_the_seed_once():
    a, b = (make(seed=None, generator=np.random.default_rng(3)) for _ in range(2))
    assert [bits(x) for x in a] == [bits(x) for x in b]
    assert a.seed == b.seed and a.seed == a.seed
    assert make(seed=None, shuffle=False).seed == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ArgError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        ({"batch_size": True}, TypeError, "batch_size"),
        ({"num_workers": -1}, ArgError, "num_workers must be at least 0"),
        ({"prefetch": 0}, ArgError, "prefetch"),
        ({"seed": -1}, ArgError, "seed must be at least 0"),
        ({"seed": 2**64}, ArgError, r"below 2\*\*64"),
        ({"seed": 1, "generator": np.random.default_rng()}, ArgError, "not both"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(images(), **({"batch_size": 4} | options))
