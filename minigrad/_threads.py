"""How many threads minigrad uses: `set_num_threads`, `get_num_threads`, `threads`.

Design: the numbers live in OpenMP (``src/kernels/threads.pyx``), so ``OMP_NUM_THREADS`` and
threadpoolctl's limits are obeyed and whoever spoke last wins.  NumPy's own BLAS has threads
besides; they are set to the same number through threadpoolctl, because two teams on one processor
only wait for each other.  The number of threads never changes a result.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from minigrad._kernels import threads as _kernel

__all__ = ["get_num_threads", "set_num_threads", "threads"]

_lock = threading.Lock()
_open_limits = 0  # `threads(n)` contexts that are open, in all threads
_blas: Any = None  # threadpoolctl's controller of BLAS; made when first needed
_blas_before: Any = None  # restores what BLAS had before the first context opened


def _limit_blas(n: int) -> Any:
    """Set NumPy's BLAS to `n` threads; the result has ``restore_original_limits()``."""
    global _blas
    if _blas is None:
        from threadpoolctl import ThreadpoolController

        _blas = ThreadpoolController().select(user_api="blas")
    return _blas.limit(limits=n)


def get_num_threads() -> int:
    """Threads that a large kernel called from this thread would use."""
    return int(_kernel.get_num_threads())


def set_num_threads(n: int) -> None:
    """Use at most `n` threads, in every thread of this process, from now on.

    Raises  TypeError unless `n` is an int; ArgError when it is below 1.  Far more threads than
            processors are refused with a RuntimeWarning and a smaller number is taken.
    """
    _kernel.set_num_threads(n)
    with _lock:
        _limit_blas(get_num_threads())


class threads:
    """``with minigrad.threads(n):`` at most `n` threads for what this thread calls inside.

    Other threads keep theirs; NumPy's BLAS, which has one number for the whole process, is limited
    to `n` until the last open context closes.  Contexts nest.

    Raises  TypeError unless `n` is an int; ArgError when it is below 1
    """

    def __init__(self, n: int) -> None:
        self._n = int(_kernel.check(n))
        self._before: list[int] = []

    def __enter__(self) -> threads:
        global _open_limits, _blas_before
        self._before.append(get_num_threads())
        _kernel.set_own_num_threads(self._n)
        with _lock:
            limiter = _limit_blas(get_num_threads())
            if _open_limits == 0:
                _blas_before = limiter
            _open_limits += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _open_limits, _blas_before
        before = self._before.pop()
        _kernel.set_own_num_threads(before)
        with _lock:
            _open_limits -= 1
            if _open_limits > 0:
                _limit_blas(before)
            else:
                _blas_before.restore_original_limits()
                _blas_before = None
