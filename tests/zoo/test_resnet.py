"""Residual and plain nets against table 1 of the paper, torchvision's names, and their blocks."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError
from zoo.child import STATUS, call
from zoo.resnet import BasicBlock, Bottleneck, ResNet

from .nets import (
    assert_gradients_reach_everything,
    images,
    layers,
    parameters,
    shapes_of,
    summary,
    weighted,
)

# depth: (parameters of A, B, C; MACs of B with the stride on 3x3, on 1x1)
TABLE = {
    18: (11_515_688, 11_689_512, 12_043_816, 1_814_073_344, 1_814_073_344),
    34: (21_623_848, 21_797_672, 22_716_840, 3_663_761_408, 3_663_761_408),
    50: (22_780_456, 25_557_032, 40_128_552, 4_089_184_256, 3_857_973_248),
    101: (41_772_584, 44_549_160, 76_981_288, 7_801_405_440, 7_570_194_432),
    152: (57_416_232, 60_192_808, 107_335_720, 11_513_626_624, 11_282_415_616),
}
CIFAR_MACS = {
    20: 40_551_040, 32: 68_862_592, 44: 97_174_144, 56: 125_485_696, 110: 252_887_680,
    1202: 2_829_238_912,
}  # fmt: skip
KINDS = (nn.Conv2d, nn.BatchNorm2d)


def is_projection(name):
    return "downsample" in name


@pytest.mark.parametrize("depth", TABLE)
def test_parameters_of_every_shortcut(depth):
    for option, count in zip("ABC", TABLE[depth][:3], strict=True):
        assert parameters(shapes_of(f"resnet{depth}", shortcut=option)) == count
    assert parameters(shapes_of(f"resnet{depth}", variant="torchvision")) == TABLE[depth][1]


@pytest.mark.parametrize("depth", TABLE)
def test_macs_of_the_paper_and_of_torchvision(depth):
    *_, theirs, ours = TABLE[depth]
    assert summary(f"resnet{depth}").total("macs") == ours
    assert summary(f"resnet{depth}", variant="torchvision").total("macs") == theirs


@pytest.mark.parametrize(
    ("depth", "count", "macs"), [(18, 11_515_688, 1_794_805_760), (34, 21_623_848, 3_644_493_824)]
)
def test_plain_nets_cost_what_option_a_costs(depth, count, macs):
    plain = summary(f"plain{depth}")
    with_a = summary(f"resnet{depth}", shortcut="A")
    assert (plain.total("parameters"), plain.total("macs")) == (count, macs)
    assert (with_a.total("parameters"), with_a.total("macs")) == (count, macs)
    if depth == 34:
        assert macs / 19_632_062_464 == pytest.approx(0.186, abs=5e-4)  # of VGG-19


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "plain18", "plain34"]
)
def test_weighted_layers_on_the_main_path_are_the_name(name):
    net = shapes_of(name)
    main = [n for n, m in net.named_modules()
            if isinstance(m, nn.Conv2d | nn.Linear) and not is_projection(n)]  # fmt: skip
    assert len(main) == int(name.removeprefix("resnet").removeprefix("plain"))


@pytest.mark.parametrize(
    ("depth", "option", "count"),
    [(18, "B", 3), (34, "B", 3), (50, "B", 4), (152, "B", 4), (34, "C", 16), (34, "A", 0)],
)
def test_projections(depth, option, count):
    net = shapes_of(f"resnet{depth}", shortcut=option)
    found = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and is_projection(n)]
    assert len(found) == count


def test_stages_halve_the_map_and_double_the_filters_at_equal_cost():
    found = summary("resnet34", variant="torchvision")
    rows = {r.name: r for r in found}
    sizes = [rows[f"layer{k}.1.bn2"].output for k in (1, 2, 3, 4)]
    assert sizes == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert {rows[f"layer{k}.1.conv{i}"].macs for k in (1, 2, 3, 4) for i in (1, 2)} == {115_605_504}
    assert rows["maxpool"].output == (64, 56, 56) and rows["conv1"].output == (64, 112, 112)
    assert rows["avgpool"].output == (512, 1, 1)
    assert summary("resnet50").rows[-3].output == (2048, 7, 7)


def test_a_bottleneck_is_cheaper_than_two_3x3_convolutions():
    def weights(block):
        return sum(m.weight.size for m in block.modules() if isinstance(m, nn.Conv2d))

    assert weights(Bottleneck(256, 64, 1, "B", "1x1")) == 69_632
    assert weights(BasicBlock(64, 64, 1, "B", "1x1")) == 73_728
    assert weights(BasicBlock(256, 256, 1, "B", "1x1")) == 1_179_648


def test_keras_counts_conv_biases_and_running_statistics_as_well():
    net = shapes_of("resnet50")
    biases = sum(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    running = sum(2 * m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert (biases, running) == (26_560, 53_120)
    assert parameters(net) + biases + running == 25_636_712


def test_stride_is_on_the_1x1_in_the_paper_and_on_the_3x3_in_torchvision():
    for variant, strides in ((None, [(2, 2), (1, 1)]), ("torchvision", [(1, 1), (2, 2)])):
        block = shapes_of("resnet50", variant=variant).layer2[0]
        assert [block.conv1.stride, block.conv2.stride] == strides
    assert shapes_of("resnet50", stride_on="3x3").layer2[0].conv2.stride == (2, 2)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_batch_norm_follows_every_convolution_and_nothing_drops_out(name):
    kinds = [type(m) for m in shapes_of(name).modules()]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.Conv2d)
    assert nn.Dropout not in kinds and kinds.count(nn.Linear) == 1


def keys(blocks, convs, first_has_projection):
    """torchvision's names."""
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    found = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{k}" for k in bn)}
    for stage, count in enumerate(blocks, 1):
        for i in range(count):
            at = f"layer{stage}.{i}"
            for k in range(1, convs + 1):
                found |= {f"{at}.conv{k}.weight", *(f"{at}.bn{k}.{b}" for b in bn)}
            if i == 0 and (stage > 1 or first_has_projection):
                found |= {f"{at}.downsample.0.weight", *(f"{at}.downsample.1.{b}" for b in bn)}
    return found


