"""The loader: batches in a reproducible order, prepared ahead by threads.

Design: the order of an epoch and every random number in it are functions of (seed, epoch, batch
number), by Philox, a counter-based generator (Salmon et al. 2011).  Nothing depends on who
prepares a batch or when, so (a) any number of workers gives the same bits, and (b) the state of
a loader is three integers, and an epoch resumes in its middle without replaying its first half.

Workers are threads, never forked processes: a fork after a parallel region can hang, and NumPy
and Pillow release the interpreter lock where it matters.  At most ``prefetch`` batches per
worker are in flight.  An error in a worker is raised in the caller with its own traceback, at
the batch where it belongs.  Leaving the loop early, by ``break``, an error or Ctrl-C, stops the
workers after the sample at hand.  Absent on purpose: samplers, processes, pinned memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minigrad._kernels.memory import pooled_arrays
from minigrad.data.collate import collate as default_collate
from minigrad.data.collate import to_tensors
from minigrad.data.dataset import Array, Dataset
from minigrad.data.transforms import Transform
from minigrad.errors import ArgError, CheckpointError

if TYPE_CHECKING:
    from concurrent.futures import Future

THREAD_NAME = "minigrad-loader"
ORDER = 0  # stream 0 shuffles; stream 1 + k augments batch k


class _Job(NamedTuple):
    """One batch to prepare: the ``number``-th of ``epoch``, made of the samples ``indices``."""

    seed: int
    epoch: int
    number: int
    indices: Array


class _Stopped(Exception):
    """A worker noticed that nobody waits for its batch."""


def _stream(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """An independent generator: Philox with key (seed, epoch), counter starting at (0, stream)."""
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, stream, 0, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _count(value: object, name: str, low: int) -> int:
    """``value`` as an integer of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"DataLoader: {name} must be an integer, got {value!r}")
    if value < low:
        raise ArgError(f"DataLoader: {name} must be at least {low}, got {value}")
    return int(value)


