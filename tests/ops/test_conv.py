"""Design: convolutions as ops: every order of derivative, who pays for what, and what is refused.

The kernels' values are tested in `tests/kernels/test_conv.py` against their twins; here the rules
that join them are, by differences that know nothing of the rules.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.functional as F
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.ops import conv2d, conv2d_grad_b, conv2d_grad_w, conv2d_grad_x, conv_transpose2d
from minigrad.ops.conv import Conv2d
from minigrad.tensor import Tensor
from tests.layouts import LAYOUTS
from tests.ops.derivatives import check, check_layouts, check_subsets, leaf
from tests.ops.objections import refuses
from tests.strategies import convs, integers, reals

SMALL = (1, 2, 3)
small_convs = convs(max_out=3, channels=SMALL)


def operands(case, make=reals):
    """x, w, b, gy of a problem, float64."""
    rng = np.random.default_rng(case.seed)
    shapes = case.x_shape, case.w_shape, (case.k,), case.y_shape
    return [make(rng, shape) for shape in shapes]


@given(small_convs)
def test_conv2d_has_right_first_and_second_derivatives(case):
    x, w, b, _ = operands(case)
    check(lambda x, w, b: conv2d(x, w, b, **case.kwargs), [x, w, b], "linear")


@given(small_convs)
def test_the_input_gradient_has_right_derivatives_itself(case):
    _, w, _, gy = operands(case)
    check(lambda g, w: conv2d_grad_x(g, w, x_shape=case.x_shape, **case.kwargs), [gy, w], "linear")


@given(small_convs)
def test_the_weight_gradient_has_right_derivatives_itself(case):
    x, _, _, gy = operands(case)
    check(lambda g, x: conv2d_grad_w(g, x, w_shape=case.w_shape, **case.kwargs), [gy, x], "linear")


def test_the_bias_gradient_has_right_derivatives_itself():
    gy = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    check(conv2d_grad_b, [gy], "linear")


def test_conv2d_has_a_right_third_derivative():
    rng = np.random.default_rng(1)
    x, w, b = (rng.standard_normal(s) for s in ((2, 4, 6, 5), (6, 2, 3, 2), (6,)))
    window = {"stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 2), "groups": 2}
    check(lambda x, w, b: conv2d(x, w, b, **window), [x, w, b], "linear", order=3)


@given(small_convs)
def test_the_three_passes_are_one_trilinear_form(case):
    x, w, _, gy = operands(case, integers)
    y = conv2d(x, w, **case.kwargs)
    gx = conv2d_grad_x(gy, w, x_shape=case.x_shape, **case.kwargs)
    gw = conv2d_grad_w(gy, x, w_shape=case.w_shape, **case.kwargs)
    assert (y * gy).sum() == (x * gx).sum() == (w * gw).sum()


@given(small_convs, st.booleans())
def test_conv_transpose2d_is_the_adjoint_of_conv2d(case, with_bias):
    x, w, _, gy = operands(case, integers)
    more = [n - m for n, m in zip(x.shape[2:], smallest(case), strict=True)]
    back = conv_transpose2d(gy, w, None, output_padding=tuple(more), **case.kwargs)
    assert back.shape == x.shape
    assert (conv2d(x, w, **case.kwargs) * gy).sum() == (x * back).sum()
    if with_bias:
        b = np.arange(1.0, 1.0 + case.c)
        moved = conv_transpose2d(gy, w, b, output_padding=tuple(more), **case.kwargs)
        np.testing.assert_array_equal(moved, back + b.reshape(-1, 1, 1))


def smallest(case):
    """The smallest input that gives the case's output: what output_padding 0 restores."""
    axes = (case.h, case.w)
    return [
        (a.out - 1) * a.stride + a.dilation * (a.kernel - 1) + 1 - a.before - a.after for a in axes
    ]


@given(small_convs)
def test_conv_transpose2d_has_right_first_and_second_derivatives(case):
    rng = np.random.default_rng(case.seed)
    if min(smallest(case)) < 1:  # the padding would leave nothing
        case = type(case)(case.n, case.c, case.k, case.groups, *(2 * [case.h.longer()]), case.seed)
    if min(smallest(case)) < 1:
        return
    gy, w = rng.standard_normal(case.y_shape), rng.standard_normal(case.w_shape)
    b = rng.standard_normal(case.c)
    check(lambda x, w, b: conv_transpose2d(x, w, b, **case.kwargs), [gy, w, b], "linear")


