"""From images to what a net takes: sizes, windows, normalization, in training and in testing."""

from typing import ClassVar

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import nn
from minigrad.data import ArrayDataset, CenterCrop, Normalize, RandomCrop, Resize
from minigrad.data.transforms import ToFloat
from minigrad.errors import ArgError, CheckpointError
from zoo.config import TrainConfig
from zoo.datasets import DatasetInfo
from zoo.pipeline import GCN_SCALE, Pipeline, Preparation, decode_size, seen_size
from zoo.recipes import get_recipe, list_recipes

INFO = DatasetInfo("x", ("a", "b"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 3, (12, 16))


def images(n=40, h=12, w=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, 3), dtype=np.uint8)


def pipeline(info=INFO, **values):
    config = TrainConfig.of({"model": "resnet20", **values}).check()
    return Pipeline(config, ArrayDataset(images(), np.zeros(40, np.int64)), info)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_default_is_crop_with_a_border_flip_and_normalization():
    made = pipeline(flip=False)
    expected = Normalize(INFO.mean, INFO.std)(RandomCrop((12, 16), padding=2)(images(), rng(3)))
    np.testing.assert_array_equal(made.training()(images(), rng(3)), expected)
    np.testing.assert_array_equal(
        made.testing()(images()), Normalize(INFO.mean, INFO.std)(images())
    )
    assert made.info.size == (12, 16)


CROPS = {
    "pad": {"size": 10},
    "none": {"size": 10, "crop": "none"},
    "random": {"size": 10, "resize": 12, "crop": "random"},
    "jitter": {"size": 10, "crop": "jitter", "scales": (10, 20)},
    "area": {"size": 10, "crop": "area", "area": (0.2, 1.0)},
}


@pytest.mark.parametrize("normalize", ["channel", "pixel", "gcn-zca"])
@pytest.mark.parametrize("name", CROPS)
def test_every_crop_gives_what_the_net_sees(name, normalize):
    if normalize == "gcn-zca" and name not in ("pad", "none"):
        return
    size = 5 if normalize == "gcn-zca" else 10  # a small matrix
    made = pipeline(**CROPS[name] | {"size": size}, normalize=normalize)
    train, test = made.training(), made.testing()
    a = train(images(), rng(1))
    assert a.shape == (40, 3, size, size) and a.dtype == np.float32
    assert a.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(a, train(images(), rng(1)))
    assert (a != train(images(), rng(2))).any()  # flips, at least
    b = test(images())
    assert b.shape == (40, 3, size, size)
    assert made.info.size == (size, size)
    if normalize != "channel":  # learned from these very images
        np.testing.assert_allclose(b.mean(axis=0), 0, atol=1e-2)


def test_testing_takes_the_middle_of_the_resized_image():
    made = pipeline(size=8, resize=10, crop="random")
    expected = Normalize(INFO.mean, INFO.std)(CenterCrop(8)(Resize(10)(images())))
    np.testing.assert_array_equal(made.testing()(images()), expected)
    jitter = pipeline(size=8, crop="jitter", scales=(9, 12))
    expected = Normalize(INFO.mean, INFO.std)(CenterCrop(8)(Resize(9)(images())))
    np.testing.assert_array_equal(jitter.testing()(images()), expected)


def test_a_window_of_the_image_minus_its_mean_image_is_what_alexnet_saw():
    made = pipeline(size=8, resize=12, crop="random", normalize="pixel", flip=False)
    x = Resize(12)(images())
    mean = (x / 255).mean(axis=0)
    whole = ((x / 255 - mean) / np.array(INFO.std)).astype(np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        made.training()(images(), rng(5)), RandomCrop(8)(whole, rng(5)), atol=1e-5
    )
    np.testing.assert_allclose(made.prepare.arrays["mean_image"], mean, atol=1e-6)


def test_the_border_of_an_image_without_its_mean_is_zero():
    made = pipeline(normalize="pixel", crop_padding=4, flip=False)
    x = made.training()(images(), rng(0))
    assert (x == 0).all(axis=1).any()


def test_whitened_images_have_the_contrast_of_goodfellow_s_before_whitening():
    assert GCN_SCALE * np.sqrt(32 * 32 * 3) == pytest.approx(55)
    made = pipeline(size=4, normalize="gcn-zca", crop="none", flip=False)
    assert made.prepare.arrays["whitening_matrix"].shape == (48, 48)
    assert made.prepare.one_size


