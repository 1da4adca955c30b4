"""VGG against table 1 of the paper, the lecture's table of VGG-16, and its dense evaluation."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from zoo.vgg import TABLES, VGG, DenseVGG, VGGTorchvision, blocks, start_from

from .nets import (
    assert_gradients_reach_everything,
    images,
    layers,
    parameters,
    shapes_of,
    summary,
    total,
    weighted,
)

# name: (parameters, with batch norm, MACs, activations, field of the last convolution and pooling)
TABLE = {
    "vgg11": (132_863_336, 132_868_840, 7_609_090_048, 8_965_608, 134, 150),
    "vgg13": (133_047_848, 133_053_736, 11_308_466_176, 13_782_504, 140, 156),
    "vgg16c": (133_638_952, 133_647_400, 11_770_888_192, 15_087_080, 140, 156),
    "vgg16": (138_357_544, 138_365_992, 15_470_264_320, 15_087_080, 196, 212),
    "vgg19": (143_667_240, 143_678_248, 19_632_062_464, 16_391_656, 252, 268),
}
CONVS = {
    "vgg11": "0 3 6 8 11 13 16 18",
    "vgg13": "0 2 5 7 10 12 15 17 20 22",
    "vgg16": "0 2 5 7 10 12 14 17 19 21 24 26 28",
    "vgg19": "0 2 5 7 10 12 14 16 19 21 23 25 28 30 32 34",
    "vgg11_bn": "0 4 8 11 15 18 22 25",
    "vgg13_bn": "0 3 7 10 14 17 21 24 28 31",
    "vgg16_bn": "0 3 7 10 14 17 20 24 27 30 34 37 40",
    "vgg19_bn": "0 3 7 10 14 17 20 23 27 30 33 36 40 43 46 49",
}
BN_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
NARROW = (4, "M", 6, "M", 8, 8, "M", 8, 8, "M", 8, 8, "M")  # net A, thin
NARROW_D = (4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M")


def thin(row=NARROW, classes=5, **options):
    return VGG(row, classes, hidden=16, **options)


@pytest.mark.parametrize("name", TABLE)
def test_counts_of_the_table(name):
    count, with_bn, macs, values, conv, pool = TABLE[name]
    found = summary(name)
    assert (found.total("parameters"), found.total("macs")) == (count, macs)
    assert total(found, "values") == values
    assert parameters(shapes_of(f"{name}_bn")) == with_bn
    assert layers(found, "Conv2d")[-1].field == conv
    assert layers(found, "MaxPool2d")[-1].field == pool
    assert layers(found, "MaxPool2d")[-1].output == (512, 7, 7)
    assert total(found, "parameters", ("Linear",)) == 123_642_856
    assert total(found, "macs", ("Linear",)) == 123_633_664


@pytest.mark.parametrize(
    ("name", "depth"),
    [("vgg11", 11), ("vgg11_lrn", 11), ("vgg13", 13), ("vgg16c", 16), ("vgg16", 16), ("vgg19", 19)],
)
def test_weighted_layers_are_those_of_the_name(name, depth):
    net = shapes_of(name)
    assert len(weighted(net)) == depth
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    ones = [m for m in convs if m.kernel_size == (1, 1)]
    assert len(ones) == (3 if name == "vgg16c" else 0)
    assert all(m.kernel_size == (3, 3) and m.padding == (1, 1) for m in convs if m not in ones)
    assert all(m.stride == (1, 1) for m in convs)
    assert [len(b) for b in blocks(net)][-1] == 0  # a pooling ends the last block


LECTURE = (  # the lecture's table: output, values, weights, with biases, multiply-adds
    ((3, 224, 224), 150_528, 0, 0, 0),
    ((64, 224, 224), 3_211_264, 1_728, 1_792, 86_704_128),
    ((64, 224, 224), 3_211_264, 36_864, 36_928, 1_849_688_064),
    ((64, 112, 112), 802_816, 0, 0, 0),
    ((128, 112, 112), 1_605_632, 73_728, 73_856, 924_844_032),
    ((128, 112, 112), 1_605_632, 147_456, 147_584, 1_849_688_064),
    ((128, 56, 56), 401_408, 0, 0, 0),
    ((256, 56, 56), 802_816, 294_912, 295_168, 924_844_032),
    ((256, 56, 56), 802_816, 589_824, 590_080, 1_849_688_064),
    ((256, 56, 56), 802_816, 589_824, 590_080, 1_849_688_064),
    ((256, 28, 28), 200_704, 0, 0, 0),
    ((512, 28, 28), 401_408, 1_179_648, 1_180_160, 924_844_032),
    ((512, 28, 28), 401_408, 2_359_296, 2_359_808, 1_849_688_064),
    ((512, 28, 28), 401_408, 2_359_296, 2_359_808, 1_849_688_064),
    ((512, 14, 14), 100_352, 0, 0, 0),
    ((512, 14, 14), 100_352, 2_359_296, 2_359_808, 462_422_016),
    ((512, 14, 14), 100_352, 2_359_296, 2_359_808, 462_422_016),
    ((512, 14, 14), 100_352, 2_359_296, 2_359_808, 462_422_016),
    ((512, 7, 7), 25_088, 0, 0, 0),
    ((4096,), 4_096, 102_760_448, 102_764_544, 102_760_448),
    ((4096,), 4_096, 16_777_216, 16_781_312, 16_777_216),
    ((1000,), 1_000, 4_096_000, 4_097_000, 4_096_000),
)


def test_the_table_of_vgg16_is_the_lectures_row_by_row():
    found = [(r.output, r.values, r.weights, r.parameters, r.macs) for r in summary("vgg16")]
    assert found == list(LECTURE)
    theirs = summary("vgg16", variant="torchvision")  # the same layers, and one that averages
    assert [r.macs for r in theirs if r.kind != "AdaptiveAvgPool2d"] == [r[4] for r in LECTURE]


def test_sums_of_vgg16():
    found = summary("vgg16")
    assert found.total("values") == 15_237_608  # 61 MB, not "24M * 4 = 96 MB"
    assert found.total("weights") == 138_344_128
    assert total(found, "values", ("Conv2d",)) == 13_547_520
    kept_apart = 13_547_520 + 2 * 4096  # outputs of ReLUs
    assert found.total("values") + kept_apart == 28_793_320
    assert total(found, "macs", ("Conv2d",)) == 15_346_630_656
    first = sum(r.values for r in found.rows[1:3])
    assert first / found.total("values") == pytest.approx(0.421, abs=5e-4)
    share = 123_642_856 / found.total("parameters")
    assert share == pytest.approx(0.894, abs=5e-4)  # not 85 %
    fc6 = found.rows[-3].parameters / found.total("parameters")
    assert fc6 == pytest.approx(0.743, abs=5e-4)


def test_papers_table_2_in_millions():
    rounded = {name: round(count / 1e6) for name, (count, *_) in TABLE.items()}
    assert rounded == {"vgg11": 133, "vgg13": 133, "vgg16c": 134, "vgg16": 138, "vgg19": 144}


def test_a_lrn_is_a_with_one_normalization():
    found = summary("vgg11_lrn")
    assert (found.total("parameters"), found.total("macs")) == TABLE["vgg11"][0:3:2]
    assert [r.kind for r in found.rows[1:4]] == ["Conv2d", "LocalResponseNorm", "MaxPool2d"]
    assert len(layers(found, "LocalResponseNorm")) == 1
    assert set(shapes_of("vgg11_lrn").state_dict()) == set(shapes_of("vgg11").state_dict())


@pytest.mark.parametrize("name", CONVS)
def test_state_dict_keys_are_torchvisions(name):
    places = [f"features.{i}" for i in CONVS[name].split()]
    places += [f"classifier.{i}" for i in (0, 3, 6)]
    keys = {f"{p}.{kind}" for p in places for kind in ("weight", "bias")}
    if name.endswith("_bn"):
        keys |= {f"features.{int(i) + 1}.{k}" for i in CONVS[name].split() for k in BN_KEYS}
    assert set(shapes_of(name).state_dict()) == keys
    assert set(shapes_of(name, variant="torchvision").state_dict()) == keys


def test_heads_for_small_images_and_without_hidden_layers():
    cifar = shapes_of("vgg16", head="cifar")
    gap = shapes_of("vgg16", head="gap")
    assert (parameters(cifar), parameters(gap)) == (14_719_818, 15_227_688)
    saved = 1 - parameters(gap) / 138_357_544
    assert saved == pytest.approx(0.89, abs=5e-3)
    with mg.no_grad():
        assert cifar(mg.zeros(2, 3, 32, 32)).shape == (2, 10)
        assert gap(mg.zeros(1, 3, 64, 33)).shape == (1, 1000)
    small = thin(head="gap").eval()
    x = images(2, 3, 96, 64)
    assert np.allclose(
        small(x).numpy(), small.classifier[0](small.features(x).mean(axis=(2, 3))).numpy(),
        atol=1e-6,
    )  # fmt: skip


def test_dense_evaluation_equals_the_net_where_it_fits_and_averages_where_it_does_not():
    net = thin().double().eval()
    x = images(2, 3, 288, 256, dtype=np.float64)
    with mg.no_grad():
        scores = net.score_map(x).numpy()
        assert scores.shape == (2, 5, 3, 2)
        whole = net(x[:, :, :224, :224]).numpy()
        alone = net.score_map(x[:, :, :224, :224]).numpy()
        assert np.abs(alone[:, :, 0, 0] - whole).max() < 1e-12 * np.abs(whole).max() + 1e-14
        dense = DenseVGG(net)
        assert np.allclose(dense(x).numpy(), scores.mean(axis=(2, 3)), atol=1e-12)
    assert parameters(dense) == parameters(net)  # the same weights, not copies
    with pytest.raises(ShapeError, match="at least 224x224"):
        net.score_map(x[:, :, :200])
    with pytest.raises(ArgError, match="needs the head 'fc'"):
        thin(head="gap").score_map(x)


def test_a_384_pixel_image_gives_6_by_6_scores():
    net = thin((2, "M", 2, "M", 2, "M", 2, "M", 2, "M")).eval()
    with mg.no_grad():
        assert net.features(images(1, 3, 384, 384)).shape == (1, 2, 12, 12)
        assert net.score_map(images(1, 3, 384, 384)).shape == (1, 5, 6, 6)


def test_batch_norm_and_its_relu_are_those_of_two_layers():
    net = thin(batch_norm=True, head="gap").eval()
    x = images(2, 4, 5, 5)
    bn = net.features[1]
    assert isinstance(bn, nn.BatchNorm2d)
    bn.running_mean.copy_(mg.randn(4))
    plain = nn.BatchNorm2d(4)
    plain.load_state_dict(bn.state_dict())
    assert np.array_equal(bn(x).numpy(), F.relu(plain.eval()(x)).numpy())


@pytest.mark.parametrize(("init", "std"), [("glorot", np.sqrt(2 / (9 * 1024))), ("normal", 0.1)])
def test_starting_values(init, std):
    net = VGG((512, 512, "M"), 10, head="gap", init=init)
    w = net.features[2].weight.numpy()
    assert w.std() == pytest.approx(std, rel=0.01)
    assert not net.features[2].bias.numpy().any()


def test_torchvision_starts_with_he_fan_out():
    net = VGGTorchvision((256, 8, "M"), 20)
    assert net.features[2].weight.numpy().std() == pytest.approx(np.sqrt(2 / (9 * 8)), rel=0.02)
    assert net.classifier[6].weight.numpy().std() == pytest.approx(0.01, rel=0.02)


def test_deeper_nets_start_from_four_convolutions_and_the_linear_layers_of_a():
    a, d = thin(), thin(NARROW_D)
    untouched = d.features[2].weight.numpy().copy()  # conv1_2
    assert start_from(d, a) is d
    same = [(0, 0), (5, 3), (10, 6), (12, 8)]  # conv1_1, conv2_1, conv3_1, conv3_2
    for ours, theirs in same:
        assert np.array_equal(d.features[ours].weight.numpy(), a.features[theirs].weight.numpy())
    for i in (0, 3, 6):
        assert np.array_equal(d.classifier[i].weight.numpy(), a.classifier[i].weight.numpy())
    assert np.array_equal(d.features[2].weight.numpy(), untouched)
    other = thin(classes=6)
    before = other.features[0].weight.numpy().copy()
    with pytest.raises(ArgError, match="has shapes"):
        start_from(other, a)
    assert np.array_equal(other.features[0].weight.numpy(), before)


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}], ids=["plain", "bn"])
def test_gradients_reach_every_parameter(options):
    mg.manual_seed(2)
    net = thin(("LRN" if not options else 3, *NARROW), **options)
    x = images(2, 3, 224, 224)
    assert_gradients_reach_everything(net, F.cross_entropy(net(x), mg.tensor([0, 4])))


def test_what_does_not_fit_is_answered_with_what_does():
    with pytest.raises(ShapeError, match=r"224x224, got 32x32.*head='gap'"):
        shapes_of("vgg11")(mg.zeros(1, 3, 32, 32))
    with pytest.raises(ShapeError, match="32x32, got 33x33"):
        shapes_of("vgg11", head="cifar")(mg.zeros(1, 3, 33, 33))
    with pytest.raises(ShapeError, match="at least 32x32, got 31x40"):
        shapes_of("vgg11", variant="torchvision")(mg.zeros(1, 3, 31, 40))
    with pytest.raises(ArgError, match="head 'mlp' is unknown; use 'fc', 'cifar' or 'gap'"):
        zoo.get_model("vgg11", head="mlp")
    with pytest.raises(ArgError, match="'F' is not in the table; use A, A-LRN, B"):
        VGG("F")
    with pytest.raises(ArgError, match="vgg16c: variant 'torchvision' is unknown"):
        zoo.get_model("vgg16c", variant="torchvision")
    assert list(TABLES) == ["A", "A-LRN", "B", "C", "D", "E"]
