"""Section 1c of the ledger: VGG, against arithmetic by hand and exact identities."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from zoo import history
from zoo.lecture import CAVEAT, LEDGER, NOTE, RIGHT, WRONG
from zoo.localize import evaluating, output_of
from zoo.vgg import VGG

from .judging import documented, integers, judged, kinds, meta, parameters, random

D = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # maps and convolutions of VGG-16


def pointwise(weights):
    """A 1x1 convolution with these weights (K, C), without bias."""
    layer = nn.Conv2d(weights.shape[1], weights.shape[0], 1, bias=False).double()
    with mg.no_grad():
        layer.weight.copy_(weights[:, :, None, None])
    return layer


def lecture_rows():
    """(values, weights) of the lecture's table of VGG-16, from the image to FC8."""
    yield 224 * 224 * 3, 0
    pixels, channels = 224, 3
    for maps, count in D:
        for _ in range(count):
            yield maps * pixels**2, 9 * channels * maps
            channels = maps
        pixels //= 2
        yield maps * pixels**2, 0
    for i, o in ((7 * 7 * 512, 4096), (4096, 4096), (4096, 1000)):
        yield o, i * o


VALUES, WEIGHTS = (sum(column) for column in zip(*lecture_rows(), strict=True))


def test_V1_all_windows_are_3x3_and_all_poolings_2x2():
    found = judged("V1", RIGHT)
    assert found == {"window": (3, 3), "stride": (1, 1), "padding": (1, 1), "pool": (2, 2),
                     "its stride": (2, 2)}  # fmt: skip
    for name in ("vgg11", "vgg19"):
        assert {m.kernel_size for m in kinds(meta(name), nn.Conv2d)} == {(3, 3)}


def test_V2_eight_to_sixteen_convolutions_are_1_6_to_3_2_times_alexnets():
    found = judged("V2", CAVEAT)
    assert [found[k] for k in "ABCDE"] == [8, 10, 13, 13, 16]
    assert found["to AlexNet's"] == [1.6, 3.2]
    assert len(kinds(meta("vgg16c"), nn.Conv2d)) == 13


def test_V3_vgg16_has_13_convolutions_and_3_linear_layers():
    assert judged("V3", RIGHT) == {"convolutions": 13, "linear": 3}
    assert sum(count for _, count in D) == 13


def test_V4_a_1x1_convolution_is_a_product_with_a_matrix_at_every_pixel():
    found = judged("V4", RIGHT)
    assert (found["weights"], found["with biases"], found["MACs a pixel"]) == (32, 36, 32)
    assert found["off the product"] < 1e-14
    assert parameters(nn.Conv2d(8, 4, 1)) == 36
    w, x = integers(4, 8), integers(3, 8, 6, 5, seed=1)
    y = pointwise(w)(mg.tensor(x)).numpy()
    assert np.array_equal(y, np.einsum("oc,nchw->nohw", w, x))
    macs = zoo.summary(pointwise(w), (8, 6, 5)).total("macs")
    assert macs == 32 * 6 * 5


def test_V5_without_a_relu_two_1x1_convolutions_are_one():
    found = judged("V5", RIGHT)
    assert found["without ReLU, off one layer"] < 1e-14 < 0.01 < found["with ReLU"]
    a, b, x = integers(6, 8), integers(4, 6, seed=1), mg.tensor(integers(2, 8, 5, 5, seed=2))
    first, second, one = pointwise(a), pointwise(b), pointwise(b @ a)
    assert np.array_equal(second(first(x)).numpy(), one(x).numpy())

    def bent(x):
        return second(F.relu(first(x))).numpy()

    assert not np.array_equal(bent(x), one(x).numpy())
    assert not np.allclose(bent(x) + bent(-x), 0)  # of a linear map it would be 0


def test_V6_1x1_windows_of_network_in_network_are_documentation():
    documented("V6", RIGHT, "Lin et al. 2014")
    ones = [m for m in kinds(meta("nin_imagenet"), nn.Conv2d) if m.kernel_size == (1, 1)]
    assert len(ones) == 8


def test_V7_net_c_has_three_1x1_windows_and_d_is_better():
    found = judged("V7", CAVEAT)
    assert found == {"1x1 in C": 3, "C": [28.1, 9.4], "D": [27.0, 8.8]}
    assert found["D"][0] < found["C"][0] and found["D"][1] < found["C"][1]
    for name in ("vgg16", "vgg19"):
        assert all(m.kernel_size != (1, 1) for m in kinds(meta(name), nn.Conv2d))


def test_V8_three_3x3_windows_see_exactly_7x7():
    assert judged("V8", RIGHT) == {"by the rule": 7, "by the gradient": (7, 7)}
    stack = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))).double()
    for p in stack.parameters():
        nn.init.uniform_(p, 0.5, 1.0)  # positive, so that nothing cancels
    x = random(1, 2, 15, 15).requires_grad_()
    (g,) = mg.grad(stack(x)[0, 1, 7, 7], x)
    seen = g.numpy()[0].all(axis=0)
    assert seen[4:11, 4:11].all()
    assert seen.sum() == 49 and not g.numpy()[0].any(axis=0)[~seen].any()


def test_V9_three_relus_instead_of_one():
    assert judged("V9", RIGHT) == {"three 3x3": 3, "one 7x7": 1}


