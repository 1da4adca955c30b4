"""Random numbers that can be repeated, and the ops that draw them.

Design: one ``Generator`` wraps NumPy's counter-based Philox.  A draw depends on the seed and on
what was drawn before, never on the number of threads.  Its state is a plain dict that JSON can
hold, so a checkpoint resumes with the very next number.  An op that draws hands its mask to the
tape as a by-product: the gradient uses the mask of the forward pass, whatever was drawn since.
Dropout's mask has one bit for each number; ``unpack_mask`` shows it as booleans.

Absent on purpose: NumPy's global state; nothing here reads or changes it.  Next: ``__main__.py``.
"""

from __future__ import annotations

import math
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minigrad._kernels import dropout as kernels
from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.elementwise import mul
from minigrad.ops.select import masked

Array = NDArray[Any]
Shape = tuple[int, ...]

one_at_a_time = Lock()  # two threads that draw first must not get a stream each


class Generator:
    """A stream of random numbers: the same seed gives the same numbers, everywhere.

    seed: 0 to 2^64 - 1.  Raises ArgError for another number, TypeError for what is no int.

    >>> a, b = Generator(7), Generator(7)
    >>> bool((a.rand((2, 3)) == b.rand((2, 3))).all())
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed; returns the generator itself."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"manual_seed: seed must be an int, got {type(seed).__name__} {seed!r}")
        if not 0 <= seed < 1 << 64:
            raise ArgError(f"manual_seed: seed must be from 0 to 2^64 - 1, got {seed}")
        self.seed = int(seed)
        self.stream: np.random.Generator | None = None
        return self

    @property
    def numpy(self) -> np.random.Generator:
        """NumPy's generator, made at the first draw: importing numpy.random takes a while."""
        if self.stream is None:
            with one_at_a_time:
                if self.stream is None:
                    self.stream = np.random.Generator(np.random.Philox(self.seed))
        return self.stream

    @property
    def philox(self) -> np.random.Philox:
        """Where the numbers come from."""
        bits: Any = self.numpy.bit_generator
        return bits

    def get_state(self) -> dict[str, Any]:
        """The state as numbers, strings and lists, so that JSON can hold it."""
        state: dict[str, Any] = dict(self.philox.state)
        inner = {k: [int(n) for n in v] for k, v in state["state"].items()}
        buffer = [int(n) for n in state["buffer"]]
        return {**state, "state": inner, "buffer": buffer, "seed": self.seed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of ``get_state``; ArgError, and no change, for anything else."""
        try:
            inner = {k: np.array(state["state"][k], np.uint64) for k in ("counter", "key")}
            new: Any = {**state, "state": inner, "buffer": np.array(state["buffer"], np.uint64)}
            seed = int(new.pop("seed"))
            philox = np.random.Philox(0)
            philox.state = new
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as why:
            raise ArgError(f"set_state: not a state of Generator.get_state() ({why!r})") from None
        self.seed, self.stream = seed, np.random.Generator(philox)

    def rand(self, shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        """Numbers from 0 (included) to 1 (not), evenly spread."""
        kind: Any = np.dtype(dtype).type
        return self.numpy.random(shape, kind)

    def randn(self, shape: Shape, dtype: DTypeLike = np.float32) -> Array:
        """Normal numbers with mean 0 and variance 1."""
        kind: Any = np.dtype(dtype).type
        return self.numpy.standard_normal(shape, kind)

    def integers(self, low: int, high: int, shape: Shape) -> NDArray[np.int64]:
        """Whole numbers from low (included) to high (not)."""
        return self.numpy.integers(low, high, shape)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """The numbers 0 to n - 1 in random order."""
        return self.numpy.permutation(n)

    def mask(self, shape: Shape, p: float) -> NDArray[np.bool_]:
        """False with chance p, to 32 bits: one 32-bit word of the stream decides each."""
        kept: NDArray[np.bool_] = self.words(math.prod(shape)) >= np.uint32(limit(p))
        return kept.reshape(shape)

    def mask_bits(
        self, shape: Shape, p: float, *, channels_last: bool = False
    ) -> NDArray[np.uint8]:
        """``mask(shape, p)``, one bit for each number: see ``unpack_mask``."""
        words = self.words(math.prod(shape))
        images = shape if channels_last else None
        return kernels.pack_mask(words, limit=limit(p), images=images)

    def words(self, count: int) -> NDArray[np.uint32]:
        """The next 32-bit words of the stream; half of a 64-bit one that is left over is lost."""
        return self.philox.random_raw((count + 1) // 2).view(np.uint32)[:count]


default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Restart the generator that is used where none is given, and return it."""
    return default_generator.manual_seed(seed)


def check_chance(op: str, p: Any) -> None:
    """ArgError unless p is a chance, TypeError unless it is a number."""
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise TypeError(f"{op}: p must be a number, got {type(p).__name__} {p!r}")
    if not 0 <= p <= 1:
        raise ArgError(f"{op}: p is the chance to drop, from 0 to 1, got {p}")


def limit(p: float) -> int:
    """The least 32-bit word that is kept: of 2^32 words, p 2^32 are below it."""
    return min(round(p * 2.0**32), 2**32 - 1)


def unpack_mask(
    bits: NDArray[np.uint8], shape: Shape, *, channels_last: bool = False
) -> NDArray[np.bool_]:
    """Which numbers of an array of that shape are kept: bit k of byte i is that of number 8 i + k.

    bits (ceil(n / 8),), n numbers, counted in C order; channels_last: in the order (N, H, W, C).
    Raises ShapeError where the two do not fit.

    >>> unpack_mask(np.array([5], np.uint8), (3,))
    array([ True, False,  True])
    """
    n = math.prod(shape)
    if bits.shape != ((n + 7) // 8,) or (channels_last and len(shape) != 4):
        raise ShapeError(f"unpack_mask: {bits.shape} bytes of bits are no mask of shape {shape}")
    kept = np.unpackbits(bits, count=n, bitorder="little").view(np.bool_)
    if not channels_last:
        return kept.reshape(shape)
    images, channels, height, width = shape
    return kept.reshape(images, height, width, channels).transpose(0, 3, 1, 2)


def drop(x: Array, bits: NDArray[np.uint8], p: float, channels_last: bool) -> Array:
    """x / (1 - p) where the number's bit is 1, else 0, in one pass."""
    if p == 1:
        return np.zeros_like(x)
    return kernels.drop(x, bits, scale=1.0 / (1.0 - p), channels_last=channels_last)


def dropped(x: Array, mask: Array, p: float) -> Array:
    """x / (1 - p) where the mask holds, else 0."""
    if p == 1:
        return np.zeros_like(x)
    z = np.asarray(mul(x, 1.0 / (1.0 - p)))  # in the memory order of x
    return masked(z, mask, out=z)


class Dropout(Op, byproducts=("bits", "channels_last")):
    """z = x with each number set to 0 with chance p, the others scaled up to keep the mean.

    Shapes    x: any; z: as x; bits: (ceil(n / 8),) uint8 for n numbers; channels_last: whether
              they count the numbers in the order (N, H, W, C), as x has them in memory, or in C
              order; generator: a Generator, or None for the default one
    Forward   z_i = m_i x_i / (1 - p),  m_i = 1 with chance 1 - p, else 0; all 0 for p = 1
    Backward  dL/dx_i = dL/dz_i m_i / (1 - p)      because z is linear in x once m is drawn
    Keeps     the mask m as bits, and channels_last
    Example
        >>> dropout(np.array([1.0, 2.0]), p=0.0)
        array([1., 2.])
        >>> z, bits, last = dropout.full(np.ones(9), p=0.0)
        >>> bits, last
        (array([255,   1], dtype=uint8), False)

    Reference Srivastava et al. 2014, section 4, scaled in training instead of testing
    """

    def forward(x, *, p=0.5, generator=None):
        check_chance("dropout", p)
        x = x if x.dtype.kind == "f" else x.astype(np.float64)
        last = x.ndim == 4 and not x.flags.c_contiguous
        bits = (generator or default_generator).mask_bits(x.shape, p, channels_last=last)
        return drop(x, bits, p, last), bits, last

    def grad_x(gz, bits, channels_last, p):
        return dropout_grad(gz, bits, p=p, channels_last=channels_last)


class DropoutGrad(Op):
    """gx = gz / (1 - p) where a bit is set, else 0: dropout with its mask given.

    Shapes    gz: any; bits: (ceil(n / 8),) uint8, one for each number of gz in C order, or with
              channels_last in the order (N, H, W, C); gx: as gz
    Forward   gx_i = m_i gz_i / (1 - p), m_i the bit of i; all 0 for p = 1
    Backward  dL/dgz_i = dL/dgx_i m_i / (1 - p)      because gx is linear in gz
    Keeps     bits
    Example
        >>> dropout_grad(np.array([1.0, 2.0]), np.array([1], np.uint8), p=0.5)
        array([2., 0.])
    """

    def forward(gz, bits, *, p, channels_last=False):
        return drop(gz, bits, p, channels_last)

    def grad_gz(gx, bits, p, channels_last):
        return dropout_grad(gx, bits, p=p, channels_last=channels_last)


class Dropout2d(Op, byproducts=("mask",)):
    """z = x with whole channels set to 0 with chance p, the others scaled up to keep the mean.

    Shapes    x: (N, C, ..); z: as x; mask: (N, C, 1, ..); generator: a Generator, or None
    Forward   z_nc.. = m_nc x_nc.. / (1 - p),  m_nc = 1 with chance 1 - p, else 0
    Backward  dL/dx_nc.. = dL/dz_nc.. m_nc / (1 - p)      because z is linear in x once m is drawn
    Keeps     the mask, one byte a channel
    Example
        >>> dropout2d(np.ones((1, 2, 2, 1)), p=1.0).tolist()
        [[[[0.0], [0.0]], [[0.0], [0.0]]]]

    Reference Tompson et al. 2015, section 3.2
    """

    def forward(x, *, p=0.5, generator=None):
        check_chance("dropout2d", p)
        if x.ndim < 3:
            raise ShapeError(
                f"dropout2d: expected (N, C, H, W), got {x.shape}; use dropout for single numbers"
            )
        channels = x.shape[:2] + (1,) * (x.ndim - 2)  # (N, C, 1, 1)
        mask = (generator or default_generator).mask(channels, p)
        return dropped(x, mask, p), mask

    def grad_x(gz, mask, p):
        return masked_scale(gz, mask, p=p)


class MaskedScale(Op):
    """z = x / (1 - p) where a mask holds, else 0: dropout with the mask given.

    Shapes    x: any; mask: bool, broadcasts to x; z: as x
    Forward   z_i = m_i x_i / (1 - p); all 0 for p = 1
    Backward  dL/dx_i = dL/dz_i m_i / (1 - p)      because z is linear in x
    Keeps     the mask
    Example
        >>> masked_scale(np.array([1.0, 2.0]), np.array([True, False]), p=0.5)
        array([2., 0.])
    """

    def forward(x, mask, *, p):
        return dropped(x, mask, p)

    def grad_x(gz, mask, p):
        return masked_scale(gz, mask, p=p)


dropout = Dropout.apply
dropout_grad = DropoutGrad.apply
dropout2d = Dropout2d.apply
masked_scale = MaskedScale.apply