def test_color_noise_shifts_whole_images_along_the_colors_of_the_data():
    quiet = pipeline(flip=False, crop="none")
    loud = pipeline(flip=False, crop="none", color_noise=0.5)
    gray = np.full((200, 12, 16, 3), 128, np.uint8)
    shift = loud.training()(gray, rng(2)) - quiet.training()(gray, rng(2))
    assert (shift == shift[:, :, :1, :1]).all()
    moved = shift[:, :, 0, 0] * np.array(INFO.std)
    cov = np.cov((images() / 255).reshape(-1, 3).T)
    np.testing.assert_allclose(np.cov(moved.T), 0.25 * cov, atol=0.3 * 0.25 * cov.max())


def test_what_was_learned_is_kept_in_the_folder(tmp_path):
    for normalize in ("pixel", "gcn-zca"):
        made = pipeline(normalize=normalize, crop="none", size=4)
        made.prepare.save(tmp_path)
        again = Preparation.load(tmp_path, made.config, made.info)
        x = Resize((4, 4))(images())
        np.testing.assert_array_equal(again(x), made.prepare(x))
        np.testing.assert_allclose(again(ToFloat()(x)), made.prepare(x), atol=1e-5)
    (tmp_path / "preparation.safetensors").unlink()
    with pytest.raises(CheckpointError, match="was trained with gcn-zca"):
        Preparation.load(tmp_path, made.config, made.info)
    channel = pipeline()
    channel.prepare.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_statistics_of_a_set_on_disk_come_from_a_sample(monkeypatch):
    class Folder:
        asked: ClassVar[list[int]] = []

        def __len__(self):
            return 40

        def __getitem__(self, k):
            self.asked.append(k)
            return images()[k], 0

    monkeypatch.setattr("zoo.pipeline.SAMPLE", 8)
    config = TrainConfig(normalize="pixel", crop="none")
    made = Pipeline(config, Folder(), INFO)
    assert sorted(Folder.asked) == [0, 5, 11, 16, 22, 27, 33, 39]
    expected = (images()[Folder.asked] / 255).mean(axis=0)
    np.testing.assert_allclose(made.prepare.arrays["mean_image"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "decoded", "seen"),
    [
        ({}, 32, (12, 16)),
        ({"size": 20}, 20, (20, 20)),
        ({"model": "alexnet", "size": 227, "resize": 256, "crop": "random"}, 256, (227, 227)),
        ({"model": "vgg16", "size": 224, "crop": "jitter"}, 512, (224, 224)),
        ({"model": "alexnet", "variant": "torchvision", "size": 64}, 64, (64, 64)),
    ],
)
def test_folders_are_read_at_the_size_that_windows_are_cropped_from(values, decoded, seen):
    config = TrainConfig.of(values).check()
    assert decode_size(config) == decoded
    assert seen_size(config, INFO) == seen


@pytest.mark.parametrize("name", list_recipes())
def test_the_net_of_every_recipe_takes_what_its_pipeline_gives(name):
    config = get_recipe(name).config({"data": "fashion-mini", "normalize": "channel"})
    info = DatasetInfo("x", tuple("0123456789"), (0.5,) * 3, (0.2,) * 3, 3, (32, 32))
    x = Pipeline(config, ArrayDataset(images(1, 32, 32), np.zeros(1, np.int64)), info).testing()(
        images(1, 32, 32)
    )
    with nn.meta(), mg.no_grad():
        net = zoo.get_model(config.model, 10, in_channels=3, **config.model_options()).eval()
        assert net(mg.tensor(x)).shape == (1, 10)


def test_the_heads_of_vgg_have_sizes_of_their_own():
    assert seen_size(TrainConfig(model="vgg11", options={"head": "cifar"}, size=32), INFO) == (
        32,
        32,
    )
    assert seen_size(TrainConfig(model="vgg11", options={"head": "gap"}, size=40), INFO) == (40, 40)
    with pytest.raises(ArgError, match=r"takes images of \(32, 32\), --size is \(40, 40\)"):
        seen_size(TrainConfig(model="vgg11", options={"head": "cifar"}, size=40), INFO)
    assert decode_size(TrainConfig(model="vgg11", options={"head": "cifar"})) == 32


def test_alexnet_s_227_pixels_come_from_images_of_any_size():
    made = pipeline(model="alexnet", size=227, resize=256, crop="random", normalize="pixel")
    x = made.training()(images(2), rng())
    assert x.shape == (2, 3, 227, 227) and np.isfinite(x).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": "lenet"},
            r"takes images of \(28, 28\), the data has \(12, 16\); pass --size 28",
        ),
        ({"model": "vgg16", "size": 32}, r"takes images of \(224, 224\), --size is \(32, 32\)"),
        ({"model": "nin_imagenet"}, r"at least 39 pixels, the data has \(12, 16\); pass --size"),
    ],
)
def test_a_size_that_the_net_cannot_take_is_refused(values, message):
    with pytest.raises(ArgError, match=message):
        seen_size(TrainConfig.of(values), INFO)