def test_V10_27_against_49_weights_a_pair_of_maps():
    found = judged("V10", RIGHT)
    for c, pair in ((3, [243, 441]), (64, [110_592, 200_704]), (256, [1_769_472, 3_211_264])):
        assert found[f"{c} maps"] == pair == [27 * c * c, 49 * c * c]
    assert found["7x7 has more by %"] == pytest.approx(81.5, abs=0.05)


def test_V11_with_three_maps_it_is_243_against_441_not_213():
    found = judged("V11", WRONG)
    assert found == {"three 3x3": 243, "one 7x7": 441}
    assert 27 * 9 == 243 != 213


def test_V12_a_stride_makes_later_windows_see_more():
    assert judged("V12", NOTE) == {"stride 1": 5, "stride 2": 7}
    net = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3)).double()
    for p in net.parameters():
        nn.init.ones_(p)
    x = random(1, 1, 15, 15).requires_grad_()
    (g,) = mg.grad(net(x)[0, 0, 2, 2], x)
    assert (g.numpy()[0, 0] != 0).sum() == 7 * 7


def test_V13_the_box_drawings_are_not_the_nets():
    found = judged("V13", WRONG)
    assert found["vgg16"] == "2-2-3-3-3" != "2-2-2-3-3"  # 13 convolutions, the drawing has 12
    assert found["vgg19"] == "2-2-4-4-4"
    assert found["AlexNet pools after"] == ["conv1", "conv2", "conv5"]
    order = [type(m).__name__ for m in meta("alexnet").features]
    convs = [order[:i].count("Conv2d") for i, kind in enumerate(order) if kind == "MaxPool2d"]
    assert convs == [1, 2, 5]


def test_V14_every_row_of_the_table_agrees():
    judged("V14", RIGHT)
    ours = [(row.values, row.weights) for row in zoo.summary("vgg16")]
    assert ours == [*lecture_rows()]


def test_V15_conv3_64_puts_out_3_2_million_values():
    assert judged("V15", RIGHT) == {"values": [3_211_264, 3_211_264]}
    assert 64 * 224 * 224 == 3_211_264


def test_V16_one_image_takes_61_mb_not_96():
    found = judged("V16", WRONG)
    assert found["values"] == VALUES == 15_237_608
    assert found["MB"] == pytest.approx(60.95, abs=0.005)
    assert found["MiB"] == pytest.approx(58.1, abs=0.05)
    assert found["with gradients, MB"] == 2 * found["MB"]
    assert found["values"] < 0.65 * 24e6


def test_V17_138_million_parameters():
    found = judged("V17", RIGHT)
    assert found == {"with biases": 138_357_544, "without": WEIGHTS}
    assert WEIGHTS == 138_344_128


def test_V18_two_convolutions_hold_42_percent_of_the_values():
    found = judged("V18", RIGHT)
    assert found["values"] == 2 * 64 * 224**2 == 6_422_528
    assert found["% of all"] == pytest.approx(42.1, abs=0.06)


def test_V19_fc6_holds_74_percent_of_the_parameters():
    found = judged("V19", RIGHT)
    assert found["FC6"] == 25_088 * 4096 + 4096 == 102_764_544
    assert found["FC6, % of all"] == pytest.approx(74.3, abs=0.05)
    assert found["linear, % of all"] == pytest.approx(89.4, abs=0.05)


def test_V20_fc8_has_4096000_weights():
    assert judged("V20", RIGHT) == {"weights": 4_096_000}


def test_V21_second_in_classification_and_first_in_localization():
    found = judged("V21", RIGHT)
    assert found == {"classification": 7.32, "localization": 25.3}
    assert history.second(2014).method == "VGG"
    same_year = {k: v for k, v in history.LOCALIZATION.items() if k.endswith("2014")}
    assert min(same_year, key=same_year.get) == "VGG 2014"


def test_V22_trained_as_alexnet_but_with_batches_of_256_and_scales():
    found = judged("V22", RIGHT)
    assert found["the same"] == ["lr", "momentum", "weight_decay", "factor", "reductions"]
    assert found["batch_size"] == [128, 256] and found["scales"] == [256, 512]


def test_V23_only_a_lrn_normalizes():
    found = judged("V23", RIGHT)
    assert found == {"A": 0, "B": 0, "C": 0, "D": 0, "E": 0, "A-LRN": 1}


def test_V24_vgg19_is_slightly_better_and_needs_more():
    found = judged("V24", RIGHT)
    assert (found["values E"], found["values D"]) == (16_391_656, 15_087_080)
    assert found["values D"] == VALUES - 3 * 224**2
    for better, worse in zip(found["error E"], found["error D"], strict=True):
        assert 0 < worse - better < 0.2


def test_V25_two_nets_are_better_than_one():
    found = judged("V25", RIGHT)
    assert found == {"E": [24.4, 7.1], "D and E": [23.7, 6.8]}
    assert found["D and E"][1] < found["E"][1]


def test_V26_fc7_gives_features_whose_linear_map_is_the_logits():
    assert judged("V26", RIGHT) == {"features": 4096}
    mg.manual_seed(0)
    net = VGG((2, "M", 3, "M", 4, "M", 4, "M", 4, "M"), 5, hidden=16)
    x = mg.randn(2, 3, 224, 224)
    features = output_of(net, "classifier.4", x)  # FC7 and its ReLU
    assert features.shape == (2, 16) and (features.numpy() >= 0).all()
    with evaluating(net), mg.no_grad():
        assert np.allclose(net(x).numpy(), net.classifier[6](features).numpy(), atol=1e-6)
    assert LEDGER["V26"].code == "zoo.localize.output_of"
