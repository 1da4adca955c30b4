"""Starting values of parameters, written in place; every function returns the Tensor it filled.

Design: one formula a function. Fans are counted as in He et al. 2015: for a weight of shape (K,
C, R, S) or (O, I) fan_in = C R S and fan_out = K R S, the number of products in one output and
the number of outputs that one input feeds. Samples are drawn in float64 and rounded, so a float32
net and a float64 net with one seed start alike. `generator` is a `minigrad.Generator`; without
one the default generator is used, which `manual_seed` seeds. Nothing is recorded on the tape.
Numbers are drawn by blocks, so a weight of 400 MB needs no 800 MB of samples; inside of `nn.meta`
nothing is drawn or written. Names and arguments are PyTorch's.

Sources: He et al. 2015, https://arxiv.org/abs/1502.01852; Glorot and Bengio 2010 (AISTATS 9);
Saxe et al. 2014, https://arxiv.org/abs/1312.6120.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.errors import ArgError, ShapeError
from minigrad.inplace import read_only
from minigrad.nn.meta import active, own
from minigrad.ops.geometry import number
from minigrad.ops.random import Generator, default_generator
from minigrad.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
BLOCK = 1 << 18  # samples drawn at a time: 2 MB of float64


def fans(t: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of rank 2 or more, laid out (outputs, inputs, *window)."""
    if t.ndim < 2:
        raise ShapeError(f"init: a fan needs a weight of rank 2 or more, got shape {t.shape}")
    window = math.prod(t.shape[2:])
    return t.shape[1] * window, t.shape[0] * window


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation that keeps variance through a nonlinearity.

    relu sqrt(2); leaky_relu sqrt(2 / (1 + slope^2)), slope = param or 0.01; tanh 5/3; selu 3/4;
    linear, conv and sigmoid 1. Source: He et al. 2015, equations 10 and 14. Raises ArgError for
    another name.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else number("calculate_gain", "param", param)
        return math.sqrt(2.0 / (1.0 + slope**2))
    gains = {
        "linear": 1.0,
        "conv2d": 1.0,
        "conv_transpose2d": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "selu": 0.75,
    }
    if nonlinearity not in gains:
        raise ArgError(
            f"calculate_gain: unknown nonlinearity {nonlinearity!r}; "
            f"known: {', '.join(sorted([*gains, 'leaky_relu']))}"
        )
    return gains[nonlinearity]


def constant_(t: Tensor, val: float) -> Tensor:
    """Every element = val."""
    value = number("constant_", "val", val)
    return _fill(t, lambda shape: np.full(shape, value))


def zeros_(t: Tensor) -> Tensor:
    """Every element = 0."""
    return constant_(t, 0.0)


def ones_(t: Tensor) -> Tensor:
    """Every element = 1."""
    return constant_(t, 1.0)


