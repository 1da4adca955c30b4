"""Design: normalizations as ops: derivatives, what normalization means, fusion, and refusals.

The fused ops have two definitions, a kernel with one fast rule and a composite of small ops; every
check of derivatives compares both.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.functional as F
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.ops import (
    batch_norm,
    batch_norm_inference,
    group_norm,
    layer_norm,
    local_response_norm,
)
from minigrad.ops.norm import BatchNorm, BatchNormInference
from minigrad.ops.norm_local import LocalResponseNorm
from minigrad.tensor import Tensor
from tests.layouts import LAYOUTS
from tests.ops.derivatives import check, check_layouts, check_subsets, leaf
from tests.ops.objections import refuses
from tests.strategies import SEEDS, nchw

EPS = 1e-3  # derivatives of random rows are checked with 0.1, which bounds the higher ones


def normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


shapes = nchw(max_side=4, min_n=2) | st.tuples(st.integers(3, 6), st.integers(1, 4))


def narrow(shape):
    """At most three channels, for differences."""
    return (shape[0], min(shape[1], 3), *shape[2:])


@given(shapes, st.booleans(), SEEDS)
def test_batch_norm_has_right_first_and_second_derivatives(shape, residual, seed):
    shape = narrow(shape)
    x, gamma, beta, r = normal(seed, shape, shape[1], shape[1], shape)
    operands = [x, gamma, beta, r] if residual else [x, gamma, beta]
    check(lambda *a: batch_norm(*a, eps=0.1), operands)


def away_from_kinks(f, operands, least=2.0**-5):
    """Whether no output of f is so near 0 that a step could cross relu's kink."""
    return np.abs(f(*operands)).min() > least


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("op", ["training", "inference"])
def test_the_fused_relu_has_right_first_and_second_derivatives(op, residual):
    def f(x, gamma, beta, *r, relu=True):
        if op == "training":
            return batch_norm(x, gamma, beta, *r, eps=EPS, relu=relu)
        mean, var = np.array([0.1, -0.2]), np.array([0.5, 2.0])
        return batch_norm_inference(x, mean, var, gamma, beta, *r, eps=EPS, relu=relu)

    for seed in range(200):
        operands = normal(seed, (3, 2, 2, 3), 2, 2, (3, 2, 2, 3))[: 4 if residual else 3]
        if away_from_kinks(lambda *a: f(*a, relu=False), operands):
            return check(f, operands)
    raise AssertionError("no seed keeps away from the kink")


def test_batch_norm_has_a_right_third_derivative():
    check(lambda x, g, b: batch_norm(x, g, b, eps=EPS), normal(0, (3, 2, 2, 3), 2, 2), order=3)


@given(shapes, SEEDS)
def test_batch_norm_inference_has_right_first_and_second_derivatives(shape, seed):
    shape = narrow(shape)
    x, gamma, beta, mean = normal(seed, shape, *[shape[1]] * 3)
    var = np.random.default_rng(seed).random(shape[1]) + 0.5
    check(lambda x, g, b: batch_norm_inference(x, mean, var, g, b, eps=EPS), [x, gamma, beta])


@given(nchw(max_side=3), st.integers(1, 7), SEEDS)
def test_local_response_norm_has_right_first_and_second_derivatives(shape, size, seed):
    x = normal(seed, (shape[0], min(shape[1], 5), *shape[2:]))[0]
    check(lambda x: local_response_norm(x, size=size, alpha=0.5, beta=0.75, k=1.5), [x])


@given(st.integers(0, 3), st.integers(2, 4), st.integers(2, 4), st.integers(1, 2), SEEDS)
def test_layer_norm_has_right_first_and_second_derivatives(n, h, w, axes, seed):
    shape = (h, w)[-axes:]
    operands = normal(seed, (n, h, w), shape, shape)
    check(lambda x, g, b: layer_norm(x, g, b, shape=shape, eps=0.1), operands)


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), SEEDS)
def test_group_norm_has_right_first_and_second_derivatives(n, groups, cg, side, seed):
    c = groups * cg
    operands = normal(seed, (n, c, side, side + 1), c, c)
    check(lambda x, g, b: group_norm(x, g, b, groups=groups, eps=0.1), operands)