def functions():
    window = {"stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 2), "groups": 2}
    return {
        "conv2d": (lambda x, w, b: conv2d(x, w, b, **window), ((3, 4, 6, 5), (6, 2, 3, 2), (6,))),
        "conv_transpose2d": (
            lambda x, w, b: conv_transpose2d(x, w, b, **window),
            ((3, 4, 6, 5), (4, 3, 3, 2), (6,)),
        ),
    }


@pytest.mark.parametrize("name", functions())
def test_each_gradient_is_the_same_whoever_else_needs_one(name):
    f, shapes = functions()[name]
    rng = np.random.default_rng(2)
    check_subsets(f, [rng.standard_normal(s) for s in shapes])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", functions())
def test_layouts_change_no_bit(name, layout):
    f, shapes = functions()[name]
    rng = np.random.default_rng(3)
    check_layouts(f, [rng.standard_normal(s) for s in shapes], layout)


@pytest.mark.parametrize("name", functions())
def test_an_empty_batch_gives_zero_gradients(name):
    f, (x_shape, w_shape, b_shape) = functions()[name]
    x, w, b = leaf(np.zeros((0, *x_shape[1:]))), leaf(np.ones(w_shape)), leaf(np.ones(b_shape))
    y = f(x, w, b)
    assert y.shape[0] == 0
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.data.any() and not b.grad.data.any()


def test_a_first_layer_never_computes_its_input_gradient(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nobody asked for the input's gradient")

    monkeypatch.setattr("minigrad.ops.conv.kernels.conv2d_grad_x", refuse)
    w = leaf(np.ones((2, 1, 2, 2)))
    conv2d(Tensor(np.ones((1, 1, 3, 3))), w).sum().backward()
    np.testing.assert_array_equal(w.grad.data, np.full((2, 1, 2, 2), 4.0))


def test_a_frozen_weight_keeps_no_image():
    x, w = leaf(np.ones((1, 1, 3, 3))), Tensor(np.ones((2, 1, 2, 2)))
    names = [name for name, _ in conv2d(x, w).node.kept_items()]
    assert names == ["w"]


def test_conv2d_asks_for_what_its_page_says():
    sources = {name: len(g.sources) for name, g in zip("xwb", Conv2d.spec.gradients, strict=True)}
    assert sources == {"x": 7, "w": 7, "b": 0}


def image(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


X, W = image(32, 8, 28, 28), image(16, 4, 5, 5)

BAD = {
    "rank 3": (
        ShapeError,
        r"expected 4-D \(N,C,H,W\), got 3-D \(8, 28, 28\); add a batch axis with x\[None\]",
        lambda: F.conv2d(X[0], W),
    ),
    "rank 5": (ShapeError, r"expected 4-D.*got 5-D", lambda: F.conv2d(X[None], W)),
    "rank 0": (ShapeError, r"expected 4-D.*got 0-D", lambda: F.conv2d(np.float32(1), W)),
    "weight rank": (ShapeError, r"weight must be 4-D.*\(4, 5, 5\)", lambda: F.conv2d(X, W[0])),
    "channels": (
        ShapeError,
        r"weight has 3 input channels per group but x has 8 channels with groups=2 \(expected 4\); "
        r"weight shape \(16, 3, 5, 5\), x shape \(32, 8, 28, 28\)",
        lambda: F.conv2d(X, image(16, 3, 5, 5), groups=2),
    ),
    "C by groups": (ShapeError, r"x has 8 channels, not divisible by groups=3",
                    lambda: F.conv2d(X, image(3, 2, 3, 3), groups=3)),
    "K by groups": (ShapeError, r"weight has 15 output channels, not divisible by groups=2",
                    lambda: F.conv2d(X, image(15, 4, 3, 3), groups=2)),
    "groups 0": (ArgError, r"groups must be at least 1, got 0", lambda: F.conv2d(X, W, groups=0)),
    "groups -1": (ArgError, r"at least 1, got -1", lambda: F.conv2d(X, W, groups=-1)),
    "groups 1.5": (TypeError, r"groups must be an int, got float 1.5",
                   lambda: F.conv2d(X, W, groups=1.5)),
    "groups True": (TypeError, r"got bool True", lambda: F.conv2d(X, W, groups=True)),
    "groups str": (TypeError, r"got str '2'", lambda: F.conv2d(X, W, groups="2")),
    "kernel above input": (
        ShapeError, r"H \+ 2\*pad - dilation\*\(R-1\) - 1 = -3 < 0",
        lambda: F.conv2d(image(1, 1, 2, 9), image(1, 1, 7, 7), padding=1),
    ),
    "dilated above input": (
        ShapeError, r"W \+ pads - dilation\*\(S-1\) - 1 = -1 < 0 \(3 \+ 0 \+ 1 - 2\*\(3-1\) - 1\)",
        lambda: F.conv2d(image(1, 1, 9, 3), image(1, 1, 3, 3), padding=(0, 0, 0, 1), dilation=2),
    ),
    "stride 0": (ArgError, r"stride must be at least 1, got 0", lambda: F.conv2d(X, W, stride=0)),
    "stride -1": (ArgError, r"got -1", lambda: F.conv2d(X, W, stride=(1, -1))),
    "stride 1.0": (TypeError, r"stride must be an int, got float 1.0",
                   lambda: F.conv2d(X, W, stride=1.0)),
    "stride of 3": (ArgError, r"stride takes 2 ints, got 3: \(1, 1, 1\)",
                    lambda: F.conv2d(X, W, stride=(1, 1, 1))),
    "padding -1": (ArgError, r"padding must be at least 0", lambda: F.conv2d(X, W, padding=-1)),
    "padding word": (ArgError, r"'same' or 'valid', got 'full'",
                     lambda: F.conv2d(X, W, padding="full")),
    "same strided": (ArgError, r"padding='same' needs stride 1",
                     lambda: F.conv2d(X, W, stride=2, padding="same")),
    "dilation 0": (ArgError, r"dilation must be at least 1", lambda: F.conv2d(X, W, dilation=0)),
    "huge stride": (ShapeError, r"overflows", lambda: F.conv2d(X, image(1, 8, 1, 1), stride=2**62)),
    "huge padding": (ShapeError, r"overflows",
                     lambda: F.conv2d(X, image(1, 8, 1, 1), padding=2**62)),
    "huge dilation": (ShapeError, r"overflows",
                      lambda: F.conv2d(X, image(1, 8, 1, 1), dilation=2**62)),
    "huge output": (ShapeError, r"size overflows",
                    lambda: F.conv2d(X, image(1, 8, 1, 1), padding=2**30)),
    "kernel 0x3": (ShapeError, r"without an empty axis", lambda: F.conv2d(X, image(1, 8, 0, 3))),
    "C = 0": (ShapeError, r"no pixels", lambda: F.conv2d(image(1, 0, 3, 3), image(1, 1, 1, 1))),
    "K = 0": (ShapeError, r"without an empty axis", lambda: F.conv2d(X, image(0, 8, 3, 3))),
    "mixed dtypes": (DTypeError, r"float32 and float64; cast.* \.astype",
                     lambda: F.conv2d(X, image(16, 8, 5, 5, dtype=np.float64))),
    "uint8 image": (DTypeError, r"x is uint8.*divide by 255: x\.astype\(np\.float32\) / 255",
                    lambda: F.conv2d(image(1, 8, 5, 5, dtype=np.uint8), image(16, 8, 5, 5))),
    "bool image": (DTypeError, r"x is bool", lambda: F.conv2d(image(1, 8, 5, 5, dtype=bool), W)),
    "int weight": (DTypeError, r"weight is int64",
                   lambda: F.conv2d(X, image(16, 8, 5, 5, dtype=np.int64))),
    "None": (DTypeError, r"NoneType", lambda: F.conv2d(None, W)),
    "str": (DTypeError, r"str", lambda: F.conv2d("image", W)),
    "matrix": (DTypeError, r"MaskedArray", lambda: F.conv2d(np.ma.masked_array(X), W)),
    "swapped": (ShapeError, r"argument order swapped\? conv2d\(x, weight\) fits",
                lambda: F.conv2d(image(16, 8, 5, 5), X)),
    "swapped, square": (ShapeError, r"argument order swapped",
                        lambda: F.conv2d(image(16, 3, 5, 5), image(8, 3, 9, 9))),
    "bias": (ShapeError, r"bias must have shape \(16,\).*got \(8,\)",
             lambda: F.conv2d(X, image(16, 8, 5, 5), image(8))),
    "transposed channels": (ShapeError, r"weight has 4 input channels but x has 8",
                            lambda: F.conv_transpose2d(X, image(4, 2, 3, 3))),
    "output_padding": (ArgError, r"output_padding must be smaller than stride or dilation, got "
                       r"\(2, 2\)", lambda: F.conv_transpose2d(X, image(8, 2, 3, 3), None, 2,
                                                               output_padding=2)),
    "transposed to nothing": (ShapeError, r"padding leaves no output along H",
                              lambda: F.conv_transpose2d(image(1, 1, 1, 1), image(1, 1, 1, 1),
                                                         padding=1)),
    "transposed overflow": (ShapeError, r"overflows",
                            lambda: F.conv_transpose2d(X, image(8, 1, 3, 3), stride=2**62)),
    "grad_x of no output": (ShapeError, r"gy has shape \(1, 1, 2, 2\), expected \(1, 1, 3, 3\)",
                            lambda: conv2d_grad_x(image(1, 1, 2, 2), image(1, 1, 2, 2),
                                                  x_shape=(1, 1, 4, 4))),
    "grad_w of no output": (ShapeError, r"gy has shape",
                            lambda: conv2d_grad_w(image(1, 1, 2, 2), image(1, 1, 4, 4),
                                                  w_shape=(1, 1, 2, 2))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_numbers_and_a_way_out(name):
    kind, pattern, call = BAD[name]
    refuses(kind, pattern, call)


def test_an_output_that_fits_no_memory_is_refused_with_its_size():
    with pytest.raises(MemoryError, match=r"GiB for an array of shape \(1, 1, 33554433, 33554433"):
        F.conv2d(image(1, 1, 1, 1), image(1, 1, 1, 1), padding=2**24)


@pytest.mark.parametrize("layout", ["readonly", "memmap"])
def test_memory_that_cannot_be_written_is_fine(layout):
    f, shapes = functions()["conv2d"]
    check_layouts(f, [np.ones(s) for s in shapes], layout)
