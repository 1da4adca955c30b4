"""Design: the four rules against numbers worked out from their formulas, and what every optimizer
promises: groups, state that resumes bit for bit, nothing changed on bad input.

The numbers in TABLE are three steps from p = 1 with gradients 1, -2, 0.5, in float64, by the
formulas of the docstrings, evaluated by hand in exact order outside of this project.
"""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.io
from minigrad import optim
from minigrad.errors import ArgError, CheckpointError, DTypeError, GraphError
from minigrad.nn import Parameter
from minigrad.tensor import Tensor

RULES = {
    "sgd": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, 0.1, 0.9, dampening=0.2, weight_decay=0.01),
    "nesterov": lambda params: optim.SGD(params, 0.1, 0.9, nesterov=True),
    "adam": lambda params: optim.Adam(params, 0.01, weight_decay=0.1),
    "adamw": lambda params: optim.AdamW(params, 0.01),
    "rmsprop": lambda params: optim.RMSprop(params, 0.01),
    "centered": lambda params: optim.RMSprop(params, 0.01, momentum=0.5, centered=True),
}
EVERY_RULE = pytest.mark.parametrize("rule", RULES)


def parameters(*shapes, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def give_gradients(params, seed):
    rng = np.random.default_rng(seed)
    for p in params:
        p.grad = Tensor(rng.standard_normal(p.shape).astype(p.dtype))


def run(optimizer, params, first, last):
    for step in range(first, last):
        give_gradients(params, step)
        optimizer.step()


def three_steps(make):
    p = Parameter(np.array([1.0]))
    optimizer, path = make([p]), []
    for g in (1.0, -2.0, 0.5):
        p.grad = Tensor(np.array([g]))
        optimizer.step()
        path.append(p.item())
    return path


TABLE = {
    "sgd": (lambda p: optim.SGD(p, 0.1), [0.9, 1.1, 1.05]),
    "weight decay": (lambda p: optim.SGD(p, 0.1, weight_decay=0.5), [0.85, 1.0075, 0.907125]),
    "momentum": (lambda p: optim.SGD(p, 0.1, 0.9), [0.9, 1.01, 1.059]),
    "dampening": (lambda p: optim.SGD(p, 0.1, 0.9, 0.2, 0.01), [0.899, 0.9673808, 0.98814961536]),
    "nesterov": (lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True), [0.81, 1.109, 1.1031]),
    "adam": (
        lambda p: optim.Adam(p, 0.1),
        [0.900000001, 0.9366103534720749, 0.9502794196738216],
    ),
    "adam options": (
        lambda p: optim.Adam(p, 0.1, (0.8, 0.9), 1e-3, 0.5),
        [0.9000666222518321, 0.9127949800142413, 0.8921923974545858],
    ),
    "adamw": (
        lambda p: optim.AdamW(p, 0.1, weight_decay=0.5),
        [0.850000001, 0.8441103534220749, 0.8155739019527177],
    ),
    "rmsprop": (
        lambda p: optim.RMSprop(p, 0.1),
        [9.99999902884241e-08, 0.8953230219915218, 0.6758495053504886],
    ),
    "rmsprop options": (
        lambda p: optim.RMSprop(p, 0.1, 0.9, 1e-8, 0.1, 0.5),
        [0.6837722430740709, 0.8038802498495042, 0.7790499042689043],
    ),
    "centered": (
        lambda p: optim.RMSprop(p, 0.1, 0.9, 1e-3, centered=True),
        [0.6677740863787376, 0.9566648843541152, 0.8833383118840331],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_three_steps_are_the_formulas(case):
    make, expected = TABLE[case]
    assert three_steps(make) == pytest.approx(expected, rel=1e-12)


# ---- what every rule promises


@EVERY_RULE
def test_training_in_two_parts_is_training_in_one(rule, tmp_path):
    """Bit for bit, the state having gone through a file."""
    whole, parts = (parameters((3, 4), (5,), (2, 3, 3, 3)) for _ in range(2))
    run(RULES[rule](whole), whole, 0, 9)
    first = RULES[rule](parts)
    run(first, parts, 0, 4)
    minigrad.io.save_tree(tmp_path / "a", first.state_dict())
    second = RULES[rule](parts)
    second.load_state_dict(minigrad.io.load_tree(tmp_path / "a"))
    run(second, parts, 4, 9)
    for p, q in zip(whole, parts, strict=True):
        assert p.data.tobytes() == q.data.tobytes()


@EVERY_RULE
def test_parameters_do_not_influence_each_other(rule):
    both, alone = (parameters((3, 4), (5,)) for _ in range(2))
    run(RULES[rule](both), both, 0, 4)
    for p in alone:
        p.grad = None
    optimizer = RULES[rule](alone[:1])
    run(optimizer, alone[:1], 0, 4)
    assert both[0].data.tobytes() == alone[0].data.tobytes()


@EVERY_RULE
def test_parameter_without_gradient_is_left_alone(rule):
    used, unused = parameters((3,), (4,))
    before = unused.data.copy()
    optimizer = RULES[rule]([used, unused])
    run(optimizer, [used], 0, 3)
    assert unused.data.tobytes() == before.tobytes() and unused not in optimizer.state
    run(
        optimizer, [used, unused], 3, 4
    )  # a parameter that begins late begins at its own first step
    late = Parameter(before)
    fresh = RULES[rule]([Parameter(used.data.copy()), late])
    give_gradients([*fresh.param_groups[0]["params"]], 3)
    fresh.step()
    assert late.data.tobytes() == unused.data.tobytes()


@EVERY_RULE
def test_step_leaves_gradients_as_they_are(rule):
    params = parameters((3, 4), (5,))
    optimizer = RULES[rule](params)
    give_gradients(params, 0)
    before = [p.grad.data.copy() for p in params]
    optimizer.step()
    for p, g in zip(params, before, strict=True):
        assert p.grad.data.tobytes() == g.tobytes()


@EVERY_RULE
def test_maximize_is_minimize_of_the_negative(rule):
    up, down = (parameters((3, 4)) for _ in range(2))
    climber, faller = RULES[rule](up), RULES[rule](down)
    climber.param_groups[0]["maximize"] = True
    for seed in range(3):
        give_gradients(up, seed)
        give_gradients(down, seed)
        down[0].grad = Tensor(-down[0].grad.data)
        climber.step()
        faller.step()
    assert up[0].data.tobytes() == down[0].data.tobytes()


@EVERY_RULE
def test_layout_of_parameter_and_gradient_does_not_matter(rule):
    plain, odd = (parameters((4, 3), (2, 3, 5, 5)) for _ in range(2))
    odd[0] = Parameter(np.asfortranarray(odd[0].data))
    odd[1] = Parameter(
        np.ascontiguousarray(odd[1].data.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    )
    one, other = RULES[rule](plain), RULES[rule](odd)
    for seed in range(3):
        give_gradients(plain, seed)
        give_gradients(odd, seed)
        odd[0].grad = Tensor(np.asfortranarray(odd[0].grad.data))
        wide = np.repeat(odd[1].grad.data, 2, axis=0)
        odd[1].grad = Tensor(wide[::2])
        one.step()
        other.step()
    for p, q in zip(plain, odd, strict=True):
        assert np.array_equal(p.data, q.data)


@EVERY_RULE
def test_float32_and_float64_may_be_mixed(rule):
    single, double = parameters((6,)), parameters((6,), dtype=np.float64)
    mixed = [*parameters((6,)), *parameters((6,), dtype=np.float64)]
    run(RULES[rule](single), single, 0, 3)
    run(RULES[rule](double), double, 0, 3)
    optimizer = RULES[rule](mixed)
    for step in range(3):
        give_gradients(mixed[:1], step)
        give_gradients(mixed[1:], step)
        optimizer.step()
    assert mixed[0].data.tobytes() == single[0].data.tobytes()
    assert mixed[1].data.tobytes() == double[0].data.tobytes()


@EVERY_RULE
def test_step_on_a_kept_parameter_is_noticed_by_the_tape(rule):
    (w,) = parameters((3,))
    x = Parameter(np.ones(3, np.float32))
    loss = (x * w).sum()
    optimizer = RULES[rule]([w])
    run(optimizer, [w], 0, 1)
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


@EVERY_RULE
def test_quadratic_is_minimized(rule):
    p = Parameter(np.array([3.0, -2.0]))
    optimizer = RULES[rule]([p])
    optimizer.param_groups[0]["lr"] = 0.05
    for _ in range(400):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    assert np.abs(p.data).max() < 0.2


@given(st.integers(1, 6), st.integers(0, 6), st.sampled_from(list(RULES)))
def test_split_into_groups_changes_nothing(count, cut, rule):
    shapes = [(i + 1, 2) for i in range(count)]
    one, two = parameters(*shapes), parameters(*shapes)
    cut = min(cut, count - 1)
    groups = [{"params": two[:cut]}, {"params": two[cut:]}] if cut else [{"params": two}]
    run(RULES[rule](one), one, 0, 2)
    run(RULES[rule](groups), two, 0, 2)
    for p, q in zip(one, two, strict=True):
        assert p.data.tobytes() == q.data.tobytes()


def test_groups_have_options_of_their_own():
    a, b = Parameter(np.array([1.0])), Parameter(np.array([1.0]))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad, b.grad = Tensor(np.array([1.0])), Tensor(np.array([1.0]))
    optimizer.step()
    assert (a.item(), b.item()) == (0.9, 0.5)


def test_closure_is_called_and_its_loss_returned():
    (p,) = parameters((3,))
    optimizer = optim.SGD([p], 0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == before
    assert closure().item() < before


def test_zero_grad_forgets_or_fills():
    p, frozen = parameters((3,), (2,))
    frozen.requires_grad_(False)
    optimizer = optim.SGD([p, frozen], 0.1)
    give_gradients([p], 0)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()


def test_repr_shows_the_options():
    text = repr(optim.SGD(parameters((3,)), 0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0.0\n    lr: 0.1\n")


# ---- bad input

LEAF = [Parameter(np.ones(2))]
BAD = {
    "lr nan": (lambda: optim.SGD(LEAF, math.nan), ArgError, "lr"),
    "lr inf": (lambda: optim.Adam(LEAF, math.inf), ArgError, "lr"),
    "lr negative": (lambda: optim.AdamW(LEAF, -0.1), ArgError, "lr must be"),
    "lr text": (lambda: optim.SGD(LEAF, "0.1"), TypeError, "lr must be a number, got str"),
    "lr bool": (lambda: optim.SGD(LEAF, True), TypeError, "lr must be a number, got bool"),
    "lr none": (lambda: optim.RMSprop(LEAF, None), TypeError, "lr"),
    "momentum": (lambda: optim.SGD(LEAF, 0.1, -1.0), ArgError, "momentum"),
    "weight_decay": (lambda: optim.Adam(LEAF, weight_decay=-1), ArgError, "weight_decay"),
    "nesterov": (lambda: optim.SGD(LEAF, 0.1, nesterov=True), ArgError, "nesterov needs momentum"),
    "flag": (lambda: optim.SGD(LEAF, 0.1, nesterov=1), TypeError, "nesterov must be True or False"),
    "beta 1": (lambda: optim.Adam(LEAF, betas=(1.0, 0.9)), ArgError, r"betas\[0\]"),
    "betas": (lambda: optim.Adam(LEAF, betas=0.9), TypeError, "betas must be two numbers"),
    "eps": (lambda: optim.Adam(LEAF, eps=-1e-8), ArgError, "eps"),
    "alpha": (lambda: optim.RMSprop(LEAF, alpha=math.nan), ArgError, "alpha"),
    "empty": (lambda: optim.SGD([], 0.1), ArgError, "params is empty"),
    "empty group": (lambda: optim.SGD([{"params": []}], 0.1), ArgError, "group 0 has no parameter"),
    "twice": (lambda: optim.SGD(LEAF * 2, 0.1), ArgError, "parameter 1 of group 0.*twice"),
    "in two groups": (
        lambda: optim.SGD([{"params": LEAF}, {"params": LEAF}], 0.1),
        ArgError,
        "parameter 0 of group 1.*twice",
    ),
    "tensor": (lambda: optim.SGD(LEAF[0], 0.1), TypeError, r"use net.parameters\(\)"),
    "set": (lambda: optim.SGD(set(LEAF), 0.1), TypeError, "list of Tensors"),
    "array": (lambda: optim.SGD([np.ones(2)], 0.1), TypeError, "parameter 0 of group 0 is ndarray"),
    "no leaf": (lambda: optim.SGD([LEAF[0] * 2.0], 0.1), ArgError, "only leaves can be optimized"),
    "integers": (lambda: optim.SGD([Tensor(np.ones(2, int))], 0.1), DTypeError, "int64"),
    "option": (lambda: optim.SGD([{"params": LEAF, "beta": 1}], 0.1), ArgError, "option 'beta'"),
    "no params": (lambda: optim.SGD([{"lr": 1}], 0.1), TypeError, "key 'params'"),
    "group lr": (lambda: optim.SGD([{"params": LEAF, "lr": -1}], 0.1), ArgError, "lr must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_senseless_arguments_are_refused_with_reason(case):
    make, error, reason = BAD[case]
    with pytest.raises(error, match=reason) as caught:
        make()
    assert len(str(caught.value)) <= 200


def test_refused_group_leaves_the_optimizer_unchanged():
    optimizer = optim.SGD(parameters((2,)), 0.1)
    with pytest.raises(ArgError):
        optimizer.add_param_group({"params": [*parameters((3,)), LEAF[0] * 2.0]})
    assert len(optimizer.param_groups) == 1


def wrong_states(good):
    """Copies of a good state, each with one fault, and a word of the complaint."""
    yield {"state": {}}, "param_groups"
    bad = copy.deepcopy(good)
    bad["param_groups"][0]["params"] = [0]
    yield bad, "groups of"
    bad = copy.deepcopy(good)
    bad["param_groups"][0].pop("lr")
    yield bad, "'lr'"
    bad = copy.deepcopy(good)
    bad["state"][7] = bad["state"][0]
    yield bad, "parameter 7"
    bad = copy.deepcopy(good)
    bad["state"][0]["magic"] = np.ones(3)
    yield bad, "'magic'"
    bad = copy.deepcopy(good)
    name = next(key for key, value in good["state"][0].items() if np.ndim(value))
    bad["state"][0][name] = np.ones(99)
    yield bad, "shape"


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "sgd"])
def test_state_that_does_not_fit_changes_nothing(rule):
    params = parameters((3,), (2, 2))
    optimizer = RULES[rule](params)
    run(optimizer, params, 0, 2)
    good = optimizer.state_dict()
    for bad, word in wrong_states(good):
        with pytest.raises(CheckpointError, match=word):
            optimizer.load_state_dict(bad)
        now = optimizer.state_dict()
        assert now["param_groups"] == good["param_groups"]
        for i, own in good["state"].items():
            assert all(np.array_equal(now["state"][i][key], own[key]) for key in own)


def test_state_of_another_rule_is_refused():
    params = parameters((3,))
    adam = optim.Adam(params)
    run(adam, params, 0, 1)
    with pytest.raises(CheckpointError, match="another optimizer's"):
        optim.SGD(params, 0.1).load_state_dict(adam.state_dict())


def test_loaded_state_has_memory_of_its_own():
    params = parameters((3,))
    optimizer = RULES["momentum"](params)
    run(optimizer, params, 0, 1)
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    run(optimizer, params, 1, 2)
    assert np.array_equal(
        saved["state"][0]["momentum_buffer"], before["state"][0]["momentum_buffer"]
    )


def test_saved_state_does_not_move_with_training():
    params = parameters((3,))
    optimizer = RULES["momentum"](params)
    run(optimizer, params, 0, 1)
    saved = optimizer.state_dict()["state"][0]["momentum_buffer"]
    before = saved.copy()
    run(optimizer, params, 1, 2)
    assert np.array_equal(saved, before)
