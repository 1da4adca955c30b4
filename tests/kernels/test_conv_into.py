"""Design: conv2d(out=): some channels of channels-last images are written, and nothing else.

Whatever the way to the sums, the results are the bits that conv2d returns without `out`, and the
neighbors on either side, an odd number of them, keep theirs: a vector that is stored whole where a
part of it was meant would show. The oracle of the values is `test_conv.py`'s. All of it again in a
process for each instruction set that the CPU has: as a program, this checks all cases on one.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad._kernels import conv as kernel
from minigrad._kernels import dispatch
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.reference import conv as ref
from tests.kernels.child import printed
from tests.strategies import SEEDS

PLAIN = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
ONE, TWO = {"padding": (1, 1, 1, 1)}, {"padding": (2, 2, 2, 2)}
CASES = {  # x, w, what differs from PLAIN
    "direct, 1x1": ((2, 40, 9, 11), (37, 40, 1, 1), {}),
    "direct, 1x1, stride 2": ((2, 24, 9, 11), (9, 24, 1, 1), {"stride": (2, 2)}),
    "direct, 1x1, many outputs": ((1, 480, 14, 14), (203, 480, 1, 1), {}),
    "direct, 3x3": ((3, 33, 10, 9), (35, 33, 3, 3), {**ONE, "algorithm": "direct"}),
    "direct, 7x7, stride 2": ((2, 3, 40, 41), (65, 3, 7, 7), {"stride": (2, 2)}),
    "direct, dilated": ((2, 30, 12, 11), (19, 30, 3, 3), {"dilation": (2, 2)}),
    "direct, groups": ((2, 30, 12, 11), (33, 10, 3, 3), {"groups": 3, "algorithm": "direct"}),
    "images": ((33, 1, 12, 11), (5, 1, 5, 5), {**TWO, "algorithm": "direct"}),
    "images, more": ((35, 6, 14, 14), (17, 6, 5, 5), {"algorithm": "direct"}),
    "images, groups": ((17, 4, 9, 8), (6, 2, 3, 3), {"groups": 2, "algorithm": "direct"}),
    "rows": ((1, 512, 4, 3), (37, 512, 3, 3), {**ONE, "algorithm": "direct"}),
    "rows, a pixel": ((2, 256, 5, 5), (131, 256, 5, 5), {"algorithm": "direct"}),
    "rows, one output": ((2, 2049, 4, 3), (1, 2049, 3, 3), {**ONE, "algorithm": "direct"}),
    "depthwise": ((2, 37, 9, 11), (37, 1, 3, 3), {**ONE, "groups": 37}),
    "depthwise, two each": ((2, 9, 9, 11), (18, 1, 3, 3), {**ONE, "groups": 9}),
    "winograd": ((3, 40, 13, 14), (45, 40, 3, 3), {**ONE, "algorithm": "winograd"}),
    "winograd, 5x5": ((3, 32, 13, 14), (47, 32, 5, 5), {**TWO, "algorithm": "winograd"}),
    "winograd, narrow": ((5, 16, 13, 15), (13, 16, 3, 3), {**ONE, "algorithm": "winograd"}),
    "winograd, one output": ((3, 17, 9, 10), (1, 17, 3, 3), {**ONE, "algorithm": "winograd"}),
    "winograd, groups": ((2, 36, 9, 10), (33, 12, 3, 3), {"groups": 3, "algorithm": "winograd"}),
    "winograd, deep": ((2, 160, 7, 7), (129, 160, 3, 3), {**ONE, "algorithm": "winograd"}),
    "winograd, deep groups": ((2, 256, 6, 7), (134, 128, 3, 3),
                              {**ONE, "groups": 2, "algorithm": "winograd"}),
}  # fmt: skip


def arrays(seed, x_shape, w_shape, dtype=np.float32):
    rng = np.random.default_rng(seed)
    n, c, h, w = x_shape
    x = rng.standard_normal((n, h, w, c)).astype(dtype).transpose(0, 3, 1, 2)
    k = w_shape[0]
    return (x, *(rng.standard_normal(s).astype(dtype) for s in (w_shape, k, k)))


def check(x, w, b, *, left, right, **how):
    """Write into channels left .. of noise; the same bits as alone, and the noise as it was."""
    want = kernel.conv2d(x, w, b, **how)
    n, k, p, q = want.shape
    noise = np.random.default_rng(7).standard_normal((n, p, q, left + k + right)).astype(x.dtype)
    z = noise.copy().transpose(0, 3, 1, 2)
    part = z[:, left : left + k]
    assert kernel.conv2d(x, w, b, out=part, **how) is part
    np.testing.assert_array_equal(part, want)
    noise = noise.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(z[:, :left], noise[:, :left])
    np.testing.assert_array_equal(z[:, left + k :], noise[:, left + k :])


def check_case(name, dtype):
    x_shape, w_shape, change = CASES[name]
    how = {**PLAIN, **change}
    if dtype is np.float64 and how.get("algorithm") == "winograd":
        how["algorithm"] = "auto"
    x, w, b, scale = arrays(len(name), x_shape, w_shape, dtype)
    for count in (1, 2):
        with mg.threads(count):
            check(x, w, None, left=3, right=5, **how)
            check(x, w, b, left=0, right=1, relu=True, **how)
            if "depthwise" not in name:
                check(x, w, b, left=7, right=0, relu=True, scale=scale, **how)


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("name", CASES)
def test_neighboring_channels_keep_their_bits(name, dtype):
    check_case(name, dtype)


@pytest.mark.parametrize("isa", dispatch.isas())
def test_under_every_instruction_set(isa):
    found = printed(isa, "-m", "tests.kernels.test_conv_into")
    if found is None:
        pytest.skip(f"this CPU has no {isa}")
    assert found.split() == [isa, str(2 * len(CASES))]


@given(
    n=st.integers(0, 6),
    c=st.integers(1, 40),
    k=st.integers(1, 40),
    r=st.sampled_from((1, 3, 5)),
    size=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    stride=st.integers(1, 2),
    groups=st.integers(1, 2),
    left=st.integers(0, 9),
    right=st.integers(0, 9),
    relu=st.booleans(),
    dtype=st.sampled_from((np.float32, np.float64)),
    seed=SEEDS,
)
def test_any_channels_of_any_images(
    n, c, k, r, size, stride, groups, left, right, relu, dtype, seed
):
    x, w, b, _ = arrays(seed, (n, c * groups, *size), (k * groups, c, r, r), dtype)
    how = {**PLAIN, "stride": (stride, stride), "groups": groups, "relu": relu}
    check(x, w, b, left=left, right=right, **how)


@pytest.mark.parametrize("shape", ((0, 3, 4, 4), (2, 0, 4, 4)))
def test_of_nothing_the_bias_is_left(shape):
    """No images: nothing to write; no channels: relu(b) everywhere."""
    w, b = np.ones((3, shape[1], 2, 2), np.float32), np.array([-1, 2, np.nan], np.float32)
    check(np.ones(shape, np.float32), w, b, left=1, right=1, relu=True, **PLAIN)


def test_whole_images_and_the_twin():
    x, w, b, _ = arrays(0, (2, 3, 6, 5), (4, 3, 3, 3), np.float64)
    want = ref.conv2d(x, w, b, **PLAIN)
    for module in (kernel, ref):
        out = np.empty((2, 4, 3, 4)).transpose(0, 3, 1, 2)
        assert module.conv2d(x, w, b, out=out, **PLAIN) is out
        np.testing.assert_allclose(out, want, rtol=0, atol=1e-13)


def test_nan_and_infinity_arrive():
    x, w, b, _ = arrays(1, (2, 8, 6, 6), (9, 8, 3, 3))
    x[0, 2, 3, 3], x[1, 1, 2, 2] = np.nan, np.inf
    check(x, w, b, left=3, right=3, relu=True, **PLAIN)


def refused():
    """(name, change to the call, error, what it says)"""
    z = np.zeros((2, 5, 5, 9), np.float32).transpose(0, 3, 1, 2)
    fixed = z[:, 1:5]
    fixed.flags.writeable = False
    yield "a list", {"out": [1.0]}, DTypeError, "out is list"
    yield "dtype", {"out": z[:, :4].astype(np.float64)}, DTypeError, "float64.*float32"
    yield "swapped", {"out": z[:, :4].astype(">f4")}, ArgError, "byte order"
    yield "shape", {"out": z}, ShapeError, r"out has shape \(2, 9, 5, 5\), expected \(2, 4, 5, 5\)"
    yield "axes", {"out": z[0]}, ShapeError, "out has shape"
    yield "read-only", {"out": fixed}, ArgError, "read-only"
    yield "C order", {"out": np.zeros((2, 4, 5, 5), np.float32)}, ArgError, "channels-last"
    yield "every second channel", {"out": z[:, :8:2]}, ArgError, "side by side"
    yield "channels in reverse", {"out": z[:, 3::-1]}, ArgError, "side by side"
    yield "rows in reverse", {"out": z[:, :4, ::-1]}, ArgError, "side by side"
    yield (
        "one pixel for all",
        {"out": np.lib.stride_tricks.as_strided(z, (2, 4, 5, 5), (0, 4, 0, 0))},
        ArgError,
        "side by side",
    )
    yield (
        "pixels that overlap",
        {"out": np.lib.stride_tricks.as_strided(z, (2, 4, 5, 5), (300, 4, 60, 12))},
        ArgError,
        "side by side",
    )
    yield "residual", {
        "out": z[:, :4], "scale": np.ones(4, np.float32), "residual": z[:, 4:8]
    }, ArgError, "residual"  # fmt: skip


@pytest.mark.parametrize("change, error, text", [pytest.param(*r[1:], id=r[0]) for r in refused()])
def test_what_cannot_be_written_is_refused(change, error, text):
    x, w, b, _ = arrays(2, (2, 3, 7, 7), (4, 3, 3, 3))
    with pytest.raises(error, match=f"conv2d: .*{text}"):
        kernel.conv2d(x, w, b, **PLAIN, **change)


def test_memory_that_is_read_is_refused():
    z = np.zeros((1, 6, 6, 8), np.float32).transpose(0, 3, 1, 2)
    w = np.ones((4, 4, 1, 1), np.float32)
    with pytest.raises(ArgError, match="conv2d: out shares memory with x"):
        kernel.conv2d(z[:, :4], w, out=z[:, :4], **PLAIN)
    with pytest.raises(ArgError, match="conv2d: out shares memory with w"):
        kernel.conv2d(z[:, :4].copy("K"), z[0, 0, :4, :4].reshape(4, 4, 1, 1), out=z[:, 4:],
                      **PLAIN)  # fmt: skip
    with pytest.raises(ArgError, match="conv2d: out shares memory with b"):
        kernel.conv2d(z[:, :4].copy("K"), w, z[0, 4:, 0, 0], out=z[:, 4:], **PLAIN)


def main() -> None:
    """Check all cases; print how many there were."""
    cases = [(name, dtype) for name in CASES for dtype in (np.float32, np.float64)]
    for name, dtype in cases:
        check_case(name, dtype)
    print(dispatch.isa(), len(cases))


if __name__ == "__main__":
    main()
