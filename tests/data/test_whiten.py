"""Mean images, global contrast and whitening, by what they must leave true."""

import numpy as np
import pytest

from minigrad.data import Normalize, ToFloat
from minigrad.data.transforms import (
    GlobalContrastNormalize,
    PixelNormalize,
    Whiten,
    mean_image,
    zca,
)
from minigrad.errors import ArgError, ShapeError


def images(n: int = 40, h: int = 4, w: int = 5, c: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c), dtype=np.uint8)


def test_the_mean_image_is_the_mean_in_any_batches_and_dtypes():
    x = images()
    expected = (x / 255).mean(axis=0)
    for parts in ([x], [x[:7], x[7:]], [ToFloat()(x)]):
        np.testing.assert_allclose(mean_image(parts), expected, atol=1e-6)
    assert mean_image([x[..., 0]]).shape == (4, 5, 1)


def test_images_minus_their_mean_image_have_mean_zero_at_every_pixel():
    x = images()
    z = PixelNormalize(mean_image([x]), [0.5, 1.0, 2.0])(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    assert z.dtype == np.float32 and z.transpose(0, 2, 3, 1).flags.c_contiguous
    again = PixelNormalize(mean_image([x]), [0.5, 1.0, 2.0])(ToFloat()(x))
    np.testing.assert_allclose(again, z, atol=1e-6)


def test_a_constant_mean_image_is_normalization_by_channels():
    x, mean, std = images(), [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]
    flat = np.tile(np.array(mean, np.float32), (4, 5, 1))
    np.testing.assert_allclose(
        PixelNormalize(flat, std)(x), Normalize(mean, std)(x), rtol=1e-5, atol=1e-5
    )


def test_global_contrast_gives_every_image_mean_zero_and_the_root_mean_square():
    z = GlobalContrastNormalize(0.5)(images()).astype(np.float64)
    np.testing.assert_allclose(z.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(np.sqrt((z**2).mean(axis=(1, 2, 3))), 0.5, rtol=1e-5)
    brighter = GlobalContrastNormalize(0.5)(images() // 2)
    np.testing.assert_allclose(brighter, z, atol=0.02)  # contrast and brightness do not matter
    assert not GlobalContrastNormalize()(np.full((2, 4, 5, 3), 77, np.uint8)).any()


def test_whitened_images_have_the_identity_for_covariance():
    x = GlobalContrastNormalize()(images(400, 3, 3, 2))
    mean, matrix = zca([x[:130], x[130:]], bias=1e-9)
    y = Whiten(mean, matrix)(x).transpose(0, 2, 3, 1).reshape(400, -1).astype(np.float64)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-3)
    values = np.linalg.eigvalsh(np.cov(y.T, bias=True))
    assert values[0] < 1e-2  # each image has mean 0: one direction is 0 in all of them
    np.testing.assert_allclose(values[1:], 1, rtol=1e-2)


def test_the_whitening_matrix_is_symmetric_and_the_bias_damps_it():
    x = GlobalContrastNormalize()(images(400, 3, 3, 2))
    rows = x.transpose(0, 2, 3, 1).reshape(400, -1).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    mean, matrix = zca([x], bias=0.1)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-6)
    expected = vectors @ np.diag(1 / np.sqrt(np.maximum(values, 0) + 0.1)) @ vectors.T
    np.testing.assert_allclose(matrix, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: mean_image([]), ShapeError, "no images"),
        (lambda: mean_image([images(), images(w=6)]), ShapeError, r"\(4, 6, 3\) after"),
        (lambda: PixelNormalize(np.zeros((4, 5))), ShapeError, "expected a mean"),
        (lambda: PixelNormalize(np.zeros((4, 5, 3)), 0.0), ArgError, "positive"),
        (lambda: PixelNormalize(np.zeros((4, 6, 3)))(images()), ShapeError, r"mean image \(4, 6"),
        (lambda: GlobalContrastNormalize(0.0), ArgError, "positive, got 0"),
        (lambda: zca([]), ShapeError, "no images"),
        (lambda: zca([np.zeros((1, 3, 64, 64), np.float32)]), ArgError, "12288 values"),
        (lambda: Whiten(np.zeros(3), np.eye(4)), ShapeError, r"\(3,\) and \(4, 4\)"),
        (lambda: Whiten(np.zeros(3), np.eye(3))(images()), ShapeError, "the matrix is for 3"),
    ],
)
def test_bad_arguments_are_refused_with_both_sides(make, error, message):
    with pytest.raises(error, match=message):
        make()
