"""Nets without memory for their numbers: what `nn.meta` guarantees."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn, optim
from minigrad.errors import CheckpointError, GraphError

from .nets import parameters

MEMORY = """
import minigrad as mg, zoo
from minigrad import nn
def peak():
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024
start = peak()
with nn.meta():
    nets = [zoo.get_model(name) for name in ("vgg16", "vgg19_bn", "resnet152", "resnet1202")]
built = peak()
print(sum(p.size for net in nets for p in net.parameters()))
with mg.no_grad():
    y = nets[0].eval()(mg.zeros(1, 3, 224, 224))
assert y.shape == (1, 1000) and not y.numpy().any()
print(built - start, peak() - built)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_361_million_parameters_take_20_mb_and_running_vgg16_takes_200():
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    count, megabytes = run.stdout.splitlines()
    assert int(count) == 138_357_544 + 143_678_248 + 60_192_808 + 19_421_274
    built, ran = map(float, megabytes.split())
    assert built < 20  # numbers would take 1,447 MB
    assert ran < 200  # activations, and a layer's packed weights


def test_a_meta_net_has_the_shapes_names_and_dtypes_of_a_real_one():
    with nn.meta():
        hollow = zoo.get_model("resnet20", shortcut="B")
    real = zoo.get_model("resnet20", shortcut="B")
    for (name, a), (other, b) in zip(
        hollow.state_dict().items(), real.state_dict().items(), strict=True
    ):
        assert (name, a.shape, a.dtype) == (other, b.shape, b.dtype)
        assert not a.data.flags.writeable and not any(a.data.strides)
    assert all(p.requires_grad for p in hollow.parameters())


def test_it_runs_forward_and_backward_as_a_net_of_zeros():
    with nn.meta():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    x = mg.randn(5, 3, 4, 4)
    y = net(x)
    assert y.shape == (5, 2) and not y.numpy().any()
    F.cross_entropy(y, mg.tensor([0, 1, 0, 1, 1])).backward()
    for p in net.parameters():
        assert p.grad.shape == p.shape
    assert net[3].bias.grad.numpy().any()


def test_nothing_writes_to_it_by_accident():
    with nn.meta():
        layer = nn.Linear(3, 2)
        norm = nn.BatchNorm2d(3)
    layer(mg.randn(4, 3)).sum().backward()
    for optimizer in (optim.SGD(layer.parameters(), lr=0.1), optim.Adam(layer.parameters())):
        with pytest.raises(GraphError, match="read-only"):
            optimizer.step()
    with pytest.raises(ValueError, match="read-only"):
        layer.weight.data[...] = 1.0
    with pytest.raises(ValueError, match=r"read-only.*eval\(\)"):
        norm(mg.randn(2, 3, 4, 4))
    assert not layer.weight.numpy().any()


def test_loading_a_state_gives_it_memory_of_its_own():
    real = zoo.get_model("resnet20")
    with nn.meta():
        net = zoo.get_model("resnet20")
    net.load_state_dict(real.state_dict())
    x = mg.randn(2, 3, 8, 8)
    assert np.array_equal(net.eval()(x).numpy(), real.eval()(x).numpy())
    assert all(v.data.flags.writeable for v in net.state_dict().values())
    before = real.conv1.weight.numpy().copy()
    net.train()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    F.cross_entropy(net(x), mg.tensor([0, 1])).backward()
    optimizer.step()
    assert not np.array_equal(net.conv1.weight.numpy(), before)
    assert np.array_equal(real.conv1.weight.numpy(), before)


def test_a_state_that_does_not_fit_leaves_it_as_it_was():
    with nn.meta():
        net = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match="bias: has shape"):
        net.load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(3)})
    assert not any(net.weight.data.strides)
    net.load_state_dict({"weight": np.ones((2, 3), np.float64)}, strict=False)
    assert (net.weight.numpy() == 1).all() and net.weight.dtype == np.float32
    assert not any(net.bias.data.strides)


def test_initialization_does_nothing_inside_and_gives_memory_outside():
    with nn.meta():
        conv = nn.Conv2d(3, 8, 3)
        state = mg.default_generator.get_state()
        for fill in (nn.init.kaiming_normal_, nn.init.trunc_normal_, nn.init.orthogonal_,
                     nn.init.dirac_, nn.init.xavier_uniform_, nn.init.ones_):  # fmt: skip
            assert fill(conv.weight) is conv.weight
        nn.init.eye_(nn.Linear(4, 4).weight)
        assert not any(conv.weight.data.strides)
        assert mg.default_generator.get_state() == state  # no number was drawn
    nn.init.normal_(conv.weight)
    assert conv.weight.numpy().std() > 0.5 and conv.weight.data.flags.c_contiguous
    for fill in (nn.init.trunc_normal_, nn.init.orthogonal_, nn.init.dirac_):
        with nn.meta():
            other = nn.Conv2d(3, 8, 3)
        assert fill(other.weight).numpy().any()


def test_reset_parameters_outside_makes_the_net_that_would_have_been():
    with nn.meta():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    mg.manual_seed(9)
    for module in net:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    mg.manual_seed(9)
    real = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    for a, b in zip(net.state_dict().values(), real.state_dict().values(), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_large_weights_are_drawn_by_blocks_with_the_numbers_of_one_draw():
    t = mg.zeros(700, 900)
    for fill, draw in (
        (nn.init.normal_, lambda g: g.randn(t.shape, np.float64)),
        (nn.init.uniform_, lambda g: g.rand(t.shape, np.float64)),
    ):
        fill(t, generator=nn_generator(3))
        assert np.array_equal(t.numpy(), draw(nn_generator(3)).astype(np.float32))
        turned = mg.zeros(900, 700).T  # not in C order
        fill(turned, generator=nn_generator(3))
        assert np.array_equal(turned.numpy(), t.numpy())


def nn_generator(seed):
    return type(mg.default_generator)(seed)


def test_the_dtype_changes_without_memory():
    with nn.meta():
        net = nn.Sequential(nn.Linear(100_000, 50_000), nn.BatchNorm1d(50_000))
    net.double()
    assert net[0].weight.dtype == np.float64 and not any(net[0].weight.data.strides)
    assert net[1].running_var.data[7] == 1.0
    assert parameters(net) == 100_001 * 50_000 + 100_000


def test_the_block_ends_with_errors_nests_and_is_the_threads_own():
    def is_meta():
        return not nn.Linear(2, 2).weight.data.flags.writeable

    with pytest.raises(KeyError), nn.meta():
        raise KeyError
    assert not is_meta()
    with nn.meta():
        with nn.meta():
            assert is_meta()
        assert is_meta()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(is_meta()))
        thread.start()
        thread.join()
        assert seen == [False]
    assert not is_meta()
