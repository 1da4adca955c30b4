"""Test-time views: which windows, exactly; and that answers are averaged as the papers say."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.data import ArrayDataset, Normalize, TenCrop
from minigrad.errors import ArgError
from zoo import cli
from zoo.config import VIEWS, TrainConfig
from zoo.datasets import DatasetInfo, HeldOut
from zoo.evaluation import Subject, answers, log_loss
from zoo.pipeline import Preparation
from zoo.registry import entry
from zoo.views import (
    Crop,
    View,
    crops_of,
    cut,
    dense_form,
    every_crop,
    googlenet_crops,
    grid_crops,
    probabilities,
    softmax,
    ten_crop,
)


def labelled(h, w, n=1):
    """Images whose pixels say where they are: channel 0 the row, channel 1 the column."""
    x = np.zeros((n, h, w, 3), np.uint8)
    x[..., 0], x[..., 1] = np.arange(h)[:, None], np.arange(w)
    x[..., 2] = np.arange(n)[:, None, None]
    return x


def places(windows):
    """(top, left, mirrored) of windows of a labelled image; checks that they are windows."""
    found = []
    for x in windows.astype(int):
        assert (np.diff(x[..., 0], axis=0) == 1).all() and (np.diff(x[..., 0], axis=1) == 0).all()
        steps = np.unique(np.diff(x[..., 1], axis=1))
        assert steps.tolist() in ([1], [-1])
        flip = bool(steps[0] == -1)
        found.append((x[0, 0, 0], x[0, -1 if flip else 0, 1], flip))
    return [(int(t), int(s), f) for t, s, f in found]


def test_ten_crop_is_alexnet_s_and_that_of_the_library():
    x = labelled(256, 256)
    windows = cut(x, ten_crop(256, (256, 256), 224), 224)
    five = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert places(windows) == [(*p, False) for p in five] + [(*p, True) for p in five]
    np.testing.assert_array_equal(windows, TenCrop(224)(x))


def test_there_are_2178_windows_and_alexnet_counts_2048():
    crops = every_crop(256, (256, 256), 224)
    assert len(crops) == 2 * 33**2 == 2178
    assert (256 - 224) ** 2 * 2 == 2048  # section 4.1: "a factor of 2048"
    seen = set(places(cut(labelled(12, 12), every_crop(12, (12, 12), 8), 8)))
    assert seen == {(t, s, f) for t in range(5) for s in range(5) for f in (False, True)}


def test_multi_crop_is_a_regular_grid_of_50_windows_a_scale():
    crops = grid_crops(256, (256, 256), 224)
    assert places(cut(labelled(256, 256), crops, 224)) == [
        (t, s, f) for f in (False, True) for t in (0, 8, 16, 24, 32) for s in (0, 8, 16, 24, 32)
    ]
    assert [len(crops_of("multi-crop", shape, 224)) for shape in ((300, 400), (512, 512))] == [
        150
    ] * 2
    assert {c.side for c in crops_of("multi-crop", (300, 400), 224)} == {256, 384, 512}


def test_144_crops_are_four_scales_three_squares_six_windows_and_mirrors():
    crops = crops_of("144-crop", (300, 400), 224)
    assert len(crops) == 4 * 3 * 6 * 2 == 144
    assert [c.side for c in crops] == [s for s in (256, 288, 320, 352) for _ in range(36)]
    wide = googlenet_crops(8, (8, 12), 4)
    x = labelled(8, 12)
    assert [c for c in wide if c.height == 8] == [
        Crop(8, 0, left, 8, 8, flip) for flip in (False, True) for left in (0, 2, 4)
    ]  # left, middle and right square, each as a whole
    small = [c for c in wide if c.height == 4]
    windows = places(cut(x, small, 4))
    expected = [
        (t, left + s, f)
        for f in (False, True)
        for left in (0, 2, 4)
        for t, s in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))
    ]
    assert windows == expected


def test_squares_of_a_tall_image_are_top_middle_and_bottom():
    crops = googlenet_crops(8, (14, 8), 4)
    assert [c.top for c in crops if c.height == 8 and not c.flip] == [0, 3, 6]
    assert all(c.left == 0 for c in crops if c.height == 8)


def test_dense_views_are_the_whole_image_and_its_mirror_at_each_scale():
    assert crops_of("dense", (300, 400), 224, stored=384) == [
        Crop(384, 0, 0, 384, 512), Crop(384, 0, 0, 384, 512, True),
    ]  # fmt: skip
    sides = [c.side for c in crops_of("multi-scale", (300, 300), 224)]
    assert sides == [s for s in (224, 256, 384, 480, 640) for _ in (0, 1)]
    assert [c.side for c in crops_of("dense", (8, 8), 224, scales=(300,))] == [300, 300]


def test_scales_shrink_with_the_net_and_stay_for_227():
    assert {c.side for c in crops_of("10-crop", (28, 28), 28)} == {32}
    assert {c.side for c in crops_of("10-crop", (300, 300), 227)} == {256}
    assert {c.side for c in crops_of("10-crop", (300, 300), 64, stored=72)} == {72}
    assert {c.side for c in crops_of("single", (300, 300), 64, stored=72)} == {72}
    assert crops_of("flip", (28, 28), 28) == [Crop(28, 0, 0, 28, 28), Crop(28, 0, 0, 28, 28, True)]


def test_windows_of_one_image_are_neighbors_and_both_kinds_of_images_agree():
    x = labelled(10, 12, n=3)
    crops = ten_crop(10, (10, 12), 6)
    windows = cut(x, crops, 6)
    assert windows.shape == (30, 6, 6, 3)
    assert windows[:, 0, 0, 2].tolist() == [k for k in range(3) for _ in range(10)]
    floats = cut(x.transpose(0, 3, 1, 2).astype(np.float32), crops, 6)
    np.testing.assert_array_equal(floats.transpose(0, 2, 3, 1), windows)
    gray = cut(x[..., 0], crops, 6)
    np.testing.assert_array_equal(gray, windows[..., 0])


class Spy(nn.Module):
    """Logits that depend on where the window was: sums over three patches of it."""

    def forward(self, x):
        return mg.stack(*(x[:, k, :2].sum(axis=(1, 2)) for k in range(3)), axis=1) * 0.1


INFO = DatasetInfo("x", ("a", "b", "c"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 3, (8, 8))


def dataset(n=5, h=12, w=12, seed=0):
    rng = np.random.default_rng(seed)
    return ArrayDataset(rng.integers(0, 256, (n, h, w, 3), dtype=np.uint8), np.arange(n) % 3)


@pytest.mark.parametrize("name", [v for v in VIEWS if v not in ("dense", "multi-scale")])
@pytest.mark.parametrize("batch", [3, 64])
def test_softmax_is_averaged_over_the_windows_whatever_the_batch(name, batch):
    data, prepare = dataset(), Normalize(INFO.mean, INFO.std)
    view = View(name, 8, prepare, batch)
    chances, labels = probabilities(Spy(), data, view)
    assert labels.tolist() == [0, 1, 2, 0, 1] and chances.dtype == np.float64
    for k in range(len(data)):
        crops = crops_of(name, (12, 12), 8)
        x = prepare(cut(data.arrays[0][k : k + 1], crops, 8))
        expected = F.softmax(Spy()(mg.tensor(x)), 1).numpy().mean(axis=0)
        np.testing.assert_allclose(chances[k], expected, rtol=1e-5)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-12)


def test_a_mean_image_is_subtracted_where_its_pixels_are():
    data = dataset()
    mean = np.random.default_rng(1).random((12, 12, 3)).astype(np.float32)
    prepare = Preparation(INFO, {"mean_image": mean})
    view = View("10-crop", 8, prepare, 64, early=True, stored=12)
    chances, _ = probabilities(Spy(), data, view)
    whole = ((data.arrays[0] / 255 - mean) / np.array(INFO.std)).transpose(0, 3, 1, 2)
    x = TenCrop(8)(whole.astype(np.float32))
    expected = F.softmax(Spy()(mg.tensor(x)), 1).numpy().reshape(5, 10, 3).mean(axis=1)
    np.testing.assert_allclose(chances, expected, rtol=1e-4)


def tiny_vgg():
    mg.manual_seed(0)
    return zoo.vgg.VGG((4, "M", "M", "M", "M", 8, "M"), 3, hidden=16).eval()


def test_dense_evaluation_of_one_window_is_the_net_itself():
    net, found = tiny_vgg(), entry("vgg16")
    data = dataset(2, 224, 224)
    view = View("dense", 224, Normalize(INFO.mean, INFO.std), 4, scales=(224,))
    chances, _ = probabilities(dense_form(net, found, "vgg16"), data, view)
    flip = View("flip", 224, Normalize(INFO.mean, INFO.std), 4)
    expected, _ = probabilities(net, data, flip)
    np.testing.assert_allclose(chances, expected, rtol=1e-4)


def test_dense_evaluation_averages_the_scores_of_all_windows():
    net, found = tiny_vgg(), entry("vgg16")
    data = dataset(1, 256, 288)
    view = View("dense", 224, Normalize(INFO.mean, INFO.std), 4, scales=(256,))
    chances, _ = probabilities(dense_form(net, found, "vgg16"), data, view)
    x = Normalize(INFO.mean, INFO.std)(data.arrays[0])
    each = [
        softmax(net.score_map(mg.tensor(image)).mean(axis=(2, 3)))[0]
        for image in (x, np.ascontiguousarray(x[..., ::-1]))
    ]
    np.testing.assert_allclose(chances[0], np.mean(each, axis=0), rtol=1e-5)


def test_which_nets_have_a_dense_form():
    assert dense_form(zoo.get_model("resnet20"), entry("resnet20"), "resnet20") is not None
    gap = zoo.vgg.VGG((4, "M", 8, "M"), 3, head="gap")
    assert dense_form(gap, entry("vgg16"), "vgg16") is gap
    for name, options in (("lenet", {}), ("vgg11", {"head": "cifar"})):
        with pytest.raises(ArgError, match="images of one size only; use 10-crop"):
            dense_form(zoo.get_model(name, **options), entry(name), name)


def subject(net, config=None, about=INFO, prepare=None):
    prepare = prepare or Preparation(about)
    return Subject(net, entry("resnet20"), about, "resnet20", "it", None, prepare, config)


def test_the_single_view_is_what_training_tests():
    mg.manual_seed(0)
    net = zoo.get_model("resnet20", num_classes=3).eval()
    config = TrainConfig(size=8, resize=10, crop="random").check()
    it = subject(net, config)
    test = HeldOut(dataset(9), INFO.classes, 3)
    plain, labels = answers(it, test)
    stored, _ = answers(it, test, "single", (10,))
    np.testing.assert_allclose(plain, stored, rtol=1e-5)
    own = -np.log(np.take_along_axis(plain, labels[:, None], 1)).mean()
    assert log_loss(plain, labels) == pytest.approx(own)


def test_images_of_different_sizes_are_seen_one_by_one():
    class Folder:
        def __init__(self):
            self.images = [dataset(1, h, w, seed=h).arrays[0][0] for h, w in ((12, 14), (20, 9))]

        def __len__(self):
            return 2

        def __getitem__(self, k):
            return self.images[k], k

    view = View("10-crop", 8, Normalize(INFO.mean, INFO.std), 16)
    chances, labels = probabilities(Spy(), Folder(), view)
    assert chances.shape == (2, 3) and labels.tolist() == [0, 1]


def test_a_folder_of_pictures_of_all_sizes_is_trained_and_seen_through_views(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image", reason="Pillow is the extra 'images'")
    for part, count in (("train", 16), ("test", 3)):
        for k in range(2):
            (tmp_path / "data" / part / f"c{k}").mkdir(parents=True)
            for i in range(count):
                picture = image.new("RGB", (40 + i, 60 - i), (100 * k + i, 50, 90))
                picture.save(tmp_path / "data" / part / f"c{k}" / f"{i}.png")
    run = str(tmp_path / "run")
    line = ["train", "--model", "resnet20", "--data", str(tmp_path / "data"), "--epochs", "1"]
    options = ["--size", "8", "--resize", "10", "--crop", "random", "--normalize", "pixel"]
    options += ["--batch-size", "16", "--views", "10-crop", "--color-noise", "0.1"]
    assert cli.main([*line, *options, "--out", run]) == 0
    capsys.readouterr()
    assert cli.main(["eval", run]) == 0
    assert "6 test images, view 10-crop" in capsys.readouterr().out
    for view in ("single", "144-crop", "multi-scale"):
        assert cli.main(["eval", run, "--views", view]) == 0
    assert cli.main(["eval", run, "--views", "dense", "--view-scales", "16,24"]) == 0


def test_views_that_cannot_be_say_so():
    with pytest.raises(ArgError, match="--views 9-crop: unknown; use single"):
        crops_of("9-crop", (28, 28), 28)
    with pytest.raises(ArgError, match="--view-scales 20: the image is 20x20 then, the net takes"):
        crops_of("10-crop", (40, 40), 28, scales=(20,))
    white = Preparation(INFO, {"whitening_matrix": np.eye(3), "whitening_mean": np.zeros(3)})
    with pytest.raises(ArgError, match="whitened images of one size; use single or flip"):
        subject(Spy(), prepare=white).view("10-crop")
    flat = DatasetInfo("x", ("a", "b", "c"), (0.5,), (0.2,), 1, (8, 9))
    with pytest.raises(ArgError, match="the net sees 8x9 pixels"):
        subject(Spy(), about=flat).view("10-crop")
