"""Section 1b of the ledger: AlexNet, against arithmetic by hand."""

import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import nn
from minigrad.errors import ShapeError
from zoo.lecture import CAVEAT, LEDGER, RIGHT, WRONG
from zoo.recipes import get_recipe

from .judging import documented, judged, kinds, meta, parameters, random, size

MAPS = (96, 256, 384, 384, 256)
PIXELS = (55, 27, 13, 13, 13)
NODES = [m * p**2 for m, p in zip(MAPS, PIXELS, strict=True)] + [4096, 4096, 1000]


def conv_parameters(groups):
    """With biases, by the table of the paper."""
    shapes = ((3, 96, 11, 1), (96, 256, 5, groups), (256, 384, 3, 1), (384, 384, 3, groups),
              (384, 256, 3, groups))  # fmt: skip
    return sum(c // g * k * r * r + k for c, k, r, g in shapes)


LINEAR = [i * o + o for i, o in ((9216, 4096), (4096, 4096), (4096, 1000))]


def test_A1_five_convolutions_and_three_linear_layers():
    assert judged("A1", RIGHT) == {"convolutions": 5, "linear": 3}
    assert len(kinds(meta("alexnet_grouped"), nn.Conv2d, nn.Linear)) == 8


def test_A2_eight_layers_have_eight_numbers_of_nodes():
    found = judged("A2", WRONG)
    assert found["nodes"] == NODES
    assert NODES == [290400, 186624, 64896, 64896, 43264, 4096, 4096, 1000]
    assert found["sum"] == sum(NODES) == 659_272
    lecture = [290400, 186624, 64896, 43264, 4096, 4096, 1000]
    assert lecture != NODES and sorted({*NODES}) == sorted({*lecture})


def test_A3_convolutions_have_2_3_million_parameters():
    found = judged("A3", RIGHT)
    assert found == {"two GPUs": conv_parameters(2), "one column": conv_parameters(1)}
    assert (conv_parameters(2), conv_parameters(1)) == (2_334_080, 3_747_200)


def test_A4_linear_layers_have_58_6_million_parameters_not_65():
    found = judged("A4", WRONG)
    assert found["each"] == LINEAR == [37_752_832, 16_781_312, 4_097_000]
    assert found["sum"] == sum(LINEAR) == 58_631_144
    assert found["all of the net"] == 60_965_224 == sum(LINEAR) + conv_parameters(2)
    assert found["all of the net"] < 65e6


def test_A5_linear_layers_have_25_times_the_parameters_not_30():
    found = judged("A5", CAVEAT)
    assert found["two GPUs: ratio"] == pytest.approx(58_631_144 / 2_334_080)
    assert found["two GPUs: ratio"] == pytest.approx(25.1, abs=0.05)
    assert found["one column: ratio"] == pytest.approx(15.6, abs=0.05)
    macs = sum(LINEAR) - 9192  # biases cost nothing
    assert found["two GPUs: % of MACs"] == pytest.approx(100 * macs / 724_406_816)
    assert found["two GPUs: % of MACs"] == pytest.approx(8.1, abs=0.05)
    assert found["one column: % of MACs"] == pytest.approx(5.2, abs=0.05)
    shares = sum(LINEAR) / 60_965_224, sum(LINEAR) / 62_378_344
    assert shares == pytest.approx((0.962, 0.940), abs=5e-4)


def test_A6_no_gradient_crosses_from_one_gpu_to_the_other_except_in_conv3():
    shapes = [*judged("A6", RIGHT).values()]
    assert shapes == [(96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3),
                      (256, 192, 3, 3)]  # fmt: skip
    for layer, conv in enumerate(kinds(meta("alexnet_grouped"), nn.Conv2d), 1):
        conv.reset_parameters()
        maps, half = conv.in_channels, conv.out_channels // 2
        x = mg.randn(1, maps, 11, 11, requires_grad=True)
        (g,) = mg.grad(conv(x)[:, half:].sum(), x)
        crossing, own = g.numpy()[:, : maps // 2], g.numpy()[:, maps // 2 :]
        assert own.any() and crossing.any() == (layer in (1, 3))


def test_A7_the_paper_normalizes_before_it_pools():
    found = judged("A7", CAVEAT)
    assert found["paper"].startswith("conv norm pool conv norm pool conv conv conv pool")
    assert found["CaffeNet"].startswith("conv pool norm conv pool norm conv conv conv pool")
    order = [type(m).__name__ for m in meta("alexnet").features]
    assert order[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]


def test_A8_windows_fit_227_pixels_and_not_224():
    found = judged("A8", RIGHT)
    assert found == {"image": (3, 227, 227), "steps at 227": 54.0, "steps at 224": 53.25}
    assert (227 - 11) % 4 == 0 and (224 - 11) % 4
    with pytest.raises(ShapeError, match="227x227, got 224x224"):
        meta("alexnet")(mg.zeros(1, 3, 224, 224))
    assert size(224, 11, 4, 2) == 55  # torchvision


def test_A9_conv1_puts_out_55_by_55_by_96():
    assert judged("A9", RIGHT) == {"output": (96, 55, 55)}
    assert size(227, 11, 4) == 55


def test_A10_conv1_has_34848_weights():
    found = judged("A10", RIGHT)
    assert found == {"weights": 34_848, "with biases": 34_944, "without sharing": 105_705_600}
    assert 11 * 11 * 3 * 96 == 34_848 and 290_400 * 364 == 105_705_600
    assert parameters(kinds(meta("alexnet"), nn.Conv2d)[0]) == 34_944


def test_A11_pool1_has_no_parameters():
    found = judged("A11", RIGHT)
    assert found == {"output": (96, 27, 27), "values": 69_984, "parameters": 0}
    assert size(55, 3, 2) == 27


def test_A12_norm1_keeps_the_shape():
    assert judged("A12", RIGHT) == {"output": (96, 27, 27), "parameters": 0}


def test_A13_conv2_and_pool2():
    assert judged("A13", RIGHT) == {"CONV2": (256, 27, 27), "POOL2": (256, 13, 13)}
    assert (size(27, 5, 1, 2), size(27, 3, 2)) == (27, 13)


def test_A14_norm2_keeps_the_shape():
    assert judged("A14", RIGHT) == {"output": (256, 13, 13), "parameters": 0}


def test_A15_conv3_and_conv4():
    assert judged("A15", RIGHT) == {"CONV3": (384, 13, 13), "CONV4": (384, 13, 13)}
    assert size(13, 3, 1, 1) == 13


def test_A16_conv5():
    assert judged("A16", RIGHT) == {"CONV5": (256, 13, 13)}


def test_A17_fc6_takes_9216_values():
    found = judged("A17", RIGHT)
    assert found == {"POOL3": (256, 6, 6), "inputs of FC6": 9216}
    assert size(13, 3, 2) == 6 and 256 * 6 * 6 == 9216


def test_A18_linear_layers_put_out_4096_4096_and_1000():
    assert judged("A18", RIGHT) == {"outputs": [4096, 4096, 1000]}


def test_A19_data_and_gpus_are_documentation():
    documented("A19", RIGHT, "1.2 million", "GTX 580")


def test_A20_a_relu_does_not_saturate_and_was_not_the_first():
    found = judged("A20", WRONG)
    assert found["ReLUs"] == len(kinds(meta("alexnet"), nn.ReLU)) == 7
    assert found["relu'(5)"] == 1.0
    assert found["tanh'(5)"] == pytest.approx(1 / math.cosh(5) ** 2)
    assert "Nair" in LEDGER["A20"].correction and "Jarrett" in LEDGER["A20"].correction


def test_A21_the_formula_of_local_response_normalization_and_no_gain_from_it():
    found = judged("A21", RIGHT)
    assert found == {"norms in AlexNet": 2, "A": [29.6, 10.4], "A-LRN": [29.7, 10.5]}
    assert found["A-LRN"][0] >= found["A"][0] and found["A-LRN"][1] >= found["A"][1]
    norm = kinds(meta("alexnet"), nn.LocalResponseNorm)[0]
    a = random(2, 7, 3, 3)
    wanted = np.empty(a.shape)
    for i in range(7):  # section 3.3 of the paper: k = 2, n = 5, alpha = 1e-4, beta = 0.75
        near = a.numpy()[:, max(0, i - 2) : i + 3]
        wanted[:, i] = a.numpy()[:, i] / (2 + 1e-4 * (near**2).sum(axis=1)) ** 0.75
    assert np.abs(norm(a).numpy() - wanted).max() < 1e-14


def test_A22_batches_of_128_and_momentum():
    assert judged("A22", RIGHT) == {"batch_size": 128, "momentum": 0.9, "weight_decay": 5e-4}
    assert get_recipe("caffenet-imagenet").values["batch_size"] == 256


def test_A23_the_rate_falls_three_times_to_1e_5():
    rates = judged("A23", CAVEAT)["learning rates"]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])


