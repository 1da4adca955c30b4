"""AlexNet in its four forms against the paper, the lecture's table, Caffe and torchvision."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from zoo.alexnet import AlexNet

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

# layer: (output, parameters and MACs of one column, of two groups)
CONVOLUTIONS = {
    "features.0": ((96, 55, 55), 34_944, 105_415_200, 34_944, 105_415_200),
    "features.3": ((256, 27, 27), 614_656, 447_897_600, 307_456, 223_948_800),
    "features.6": ((384, 13, 13), 885_120, 149_520_384, 885_120, 149_520_384),
    "features.8": ((384, 13, 13), 1_327_488, 224_280_576, 663_936, 112_140_288),
    "features.10": ((256, 13, 13), 884_992, 149_520_384, 442_624, 74_760_192),
}
LINEAR = {
    "classifier.1": (4096, 37_752_832),
    "classifier.4": (4096, 16_781_312),
    "classifier.6": (1000, 4_097_000),
}
LRN = nn.LocalResponseNorm


@pytest.fixture(scope="module")
def net():
    mg.manual_seed(3)
    return zoo.get_model("alexnet_grouped")


@pytest.mark.parametrize(("name", "column"), [("alexnet", 0), ("alexnet_grouped", 2),
                                              ("caffenet", 2)])  # fmt: skip
def test_every_row_of_the_table(name, column):
    rows = {r.name: r for r in summary(name)}
    for layer, (output, *counts) in CONVOLUTIONS.items():
        assert rows[layer].output == output
        assert [rows[layer].parameters, rows[layer].macs] == counts[column : column + 2]
    for layer, (features, count) in LINEAR.items():
        assert (rows[layer].output, rows[layer].parameters) == ((features,), count)
    assert total(summary(name), "macs", ("Linear",)) == 58_621_952


@pytest.mark.parametrize(
    ("name", "variant", "count", "macs"),
    [
        ("alexnet", None, 62_378_344, 1_135_256_096),
        ("alexnet_grouped", None, 60_965_224, 724_406_816),
        ("caffenet", None, 60_965_224, 724_406_816),
        ("alexnet", "torchvision", 61_100_840, 714_188_480),
    ],
)
def test_totals(name, variant, count, macs):
    found = summary(name, variant=variant)
    assert (found.total("parameters"), found.total("macs"), found.idle) == (count, macs, 0)


def test_node_counts_of_eight_layers():
    found = layers(summary("alexnet"), "Conv2d", "Linear")
    nodes = [r.values for r in found]
    assert nodes == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    assert sum(nodes) == 659_272  # "650,000 neurons"
    assert len(weighted(shapes_of("alexnet"))) == 8
    assert total(summary("alexnet"), "values") == 781_736


def test_first_layer_shares_its_weights():
    conv1 = summary("alexnet").rows[1]
    assert conv1.weights == 11 * 11 * 3 * 96 == 34_848
    assert conv1.values * (11 * 11 * 3 + 1) == 105_705_600  # a filter of its own per node


def test_parameters_are_in_the_linear_layers_and_work_in_the_convolutions():
    for name, convs, share, work in (
        ("alexnet", 3_747_200, 0.940, 0.052),
        ("alexnet_grouped", 2_334_080, 0.962, 0.081),
    ):
        found = summary(name)
        linear = total(found, "parameters", ("Linear",))
        assert linear == 58_631_144
        assert total(found, "parameters", ("Conv2d",)) == convs
        assert linear / found.total("parameters") == pytest.approx(share, abs=5e-4)
        assert 58_621_952 / found.total("macs") == pytest.approx(work, abs=5e-4)
    ratios = [58_631_144 / convs for convs in (2_334_080, 3_747_200)]
    assert ratios == pytest.approx([25.1, 15.6], abs=0.05)


def test_receptive_fields():
    fields = {r.name: r.field for r in summary("alexnet")}
    wanted = {"features.0": 11, "features.2": 19, "features.3": 51, "features.10": 163,
              "features.12": 195}  # fmt: skip
    assert {name: fields[name] for name in wanted} == wanted


def test_pooled_maps_are_27_13_and_6():
    pools = layers(summary("alexnet"), "MaxPool2d")
    assert [r.output for r in pools] == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert pools[0].values == 69_984
    assert all(r.parameters == 0 for r in pools)


@pytest.mark.parametrize(("name", "first"), [("alexnet", "norm1"), ("alexnet_grouped", "norm1"),
                                             ("caffenet", "2")])  # fmt: skip
def test_the_paper_normalizes_before_pooling_and_caffenet_after(name, first):
    names = [n for n, _ in shapes_of(name).features.named_children()]
    assert names[2] == first
    norms = layers(summary(name), "LocalResponseNorm")
    size = 55 if first == "norm1" else 27
    assert norms[0].output == (96, size, size)
    assert all((r.parameters, r.macs) == (0, 0) for r in norms)


def normalized(a, k, alpha, beta, n):
    """Section 3.3, in loops over channels."""
    b = np.empty_like(a)
    channels = a.shape[1]
    for i in range(channels):
        near = a[:, max(0, i - n // 2) : min(channels - 1, i + n // 2) + 1]
        b[:, i] = a[:, i] / (k + alpha * (near**2).sum(axis=1)) ** beta
    return b


@pytest.mark.parametrize(
    ("name", "k", "alpha"),
    [("alexnet", 2.0, 1e-4), ("caffenet", 1.0, 1e-4 / 5)],  # Caffe divides by n
)
def test_normalization_is_the_formula_of_the_paper(name, k, alpha):
    layer = next(m for m in shapes_of(name).modules() if isinstance(m, LRN))
    a = 50 * np.random.default_rng(0).standard_normal((2, 9, 3, 2))
    wanted = normalized(a, k, alpha, 0.75, 5)
    assert np.allclose(layer(mg.tensor(a)).numpy(), wanted, rtol=1e-12)


def test_groups_are_two_nets_where_the_paper_has_two(net):
    convs = {n: m for n, m in net.features.named_children() if isinstance(m, nn.Conv2d)}
    shapes = {n: m.weight.shape for n, m in convs.items()}
    assert shapes["3"] == (256, 48, 5, 5)
    assert shapes["8"] == (384, 192, 3, 3)
    assert shapes["10"] == (256, 192, 3, 3)
    for name, crosses in (("3", False), ("6", True), ("8", False), ("10", False)):
        conv = convs[name]
        x = images(1, conv.in_channels, 7, 7).requires_grad_()
        half_in, half_out = conv.in_channels // 2, conv.out_channels // 2
        conv(x)[:, half_out:].sum().backward()
        assert x.grad.numpy()[:, half_in:].any()
        assert x.grad.numpy()[:, :half_in].any() == crosses


def test_starting_values_are_the_papers(net):
    names = ["0", "3", "6", "8", "10"]
    convs, linears = (dict(part.named_children()) for part in (net.features, net.classifier))
    for layer, bias in zip([*(convs[n] for n in names), *(linears[n] for n in "146")],
                           [0, 1, 0, 1, 1, 1, 1, 0], strict=True):  # fmt: skip
        w = layer.weight.numpy()
        assert w.std() == pytest.approx(0.01, rel=0.02) and abs(w.mean()) < 2e-4
        assert (layer.bias.numpy() == bias).all()


def test_gradients_reach_every_parameter(net):
    net.train()
    loss = F.cross_entropy(net(images(1, 3, 227, 227)), mg.tensor([7]))
    assert_gradients_reach_everything(net, loss)


def test_state_dict_keys_are_torchvisions_in_every_form():
    places = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]
    keys = {f"{p}.{kind}" for p in places for kind in ("weight", "bias")}
    for name, variant in (("alexnet", None), ("alexnet_grouped", None), ("caffenet", None),
                          ("alexnet", "torchvision")):  # fmt: skip
        assert set(shapes_of(name, variant=variant).state_dict()) == keys


def test_dropout_stands_behind_the_linear_layers_of_the_paper_and_before_torchvisions():
    def kinds(**options):
        return [type(m).__name__ for m in shapes_of("alexnet", **options).classifier]

    assert kinds() == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert kinds(variant="torchvision")[:2] == ["Dropout", "Linear"]


def test_torchvisions_form_takes_images_from_63_pixels():
    net = shapes_of("alexnet", variant="torchvision", num_classes=3)
    first = summary("alexnet", variant="torchvision").rows[1]
    assert (first.output, net.features[0].padding) == ((64, 55, 55), (2, 2))
    with mg.no_grad():
        assert net(mg.zeros(1, 3, 63, 80)).shape == (1, 3)
        with pytest.raises(ShapeError, match="at least 63x63, got 62x63"):
            net(mg.zeros(1, 3, 62, 63))


def test_other_sizes_and_groups_are_refused_with_the_way_out():
    with pytest.raises(ShapeError, match=r"227x227, got 224x224.*variant='torchvision'"):
        shapes_of("alexnet")(mg.zeros(1, 3, 224, 224))
    with pytest.raises(ArgError, match="groups 3 is unknown; use 1 or 2"):
        AlexNet(groups=3)
    with pytest.raises(ArgError, match="caffenet: variant 'torchvision' is unknown; use 'paper'"):
        zoo.get_model("caffenet", variant="torchvision")
    with pytest.raises(ShapeError, match="channels"):
        shapes_of("alexnet")(mg.zeros(1, 1, 227, 227))
    assert parameters(shapes_of("alexnet", num_classes=10)) == 62_378_344 - 990 * 4097
