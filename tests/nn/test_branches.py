"""Design: concat_branches is concat of what the branches give, bit for bit, however they end."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.nn import branches as module
from minigrad.show import tape_of


class Marked(nn.Module):
    """relu(bn(conv(x))), said to be that."""

    def __init__(self, c, k, r, norm):
        super().__init__()
        self.conv = nn.Conv2d(c, k, r, padding=r // 2, bias=not norm)
        self.bn = nn.BatchNorm2d(k) if norm else None

    @nn.conv_norm_relu("conv", "bn")
    def forward(self, x):
        if self.bn is None:
            return self.conv(x, relu=True)
        return nn.conv_norm(self.conv, self.bn, x, relu=True)


class Doubling(Marked):
    """A subclass that says something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def plain_row(c, k, r, norm):
    layers = [nn.Conv2d(c, k, r, padding=r // 2), *[nn.BatchNorm2d(k)] * norm, nn.ReLU()]
    return nn.Sequential(*layers)


def four(*, norm=False, dtype=np.float32):
    """Branches like those of an Inception module on 20 channels, with statistics of their own."""
    made = nn.ModuleList(
        [
            Marked(20, 13, 1, norm),
            nn.Sequential(plain_row(20, 16, 1, norm), Marked(16, 31, 3, norm)),
            nn.Sequential(Marked(20, 5, 1, norm), nn.Sequential(plain_row(5, 9, 5, norm))),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), plain_row(20, 7, 1, norm)),
        ]
    )
    rng = np.random.default_rng(0)
    for m in made.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.data[...] = rng.uniform(-1, 1, m.num_features)
            m.running_var.data[...] = rng.uniform(0.5, 2, m.num_features)
            m.weight.data[...] = rng.uniform(-1, 2, m.num_features)
    return made.astype(dtype).eval()


def images(dtype=np.float32, *, requires_grad=False):
    x = np.random.default_rng(1).standard_normal((3, 20, 9, 8)).astype(dtype)
    return mg.tensor(x, requires_grad=requires_grad)


def concatenated(x, net):
    return mg.concat(*(branch(x) for branch in net), axis=1)


@pytest.fixture
def copies(monkeypatch):
    """How often concat_branches had to copy."""
    calls = []
    real = module.concat
    monkeypatch.setattr(module, "concat", lambda *a, **k: calls.append(1) or real(*a, **k))
    return calls


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("norm", (False, True))
@pytest.mark.parametrize("count", (1, 2))
def test_inference_gives_the_same_bits(norm, dtype, count, copies):
    net, x = four(norm=norm, dtype=dtype), images(dtype)
    with mg.no_grad(), mg.threads(count):
        want = concatenated(x, net)
        z = nn.concat_branches(x, *net)
        with nn.fixed_weights(net):
            kept = [nn.concat_branches(x, *net) for _ in range(2)]
    assert not copies and not z.requires_grad and z.data.base is None
    for y in (z, *kept):
        np.testing.assert_array_equal(y.data, want.data)


def test_norm_in_some_branches_only(copies):
    net, x = four(), images()
    net[1] = nn.Sequential(Marked(20, 31, 3, True)).eval()
    with mg.no_grad():
        z, want = nn.concat_branches(x, *net), concatenated(x, net)
    np.testing.assert_array_equal(z.data, want.data)
    assert not copies