def uniform_(
    t: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform on [a, b)."""
    a, b = number("uniform_", "a", a), number("uniform_", "b", b)
    if not a <= b:
        raise ArgError(f"uniform_: the interval [{a}, {b}) is empty; a must not exceed b")
    return _fill(t, lambda shape: a + (b - a) * _uniform(generator, shape))


def normal_(
    t: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with the given mean and standard deviation."""
    mean, std = _moments("normal_", mean, std)
    return _fill(t, lambda shape: mean + std * _normal(generator, shape))


def trunc_normal_(
    t: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal(mean, std) conditioned on [a, b] (which are values, not multiples of std, as in
    PyTorch).

    By rejection: a point uniform on [a, b] is kept with probability exp(-z^2 / 2) over its
    largest value there. Raises ArgError where mean is more than 2 std outside [a, b]: nearly all
    of the distribution is cut off.
    """
    mean, std = _moments("trunc_normal_", mean, std)
    if not (a < b and a - 2 * std <= mean <= b + 2 * std):
        raise ArgError(
            "trunc_normal_: needs a < b and mean within 2 std of [a, b], "
            f"got mean {mean}, std {std}, a {a}, b {b}"
        )
    if active():
        return t
    if std == 0:
        return constant_(t, min(max(mean, a), b))
    low, high = (
        max((a - mean) / std, -9.0),
        min((b - mean) / std, 9.0),
    )  # beyond 9 std: less than 1e-18
    peak = min(max(0.0, low), high)
    values: list[Array] = []
    found = 0
    while found < t.size:
        z = low + (high - low) * _uniform(generator, (2 * (t.size - found) + 16,))
        kept = z[_uniform(generator, z.shape) <= np.exp((peak**2 - z**2) / 2)]
        values.append(kept)
        found += kept.size
    z = np.concatenate([*values, np.empty(0)])[: t.size]
    return _write(t, np.clip(mean + std * z, a, b).reshape(t.shape))


def xavier_uniform_(t: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on +-gain sqrt(6 / (fan_in + fan_out)); Glorot and Bengio 2010, equation 16."""
    bound = number("xavier_uniform_", "gain", gain) * math.sqrt(6.0 / max(sum(fans(t)), 1))
    return uniform_(t, -bound, bound, generator)


def xavier_normal_(t: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with std = gain sqrt(2 / (fan_in + fan_out)); Glorot and Bengio 2010, equation 12."""
    std = number("xavier_normal_", "gain", gain) * math.sqrt(2.0 / max(sum(fans(t)), 1))
    return normal_(t, 0.0, std, generator)


def kaiming_uniform_(
    t: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform on +-sqrt(3) std, std as in `kaiming_normal_`."""
    bound = math.sqrt(3.0) * _he_std(t, a, mode, nonlinearity)
    return uniform_(t, -bound, bound, generator)


def kaiming_normal_(
    t: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with std = gain / sqrt(fan); He et al. 2015, equation 10 (fan_in), 14 (fan_out), 15
    (leaky).

    `mode` is "fan_in" (keeps the variance of activations) or "fan_out" (of gradients); `a` is the
    slope of a leaky_relu behind the layer.
    """
    return normal_(t, 0.0, _he_std(t, a, mode, nonlinearity), generator)


def orthogonal_(t: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """gain times a random matrix with orthonormal rows or columns; axes after the first are one.
    Saxe et al. 2014.

    The Q of a normal matrix, with signs that make the diagonal of R positive: then Q is uniform
    (Mezzadri 2007, https://arxiv.org/abs/math-ph/0609050).
    """
    if t.ndim < 2:
        raise ShapeError(f"orthogonal_: needs a weight of rank 2 or more, got shape {t.shape}")
    rows, columns = t.shape[0], math.prod(t.shape[1:])
    if t.size == 0 or active():
        return t
    q, r = np.linalg.qr(_normal(generator, (max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    q = q.T if rows < columns else q  # (rows, columns)
    return _write(t, number("orthogonal_", "gain", gain) * q.reshape(t.shape))


def eye_(t: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere."""
    if t.ndim != 2:
        raise ShapeError(f"eye_: needs a matrix, got shape {t.shape}")
    return t if active() else _write(t, np.eye(t.shape[0], t.shape[1]))


def dirac_(t: Tensor) -> Tensor:
    """A convolution weight (K, C, R, S) that copies channel i to channel i for i < min(K, C)."""
    if t.ndim < 3:
        raise ShapeError(
            f"dirac_: needs a convolution weight of rank 3 or more, got shape {t.shape}"
        )
    if active():
        return t
    values = np.zeros(t.shape)
    middle = tuple(size // 2 for size in t.shape[2:])
    for i in range(min(t.shape[:2])):
        place = (i, i, *middle)
        values[place] = 1.0
    return _write(t, values)


def _he_std(t: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(t)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _uniform(generator: Generator | None, shape: tuple[int, ...]) -> Array:
    return (generator or default_generator).rand(shape, np.float64)


def _normal(generator: Generator | None, shape: tuple[int, ...]) -> Array:
    return (generator or default_generator).randn(shape, np.float64)


def _moments(op: str, mean: float, std: float) -> tuple[float, float]:
    mean, std = number(op, "mean", mean), number(op, "std", std)
    if not std >= 0:
        raise ArgError(f"{op}: std must be 0 or more, got {std}")
    return mean, std


def _fill(t: Tensor, draw: Callable[[tuple[int, ...]], Array]) -> Tensor:
    """Write what `draw` gives for each block of `t`, in order; the whole where `t` has gaps."""
    if active():
        return t
    data = _target(t)
    if not data.flags.c_contiguous:
        return _write(t, draw(t.shape))
    flat = data.reshape(-1)
    for start in range(0, t.size, BLOCK):
        part = flat[start : start + BLOCK]
        part[...] = draw(part.shape)
    t.mutated_()
    return t


def _target(t: Tensor) -> Array:
    """The array of `t`, to be written; GraphError where that cannot be."""
    data: Array = own(t).data
    if not data.flags.writeable:
        raise read_only("nn.init", t)
    return data


def _write(t: Tensor, values: Array) -> Tensor:
    _target(t)[...] = values
    t.mutated_()
    return t
