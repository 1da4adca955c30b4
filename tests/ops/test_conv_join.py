"""Design: conv2d_relu_concat is concat of conv2d_relu, bit for bit, in one piece of memory."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.errors import ArgError, DTypeError, GraphError, ShapeError
from tests.layouts import is_channels_last
from tests.strategies import FLOATS

ONE = ((1, 1), (0, 0, 0, 0), (1, 1), 1)
THREE = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
FIVE = ((1, 1), (2, 2, 2, 2), (1, 1), 1)
GEOMETRIES = (ONE, THREE, FIVE, ONE)


def inception(dtype, n=2, size=14):
    """Operands like those of module 4a, a quarter as wide, with a bias left out."""
    rng = np.random.default_rng(0)
    widths = ((120, 48, 1), (24, 52, 3), (4, 13, 5), (120, 17, 1))
    xs = []
    for c, k, r in widths:
        x = rng.standard_normal((n, size, size, c)).transpose(0, 3, 1, 2)
        w = rng.standard_normal((k, c, r, r)) / np.sqrt(c * r * r)
        xs += [x.astype(dtype), w.astype(dtype), rng.standard_normal(k).astype(dtype)]
    xs[5] = None
    return xs


def together(*xs):
    return ops.conv2d_relu_concat(*xs, geometries=GEOMETRIES)


def one_by_one(*xs):
    how = [dict(zip(("stride", "padding", "dilation", "groups"), g, strict=True))
           for g in GEOMETRIES]  # fmt: skip
    return ops.concat(
        *(ops.conv2d_relu(*xs[3 * i : 3 * i + 3], **h) for i, h in enumerate(how)), axis=1
    )


def played(call, arrays, gz):
    """z and the gradient of every operand."""
    leaves = [None if a is None else mg.Tensor(a).requires_grad_() for a in arrays]
    z = call(*leaves)
    z.backward(mg.Tensor(gz))
    return [z.data, *(t.grad.data for t in leaves if t is not None)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_same_bits_as_one_by_one(dtype):
    arrays = inception(dtype)
    gz = np.random.default_rng(1).standard_normal((2, 130, 14, 14)).astype(dtype)
    results = [played(call, arrays, gz) for call in (together, one_by_one)]
    for count in (1, 2):
        with mg.threads(count):
            results.append(played(together, arrays, gz))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert is_channels_last(results[0][0])


def test_nan_and_infinity_stay_in_their_branch():
    arrays = inception(np.float32)
    arrays[3][0, 3, 5, 5], arrays[9][1, 2, 7, 7] = np.nan, np.inf
    z = together(*arrays)
    np.testing.assert_array_equal(z, one_by_one(*arrays))
    bad = ~np.isfinite(z)
    assert bad[0, 48:100].any() and bad[1, 113:].any()
    assert not bad[:, :48].any() and not bad[:, 100:113].any()


def test_one_node_keeps_the_result_once_and_notices_a_change():
    xs = [None if a is None else mg.Tensor(a).requires_grad_() for a in inception(np.float32)]
    z = together(*xs)
    assert z.node.name == "conv2d_relu_concat" and z.data.base is None
    kept = [a for _, a in z.node.kept_items()]
    assert sum(a is z.data for a in kept) == 1
    z += 1.0
    with pytest.raises(GraphError, match=r"conv2d_relu_concat: out .* was changed in place"):
        z.sum().backward()


def test_what_does_not_fit_is_refused():
    x, w, b, *rest = inception(np.float32)
    call = ops.conv2d_relu_concat
    with pytest.raises(ArgError, match="0 inputs and 0 geometries"):
        call(geometries=())
    with pytest.raises(ArgError, match="2 inputs and 1 geometries"):
        call(x, w, geometries=(ONE,))
    with pytest.raises(ArgError, match=r"one .stride, padding, dilation, groups. for each"):
        call(x, w, b, geometries=(ONE[:3],))
    with pytest.raises(ShapeError, match=r"0 gives \(2, 48, 14, 14\) and convolution 1 gives .*12"):
        call(x, w, b, *rest[:3], geometries=(ONE, ONE))
    with pytest.raises(ShapeError, match="bias must have shape"):
        call(x, w, b[:3], geometries=(ONE,))
    with pytest.raises(DTypeError, match="float32 and float64"):
        call(x, w, b.astype(np.float64), geometries=(ONE,))
    with pytest.raises(TypeError, match="needs 'geometries'"):
        call(x, w, b)
