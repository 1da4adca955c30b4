"""minigrad: a tape-based autograd engine that one person can read in an evening.

Read in this order: ``op`` (what an op is), ``ops/elementwise`` (pages of mathematics),
``reference/tape`` (the tape, in plain Python), ``tensor``, ``autograd``, ``functional``, ``nn``,
``optim``; then ``src/record.pyx`` and the kernels.  The README has the full list with line counts.

>>> import minigrad as mg
>>> x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> y = (x * x).sum()
>>> y.backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from ._build import check_binaries

check_binaries()  # before anything compiled is imported

from typing import Any

from . import functional, nn, ops, optim
from ._config import show_config
from ._engine import is_grad_enabled
from ._kernels.memory import empty_cache, memory_stats
from ._threads import get_num_threads, set_num_threads, threads
from ._version import __version__
from .anomaly import anomaly
from .autograd import enable_grad, grad, hessian, hvp, jacobian, jvp, no_grad, vjp
from .checkpointing import checkpoint
from .creation import (
    arange,
    empty,
    eye,
    from_dlpack,
    from_numpy,
    full,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .errors import (
    ArgError,
    CheckpointError,
    DataFormatError,
    DTypeError,
    GraphError,
    MinigradError,
    NonDifferentiableError,
    ShapeError,
)
from .explain import explain
from .gradcheck import gradcheck, gradgradcheck
from .op import Op, custom_op
from .ops import (
    Generator,
    concat,
    cos,
    default_generator,
    einsum,
    exp,
    flip,
    log,
    logsumexp,
    manual_seed,
    matmul,
    maximum,
    minimum,
    norm,
    outer,
    roll,
    sin,
    split,
    sqrt,
    stack,
    tanh,
    tensordot,
    where,
)
from .show import show
from .tensor import Tensor

__all__ = [
    "ArgError",
    "CheckpointError",
    "DTypeError",
    "DataFormatError",
    "Generator",
    "GraphError",
    "MinigradError",
    "NonDifferentiableError",
    "Op",
    "ShapeError",
    "Tensor",
    "__version__",
    "anomaly",
    "arange",
    "checkpoint",
    "concat",
    "cos",
    "custom_op",
    "data",
    "default_generator",
    "einsum",
    "empty",
    "empty_cache",
    "enable_grad",
    "exp",
    "explain",
    "eye",
    "flip",
    "from_dlpack",
    "from_numpy",
    "full",
    "functional",
    "get_num_threads",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "hessian",
    "hvp",
    "io",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "linspace",
    "log",
    "logsumexp",
    "manual_seed",
    "matmul",
    "maximum",
    "memory_stats",
    "minimum",
    "nn",
    "no_grad",
    "norm",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "outer",
    "rand",
    "randint",
    "randn",
    "randperm",
    "roll",
    "set_num_threads",
    "show",
    "show_config",
    "sin",
    "split",
    "sqrt",
    "stack",
    "tanh",
    "tensor",
    "tensordot",
    "threads",
    "vjp",
    "where",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    """``minigrad.data`` and ``io`` are imported when first asked for: a fifth of the time."""
    if name in ("data", "io"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