def test_local_norms_have_right_third_derivatives():
    x, g, b = normal(1, (2, 4, 2, 3), 4, 4)
    check(lambda x: local_response_norm(x, size=3, alpha=0.5, beta=0.75, k=1.5), [x], order=3)
    check(lambda x, g, b: group_norm(x, g, b, groups=2, eps=EPS), [x, g, b], order=3)
    check(lambda x: layer_norm(x, shape=(2, 3), eps=EPS), [x], order=3)


@given(shapes, SEEDS)
def test_batch_norm_gives_mean_beta_and_variance_gamma_squared(shape, seed):
    x, gamma, beta = normal(seed, shape, shape[1], shape[1])
    y, mean, var = batch_norm.full(x, gamma, beta, eps=EPS)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(mean, x.mean(axes), atol=1e-12)
    np.testing.assert_allclose(var, x.var(axes), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(y.mean(axes), beta, atol=1e-10)
    np.testing.assert_allclose(y.var(axes), gamma**2 * var / (var + EPS), atol=1e-10)


@given(shapes, SEEDS)
def test_the_input_gradient_of_batch_norm_is_blind_to_shifts(shape, seed):
    x, gy = normal(seed, shape, shape)
    t = leaf(x)
    batch_norm(t, eps=EPS).backward(gy)
    np.testing.assert_allclose(t.grad.data.sum((0, *range(2, x.ndim))), 0, atol=1e-9)


def test_batch_norm_does_not_see_an_affine_change_of_its_input():
    x = normal(2, (4, 3, 5, 6))[0]
    y, moved = batch_norm(x, eps=EPS), batch_norm(7.0 * x - 3.0, eps=49 * EPS)
    np.testing.assert_allclose(moved, y, atol=1e-10)


def test_the_fused_relu_is_off_at_zero():
    x = np.array([[-1.0], [0.0], [1.0]])  # normalized, the middle one stays exactly 0
    t, beta = leaf(x), leaf(np.zeros(1))
    y = batch_norm(t, None, beta, eps=EPS, relu=True)
    y.backward(np.ones((3, 1)))
    assert y.data[1, 0] == 0
    assert beta.grad.data[0] == 1.0


@pytest.mark.parametrize("relu", [False, True])
def test_residual_and_relu_are_what_they_are_called(relu):
    x, r, gamma, beta = normal(3, (4, 3, 5, 6), (4, 3, 5, 6), 3, 3)
    plain = batch_norm(x, gamma, beta, eps=EPS) + r
    fused = batch_norm(x, gamma, beta, r, eps=EPS, relu=relu)
    np.testing.assert_allclose(fused, np.maximum(plain, 0) if relu else plain, atol=1e-13)


@pytest.mark.parametrize("absent", ["gamma", "beta", "residual"])
def test_an_absent_operand_is_its_neutral_element(absent):
    x, r, gamma, beta = normal(4, (4, 3, 5, 6), (4, 3, 5, 6), 3, 3)
    given_ = {"gamma": gamma, "beta": beta, "residual": r}
    neutral = {"gamma": np.ones(3), "beta": np.zeros(3), "residual": np.zeros(x.shape)}
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    for relu in (False, True):
        without, replaced = {**given_, absent: None}, {**given_, absent: neutral[absent]}
        y = batch_norm(x, **without, eps=EPS, relu=relu)
        np.testing.assert_allclose(y, batch_norm(x, **replaced, eps=EPS, relu=relu), atol=1e-14)
        z = batch_norm_inference(x, mean, var, **without, eps=EPS, relu=relu)
        np.testing.assert_allclose(z, y, atol=1e-12)


@pytest.mark.parametrize("op", [BatchNorm, BatchNormInference, LocalResponseNorm])
def test_a_composite_is_what_its_kernel_computes(op):
    x, gamma, beta, r = normal(5, (4, 3, 5, 6), 3, 3, (4, 3, 5, 6))
    if op is LocalResponseNorm:
        operands, parameters = [x], {"size": 2, "alpha": 0.3, "beta": 0.7, "k": 1.1}
    else:
        operands, parameters = [x, gamma, beta, r], {"eps": EPS, "relu": True}
    if op is BatchNormInference:
        operands[1:1] = [np.full(3, 0.1), np.full(3, 0.6)]
    composed = op.composite(*map(Tensor, operands), **parameters)
    np.testing.assert_allclose(composed.data, op.apply(*operands, **parameters), atol=1e-13)


def test_local_response_norm_scales_as_its_formula_does():
    x = normal(6, (2, 5, 3, 4))[0]
    y = local_response_norm(x, size=3, alpha=0.5, beta=0.75, k=1.5)
    scaled = local_response_norm(2.0 * x, size=3, alpha=0.5, beta=0.75, k=6.0)
    np.testing.assert_allclose(scaled, 2 ** (1 - 2 * 0.75) * y, rtol=1e-12)


def test_local_response_norm_without_alpha_is_a_scale():
    x = normal(7, (2, 5, 3, 4))[0]
    y = local_response_norm(x, size=3, alpha=0.0, beta=0.5, k=4.0)
    np.testing.assert_allclose(y, x / 2, rtol=1e-15)


def test_an_even_window_of_local_response_norm_reaches_further_back():
    x = np.array([1.0, 0.0, 2.0]).reshape(1, 3, 1, 1)
    y = local_response_norm(x, size=2, alpha=2.0, beta=1.0, k=1.0)
    np.testing.assert_allclose(y.ravel(), [1 / 2, 0, 2 / 5], rtol=1e-15)


def test_local_response_norm_of_zeros_without_k_is_nan_as_documented():
    assert np.isnan(local_response_norm(np.zeros((1, 2, 1, 1)), size=1, k=0.0)).all()


def test_a_window_wider_than_all_channels_sees_them_all():
    x = normal(8, (2, 3, 2, 2))[0]
    y = local_response_norm(x, size=99, alpha=99.0, beta=1.0, k=1.0)
    np.testing.assert_allclose(y, x / (1 + (x * x).sum(1, keepdims=True)), rtol=1e-12)


FUNCTIONS = {
    "batch_norm": (
        lambda x, g, b, r: batch_norm(x, g, b, r, eps=EPS, relu=True),
        ((4, 3, 5, 6), (3,), (3,), (4, 3, 5, 6)),
    ),
    "batch_norm of rows": (lambda x, g, b: batch_norm(x, g, b, eps=EPS), ((5, 3), (3,), (3,))),
    "batch_norm_inference": (
        lambda x, g, b, r: batch_norm_inference(
            x, np.full(3, 0.1), np.full(3, 0.5), g, b, r, eps=EPS, relu=True
        ),
        ((4, 3, 5, 6), (3,), (3,), (4, 3, 5, 6)),
    ),
    "local_response_norm": (lambda x: local_response_norm(x, size=3, k=2.0), ((4, 3, 5, 6),)),
    "layer_norm": (
        lambda x, g, b: layer_norm(x, g, b, shape=(5, 6)), ((4, 3, 5, 6), (5, 6), (5, 6)),
    ),
    "group_norm": (lambda x, g, b: group_norm(x, g, b, groups=2), ((4, 6, 5, 3), (6,), (6,))),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_gradient_is_the_same_whoever_else_needs_one(name):
    f, sizes = FUNCTIONS[name]
    check_subsets(f, normal(9, *sizes))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts_change_nothing(name, layout):
    f, sizes = FUNCTIONS[name]
    check_layouts(f, normal(10, *sizes), layout, exact=False)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if not n.startswith("batch_norm")])
