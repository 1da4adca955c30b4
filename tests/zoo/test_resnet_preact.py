"""Pre-activation nets: counts, the order inside a block, and the sum of equation 4."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError
from zoo.resnet_cifar import Block
from zoo.resnet_preact import PreActBlock, PreActResNet

from .nets import (
    assert_gradients_reach_everything,
    images,
    layers,
    parameters,
    shapes_of,
    summary,
)

BASIC = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


@pytest.mark.parametrize("depth", BASIC)
def test_basic_nets_have_the_parameters_and_macs_of_2015(depth):
    found = summary(f"preact_resnet{depth}")
    assert found.total("parameters") == BASIC[depth]
    assert found.total("macs") == summary(f"resnet{depth}").total("macs")


@pytest.mark.parametrize(("depth", "count"), [(164, 1_703_258), (1001, 10_327_706)])
def test_bottleneck_nets(depth, count):
    assert parameters(shapes_of(f"preact_resnet{depth}")) == count


def test_macs_and_maps_of_164_layers():
    found = summary("preact_resnet164")
    assert found.total("macs") == 244_500_992
    rows = {r.name: r.output for r in found}
    ends = [rows[f"layer{k}.17.conv3"] for k in (1, 2, 3)]
    assert ends == [(64, 32, 32), (128, 16, 16), (256, 8, 8)]


@pytest.mark.parametrize("depth", [20, 164, 1001])
def test_weighted_layers_on_the_main_path_are_the_name(depth):
    net = shapes_of(f"preact_resnet{depth}")
    main = [n for n, m in net.named_modules()
            if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]  # fmt: skip
    assert len(main) == depth


def test_no_batch_norm_on_shortcuts_one_before_each_other_convolution_and_one_at_the_end():
    net = shapes_of("preact_resnet164")
    kinds = [type(m) for m in net.modules()]
    shortcuts = [n for n, m in net.named_modules() if "shortcut" in n and isinstance(m, nn.Conv2d)]
    assert len(shortcuts) == 3
    assert kinds.count(nn.Conv2d) - 3 == kinds.count(nn.BatchNorm2d) == 163
    assert [r.name for r in summary("preact_resnet164").rows[:4]] == [
        "input", "conv1", "layer1.0.bn1", "layer1.0.conv1"
    ]  # fmt: skip
    assert [r.kind for r in summary("preact_resnet164").rows[-3:]] == [
        "BatchNorm2d", "AdaptiveAvgPool2d", "Linear"
    ]  # fmt: skip


def test_a_block_with_zero_weights_is_the_identity_also_where_x_is_negative():
    for bottleneck in (False, True):
        block = PreActBlock(8, 8, 1, "A", bottleneck=bottleneck)
        for p in block.parameters():
            p.requires_grad_(False).zero_()
        x = images(2, 8, 4, 3)
        assert np.array_equal(block(x).numpy(), x.numpy())


def test_batch_norm_and_relu_come_before_the_split_where_the_shape_changes():
    block = PreActBlock(4, 8, 2, "B", bottleneck=False).eval()
    seen = []
    block.shortcut.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0].numpy()))
    block.conv1.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0].numpy()))
    x = images(1, 4, 6, 6)
    block(x)
    wanted = F.relu(block.bn1(x)).numpy()
    assert np.allclose(seen[0], wanted) and np.array_equal(seen[0], seen[1])


def branch(block, x):
    """F(x), written from the paper's figure 1(b)."""
    a = F.relu(block.bn1(x))
    return block.conv2(F.relu(block.bn2(block.conv1(a))))


def identity_blocks(count):
    return [PreActBlock(4, 4, 1, "A", bottleneck=False).double().eval() for _ in range(count)]


def through(blocks, x):
    """(x_L, the sum of the branches) for x = x_l."""
    total = mg.zeros(*x.shape, dtype=np.float64)
    for block in blocks:
        total = total + branch(block, x)
        x = block(x)
    return x, total


def test_the_end_of_a_stage_is_its_start_plus_the_sum_of_the_branches():
    mg.manual_seed(0)
    x = images(2, 4, 6, 6, dtype=np.float64)
    end, total = through(identity_blocks(9), x)
    assert np.allclose(end.numpy(), x.numpy() + total.numpy(), atol=1e-12)


def test_a_gradient_is_passed_on_whole_and_the_branches_add_theirs():
    mg.manual_seed(1)
    x = images(1, 4, 5, 5, dtype=np.float64).requires_grad_()
    v = images(1, 4, 5, 5, dtype=np.float64)
    end, total = through(identity_blocks(9), x)
    (whole,) = mg.grad((end * v).sum(), [x], retain_graph=True)
    (part,) = mg.grad((total * v).sum(), [x])
    assert np.allclose(whole.numpy(), v.numpy() + part.numpy(), atol=1e-10)
    assert np.abs(part.numpy()).max() > 0.1


def test_a_relu_behind_the_sum_stops_a_part_of_the_gradient():
    post = Block(4, 4, 1, "A").double().eval()
    for p in post.parameters():
        p.requires_grad_(False).zero_()
    x = images(1, 4, 5, 5, dtype=np.float64).requires_grad_()
    post(x).sum().backward()  # F = 0, and yet not the identity
    assert np.array_equal(x.grad.numpy(), x.numpy() > 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("preact_resnet20", {}), ("preact_resnet20", {"shortcut": "C"}), ("preact_resnet164", {})],
)
def test_gradients_reach_every_parameter(name, options):
    mg.manual_seed(4)
    net = zoo.get_model(name, num_classes=3, **options)
    x = images(3, 3, 16, 16)
    assert_gradients_reach_everything(net, F.cross_entropy(net(x), mg.tensor([0, 1, 2])))


def test_a_step_through_1001_layers_needs_no_recursion():
    net = zoo.get_model("preact_resnet1001")
    x = images(2, 3, 8, 8)
    assert_gradients_reach_everything(net, F.cross_entropy(net(x), mg.tensor([0, 1])))


def test_what_does_not_fit():
    with pytest.raises(ArgError, match=r"depth 21 is not 6n \+ 2"):
        PreActResNet(21)
    with pytest.raises(ArgError, match=r"depth 163 is not 9n \+ 2"):
        PreActResNet(163, bottleneck=True)
    with pytest.raises(ArgError, match="shortcut 'D' is unknown; use 'A', 'B' or 'C'"):
        zoo.get_model("preact_resnet20", shortcut="D")
    assert not layers(summary("preact_resnet20"), "Dropout")
