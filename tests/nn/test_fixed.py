"""Design: in the block nothing can be written and nothing is half changed; after it all is as
before. What kernels keep is tested in tests/kernels/test_kept.py."""

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import nn, optim
from minigrad._kernels import kept
from minigrad.errors import CheckpointError, GraphError

WAY_OUT = r"leave `with nn\.fixed_weights\(\.\.\):` first"


def net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 64, 4),
    )  # fmt: skip


def numbers(model):
    return [p.data.copy() for p in model.parameters()]


def writable(model):
    return [p.data.flags.writeable for p in model.parameters()]


WRITES = {
    "in place": lambda m: m[0].weight.__iadd__(1.0),
    "copy_": lambda m: m[0].weight.copy_(mg.zeros(16, 3, 3, 3)),
    "an item": lambda m: m[4].weight.__setitem__(0, 1.0),
    "a view": lambda m: m[4].weight[0].__iadd__(1.0),
    "init": lambda m: nn.init.zeros_(m[4].bias),
    "random init": lambda m: nn.init.kaiming_normal_(m[0].weight),
    "a vector": lambda m: nn.utils.vector_to_parameters(
        mg.zeros(sum(p.size for p in m.parameters())), m.parameters()
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_are_refused_with_the_way_out(write):
    model = net()
    before = numbers(model)
    with nn.fixed_weights(model), mg.no_grad(), pytest.raises(GraphError, match=WAY_OUT):
        write(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, numbers(model), strict=True))
    with mg.no_grad():
        write(model)


def test_numpy_refuses_as_well():
    model = net()
    with nn.fixed_weights(model), pytest.raises(ValueError, match="read-only"):
        model[0].weight.data[...] = 0


@pytest.mark.parametrize("rule", [optim.SGD, optim.Adam])
def test_a_step_is_refused_before_anything_is_changed(rule):
    model = net()
    free = mg.tensor(np.ones(3, np.float32), requires_grad=True)
    sgd = rule([{"params": [free]}, {"params": list(model.parameters())}], lr=0.1)
    (model(mg.ones(2, 3, 8, 8)).sum() + free.sum()).backward()
    before = numbers(model)
    with nn.fixed_weights(model), pytest.raises(GraphError, match=rf"step: .*{WAY_OUT}"):
        sgd.step()
    assert np.array_equal(free.data, np.ones(3)) and not sgd.state
    assert all(np.array_equal(a, b) for a, b in zip(before, numbers(model), strict=True))
    sgd.step()
    assert not np.array_equal(free.data, np.ones(3))


def test_loading_is_refused_before_anything_is_changed():
    model, other = net(), net()
    before = {k: v.data.copy() for k, v in model.state_dict().items()}
    with nn.fixed_weights(model), pytest.raises(CheckpointError, match=WAY_OUT):
        model.load_state_dict(other.state_dict())
    assert all(np.array_equal(v.data, before[k]) for k, v in model.state_dict().items())
    model.load_state_dict(other.state_dict())


def test_every_array_is_as_writable_after_as_before():
    model = net()
    model[4].weight.data.flags.writeable = False
    base = np.zeros((2, 16), np.float32)
    model[0].bias = nn.Parameter(mg.zeros(16))
    model[0].bias.data = base[1]
    before = writable(model)
    assert not all(before) and any(before)
    with pytest.raises(KeyError), nn.fixed_weights(model):
        assert not any(writable(model))
        raise KeyError
    assert writable(model) == before
    with nn.fixed_weights(model), nn.fixed_weights(model[0]):
        assert not any(writable(model))
    assert writable(model) == before


def test_blocks_may_end_in_any_order():
    model = net()
    first, second = nn.fixed_weights(model), nn.fixed_weights(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(writable(model))
    second.__exit__(None, None, None)
    assert all(writable(model))


def test_an_array_that_takes_the_place_of_another_is_computed_with():
    model = net().eval()
    x = mg.randn(2, 3, 8, 8)
    with mg.no_grad(), nn.fixed_weights(model):
        first = model(x).data
        model.double()
        assert np.allclose(model(x.astype("float64")).data, first, atol=1e-5)
    assert all(writable(model))


@pytest.mark.parametrize("name", ["resnet20", "lenet"])
@pytest.mark.parametrize("batch", [1, 33])
def test_nets_give_the_same_bits(name, batch):
    model = zoo.get_model(name).eval()
    x = mg.randn(batch, *((1, 28, 28) if name == "lenet" else (3, 32, 32)))
    with mg.no_grad():
        want = model(x).data
        with nn.fixed_weights(model):
            for _ in range(2):
                assert np.array_equal(model(x).data, want)
            assert kept.kept_bytes() > 0
        assert kept.kept_bytes() == 0
        assert np.array_equal(model(x).data, want)


def test_gradients_of_inputs_are_the_same_bits():
    model = net().eval()
    x = mg.randn(2, 3, 8, 8, requires_grad=True)
    want = mg.grad(model(x).sum(), x)
    with nn.fixed_weights(model):
        for _ in range(2):
            got = mg.grad(model(x).sum(), x)
            pairs = zip(got, want, strict=True) if isinstance(got, tuple | list) else [(got, want)]
            assert all(np.array_equal(a.data, b.data) for a, b in pairs)


def test_only_a_module_has_weights_to_fix():
    with pytest.raises(TypeError, match="expected a Module, got list"), nn.fixed_weights([]):
        pass
