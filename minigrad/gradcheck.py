"""gradcheck: is the gradient the derivative?

Design.  A gradient is a linear map, so two numbers decide: for a random direction u of the input
and random weights v of the output, ``<v, J u>`` by central differences must equal ``<J^T v, u>`` by
the tape.  A wrong element hides from one random direction of a large input (at 10,000 elements, one
element that is 10 % off is missed by one check in four), so every input tensor gets directions of
its own, and single elements besides: first, last, corners, random ones; small inputs get them all.

Pass is ``|numeric - tape| <= tol |v| |J u| + 4 2^-53 |v| |f| / eps``: relative, plus the rounding
floor of the difference, nothing absolute.  eps = 2^-14 balances truncation (eps^2) and rounding
(1 / eps) in float64.  Where a difference does not settle as eps shrinks, the point is a kink and
``NonDifferentiableError`` is raised instead of a wrong verdict.

Absent on purpose: float32 (check in float64; kernels are compared with float64 twins elsewhere).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._engine import TensorBase
from .autograd import grad, no_grad
from .errors import ArgError, DTypeError, GradientError, NonDifferentiableError
from .tensor import Tensor

EPS = 2.0**-14
TOL = 1e-7
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """One comparison: where, what the tape says, what the difference says, how far apart."""

    name: str
    element: tuple[int, ...] | None  # None: a random direction over the whole tensor
    tape: float
    numeric: float
    allowed: float

    @property
    def error(self) -> float:
        """Distance in units of what is allowed: at most 1 passes."""
        return abs(self.tape - self.numeric) / self.allowed if self.allowed > 0 else 0.0

    def __str__(self) -> str:
        where = "a random direction" if self.element is None else f"element {self.element}"
        return (
            f"{self.name}, {where}: tape {self.tape:.12g}, difference {self.numeric:.12g}, "
            f"allowed distance {self.allowed:.2g}"
        )


def direction(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """N(0, 1) draws of norm 1, none close to zero: |u_i| >= 0.1 / sqrt(n)."""
    u = rng.standard_normal(shape)
    u = np.sign(u) * np.maximum(np.abs(u), 0.1) + (u == 0)
    return np.asarray(u / max(float(np.linalg.norm(u)), 1e-300))


def elements(rng: np.random.Generator, shape: tuple[int, ...], limit: int) -> list[tuple[int, ...]]:
    """The elements to look at one by one: all of a small tensor, else corners and random ones."""
    size = int(np.prod(shape))
    if size <= limit:
        return [tuple(map(int, i)) for i in np.ndindex(*shape)] if size else []
    corners = {tuple(0 for _ in shape), tuple(n - 1 for n in shape)}
    if len(shape) >= 2:  # the corners of the last two axes: where kernels go wrong at borders
        for r in (0, shape[-2] - 1):
            for s in (0, shape[-1] - 1):
                corners.add((*(0 for _ in shape[:-2]), r, s))
                corners.add((*(n - 1 for n in shape[:-2]), r, s))
    drawn = {tuple(int(rng.integers(n)) for n in shape) for _ in range(max(2, limit // 4))}
    return sorted(corners | drawn)[: max(limit, 8)]


class Difference:
    """Central differences of <v, f> along directions of an array, which is restored."""

    def __init__(self, f: Callable[[], Array], target: Tensor, v: Array, eps: float) -> None:
        self.f, self.target, self.v, self.eps = f, target, v, eps
        self.f0 = f()

    def at(self, u: Array, step: float) -> Array:
        """f at target + step * u."""
        data = self.target.data
        saved = data.copy()
        data += step * u
        self.target.mutated_()
        try:
            return self.f()
        finally:
            data[...] = saved
            self.target.mutated_()

    def along(self, u: Array, tol: float) -> tuple[float, float]:
        """(<v, J u>, the distance allowed). Raises NonDifferentiableError at a kink.

        A smooth second difference shrinks by 4 whenever the step is halved; one across a kink does
        not, at least at one of two halvings. A kink that is only near is left behind by a smaller
        step.
        """
        scale = float(np.linalg.norm(self.v))
        noise = 64 * 2.0**-53 * float(np.abs(self.f0).sum()) + 1e-300
        for e in self.eps * 0.5 ** np.arange(7):
            plus, minus = self.at(u, e), self.at(u, -e)
            bend = self.bend(plus, minus)
            if bend > 1e3 * noise:
                half = self.bend(self.at(u, e / 2), self.at(u, -e / 2))
                quarter = self.bend(self.at(u, e / 4), self.at(u, -e / 4))
                if not (fourth(bend, half, noise) and fourth(half, quarter, noise)):
                    continue
            ju = (plus - minus) / (2 * e)
            floor = 4 * 2.0**-53 * scale * float(np.linalg.norm(self.f0)) / e
            return float(np.vdot(self.v, ju)), tol * scale * float(np.linalg.norm(ju)) + floor
        raise NonDifferentiableError("the difference does not settle as the step shrinks")

    def bend(self, plus: Array, minus: Array) -> float:
        """Size of the second difference."""
        return float(np.abs(plus - 2 * self.f0 + minus).sum())


def fourth(bend: float, half: float, noise: float) -> bool:
    """Whether a second difference shrank by 4, up to a fifth of that and rounding."""
    return abs(half - bend / 4) <= bend / 20 + 4 * noise


def output_of(function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    """The function's output as one Tensor; several outputs are laid end to end."""
    y = function(*inputs)
    if isinstance(y, TensorBase):
        return y
    from .ops import concat

    return concat(*[t.reshape(-1) for t in y], axis=0)