def test_A24_crops_and_mirror_images_are_2048_or_2178():
    assert judged("A24", RIGHT) == {"paper": 2048, "distinct": 2178}
    image = np.arange(256 * 256).reshape(256, 256)  # every pixel is another
    views = set()
    for top in range(256 - 224 + 1):
        for left in range(256 - 224 + 1):
            row = image[top, left : left + 224]
            views |= {(row[0], row[-1]), (row[-1], row[0])}  # as it is, and mirrored
    assert len(views) == 2178 and (256 - 224) ** 2 * 2 == 2048


def test_A25_half_of_fc6_and_fc7_is_dropped():
    assert judged("A25", RIGHT) == {"dropout": ["FC6: 0.5", "FC7: 0.5"]}
    dropped = kinds(meta("alexnet"), nn.Dropout)
    assert [m.p for m in dropped] == [0.5, 0.5]
    mg.manual_seed(0)
    ones = mg.ones(1, 100_000)
    out = F.dropout(ones, 0.5, training=True).numpy()
    assert set(np.unique(out)) == {0.0, 2.0} and out.mean() == pytest.approx(1, abs=0.02)


def test_A26_ensembles_gain_1_8_and_2_9_points():
    found = judged("A26", CAVEAT)
    assert found["gain of 5"] == pytest.approx(18.2 - 16.4)
    assert found["gain of 7"] == pytest.approx(18.2 - 15.3)
    rng = np.random.default_rng(0)  # the mean of predictions is never worse than they on average
    chances = rng.dirichlet(np.ones(10), (5, 400))  # 5 nets, 400 images
    y = rng.integers(0, 10, 400)
    each = -np.log(chances[:, np.arange(400), y]).mean(axis=1)
    together = -np.log(chances.mean(axis=0)[np.arange(400), y]).mean()
    assert together < each.mean()


def test_A27_each_gpu_has_half_of_the_maps():
    assert judged("A27", RIGHT) == {"maps a GPU": [48, 128, 192, 192, 128]}
    assert [m.groups for m in kinds(meta("alexnet_grouped"), nn.Conv2d)] == [1, 2, 1, 2, 2]