def test_an_empty_batch_has_empty_gradients(name):
    f, sizes = FUNCTIONS[name]
    leaves = [leaf(np.ones((0, *sizes[0][1:]))), *(leaf(np.ones(s)) for s in sizes[1:])]
    f(*leaves).sum().backward()
    assert leaves[0].grad.shape == leaves[0].shape
    assert not any(t.grad.data.any() for t in leaves[1:])


X = np.ones((2, 6, 4, 5), np.float32)
ONE, SIX = np.ones(1, np.float32), np.ones(6, np.float32)


def train(x=X, mean=None, var=None, weight=None, bias=None, **more):
    return F.batch_norm(x, mean, var, weight, bias, True, **more)


BAD = {
    "one value": (ArgError, r"variance needs >1 value per channel",
                  lambda: train(X[:1, :, :1, :1])),
    "one row": (ArgError, r"variance needs >1 value per channel.*\(1, 6\)",
                lambda: train(X[:1, :, 0, 0])),
    "no batch": (ArgError, r"variance needs >1 value per channel", lambda: train(X[:0])),
    "eps 0": (ArgError, r"eps must be positive and finite, got 0", lambda: train(eps=0)),
    "eps nan": (ArgError, r"eps must be positive", lambda: train(eps=float("nan"))),
    "eps str": (TypeError, r"eps must be a number, got str", lambda: train(eps="1e-5")),
    "momentum 2": (ArgError, r"momentum must be in \[0, 1\], got 2", lambda: train(momentum=2)),
    "momentum nan": (ArgError, r"momentum must be in", lambda: train(momentum=float("nan"))),
    "momentum None": (TypeError, r"momentum must be a number, got NoneType",
                      lambda: train(momentum=None)),
    "rank": (ShapeError, r"expected x \(N,C\) or \(N,C,H,W\), got 5-D", lambda: train(X[None])),
    "weight": (ShapeError, r"weight has shape \(1,\) but x has 6 channels",
               lambda: train(weight=ONE)),
    "bias": (ShapeError, r"bias has shape \(1,\)", lambda: train(bias=ONE)),
    "running_mean": (ShapeError, r"running_mean has shape \(1,\), expected \(6,\)",
                     lambda: train(mean=ONE)),
    "running_var dtype": (DTypeError, r"running_var is float64 but x is float32",
                          lambda: train(var=np.ones(6))),
    "read-only mean": (ValueError, r"running_mean is read-only",
                       lambda: train(mean=np.broadcast_to(ONE, 6))),
    "no statistics": (ArgError, r"running_mean and running_var are needed when training=False",
                      lambda: F.batch_norm(X, SIX, None)),
    "residual": (ShapeError, r"residual has shape \(1, 6, 4, 5\) but x has \(2, 6, 4, 5\)",
                 lambda: train(residual=X[:1])),
    "int": (DTypeError, r"x is int64", lambda: train(X.astype(np.int64))),
    "mixed": (DTypeError, r"float32.*float64|float64.*float32",
              lambda: train(weight=np.ones(6))),
    "None": (DTypeError, r"got NoneType", lambda: train(None)),
    "LRN size 0": (ArgError, r"size must be at least 1, got 0",
                   lambda: F.local_response_norm(X, 0)),
    "LRN size float": (TypeError, r"size must be an int, got float",
                       lambda: F.local_response_norm(X, 5.0)),
    "LRN k": (ArgError, r"k and alpha must not be negative, got k=-1",
              lambda: F.local_response_norm(X, 5, k=-1.0)),
    "LRN alpha": (ArgError, r"alpha must be finite, got nan",
                  lambda: F.local_response_norm(X, 5, alpha=float("nan"))),
    "LRN rank": (ShapeError, r"expected 4-D", lambda: F.local_response_norm(X[0, 0], 5)),
    "LRN int": (DTypeError, r"x is int32",
                lambda: F.local_response_norm(X.astype(np.int32), 5)),
    "layer shape": (ShapeError, r"normalized_shape \(4,\) must be how x's shape ends",
                    lambda: F.layer_norm(X, 4)),
    "layer float": (TypeError, r"normalized_shape must be an int", lambda: F.layer_norm(X, 5.0)),
    "layer weight": (ShapeError, r"weight has shape \(6,\), expected \(5,\)",
                     lambda: F.layer_norm(X, 5, SIX)),
    "layer eps": (ArgError, r"eps must be positive", lambda: F.layer_norm(X, 5, eps=-1.0)),
    "groups": (ShapeError, r"x has 6 channels, not divisible by 4 groups",
               lambda: F.group_norm(X, 4)),
    "groups 0": (ArgError, r"num_groups must be at least 1", lambda: F.group_norm(X, 0)),
    "group weight": (ShapeError, r"weight has shape \(1,\), expected \(6,\)",
                     lambda: F.group_norm(X, 3, ONE)),
    "group rank": (ShapeError, r"expected x \(N, C, ...\)", lambda: F.group_norm(SIX, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_numbers_and_a_way_out(name):
    kind, pattern, call = BAD[name]
    refuses(kind, pattern, call)
