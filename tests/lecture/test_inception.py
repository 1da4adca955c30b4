"""Section 1d of the ledger: Network in network and GoogLeNet."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import zoo
from minigrad import nn
from zoo.googlenet import Inception, NaiveInception
from zoo.lecture import RIGHT, WRONG
from zoo.nin import mlpconv

from .judging import integers, judged, kinds, meta, parameters

PIXELS = 28 * 28
# (inputs, outputs, window) of the convolutions of the lecture's module, and with reductions
NAIVE = ((256, 128, 1), (256, 192, 3), (256, 96, 5))
REDUCED = ((256, 128, 1), (256, 64, 1), (64, 192, 3), (256, 64, 1), (64, 96, 5), (256, 64, 1))


def weights(rows):
    return [c * k * r * r for c, k, r in rows]


def naive(channels=256, n1=128, n3=192, n5=96):
    with nn.meta():
        return NaiveInception(channels, n1, n3, n5)


def shape(net, *image):
    with mg.no_grad():
        return net(mg.zeros(1, *image)).shape[1:]


def test_N1_mlpconv_is_a_perceptron_on_every_patch():
    found = judged("N1", RIGHT)
    assert found["maps"] == [5, 4, 3] and found["off the perceptron"] < 1e-14
    layers = [*nn.Sequential(mlpconv(("conv", "cccp1", "cccp2"), 2, 5, (4, 3, 2))).double()]
    for k, layer in enumerate(layers):
        with mg.no_grad():
            layer.weight.copy_(integers(*layer.weight.shape, seed=k))
            layer.bias.copy_(integers(*layer.bias.shape, seed=k + 9))
    x = integers(2, 2, 6, 4, seed=20)
    ours = layers[2](layers[1](layers[0](mg.tensor(x)))).numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for n, i, j in np.ndindex(2, 6, 4):
        y = padded[n, :, i : i + 5, j : j + 5].ravel()  # one patch, through the perceptron
        for layer in layers:
            w = layer.weight.numpy()
            y = np.maximum(w.reshape(len(w), -1) @ y + layer.bias.numpy(), 0)
        assert np.array_equal(ours[n, :, i, j], y)  # whole numbers: no rounding
    assert [layer.kernel_size for layer in layers] == [(5, 5), (1, 1), (1, 1)]


def test_N2_linear_layers_are_89_percent_of_vgg16_not_85():
    found = judged("N2", WRONG)
    linear = 25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert found["vgg16 linear"] == found["vgg19 linear"] == linear == 123_642_856
    assert found["vgg16, % of all"] == pytest.approx(100 * linear / 138_357_544)
    assert found["vgg16, % of all"] == pytest.approx(89.4, abs=0.05)
    assert found["vgg19, % of all"] == pytest.approx(86.1, abs=0.05)
    assert pytest.approx(85, abs=0.1) == 100 * 122e6 / 143_667_240


def test_N3_dropout_and_pooling_are_better_than_linear_layers_alone():
    found = judged("N3", RIGHT)
    assert found == {"FC": 17.56, "FC and dropout": 15.99, "GAP": 16.46}
    assert max(found["FC and dropout"], found["GAP"]) < found["FC"] - 1


def test_N4_global_pooling_has_no_parameters_and_does_not_see_shifts():
    found = judged("N4", RIGHT)
    assert found == {"maps": 1000, "parameters of pooling": 0, "linear layers": 0}
    pool = nn.AdaptiveAvgPool2d(1)
    assert parameters(pool) == 0
    x = integers(2, 3, 6, 8)
    mean = pool(mg.tensor(x)).numpy()
    assert np.array_equal(mean[..., 0, 0], x.mean(axis=(2, 3)))
    for shift in ((1, 0), (2, 5)):  # whole numbers: the sums are exact
        assert np.array_equal(pool(mg.tensor(np.roll(x, shift, (2, 3)))).numpy(), mean)
    for name in ("nin_cifar10", "nin_imagenet"):
        assert not kinds(meta(name), nn.Linear)


def test_N5_four_branches_reduced_by_1x1():
    assert judged("N5", RIGHT) == {"branches": 4, "1x1 in a module": 4}
    with nn.meta():
        net = Inception(16, 1, 2, 3, 4, 5, 6)
    assert shape(net, 16, 7, 9) == (1 + 3 + 5 + 6, 7, 9)
    windows = [[m.kernel_size[0] for m in kinds(b, nn.Conv2d)] for b in net.children()]
    assert windows == [[1], [1, 3], [1, 5], [1]]


def test_N6_the_1x1_branch_has_28x28x128():
    assert judged("N6", RIGHT) == {"1x1": (128, 28, 28)}
    assert shape(naive().branch1, 256, 28, 28) == (128, 28, 28)


def test_N7_branches_have_128_192_96_and_256_maps():
    found = judged("N7", RIGHT)
    assert found == {"maps": [128, 192, 96, 256], "pixels": [(28, 28)] * 4}
    outputs = [shape(branch, 256, 28, 28) for branch in naive().children()]
    assert outputs == [(maps, 28, 28) for maps in (128, 192, 96, 256)]


def test_N8_side_by_side_they_have_672_maps():
    assert judged("N8", RIGHT) == {"output": (672, 28, 28), "values": 526_848}
    assert shape(naive(), 256, 28, 28) == (672, 28, 28) and 672 * PIXELS == 526_848


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def grows(channels, n1, n3, n5):
    assert shape(naive(channels, n1, n3, n5), channels, 2, 3) == (channels + n1 + n3 + n5, 2, 3)


def test_N9_depth_can_only_grow():
    found = judged("N9", RIGHT)
    assert found == {"maps": [256, 672, 1088, 1504], "grows": True}
    assert all(b - a == 128 + 192 + 96 for a, b in pairwise(found["maps"]))
    grows()


def test_N10_the_naive_module_costs_854_million():
    found = judged("N10", RIGHT)
    assert found["each"] == [w * PIXELS for w in weights(NAIVE)]
    assert found["each"] == [25_690_112, 346_816_512, 481_689_600]
    assert found["sum"] == 854_196_224


def test_N11_1x1_windows_project_256_maps_to_64():
    assert judged("N11", RIGHT) == {"from": 256, "to": [64, 64, 64]}


def test_N12_the_reduced_module_costs_271_million_not_358():
    found = judged("N12", WRONG)
    each = [w * PIXELS for w in weights(REDUCED)]
    assert found["each"] == each and found["sum"] == sum(each) == 271_351_808
    assert each.count(12_845_056) == 3
    assert sum(each) + 86_704_128 == 358_055_936  # the row of the 3x3, twice
    assert found["naive / reduced"] == pytest.approx(3.148, abs=5e-4)
    assert found["output"] == (480, 28, 28) == (128 + 192 + 96 + 64, 28, 28)
    assert found["weights"] == [sum(weights(NAIVE)), sum(weights(REDUCED))]
    assert found["weights"] == [1_089_536, 346_112]
    with nn.meta():
        real = Inception(256, 128, 128, 192, 32, 96, 64)
    assert zoo.summary(real, (256, 28, 28)).total("macs") == 304_267_264  # 3b as it is


def test_N13_nine_modules():
    found = judged("N13", RIGHT)
    assert found == {"modules": 9, "names": ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]}


def test_N14_22_layers_with_parameters_and_5_without():
    found = judged("N14", RIGHT)
    assert found == {"with parameters": 22, "poolings": 5, "together": 27}
    assert found["with parameters"] == 1 + 2 + 9 * 2 + 1
    net = meta("googlenet", aux=False)
    inside = [m for b in kinds(net, Inception) for m in kinds(b, nn.MaxPool2d)]
    pools = kinds(net, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    assert (len(inside), len(pools) - len(inside)) == (9, 5)


def test_N15_one_linear_layer_and_two_in_each_auxiliary_head():
    assert judged("N15", RIGHT) == {"main path": 1, "auxiliary heads": [2, 2]}
    assert len(kinds(meta("googlenet", aux=False), nn.Linear)) == 1
    assert len(kinds(meta("googlenet"), nn.Linear)) == 1 + 2 + 2
