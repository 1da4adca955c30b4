"""Network in network: the authors' definitions, rounding up, and what an mlpconv is."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from zoo.nin import mlpconv

from .nets import (
    assert_gradients_reach_everything,
    images,
    layers,
    shapes_of,
    summary,
    weighted,
)


def test_cifar_net_row_by_row():
    found = summary("nin_cifar10")
    convs = layers(found, "ConvReLU")
    assert [r.parameters for r in convs] == [
        14_592, 30_880, 15_456, 460_992, 37_056, 37_056, 331_968, 37_056, 1_930
    ]  # fmt: skip
    assert [r.output for r in convs] == [
        (192, 32, 32), (160, 32, 32), (96, 32, 32), (192, 16, 16), (192, 16, 16), (192, 16, 16),
        (192, 8, 8), (192, 8, 8), (10, 8, 8),
    ]  # fmt: skip
    assert (found.total("parameters"), found.total("weights")) == (966_986, 965_568)
    assert found.total("macs") == 222_486_528


def test_imagenet_net():
    found = summary("nin_imagenet")
    assert found.total("parameters") == 7_595_176
    assert round(7_595_176 * 4 / 2**20) == 29  # the size of the published file in MB
    assert summary("nin_imagenet", 224).total("macs") == 1_100_188_800


@pytest.mark.parametrize("size", [224, 227])
def test_imagenet_maps_are_27_13_and_6_for_both_sizes(size):
    found = summary("nin_imagenet", size)
    assert found.rows[1].output[1] == (54 if size == 224 else 55)
    assert [r.output[1] for r in layers(found, "MaxPool2d")] == [27, 13, 6]


def test_pooling_rounds_up_where_flooring_would_lose_a_pixel():
    assert [r.output[1] for r in layers(summary("nin_cifar10"), "MaxPool2d")] == [16, 8]
    x = mg.zeros(1, 1, 32, 32)
    once = F.max_pool2d(x, 3, 2)
    assert once.shape[2] == 15 and F.max_pool2d(once, 3, 2).shape[2] == 7


def test_average_form_divides_by_what_is_inside_the_image():
    net = shapes_of("nin_cifar10", pool2="avg")
    pool = dict(net.features.named_children())["pool2"]
    x = images(1, 1, 16, 16)
    y = pool(x).numpy()[0, 0]
    assert y.shape == (8, 8)
    assert y[7, 7] == pytest.approx(x.numpy()[0, 0, 14:, 14:].mean(), rel=1e-5)  # 2 x 2 pixels
    assert y[0, 7] == pytest.approx(x.numpy()[0, 0, :3, 14:].mean(), rel=1e-5)


def test_an_mlpconv_is_a_perceptron_on_every_patch():
    net = nn.Sequential(mlpconv(("a", "b", "c"), 3, 5, (7, 6, 4))).double()
    x = images(2, 3, 9, 8, dtype=np.float64)
    y = net(x).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    weights = [(m.weight.numpy().reshape(len(m.bias), -1), m.bias.numpy()) for m in net]
    for i in range(9):
        for j in range(8):
            h = padded[:, :, i : i + 5, j : j + 5].reshape(2, -1)  # the patch
            for w, b in weights:
                h = np.maximum(h @ w.T + b, 0)
            assert np.allclose(y[:, :, i, j], h, atol=1e-12)


def test_logits_are_means_of_maps_and_there_is_no_linear_layer():
    net = zoo.get_model("nin_cifar10", num_classes=4).eval()
    assert not any(isinstance(m, nn.Linear) for m in net.modules())
    assert len(weighted(net)) == 9
    x = images(2, 3, 32, 32)
    assert np.allclose(net(x).numpy(), net.features(x).numpy().mean(axis=(2, 3)), atol=1e-6)
    assert (net(x).numpy() >= 0).all()  # a ReLU stands behind the last layer as well


def test_starting_values():
    net = zoo.get_model("nin_imagenet")
    stds = {n: m.weight.numpy().std() for n, m in net.features.named_children()
            if isinstance(m, nn.Conv2d)}  # fmt: skip
    for name, std in stds.items():
        wanted = 0.01 if name in ("conv1", "conv3", "cccp8") else 0.05
        assert std == pytest.approx(wanted, rel=0.03), name
    assert all(not m.bias.numpy().any() for m in weighted(net))


@pytest.mark.parametrize("pool2", ["max", "avg"])
def test_gradients_reach_every_parameter(pool2):
    mg.manual_seed(0)
    net = zoo.get_model("nin_cifar10", pool2=pool2).eval()  # without dropout
    assert_gradients_reach_everything(
        net, F.cross_entropy(net(images(4, 3, 16, 16)), mg.tensor([0, 1, 2, 3]))
    )


def test_what_does_not_fit():
    with pytest.raises(ArgError, match="pool2 'mean' is unknown; use 'max' or 'avg'"):
        zoo.get_model("nin_cifar10", pool2="mean")
    for name, least in (("nin_cifar10", 6), ("nin_imagenet", 39)):
        net = shapes_of(name)
        with mg.no_grad():
            net(mg.zeros(1, 3, least, least))
            with pytest.raises(ShapeError, match=f"at least {least}x{least}"):
                net(mg.zeros(1, 3, least - 1, least))