def probe_tensor(
    name: str,
    target: Tensor,
    g: Array,
    f: Callable[[], Array],
    v: Array,
    rng: np.random.Generator,
    *,
    eps: float,
    tol: float,
    directions: int,
    limit: int,
) -> list[Probe]:
    """All comparisons for one tensor. Raises NonDifferentiableError at a kink."""
    difference = Difference(f, target, v, eps)
    wanted: list[tuple[tuple[int, ...] | None, Array]] = [
        (None, direction(rng, target.shape)) for _ in range(directions if target.size > 1 else 0)
    ]
    for place in elements(rng, target.shape, limit):
        unit = np.zeros(target.shape)
        unit[place] = 1.0
        wanted.append((place, unit))
    probes = []
    for element, u in wanted:
        try:
            numeric, allowed = difference.along(u, tol)
        except NonDifferentiableError as error:
            where = "along a random direction" if element is None else f"at element {element}"
            raise NonDifferentiableError(
                f"gradcheck: {name} has a kink {where} ({error}); no derivative exists there, move "
                "the point away from it"
            ) from None
        probes.append(Probe(name, element, float(np.vdot(g, u)), numeric, allowed))
    return probes


def verdict(probes: Iterable[Probe], what: str) -> bool:
    """True, or GradientError naming the worst comparison."""
    worst = max(probes, key=lambda p: p.error if np.isfinite(p.error) else np.inf, default=None)
    if worst is not None and not worst.error <= 1:
        raise GradientError(f"{what}: the gradient is not the derivative. Worst: {worst}")
    return True


def gradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = EPS,
    tol: float = TOL,
    directions: int = 2,
    limit: int = 48,
    seed: int = 0,
) -> bool:
    """Compare the gradients of ``function(*inputs)`` with central differences.

    inputs: a Tensor or a sequence; the float64 ones with requires_grad are checked. eps: the step
    (1 is exact for multilinear functions). tol: relative tolerance. limit: tensors up to this size
    are checked element by element. Returns True. Raises GradientError naming the worst element,
    NonDifferentiableError at a kink, DTypeError for float32, ArgError when nothing is to check.

    >>> import numpy as np, minigrad as mg
    >>> x = mg.tensor(np.array([0.5, 1.5]), requires_grad=True)
    >>> gradcheck(lambda t: (t * t).exp().sum(), x)
    True
    """
    given = [inputs] if isinstance(inputs, TensorBase) else list(inputs)
    checked = [(i, x) for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ArgError("gradcheck: no input requires a gradient; call requires_grad_()")
    for i, x in checked:
        if x.data.dtype != np.float64:
            raise DTypeError(f"gradcheck: input {i} is {x.data.dtype}; use float64")
    rng = np.random.default_rng(seed)
    y = output_of(function, given)
    v = direction(rng, y.shape)
    if not y.requires_grad:
        raise GradientError("gradcheck: the output does not depend on the inputs on the tape")
    gs = grad(y, [x for _, x in checked], Tensor(v), allow_unused=True)

    def value() -> Array:
        return output_of(function, given).data.astype(np.float64, copy=True)

    probes: list[Probe] = []
    for (i, x), g in zip(checked, gs, strict=True):
        array = np.zeros(x.data.shape) if g is None else g.data
        probes += probe_tensor(
            f"input {i} {x.data.shape}",
            x,
            array,
            value,
            v,
            rng,
            eps=eps,
            tol=tol,
            directions=directions,
            limit=limit,
        )
    return verdict(probes, "gradcheck")


def gradgradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = EPS,
    tol: float = 1e-6,
    directions: int = 2,
    limit: int = 24,
    seed: int = 0,
) -> bool:
    """``gradcheck`` of the gradient itself: the second derivatives. Raises as gradcheck does."""
    given = [inputs] if isinstance(inputs, TensorBase) else list(inputs)
    places = [i for i, x in enumerate(given) if isinstance(x, TensorBase) and x.node]
    y = output_of(function, given)
    rng = np.random.default_rng(seed + 1)
    v = Tensor(direction(rng, y.shape)).requires_grad_()

    def gradient(*all_inputs: Any) -> Any:
        *xs, weights = all_inputs
        out = output_of(function, xs)
        gs = grad(out, [xs[i] for i in places], weights, create_graph=True, allow_unused=True)
        return [g for g in gs if g is not None]

    return gradcheck(
        gradient, [*given, v], eps=eps, tol=tol, directions=directions, limit=limit, seed=seed
    )


def check_parameters(
    loss: Callable[[], Tensor],
    parameters: Iterable[tuple[str, Tensor]],
    *,
    eps: float = EPS,
    tol: float = 1e-6,
    directions: int = 2,
    limit: int = 8,
    seed: int = 0,
) -> list[Probe]:
    """Compare the gradient of every parameter tensor of a net; returns the worst probe of each.

    loss: computes a scalar float64 Tensor from the parameters, the same on every call.
    """
    named = list(parameters)
    rng = np.random.default_rng(seed)
    y = loss()
    gs = grad(y, [p for _, p in named], allow_unused=True)

    def value() -> Array:
        with no_grad():
            return np.asarray(loss().data, np.float64).copy()

    worst = []
    for (name, p), g in zip(named, gs, strict=True):
        array = np.zeros(p.shape) if g is None else g.data
        probes = probe_tensor(
            name,
            p,
            array,
            value,
            np.ones(y.shape),
            rng,
            eps=eps,
            tol=tol,
            directions=directions,
            limit=limit,
        )
        worst.append(max(probes, key=lambda q: q.error))
    return worst