class DataLoader:
    """Iterates over ``dataset`` in batches; each ``for`` loop over it is one epoch.

    ``batch_size``   samples in a batch; the last may be smaller unless ``drop_last``
    ``shuffle``      a new permutation for each epoch
    ``transform``    ``(images, rng) -> images`` on the batch's first field (see transforms)
    ``collate``      ``(list of samples) -> batch``, instead of stacking field by field
    ``seed``         integer in [0, 2**64) that fixes order and augmentation
    ``generator``    instead of ``seed``: a ``minigrad.Generator`` or ``np.random.Generator`` from
                     which one is drawn when first needed; without either, minigrad's global
                     generator gives it if ``shuffle``, else it is 0
    ``num_workers``  threads that prepare batches ahead; 0 prepares them in the caller
    ``prefetch``     batches in flight per worker
    ``as_tensors``   False yields NumPy arrays

    Yields   a tuple (images, labels, ...) of Tensors, as the dataset's samples have fields
    Raises   ArgError or TypeError for an impossible argument; while iterating, whatever the
             dataset, the collate function or the transform raises
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        transform: Transform | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        seed: int | None = None,
        generator: Any = None,
        num_workers: int = 0,
        prefetch: int = 2,
        as_tensors: bool = True,
    ) -> None:
        if seed is not None and generator is not None:
            raise ArgError("DataLoader: pass seed or generator, not both")
        if seed is not None and _count(seed, "seed", 0) >= 2**64:
            raise ArgError(f"DataLoader: seed must be below 2**64, got {seed}")
        self.dataset = dataset
        self.batch_size = _count(batch_size, "batch_size", 1)
        self.num_workers = _count(num_workers, "num_workers", 0)
        self.prefetch = _count(prefetch, "prefetch", 1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.transform, self.collate, self.as_tensors = transform, collate, as_tensors
        self._seed, self._generator = seed, generator
        self._epoch = 0  # the epoch that runs, or comes next
        self._position = 0  # batches of it that the caller has received
        self._begun = False  # has a loop over this epoch begun?
        self._turn = 0  # which loop may move the position: the latest

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    @property
    def seed(self) -> int:
        """What fixes order and augmentation; drawn from the generator when first asked for."""
        if self._seed is None and self._generator is None and not self.shuffle:
            self._seed = 0  # an evaluation loader leaves the global generator alone
        if self._seed is None:
            source: Any = self._generator
            if source is None:
                from minigrad.ops import random

                source = random.default_generator
            self._seed = int(source.integers(0, 2**63 - 1, ()))
        return self._seed

    @property
    def epoch(self) -> int:
        """The epoch that is running, or that the next loop will run, counted from 0."""
        return self._epoch

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: plain integers, taken at any moment, also inside a loop.

        Taken after the last batch but inside the loop, it resumes with an empty rest of that
        epoch, as the uninterrupted program would have gone on.
        """
        return {"seed": self.seed, "epoch": self._epoch, "position": self._position, **self._fit()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where ``state`` was taken: the next loop yields the batches that were left.

        Raises   CheckpointError if keys are missing, values impossible, or the dataset's length
                 or the batching differ; nothing is changed then
        """
        fit = self._fit()
        missing = sorted({"seed", "epoch", "position", *fit} - set(state))
        if missing:
            raise CheckpointError(f"DataLoader: the state lacks {', '.join(missing)}")
        for key, mine in fit.items():
            if int(state[key]) != mine:
                raise CheckpointError(
                    f"DataLoader: the state has {key}={state[key]}, this loader {key}={mine};"
                    " resume with the same data and batching"
                )
        seed, epoch, position = (int(state[key]) for key in ("seed", "epoch", "position"))
        if not (0 <= seed < 2**64 and 0 <= epoch < 2**63 and 0 <= position <= len(self)):
            raise CheckpointError(
                f"DataLoader: impossible state, seed {seed}, epoch {epoch}, position {position}"
                f" of {len(self)}"
            )
        self._seed, self._epoch, self._position = seed, epoch, position
        self._begun, self._turn = False, self._turn + 1

    def _fit(self) -> dict[str, int]:
        """What a state must agree on for its position to mean the same batches."""
        return {
            "samples": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": int(self.shuffle),
            "drop_last": int(self.drop_last),
        }

    def __iter__(self) -> Iterator[Any]:
        """A loop over the rest of a resumed epoch, or over a new one."""
        if self._begun:  # the loop before was left early
            self._epoch, self._position = self._epoch + 1, 0
        self._begun, self._turn = True, self._turn + 1
        return self._play(self._turn, self._epoch, self._position)

    def _play(self, turn: int, epoch: int, start: int) -> Generator[Any, None, None]:
        jobs = iter(self._plan(epoch)[start:])
        batches = self._threaded(jobs) if self.num_workers else map(self._prepare, jobs)
        try:
            for done, batch in enumerate(batches, start + 1):
                if self._turn == turn:
                    self._position = done
                yield to_tensors(batch) if self.as_tensors else batch
        finally:
            if isinstance(batches, Generator):
                batches.close()
        if self._turn == turn:
            self._epoch, self._position, self._begun = epoch + 1, 0, False

    def _plan(self, epoch: int) -> list[_Job]:
        """The jobs of an epoch: which samples each batch has, and where its generator starts."""
        n, size, seed = len(self.dataset), self.batch_size, self.seed
        order = _stream(seed, epoch, ORDER).permutation(n) if self.shuffle else np.arange(n)
        return [_Job(seed, epoch, k, order[k * size : (k + 1) * size]) for k in range(len(self))]

    def _prepare(self, job: _Job, stop: threading.Event | None = None) -> Any:
        """One batch; runs in a worker or the caller, in memory that is used again."""
        with pooled_arrays():
            return self._make(job, stop)

    def _make(self, job: _Job, stop: threading.Event | None) -> Any:
        """One batch, from the dataset through the transform."""
        fast = getattr(self.dataset, "batch", None)
        if fast is not None and self.collate is None:
            batch = fast(job.indices)
        else:
            samples = []
            for i in job.indices:
                if stop is not None and stop.is_set():
                    raise _Stopped
                samples.append(self.dataset[int(i)])
            batch = (self.collate or default_collate)(samples)
        if self.transform is None:
            return batch
        rng = _stream(job.seed, job.epoch, 1 + job.number)
        if isinstance(batch, tuple):
            return (self.transform(batch[0], rng), *batch[1:])
        if isinstance(batch, np.ndarray):
            return self.transform(batch, rng)
        raise ArgError(
            f"DataLoader: transform works on arrays or tuples, the batch is {type(batch).__name__};"
            " transform in collate instead"
        )

    def _threaded(self, jobs: Iterator[_Job]) -> Generator[Any, None, None]:
        """The jobs' batches in order, several prepared ahead by a pool of threads."""
        from concurrent.futures import ThreadPoolExecutor  # imports logging: slow

        stop = threading.Event()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix=THREAD_NAME)
        waiting: deque[Future[Any]] = deque()

        def submit(count: int) -> None:
            waiting.extend(pool.submit(self._prepare, job, stop) for job in islice(jobs, count))

        try:
            submit(self.num_workers * self.prefetch)
            while waiting:
                batch = waiting.popleft().result()
                submit(1)
                yield batch
        finally:
            stop.set()
            # The garbage collector may close this generator inside a worker, which must not
            # wait for itself.
            inside = threading.current_thread().name.startswith(THREAD_NAME)
            pool.shutdown(wait=not inside, cancel_futures=True)
