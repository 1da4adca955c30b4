"""Design: starting values have the moments and bounds of their formulas (five standard errors of
the sample), depend on the generator only, and leave no trace on the tape.
"""

import math

import numpy as np
import pytest

from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from minigrad.nn import init
from minigrad.ops.random import Generator, default_generator
from minigrad.tensor import Tensor

N, SHAPE = 60_000, (100, 6, 10, 10)  # fan_in 600, fan_out 10,000


def empty(*shape, dtype=np.float64):
    return Tensor(np.full(shape or SHAPE, np.nan, dtype))


def check_normal(t, std):
    """Mean 0 and the given standard deviation; about 0.27 % beyond three of them."""
    assert abs(t.data.mean()) <= 5 * std / math.sqrt(N)
    assert abs(t.data.std() / std - 1) <= 5 / math.sqrt(2 * N)
    assert abs((np.abs(t.data) > 3 * std).mean() - 0.0027) <= 5 * math.sqrt(0.0027 / N)


def check_uniform(t, bound):
    """Within +-bound, filling it, with the standard deviation bound / sqrt(3)."""
    assert np.abs(t.data).max() <= bound and np.abs(t.data).max() >= bound * (1 - 20 / N)
    assert abs(t.data.mean()) <= 5 * bound / math.sqrt(3 * N)
    assert abs(t.data.std() / bound * math.sqrt(3) - 1) <= 5 * math.sqrt(0.2 / N)


NORMAL = {
    "normal": (lambda t, g: init.normal_(t, 0.0, 0.3, g), 0.3),
    "he": (lambda t, g: init.kaiming_normal_(t, generator=g), math.sqrt(2 / 600)),
    "he out": (
        lambda t, g: init.kaiming_normal_(t, 0.0, "fan_out", "relu", g),
        math.sqrt(2 / 10_000),
    ),
    "he leaky": (lambda t, g: init.kaiming_normal_(t, a=2.0, generator=g), math.sqrt(0.4 / 600)),
    "xavier": (lambda t, g: init.xavier_normal_(t, 2.0, g), 2 * math.sqrt(2 / 10_600)),
}  # fmt: skip
UNIFORM = {
    "uniform": (lambda t, g: init.uniform_(t, -0.3, 0.3, g), 0.3),
    "he": (lambda t, g: init.kaiming_uniform_(t, generator=g), math.sqrt(6 / 600)),
    "default": (
        lambda t, g: init.kaiming_uniform_(t, a=math.sqrt(5), generator=g),
        1 / math.sqrt(600),
    ),
    "he out": (
        lambda t, g: init.kaiming_uniform_(t, mode="fan_out", generator=g),
        math.sqrt(6 / 10_000),
    ),
    "xavier": (lambda t, g: init.xavier_uniform_(t, generator=g), math.sqrt(6 / 10_600)),
}
EVERY = {
    f"{family} {name}": make
    for family, table in (("normal", NORMAL), ("uniform", UNIFORM))
    for name, (make, _) in table.items()
}
EVERY["truncated"] = lambda t, g: init.trunc_normal_(t, std=0.5, a=-1, b=1, generator=g)
EVERY["orthogonal"] = lambda t, g: init.orthogonal_(t, generator=g)


@pytest.mark.parametrize("name", NORMAL)
def test_normal_values_have_the_formulas_deviation(name):
    make, std = NORMAL[name]
    check_normal(make(empty(), Generator(11)), std)


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_values_have_the_formulas_bound(name):
    make, bound = UNIFORM[name]
    check_uniform(make(empty(), Generator(12)), bound)


@pytest.mark.parametrize("name", EVERY)
def test_values_depend_on_the_generator_only(name):
    make = EVERY[name]
    first = make(empty(), Generator(3)).data.tobytes()
    assert make(empty(), Generator(3)).data.tobytes() == first
    assert make(empty(), Generator(4)).data.tobytes() != first
    default_generator.manual_seed(3)
    assert make(empty(), None).data.tobytes() == first


@pytest.mark.parametrize("name", EVERY)
def test_float32_values_are_the_rounded_float64_values(name):
    make = EVERY[name]
    double = make(empty(), Generator(3)).data
    assert np.array_equal(
        make(empty(dtype=np.float32), Generator(3)).data, double.astype(np.float32)
    )


@pytest.mark.parametrize("name", EVERY)
def test_parameter_is_filled_in_place_and_stays_a_leaf(name):
    p = nn.Parameter(np.zeros((4, 3, 2, 2), np.float32))
    memory = p.data
    assert EVERY[name](p, None) is p
    assert p.data is memory and p.is_leaf and p.requires_grad and p.data.any()


