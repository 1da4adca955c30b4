"""Design: a run that was cut, saved and continued by fresh objects is the run that was never cut,
bit for bit; and a file that does not fit changes nothing.
"""

import math
import subprocess
import sys
import textwrap
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.io
from minigrad import nn, optim
from minigrad.errors import ArgError, CheckpointError
from minigrad.ops.random import Generator, default_generator
from minigrad.tensor import Tensor


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk():
    """What a power cut would lose is not the subject here; `test_atomic.py` waits."""
    with mock.patch("os.fsync"):
        yield


SMALL_ARRAYS = st.builds(
    lambda n, dtype: np.arange(n).astype(dtype),
    st.integers(0, 4),
    st.sampled_from(["f4", "i8", "?"]),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), SMALL_ARRAYS
)
KEYS = st.one_of(st.text("ab$. 1", max_size=3), st.integers(-3, 3))


def branches(below):
    return st.one_of(
        st.lists(below, max_size=3),
        st.lists(below, max_size=3).map(tuple),
        st.dictionaries(KEYS, below, max_size=3),
    )


def equal(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@given(st.recursive(LEAVES, branches, max_leaves=12))
def test_any_tree_comes_back_exactly(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree"
    try:
        minigrad.io.save_tree(path, tree)
    except ArgError as error:  # two keys that make one name, or a name that cannot be trusted
        assert "both called" in str(error) or "tensor name" in str(error)
        return
    assert equal(minigrad.io.load_tree(path), tree)


def test_keys_that_look_like_marks_come_back(tmp_path):
    tree = {"$array": "x", "a": [{"$tuple": 1}, {"$": {}}], "b": {}, "c": {1: {"$items": []}}}
    minigrad.io.save_tree(tmp_path / "a", tree)
    assert minigrad.io.load_tree(tmp_path / "a") == tree


def test_special_numbers_come_back_exactly(tmp_path):
    tree = [math.inf, -math.inf, math.nan, 1e-323, -0.0, 2**200, np.float32(0.1), np.int8(-3)]
    minigrad.io.save_tree(tmp_path / "a", tree)
    back = minigrad.io.load_tree(tmp_path / "a")
    assert math.isnan(back.pop(2)) and math.isnan(tree.pop(2))
    assert [repr(v) for v in back] == [repr(v) for v in tree]


def test_what_cannot_be_saved_is_named_by_its_path(tmp_path):
    with pytest.raises(ArgError, match=r"a\.1\.b is function"):
        minigrad.io.save_tree(tmp_path / "x", {"a": [0, {"b": lambda: 0}]})
    with pytest.raises(ArgError, match="a has the key None"):
        minigrad.io.save_tree(tmp_path / "x", {"a": {None: 1}})
    assert list(tmp_path.iterdir()) == []


def test_file_of_tensors_is_no_tree_and_no_run(tmp_path):
    minigrad.io.save(tmp_path / "a", {"x": np.ones(2)})
    with pytest.raises(CheckpointError, match="tensors only"):
        minigrad.io.load_tree(tmp_path / "a")
    minigrad.io.save_tree(tmp_path / "b", [1])
    with pytest.raises(CheckpointError, match="no training run"):
        minigrad.io.load_training(tmp_path / "b", {})


# ---- runs


NETS = {
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    ),
    "dropout": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)
    ),
    "batch norm": lambda: nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(32, momentum=None), nn.Linear(32, 3)
    ),
}
RULES = {
    "sgd": lambda net: optim.SGD(net.parameters(), 0.05, 0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda net: optim.AdamW(net.parameters(), 0.01),
    "rmsprop": lambda net: optim.RMSprop(net.parameters(), 0.01, momentum=0.5, centered=True),
}


class Run:
    """A net in training on made-up data in random order."""

    def __init__(self, net, rule):
        default_generator.manual_seed(1)
        self.net = NETS[net]()
        self.optimizer = RULES[rule](self.net)
        self.schedule = optim.lr_scheduler.OneCycleLR(
            self.optimizer, 0.1, 30, cycle_momentum=rule != "rmsprop"
        )
        self.order = Generator(5)
        self.things = {
            "model": self.net,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "random": default_generator,
            "order": self.order,
        }

    def train(self, steps):
        rng = np.random.default_rng(0)
        images = rng.standard_normal((24, 2, 4, 4)).astype(np.float32)
        goals = rng.standard_normal((24, 3)).astype(np.float32)
        for _ in range(steps):
            batch = self.order.permutation(24)[:6]
            self.optimizer.zero_grad()
            loss = nn.MSELoss()(self.net(Tensor(images[batch])), Tensor(goals[batch]))
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()

    def bits(self):
        state = [t.data.tobytes() for t in self.net.state_dict().values()]
        state += [
            v.tobytes()
            for own in self.optimizer.state_dict()["state"].values()
            for v in own.values()
            if isinstance(v, np.ndarray)
        ]
        return (
            state,
            self.schedule.get_last_lr(),
            default_generator.get_state(),
            self.order.get_state(),
        )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", NETS)
def test_run_that_was_cut_is_the_run_that_was_not(net, rule, tmp_path):
    whole = Run(net, rule)
    whole.train(12)
    expected = whole.bits()
    for cut in (0, 1, 5, 7, 12):
        first = Run(net, rule)
        first.train(cut)
        minigrad.io.save_training(tmp_path / "a", first.things, {"step": cut})
        first.train(1)  # goes on after saving: must not matter
        second = Run(net, rule)
        second.train(1)
        assert minigrad.io.load_training(tmp_path / "a", second.things) == {"step": cut}
        second.train(12 - cut)
        assert second.bits() == expected


def test_run_continues_in_a_new_process(tmp_path):
    whole = Run("dropout", "sgd")
    whole.train(9)
    expected = whole.bits()
    first = Run("dropout", "sgd")
    first.train(4)
    minigrad.io.save_training(tmp_path / "a", first.things)
    program = """
        import hashlib, sys
        import minigrad.io
        from tests.io.test_training import Run
        run = Run("dropout", "sgd")
        minigrad.io.load_training(sys.argv[1], run.things)
        run.train(5)
        minigrad.io.save_training(sys.argv[1], run.things)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "a"], check=True, timeout=100
    )
    resumed = Run("dropout", "sgd")
    minigrad.io.load_training(tmp_path / "a", resumed.things)
    assert resumed.bits() == expected


def test_model_alone_can_be_taken_from_a_run(tmp_path):
    run = Run("convolution", "adam")
    run.train(2)
    minigrad.io.save_training(tmp_path / "a", run.things, metadata={"net": "convolution"})
    net = NETS["convolution"]()
    minigrad.io.load_training(tmp_path / "a", {"model": net})
    assert net[0].weight.data.tobytes() == run.net[0].weight.data.tobytes()
    loaded = minigrad.io.load(tmp_path / "a")
    assert loaded.metadata["net"] == "convolution" and "model.0.weight" in loaded.tensors


@pytest.mark.parametrize(
    "part, word",
    [("model", "missing key: 0.bias"), ("optimizer", "groups of"), ("more", "no 'more'")],
)
def test_run_that_does_not_fit_changes_nothing(tmp_path, part, word):
    saved = Run("convolution", "sgd")
    saved.train(3)
    minigrad.io.save_training(tmp_path / "a", saved.things)
    fresh = Run("convolution", "sgd")
    other = nn.Sequential(nn.Linear(2, 2))
    wrong = {"model": other, "optimizer": RULES["sgd"](other), "more": other}[part]
    before = fresh.bits()
    with pytest.raises(CheckpointError, match=word) as caught:
        minigrad.io.load_training(tmp_path / "a", {**fresh.things, part: wrong})
    assert str(caught.value).startswith(f"{tmp_path / 'a'}: {part}: ")
    assert fresh.bits() == before


def test_thing_without_a_state_is_refused(tmp_path):
    with pytest.raises(ArgError, match="'x' is int"):
        minigrad.io.save_training(tmp_path / "a", {"x": 3})
    with pytest.raises(ArgError, match="'progress'"):
        minigrad.io.save_training(tmp_path / "a", {"progress": nn.Identity()})
