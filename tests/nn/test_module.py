"""Design: modules find what is assigned to them, name it as PyTorch does, and take a state whole
or not at all."""

import copy
import itertools

import numpy as np
import pytest

from minigrad import nn
from minigrad.errors import ArgError, CheckpointError, GraphError
from minigrad.ops.random import default_generator
from minigrad.tensor import Tensor


class Block(nn.Module):
    """A residual block with shape-changing shortcut, named as torchvision's BasicBlock."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(3)
        self.downsample = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Identity())
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.fc = None

    def forward(self, x):
        return self.bn1(self.conv1(x)) * self.scale


KEYS = [
    "scale",
    "conv1.weight",
    "bn1.weight",
    "bn1.bias",
    "bn1.running_mean",
    "bn1.running_var",
    "bn1.num_batches_tracked",
    "downsample.0.weight",
    "downsample.0.bias",
]


def values(module):
    return {name: t.data.tobytes() for name, t in module.state_dict().items()}


def test_state_has_pytorchs_keys_in_pytorchs_order():
    assert list(Block().state_dict()) == KEYS


def test_parameters_buffers_children_and_modules():
    block = Block()
    assert [n for n, _ in block.named_parameters()] == [
        k for k in KEYS if "running" not in k and "num" not in k
    ]
    assert [n for n, _ in block.named_buffers()] == KEYS[4:7]
    assert [n for n, _ in block.named_children()] == ["conv1", "bn1", "downsample"]
    names = ["", "conv1", "bn1", "downsample", "downsample.0", "downsample.1"]
    assert [n for n, _ in block.named_modules()] == names
    assert all(p.requires_grad and isinstance(p, nn.Parameter) for p in block.parameters())
    assert block.bn1.num_batches_tracked.dtype == np.int64


def test_shared_parameter_is_counted_once_and_saved_under_both_names():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    twice = nn.Sequential(net, net)
    assert len(list(twice.parameters())) == 3 and len(list(twice.modules())) == 4


def test_module_works_without_calling_super():
    class Forgetful(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(2, 2)

    assert Forgetful().training and len(list(Forgetful().parameters())) == 2


def test_assigning_something_else_to_a_parameter_is_refused():
    layer = nn.Linear(2, 2)
    for value in (np.ones((2, 2)), Tensor(np.ones((2, 2))), 3):
        with pytest.raises(TypeError, match="weight is a Parameter and cannot become"):
            layer.weight = value
    with pytest.raises(TypeError, match="running_mean is a Tensor"):
        nn.BatchNorm2d(2).running_mean = 0.0
    with pytest.raises(TypeError, match="conv1 is a Module"):
        Block().conv1 = nn.Parameter([1.0])
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    del layer.weight
    assert list(layer.parameters()) == []


def test_names_are_checked():
    module = nn.Module()
    for register in (module.register_buffer, module.register_parameter, module.add_module):
        for name in ("", "a.b", 3, "forward"):
            with pytest.raises(ArgError):
                register(name, None)
        with pytest.raises(TypeError, match="'x' must be a"):
            register("x", 3.0)
    assert list(module.state_dict()) == []


def test_transient_buffer_is_no_part_of_the_state():
    module = nn.Module()
    module.register_buffer("kept", Tensor(np.ones(2)))
    module.register_buffer("scratch", Tensor(np.ones(2)), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    assert [n for n, _ in module.named_buffers()] == ["kept", "scratch"]


def test_train_and_eval_reach_everything():
    block = Block()
    assert block.eval() is block and not any(m.training for m in block.modules())
    block.train()
    assert all(m.training for m in block.modules())
    with pytest.raises(TypeError, match="True or False"):
        block.train(1)


def test_apply_visits_children_first():
    seen = []
    Block().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Conv2d", "BatchNorm2d", "Conv2d", "Identity", "Sequential", "Block"]


def test_frozen_parameters_get_no_gradient_and_zero_grad_minds_them():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    net(Tensor(np.ones((2, 3), np.float32))).sum().backward()
    assert net[0].weight.grad is None and net[1].weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert net[1].weight.grad.tolist() == [[0, 0, 0]]
    net.zero_grad()
    assert net[1].weight.grad is None


def test_double_makes_every_number_float64_and_trains_on():
    net = Block().double()
    assert {t.dtype.name for t in net.state_dict().values()} == {"float64", "int64"}
    net(Tensor(np.random.default_rng(0).standard_normal((2, 2, 5, 5)))).sum().backward()
    assert net.conv1.weight.grad.dtype == np.float64
    assert {t.dtype.name for t in net.float().state_dict().values()} == {"float32", "int64"}


def test_deep_copy_shares_nothing():
    block = Block()
    twin = copy.deepcopy(block)
    assert values(twin) == values(block)
    for p, q in zip(block.parameters(), twin.parameters(), strict=True):
        assert not np.shares_memory(p.data, q.data) and type(q) is nn.Parameter and q.requires_grad
    with pytest.raises(Exception, match="made by"):
        copy.deepcopy(block.scale * 2.0)


def test_hook_sees_and_may_replace_the_output():
    layer, seen = nn.Linear(2, 2), []
    remove = layer.register_forward_hook(
        lambda m, inputs, out: seen.append((inputs[0].shape, out.shape))
    )
    replace = layer.register_forward_hook(lambda m, inputs, out: "replaced")
    x = Tensor(np.ones((3, 2), np.float32))
    assert layer(x) == "replaced" and seen == [((3, 2), (3, 2))]
    remove()
    replace()
    assert layer(x).shape == (3, 2) and len(seen) == 1


def test_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


# ---- loading


def test_state_goes_from_one_module_to_another():
    first, second = Block(), Block()
    assert values(first) != values(second)
    assert second.load_state_dict(first.state_dict()) == ([], [])
    assert values(first) == values(second)
    assert not np.shares_memory(first.scale.data, second.scale.data)


def test_arrays_are_taken_and_floats_converted():
    block = Block()
    state = {
        name: t.data.astype(np.float64) if t.dtype.kind == "f" else t.data
        for name, t in Block().state_dict().items()
    }
    block.load_state_dict(state)
    assert block.scale.dtype == np.float32
    assert np.allclose(block.conv1.weight.data, state["conv1.weight"])


def test_loading_lists_all_that_does_not_fit_and_changes_nothing():
    block = Block()
    before = values(block)
    state = dict(Block().state_dict())
    del state["bn1.bias"]
    state["fc.weight"] = np.ones((2, 2))
    state["conv1.weight"] = np.ones((3, 2, 5, 5), np.float32)
    state["bn1.num_batches_tracked"] = np.array(0.5)
    state["scale"] = [1.0]
    with pytest.raises(CheckpointError) as caught:
        block.load_state_dict(state)
    text = str(caught.value)
    assert "does not fit Block, which is unchanged" in text
    for line in (
        "missing key: bn1.bias",
        "unexpected key: fc.weight",
        "conv1.weight: has shape (3, 2, 5, 5), expected (3, 2, 3, 3)",
        "bn1.num_batches_tracked: has dtype float64, expected int64",
        "scale: is list",
    ):
        assert line in text.split("\n  ")[1:] or any(
            part.startswith(line) for part in text.split("\n  ")
        )
    assert values(block) == before


@pytest.mark.parametrize("key", KEYS)
def test_every_missing_key_is_missed(key):
    state = dict(Block().state_dict())
    del state[key]
    with pytest.raises(CheckpointError, match=f"missing key: {key}"):
        Block().load_state_dict(state)


def test_not_strict_returns_what_did_not_match_but_minds_shapes():
    block = Block()
    keys = block.load_state_dict({"scale": np.array([5.0]), "x": np.ones(1)}, strict=False)
    assert keys.missing_keys == KEYS[1:] and keys.unexpected_keys == ["x"]
    assert block.scale.item() == 5.0
    with pytest.raises(CheckpointError, match="scale: has shape"):
        block.load_state_dict({"scale": np.ones(2)}, strict=False)


def test_loading_over_a_kept_value_is_noticed_by_the_tape():
    layer = nn.Linear(2, 2)
    loss = layer(Tensor(np.ones((1, 2), np.float32)).requires_grad_()).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_memory_that_cannot_be_written_is_found_before_anything_is():
    block = Block()
    block.bn1.running_var.data.flags.writeable = False
    before = values(block)
    with pytest.raises(CheckpointError, match=r"bn1.running_var: cannot be written"):
        block.load_state_dict(Block().state_dict())
    assert values(block) == before


# ---- containers


def linears(*sizes):
    return [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]


def test_sequential_applies_in_order():
    net = nn.Sequential(*linears(4, 3, 2))
    x = Tensor(np.ones((5, 4), np.float32))
    assert np.array_equal(net(x).data, net[1](net[0](x)).data)
    assert len(net) == 2 and net[-1] is net[1] and [*net] == [net[0], net[1]]
    assert isinstance(net[:1], nn.Sequential) and net[:1][0] is net[0]


def test_sequential_with_names():
    net = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.Linear(3, 1)})
    assert list(net.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert net[1] is net.second


def test_module_list_registers_and_indexes():
    listed = nn.ModuleList(linears(1, 2, 3))
    listed.append(nn.Linear(3, 4)).extend(linears(4, 5))
    listed.insert(0, nn.Linear(9, 1))
    assert [m.out_features for m in listed] == [1, 2, 3, 4, 5] and len(listed) == 5
    listed[1] = nn.Linear(7, 7)
    assert listed[1].in_features == 7 and list(listed.state_dict())[2] == "1.weight"
    with pytest.raises(IndexError):
        listed[5]
    with pytest.raises(NotImplementedError):
        listed(1)


def test_containers_refuse_what_is_no_module():
    with pytest.raises(TypeError, match=r"argument 0 is list.*Sequential\(\*modules\)"):
        nn.Sequential(linears(1, 2))
    with pytest.raises(TypeError, match="expected a Module, got int"):
        nn.ModuleList([3])


def test_repr_is_a_tree():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Sequential(nn.ReLU()), nn.Dropout(0.1)
    )
    assert (
        repr(net)
        == """Sequential(
  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
  (1): Sequential(
    (0): ReLU()
  )
  (2): Dropout(p=0.1)
)"""
    )


def test_equal_seeds_make_equal_nets():
    nets = []
    for _ in range(2):
        default_generator.manual_seed(3)
        nets.append(values(Block()))
    assert nets[0] == nets[1]