def test_truncated_normal_has_the_moments_of_the_cut_distribution():
    t = init.trunc_normal_(empty(), std=1.0, a=-1.0, b=2.0, generator=Generator(5))
    assert t.data.min() >= -1 and t.data.max() <= 2
    density = [math.exp(-z * z / 2) / math.sqrt(2 * math.pi) for z in (-1.0, 2.0)]
    mass = (math.erf(2 / math.sqrt(2)) + math.erf(1 / math.sqrt(2))) / 2
    mean = (density[0] - density[1]) / mass
    variance = 1 + (-density[0] - 2 * density[1]) / mass - mean**2
    assert abs(t.data.mean() - mean) <= 5 * math.sqrt(variance / N)
    assert abs(t.data.std() - math.sqrt(variance)) <= 0.01


@pytest.mark.parametrize("a, b", [(-1e9, 1e9), (1.9, math.inf), (-math.inf, -1.9), (0.0, 1e-9)])
def test_truncation_may_be_wide_or_narrow_or_one_sided(a, b):
    t = init.trunc_normal_(empty(50, 50), a=a, b=b, generator=Generator(5))
    assert (t.data >= a).all() and (t.data <= b).all() and np.isfinite(t.data).all()


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3, 3), (1, 7), (7, 1)])
def test_orthogonal_matrix_has_orthonormal_rows_or_columns(shape):
    t = init.orthogonal_(empty(*shape), gain=3.0, generator=Generator(1))
    q = t.data.reshape(shape[0], -1) / 3
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert np.abs(gram - np.eye(len(gram))).max() < 1e-12


def test_orthogonal_matrices_are_spread_evenly():
    """The first entry of a uniform rotation of the plane has mean 0; without the signs of R it is
    negative."""
    g = Generator(2)
    first = [init.orthogonal_(empty(2, 2), generator=g).data[0, 0] for _ in range(800)]
    assert abs(np.mean(first)) < 5 * math.sqrt(0.5 / 800)


def test_fixed_values():
    assert init.zeros_(empty(2, 2)).tolist() == [[0, 0], [0, 0]]
    assert init.ones_(empty(2)).tolist() == [1, 1]
    assert init.constant_(empty(2), -3).tolist() == [-3, -3]
    assert init.eye_(empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_dirac_convolution_is_the_identity():
    layer = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    init.dirac_(layer.weight)
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype(np.float32)
    assert np.array_equal(layer(Tensor(x)).data, x)


GAINS = {
    "linear": 1,
    "conv2d": 1,
    "sigmoid": 1,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 0.75,
    "leaky_relu": math.sqrt(2 / (1 + 0.0001)),
}


@pytest.mark.parametrize("name", GAINS)
def test_gains(name):
    assert init.calculate_gain(name) == pytest.approx(GAINS[name], rel=1e-12)


def test_he_keeps_the_variance_of_a_deep_relu_net():
    """He et al. 2015, section 2.2: 20 layers, neither vanishing nor exploding."""
    g, x = Generator(7), np.random.default_rng(0).standard_normal((400, 200))
    before = (x**2).mean()
    for _ in range(20):
        x = np.maximum(
            x @ init.kaiming_normal_(empty(200, 200), nonlinearity="relu", generator=g).data.T, 0
        )
    assert 0.2 < (x**2).mean() / before < 5


BAD = {
    "vector": (lambda: init.kaiming_normal_(empty(3)), ShapeError, "rank 2"),
    "orthogonal vector": (lambda: init.orthogonal_(empty(3)), ShapeError, "rank 2"),
    "mode": (lambda: init.kaiming_normal_(empty(2, 2), mode="fan"), ArgError, "'fan'"),
    "nonlinearity": (lambda: init.calculate_gain("rellu"), ArgError, "'rellu'.*relu"),
    "interval": (lambda: init.uniform_(empty(2), 1, 0), ArgError, "empty"),
    "nan": (lambda: init.uniform_(empty(2), math.nan, 0), ArgError, "empty"),
    "deviation": (lambda: init.normal_(empty(2), 0, -1), ArgError, "std"),
    "text": (lambda: init.normal_(empty(2), "0"), TypeError, "mean must be a number"),
    "cut off": (lambda: init.trunc_normal_(empty(2), 10.0), ArgError, "within 2 std"),
    "inside out": (lambda: init.trunc_normal_(empty(2), a=1, b=-1), ArgError, "a < b"),
}


@pytest.mark.parametrize("case", BAD)
def test_senseless_arguments_are_refused_with_reason(case):
    make, error, reason = BAD[case]
    with pytest.raises(error, match=reason):
        make()
