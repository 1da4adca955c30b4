"""Crops at a random scale: each is the crop of the resized image, or the resized part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import Resize
from minigrad.data.transforms import RandomResizedCrop, ScaleJitterCrop
from minigrad.data.transforms.resize import shorter_side_to, window_of_resized
from minigrad.errors import ArgError, ShapeError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(n: int = 5, h: int = 7, w: int = 9, c: int = 3, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, 256, (n, h, w, c), dtype=np.uint8)


@given(
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    data=st.data(),
)
def test_a_window_of_the_resized_image_is_that_part_of_it(h, w, target, data):
    x = images(1, h, w, 2).astype(np.float32).transpose(0, 3, 1, 2)
    whole = Resize(target)(x).transpose(0, 2, 3, 1)[0]
    ends = []
    for side in target:
        start = data.draw(st.integers(0, side - 1))
        ends.append((start, data.draw(st.integers(start + 1, side))))
    part = window_of_resized(x[0].transpose(1, 2, 0), target, *ends)
    (top, bottom), (left, right) = ends
    np.testing.assert_allclose(part, whole[top:bottom, left:right], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8), (8, 12), (13, 8)])
def test_jitter_is_a_window_of_the_image_at_one_of_the_scales(shape):
    x = images(12, *shape, 1)
    low, high, size = 6, 16, 5
    seen = set()
    for image, crop in zip(x, ScaleJitterCrop(size, low, high)(x, rng(3)), strict=True):
        for side in range(low, high + 1):
            scaled = Resize(shorter_side_to(side, *shape))(image[None])[0].astype(int)
            views = np.lib.stride_tricks.sliding_window_view(scaled, (size, size, 1))
            if (np.abs(views.reshape(-1, size, size, 1) - crop).max(axis=(1, 2, 3)) <= 1).any():
                seen.add(side)
                break
        else:
            pytest.fail("a crop is in no scaled image")
    assert len(seen) > 3


def test_jitter_reaches_all_scales_and_all_places_equally_often():
    ramp = np.zeros((4000, 3, 64, 64), np.float32)
    ramp[:] = np.arange(64, dtype=np.float32)
    x = ScaleJitterCrop(8, 8, 11)(ramp, rng(1))[:, 0, 0, :].astype(np.float64)
    slope = (x[:, -2] - x[:, 1]) / 5  # source pixels per output pixel: 64 / S
    sides = np.rint(64 / slope).astype(int)
    counts = np.bincount(sides, minlength=12)[8:12]
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)
    left = np.rint(x[sides == 11][:, 1] / (64 / 11) - 1.5).astype(int)
    np.testing.assert_allclose(np.bincount(left) / len(left), 0.25, atol=0.06)


def test_a_jitter_of_one_scale_without_room_is_the_image():
    x = images(3, 6, 6)
    np.testing.assert_array_equal(ScaleJitterCrop(6, 6, 6)(x, rng()), x)


def test_parts_have_the_areas_ratios_and_places_they_promise():
    boxes = RandomResizedCrop(8).boxes(20_000, 100, 100, rng(2)).astype(float)
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 100).all() and (left + width <= 100).all()
    area, ratio = height * width / 1e4, width / height
    assert 0.07 < area.min() < 0.09 and area.max() <= 1.0
    assert 0.72 < ratio.min() < 0.78 and 1.29 < ratio.max() < 1.38
    small = area[area < 0.5]  # large parts of extreme ratio do not fit and are drawn again
    np.testing.assert_allclose(
        np.histogram(small, 6, (0.08, 0.5))[0] / len(small), 1 / 6, atol=0.02
    )
    assert abs(np.log(ratio[area < 0.5]).mean()) < 0.01
    assert abs((top / np.maximum(100 - height, 1)).mean() - 0.5) < 0.02


def test_a_part_is_cut_and_resized():
    x = images(4, 20, 30)
    crop = RandomResizedCrop((6, 7), (0.2, 0.9))
    boxes = crop.boxes(4, 20, 30, rng(5))
    for image, (top, left, h, w), y in zip(x, boxes, crop(x, rng(5)), strict=True):
        part = Resize((6, 7))(image[None, top : top + h, left : left + w])[0]
        assert np.abs(part.astype(int) - y).max() <= 1


@pytest.mark.parametrize(
    ("h", "w", "box"), [(10, 40, (0, 13, 10, 13)), (40, 10, (13, 0, 13, 10)), (9, 9, (0, 0, 9, 9))]
)
def test_where_no_part_fits_the_middle_is_taken(h, w, box):
    assert RandomResizedCrop(4).middle(h, w) == box
    found = RandomResizedCrop(4, (1.0, 1.0), (4 / 3, 4 / 3)).boxes(3, 9, 9, rng())
    assert found.tolist() == [[1, 0, 7, 9]] * 3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ScaleJitterCrop(224, 200, 512), ArgError, r"size <= low <= high, got .*low 200"),
        (lambda: ScaleJitterCrop(2, 5, 4), ArgError, "high 4"),
        (lambda: ScaleJitterCrop(2, 5, 9)(images()), ArgError, "pass rng="),
        (lambda: RandomResizedCrop(2, (0.0, 1.0)), ArgError, r"scale \(0.0, 1.0\)"),
        (lambda: RandomResizedCrop(2, ratio=(2.0, 1.0)), ArgError, r"ratio \(2.0, 1.0\)"),
        (
            lambda: RandomResizedCrop(2)(np.zeros((1, 0, 3, 3), np.uint8), rng()),
            ShapeError,
            "0x3 pixels",
        ),
    ],
)
def test_bad_arguments_are_refused_with_both_sides(make, error, message):
    with pytest.raises(error, match=message):
        make()
