"""Transforms of image batches, by what they must leave true."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import (
    CenterCrop,
    Compose,
    Cutout,
    Normalize,
    PCAColorNoise,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    TenCrop,
    ToFloat,
    color_pca,
)
from minigrad.data.transforms import (
    GlobalContrastNormalize,
    PixelNormalize,
    RandomResizedCrop,
    ScaleJitterCrop,
    Whiten,
)
from minigrad.errors import ArgError, DTypeError, ShapeError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(n: int = 5, h: int = 7, w: int = 9, c: int = 3, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, 256, (n, h, w, c), dtype=np.uint8)


ALL = {
    "normalize": Normalize(0.5, 0.25),
    "to_float": ToFloat(),
    "flip": RandomHorizontalFlip(),
    "crop": RandomCrop((5, 6), 2),
    "crop_reflect": RandomCrop((5, 6), 2, padding_mode="reflect"),
    "crop_edge": RandomCrop((5, 6), (0, 3), padding_mode="edge"),
    "center": CenterCrop((4, 5)),
    "ten": TenCrop((4, 5)),
    "resize": Resize((5, 11)),
    "cutout": Cutout(3),
    "noise": PCAColorNoise.from_images(images(seed=9)),
    "jitter": ScaleJitterCrop((5, 6), 6, 11),
    "resized": RandomResizedCrop((5, 6)),
    "pixel": PixelNormalize(np.full((7, 9, 1), 0.5)),
    "contrast": GlobalContrastNormalize(),
    "whiten": Whiten(np.zeros(63), np.eye(63)),
}
FLOATS = {"normalize", "to_float", "pixel", "contrast", "whiten"}  # they make floats of bytes
ROUNDED = {"noise", "resize", "jitter", "resized"}  # bytes are rounded, floats are not
THREE, GRAY = {"noise"}, {"pixel", "whiten"}  # the others take any number of channels


@pytest.mark.parametrize("name", sorted(set(ALL) - GRAY))
def test_same_generator_same_images_and_the_input_is_untouched(name):
    x = images()
    before = x.copy()
    x.flags.writeable = False
    a, b = (ALL[name](x, rng(3)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(a, x) or name == "center"


@pytest.mark.parametrize("name", sorted(set(ALL) - FLOATS - ROUNDED))
def test_before_and_after_the_step_to_float_agree(name):
    early = ToFloat()(ALL[name](images(), rng(1)))
    late = ALL[name](ToFloat()(images()), rng(1))
    np.testing.assert_array_equal(early, late)
    assert late.dtype == np.float32 and late.shape[1] == 3


@pytest.mark.parametrize("name", sorted(set(ALL) - THREE))
def test_gray_batches_without_a_channel_axis_keep_that_form(name):
    x = images(c=1)[..., 0]
    y = ALL[name](x, rng(1))
    if name in FLOATS:
        assert y.shape == (5, 1, 7, 9)
    else:
        assert y.ndim == 3
        np.testing.assert_array_equal(y, ALL[name](x[..., None], rng(1))[..., 0])


@pytest.mark.parametrize("name", ALL)
def test_an_empty_batch_passes_through(name):
    y = ALL[name](np.zeros((0, 7, 9, 1 if name in GRAY else 3), np.uint8), rng())
    assert len(y) == 0 and y.ndim == 4


def test_normalize_equals_its_formula_and_is_channels_last():
    x = images()
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    z = Normalize(mean, std)(x)
    expected = ((x / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    assert z.dtype == np.float32
    assert z.transpose(0, 2, 3, 1).flags.c_contiguous


def test_normalize_by_the_data_s_own_statistics_gives_zero_and_one():
    x = images(50)
    mean, std = (x / 255).mean(axis=(0, 1, 2)), (x / 255).std(axis=(0, 1, 2))
    z = Normalize(mean, std)(x).astype(np.float64)
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=(0, 2, 3)), 1, atol=1e-5)
    after = Normalize(mean, std)(ToFloat()(x))
    np.testing.assert_allclose(after, z, atol=1e-5)


def test_flip_twice_is_the_identity_and_never_is_too():
    x = images()
    flip = RandomHorizontalFlip(1.0)
    np.testing.assert_array_equal(flip(x, rng()), x[:, :, ::-1])
    np.testing.assert_array_equal(flip(flip(x, rng()), rng()), x)
    np.testing.assert_array_equal(RandomHorizontalFlip(0.0)(x, rng()), x)


def test_flip_decides_for_each_image_with_the_given_probability():
    x = images(2000, 1, 2, 1)
    x[:, :, 0], x[:, :, 1] = 0, 1
    flipped = RandomHorizontalFlip(0.3)(x, rng(1))[:, 0, 0, 0].mean()
    assert abs(flipped - 0.3) < 0.04


@given(
    h=st.integers(1, 6),
    w=st.integers(1, 6),
    pad=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_every_crop_is_a_slice_of_the_padded_image(h, w, pad, seed, data):
    x = images(3, h, w, 2, seed)
    size = tuple(
        data.draw(st.integers(1, side + 2 * p)) for side, p in zip((h, w), pad, strict=True)
    )
    y = RandomCrop(size, pad, fill=7)(x, rng(seed))
    padded = np.pad(x, ((0, 0), (pad[0],) * 2, (pad[1],) * 2, (0, 0)), constant_values=7)
    for image, crop in zip(padded, y, strict=True):
        views = np.lib.stride_tricks.sliding_window_view(image, (*size, 2)).reshape(-1, *size, 2)
        assert any(np.array_equal(view, crop) for view in views)


def test_crop_reaches_every_place_equally_often():
    x = np.zeros((9000, 2, 2, 1), np.uint8)
    x[:, 0, 0] = 1
    y = RandomCrop(2, 1)(x, rng(2))  # the marked pixel lands anywhere, or outside
    places = y.reshape(-1, 4).mean(axis=0)
    np.testing.assert_allclose(places, 1 / 9, atol=0.015)


def test_a_crop_without_room_to_move_is_the_image():
    x = images()
    np.testing.assert_array_equal(RandomCrop((7, 9))(x, rng()), x)
    np.testing.assert_array_equal(CenterCrop((7, 9))(x), x)


def test_ten_crop_is_four_corners_the_center_and_their_mirrors():
    x = images(2, 6, 8)
    ten = TenCrop((4, 4))(x).reshape(2, 10, 4, 4, 3)
    for n in range(2):
        np.testing.assert_array_equal(ten[n, 0], x[n, :4, :4])
        np.testing.assert_array_equal(ten[n, 3], x[n, 2:, 4:])
        np.testing.assert_array_equal(ten[n, 4], CenterCrop(4)(x)[n])
        np.testing.assert_array_equal(ten[n, 5:], ten[n, :5, :, ::-1])


def test_ten_crop_of_a_network_of_224_from_256_has_the_paper_s_windows():
    x = np.zeros((1, 256, 256, 1), np.uint8)
    x[0, 16:240, 16:240] = 1
    assert TenCrop(224)(x)[4].all()
    assert TenCrop(224)(x).shape == (10, 224, 224, 1)


def test_resize_keeps_constants_means_and_the_identity():
    flat = np.full((2, 9, 5, 3), 77, np.uint8)
    assert (Resize((4, 13))(flat) == 77).all()
    x = images(3, 8, 8)
    np.testing.assert_array_equal(Resize((8, 8))(x), x)
    half = Resize((4, 4))(ToFloat()(x))
    np.testing.assert_allclose(half.mean(), ToFloat()(x).mean(), atol=0.02)


def test_resize_by_one_number_scales_the_shorter_side():
    assert Resize(4)(images(1, 8, 12)).shape == (1, 4, 6, 3)
    assert Resize(4)(images(1, 12, 8)).shape == (1, 6, 4, 3)


@pytest.mark.parametrize("size", [(5, 3), (16, 20), (7, 30), (40, 2)])
def test_resize_agrees_with_pillow(size):
    pil = pytest.importorskip("PIL.Image", reason="Pillow is the extra 'images'")
    x = images(2, 11, 14)
    y = Resize(size)(x)
    for image, ours in zip(x, y, strict=True):
        theirs = pil.fromarray(image).resize(size[::-1], pil.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs).astype(int) - ours).max() <= 1


def test_pca_recovers_the_covariance_of_the_pixels():
    x = images(20)
    values, vectors = color_pca(x)
    pixels = x.reshape(-1, 3) / 255
    np.testing.assert_allclose(
        (vectors * values) @ vectors.T, np.cov(pixels.T, bias=True), atol=1e-12
    )
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(color_pca(ToFloat()(x))[0], values, atol=1e-6)


@pytest.mark.parametrize(("scale", "power"), [("deviation", 1), ("eigenvalue", 2)])
def test_pca_noise_has_the_covariance_it_promises(scale, power):
    values, vectors = color_pca(images(20))
    noise = PCAColorNoise(values, vectors, std=0.1, scale=scale)
    x = np.zeros((40_000, 3, 1, 2), np.float32)
    y = noise(x, rng(1)).astype(np.float64)
    assert (y[..., 0] == y[..., 1]).all()  # one draw for all pixels of an image
    expected = 0.01 * (vectors * values**power) @ vectors.T
    np.testing.assert_allclose(np.cov(y[:, :, 0, 0].T), expected, atol=expected.max() * 0.05)


def test_pca_noise_on_bytes_is_rounded_and_clipped():
    noise = PCAColorNoise.from_images(images(20), std=5.0)
    x = images(6)
    y = noise(x, rng(4))
    late = noise(ToFloat()(x), rng(4)).transpose(0, 2, 3, 1) * 255
    assert y.dtype == np.uint8
    np.testing.assert_allclose(y, np.clip(np.rint(late), 0, 255), atol=1)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_cutout_hides_one_rectangle_of_at_most_its_size(h, w, seed):
    x = np.full((4, 7, 9, 2), 200, np.uint8)
    hidden = Cutout((h, w))(x, rng(seed)) == 0
    assert (hidden.all(axis=3) == hidden.any(axis=3)).all()
    for mask in hidden[..., 0]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert 1 <= len(rows) <= h and 1 <= len(columns) <= w
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert mask.sum() == len(rows) * len(columns)


def test_compose_applies_in_order_with_one_generator():
    g = rng(8)
    step = RandomCrop(4, 1)(images(), g)
    step = RandomHorizontalFlip()(step, g)
    both = Compose([RandomCrop(4, 1), RandomHorizontalFlip()])(images(), rng(8))
    np.testing.assert_array_equal(both, step)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomCrop(0), ArgError, "size: expected at least 1, got 0"),
        (lambda: RandomCrop((1, 2, 3)), ArgError, "a pair of them"),
        (lambda: RandomCrop(True), ArgError, "integer"),
        (lambda: RandomCrop(3, -1), ArgError, "padding: expected at least 0"),
        (lambda: RandomCrop(3, padding_mode="wrap"), ArgError, "constant, reflect or edge"),
        (lambda: RandomHorizontalFlip(1.5), ArgError, r"in \[0, 1\], got 1.5"),
        (lambda: Normalize(0.5, 0.0), ArgError, "std > 0"),
        (lambda: RandomCrop(20)(images(), rng()), ShapeError, r"\(20, 20\) does not fit .*7, 9"),
        (lambda: TenCrop(20)(images()), ShapeError, "Resize first"),
        (lambda: CenterCrop(8)(images()), ShapeError, "does not fit"),
        (lambda: RandomCrop(3)(images()), ArgError, "pass rng="),
        (lambda: ToFloat()(images()[0, 0]), ShapeError, r"images\[None\]"),
        (lambda: ToFloat()(images().astype(np.int64)), DTypeError, "got int64"),
        (lambda: Normalize([0, 0], [1, 1])(images()), ShapeError, "3 channels, mean 2"),
        (lambda: PCAColorNoise([1.0], [[1.0]])(images(), rng()), ShapeError, "3 channels"),
        (lambda: PCAColorNoise([1.0], np.eye(2)), ShapeError, r"vectors \(C, C\)"),
        (lambda: PCAColorNoise([-1.0], [[1.0]]), ArgError, ">= 0"),
        (lambda: color_pca(np.zeros((0, 2, 2, 3), np.uint8)), ShapeError, "no pixels"),
    ],
)
def test_bad_arguments_are_refused_with_both_sides(make, error, message):
    with pytest.raises(error, match=message):
        make()