def test_a_training_step_is_that_of_concat(copies):
    """Outputs and gradients of weights to the bit; those of x are added up in another order."""
    ends = []
    for join in (lambda x, net: nn.concat_branches(x, *net), concatenated):
        mg.manual_seed(0)
        net, x = four().train(), images(requires_grad=True)
        z = join(x, net)
        gz = np.random.default_rng(2).standard_normal(z.shape).astype(np.float32)
        z.backward(mg.Tensor(gz))
        ends.append([z.data, *(p.grad.data for p in net.parameters()), x.grad.data])
        last = tape_of(z)[-1].name
        assert last == ("conv2d_relu_concat" if len(ends) == 1 else "concat")
    for one, two in zip(ends[0][:-1], ends[1][:-1], strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(ends[0][-1], ends[1][-1], rtol=1e-5, atol=1e-5)
    assert not copies


WATCHED = {
    "a branch": lambda net: net[1],
    "a row in it": lambda net: net[2][1],
    "a convolution": lambda net: net[0].conv,
    "a batch norm": lambda net: net[0].bn,
    "a ReLU": lambda net: net[3][1][-1],
}


@pytest.mark.parametrize("name", WATCHED)
@pytest.mark.parametrize("grad", (False, True))
def test_a_hook_sees_its_module(name, grad, copies):
    net, x, seen = four(norm=True), images(), []
    with mg.no_grad():
        want = concatenated(x, net)
    WATCHED[name](net).register_forward_hook(lambda m, args, y: seen.append(y.data.copy()))
    if grad:
        z = nn.concat_branches(x, *net)
    else:
        with mg.no_grad():
            z = nn.concat_branches(x, *net)
    assert len(seen) == 1 and len(copies) == 1
    np.testing.assert_allclose(z.data, want.data, rtol=1e-5, atol=1e-5)
    if name == "a branch":
        np.testing.assert_array_equal(seen[0], z.data[:, 13:44])


def test_a_hook_before_the_last_convolution_does_not_cost_a_copy(copies):
    net, x, seen = four(), images(), []
    net[1][0][0].register_forward_hook(lambda m, args, y: seen.append(y))
    with mg.no_grad():
        nn.concat_branches(x, *net)
    nn.concat_branches(x, *net)
    assert len(seen) == 2 and not copies


OTHERS = {
    "a pool": nn.MaxPool2d(3, 1, 1),
    "no ReLU": nn.Sequential(nn.Conv2d(20, 4, 1)),
    "a ReLU alone": nn.ReLU(),
    "nothing": nn.Sequential(),
    "a pool and a ReLU": nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.ReLU()),
    "a module of its own": Doubling(20, 4, 1, False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_endings_are_concatenated(name, copies):
    net, x = four(), images()
    net.append(OTHERS[name])
    with mg.no_grad():
        z = nn.concat_branches(x, *net)
        np.testing.assert_array_equal(z.data, concatenated(x, net).data)
    assert len(copies) == 1


def test_batch_norm_in_training_is_concatenated(copies):
    net, x = four(norm=True).train(), images()
    nn.concat_branches(x, *net)
    with mg.no_grad():
        nn.concat_branches(x, *net)
    assert len(copies) == 2
    assert all(int(m.num_batches_tracked.data) == 2 for m in net.modules()
               if isinstance(m, nn.BatchNorm2d))  # fmt: skip


def test_depthwise_convolutions(copies):
    net, x = [plain_row(20, 20, 1, False), nn.Sequential(
        nn.Conv2d(20, 20, 3, padding=1, groups=20), nn.ReLU())], images()  # fmt: skip
    z = nn.concat_branches(x, *net)
    with mg.no_grad():
        quiet = nn.concat_branches(x, *net)
    np.testing.assert_array_equal(z.data, quiet.data)
    np.testing.assert_array_equal(z.data, concatenated(x, net).data)
    assert not copies


@pytest.mark.parametrize("grad", (False, True))
@pytest.mark.parametrize("norm", (False, True))
def test_what_does_not_fit_is_refused(grad, norm):
    x = images()
    wrong = {
        "sizes": (nn.Sequential(nn.Conv2d(20, 4, 3), nn.ReLU()), ShapeError, "must agree"),
        "channels": (Marked(21, 4, 1, norm).eval(), ShapeError, "21 .* channels .*20"),
        "dtypes": (Marked(20, 4, 1, norm).eval().astype(np.float64), DTypeError, "float64"),
    }
    with mg.enable_grad() if grad else mg.no_grad():
        for branch, error, text in wrong.values():
            with pytest.raises(error, match=text):
                nn.concat_branches(x, *four(norm=norm), branch)
        with pytest.raises(ArgError, match="no arrays were given"):
            nn.concat_branches(x)