@pytest.mark.parametrize("variant", [None, "torchvision"])
def test_state_dict_keys_are_torchvisions(variant):
    net = shapes_of("resnet18", variant=variant)
    assert set(net.state_dict()) == keys((2, 2, 2, 2), 2, False)
    assert len(net.state_dict()) == 122
    assert (len(list(net.parameters())), len(list(net.buffers()))) == (62, 60)
    deep = shapes_of("resnet101", variant=variant)
    assert set(deep.state_dict()) == keys((3, 4, 23, 3), 3, True)


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize(("option", "wanted"), [("B", "relu(x)"), (None, "zero")])
def test_a_block_with_zero_weights_is_relu_of_x_or_zero(kind, option, wanted):
    block = kind(8 if kind is BasicBlock else 32, 8, 1, option, "1x1")
    for p in block.parameters():
        p.requires_grad_(False).zero_()
    x = images(2, 8 * kind.expansion, 4, 3)
    expected = np.maximum(x.numpy(), 0) if wanted == "relu(x)" else np.zeros(x.shape)
    assert np.array_equal(block(x).numpy(), expected)


def test_zero_init_residual_starts_every_block_as_its_shortcut():
    net = zoo.get_model("resnet50", num_classes=2, zero_init_residual=True)
    block = net.layer1[1]
    x = images(2, 256, 5, 5)
    assert np.array_equal(block(x).numpy(), np.maximum(x.numpy(), 0))
    assert zoo.get_model("resnet18", num_classes=2).layer1[0].bn2.weight.numpy().all()


@pytest.mark.parametrize(("variant", "fan"), [(None, "in"), ("torchvision", "out")])
def test_starting_values(variant, fan):
    conv = zoo.get_model("resnet18", variant=variant, num_classes=2).layer4[0].conv1
    size = 9 * (256 if fan == "in" else 512)
    assert conv.weight.numpy().std() == pytest.approx(np.sqrt(2 / size), rel=0.01)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"shortcut": "A"}),
        ("resnet34", {"shortcut": "C"}),
        ("resnet50", {}),
        ("resnet50", {"variant": "torchvision"}),
        ("plain18", {}),
    ],
)
def test_gradients_reach_every_parameter(name, options):
    mg.manual_seed(4)
    net = zoo.get_model(name, num_classes=3, **options)
    x = images(3, 3, 64, 64)
    assert_gradients_reach_everything(net, F.cross_entropy(net(x), mg.tensor([0, 1, 2])))


def test_the_receptive_field_follows_the_main_path():
    # 7/2: 7; pool 3/2: 11; each of four 3x3 at j = 4 adds 8: 43; layer2: 4 (3/2), then 3 x 16
    fields = {r.name: r.field for r in summary("resnet18")}
    assert [fields[n] for n in ("conv1", "maxpool", "layer1.1.bn2")] == [7, 11, 43]
    assert fields["layer2.0.conv1"] == 51 and fields["layer2.0.conv2"] == 67
    assert fields["layer2.0.downsample.0"] == 43  # 1x1: it sees what its input sees
    assert fields["layer4.1.bn2"] == 435
    assert fields["layer2.1.conv1"] == 83


@pytest.mark.parametrize("depth", CIFAR_MACS)
def test_cifar_nets_of_every_depth(depth):
    found = summary(f"resnet{depth}")
    assert found.total("macs") == CIFAR_MACS[depth] == summary(f"plain{depth}").total("macs")
    assert len(layers(found, "Conv2d", "Linear")) == depth


def test_resnet_1202_of_every_shortcut():
    counts = [parameters(shapes_of("resnet1202", shortcut=s)) for s in "ABC"]
    assert counts == [19_421_274, 19_424_026, 20_538_714]
    assert parameters(shapes_of("plain1202")) == 19_421_274
    assert len(weighted(shapes_of("plain1202"))) == 1202


@pytest.mark.skipif(not STATUS.exists(), reason="reads /proc")
def test_a_training_step_of_resnet_1202_takes_less_than_3_gb_and_no_recursion():
    step = call("tests.zoo.nets:training_step", "resnet1202", 8, 100)
    assert np.isfinite(step.result)
    assert step.peak < 3 * 10**9  # measured: 1.04e9


def test_what_does_not_fit():
    with pytest.raises(ArgError, match=r"depth 19 is not in the table; use \[18, 34, 50"):
        ResNet(19)
    with pytest.raises(ArgError, match="shortcut 'D' is unknown; use 'A', 'B', 'C'"):
        zoo.get_model("resnet18", shortcut="D")
    with pytest.raises(ArgError, match="stride_on '5x5' is unknown; use '1x1' or '3x3'"):
        zoo.get_model("resnet50", stride_on="5x5")
    with pytest.raises(ArgError, match="known options: shortcut, zero_init_residual"):
        zoo.get_model("resnet34", stride_on="3x3")  # a basic block has two 3x3
    with pytest.raises(ArgError, match="known options: zero_init_residual"):
        zoo.get_model("resnet50", variant="torchvision", shortcut="A")
    with pytest.raises(ArgError, match="zero_init_residual 1 is unknown; use True or False"):
        zoo.get_model("resnet50", zero_init_residual=1)
    with pytest.raises(ArgError, match="plain34: variant 'torchvision' is unknown; use 'paper'"):
        zoo.get_model("plain34", variant="torchvision")
