"""fixed_weights: a net's weights stay as they are, and kernels keep what they pack of them.

Design: a convolution puts its weights into the order in which the kernel reads them, or transforms
them, on every call, because a write through NumPy is seen by nobody. For one image that is about a
tenth of the time. Inside ``with fixed_weights(net):`` the arrays of all parameters are read-only,
and what is packed from them is kept (`src/kernels/kept.pyx`):

    by definition, 1x1     the packed panels, as large as the weights
    Winograd               the transformed filters, 4 times as large (5x5: 1.44 times)
    Winograd, deep layer   nothing: its transformed filters, 4 times the weights, are used where
                           they are made, in cache, and are never written to memory
    depthwise, few pixels  nothing: the weights are read where they lie
    linear                 nothing: so they are in small batches; in large ones packing is little

Results are the same bits. Nothing here trains: a step of an optimizer in the block is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from numpy.typing import NDArray

from minigrad._kernels import kept
from minigrad.nn.module import Module

_lock = threading.Lock()
_writable: dict[int, bool] = {}  # of every held array: what it was before


@contextmanager
def fixed_weights(module: Module) -> Iterator[None]:
    """Inside the block no parameter of `module` can be written, and inference does not pack again.

    NumPy raises ValueError at a write, Tensors, optimizers and `load_state_dict` their own errors,
    and nothing is changed. At the end of the block, whatever happens in it, every array is as
    writable as before, and what was kept is free. Blocks nest, and threads may share one. A
    parameter that gets another array in the block (`astype`) computes with that one, not kept.

    The promise is yours where NumPy cannot help: a writable view or base of a parameter's array
    that existed before the block still writes to it, and what was kept would then be stale.

    Raises TypeError if `module` is no Module.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> with nn.fixed_weights(net), mg.no_grad():
    ...     shapes = [net(mg.zeros(1, 3, 8, 8)).shape for _ in range(2)]  # packed once
    >>> shapes
    [(1, 8, 6, 6), (1, 8, 6, 6)]
    """
    if not isinstance(module, Module):
        raise TypeError(f"fixed_weights: expected a Module, got {type(module).__name__}")
    arrays = list({id(p.data): p.data for p in module.parameters()}.values())
    _hold(arrays)
    try:
        yield
    finally:
        _release(arrays)


def _hold(arrays: list[NDArray[Any]]) -> None:
    with _lock:
        for array in arrays:
            if not kept.is_held(array):
                _writable[id(array)] = array.flags.writeable
                array.flags.writeable = False
            kept.hold(array)


def _release(arrays: list[NDArray[Any]]) -> None:
    with _lock:
        free = [array for array in arrays if kept.release(array)]
        for array in sorted(free, key=lambda a: a.base is not None):  # views after their bases
            if _writable.pop(id(array)):
                with suppress(ValueError):  # a view whose base was made read-only meanwhile
                    array.flags.writeable = True
