"""Design: schedules against their formulas written out as numbers, resumed at every epoch, and
refused where senseless.
"""

import math

import numpy as np
import pytest

from minigrad import optim
from minigrad.errors import ArgError, CheckpointError
from minigrad.nn import Parameter
from minigrad.optim import lr_scheduler as schedules


def sgd(lr=1.0, momentum=0.9):
    return optim.SGD([Parameter(np.ones(1))], lr, momentum)


def rates(make, epochs, optimizer=None):
    optimizer = optimizer or sgd()
    schedule, seen = make(optimizer), []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return seen


SCHEDULES = {
    "step": (lambda o: schedules.StepLR(o, 2, 0.5), [1, 1, 0.5, 0.5, 0.25, 0.25]),
    "multi": (
        lambda o: schedules.MultiStepLR(o, [4, 1, 1], 0.1),
        [1, 0.01, 0.01, 0.01, 0.001, 0.001],
    ),
    "linear": (lambda o: schedules.LinearLR(o, 0.2, 1.0, 4), [0.2, 0.4, 0.6, 0.8, 1, 1]),
    "cosine": (
        lambda o: schedules.CosineAnnealingLR(o, 4, 0.2),
        [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2,
         0.6 - 0.4 * math.sqrt(0.5)],
    ),
    "lambda": (lambda o: schedules.LambdaLR(o, lambda e: 1 / (1 + e)), [1, 1 / 2, 1 / 3, 1 / 4]),
    "sequence": (
        lambda o: schedules.SequentialLR(
            o, [schedules.LinearLR(o, 0.5, 1.0, 2), schedules.StepLR(o, 2, 0.1)], [2]
        ),
        [0.5, 0.75, 1, 1, 0.1, 0.1],
    ),
    "one cycle": (
        lambda o: schedules.OneCycleLR(
            o, 1.0, 6, pct_start=0.5, div_factor=10, final_div_factor=10
        ),
        [0.1, 0.55, 1, 0.01 + 0.99 * 0.75, 0.01 + 0.99 * 0.25, 0.01],
    ),
    "one cycle, lines": (
        lambda o: schedules.OneCycleLR(
            o, 1.0, epochs=2, steps_per_epoch=3, pct_start=0.5, div_factor=10,
            final_div_factor=10, anneal_strategy="linear",
        ),
        [0.1, 0.55, 1, 0.67, 0.34, 0.01],
    ),
    "one cycle, three phases": (
        lambda o: schedules.OneCycleLR(
            o, 1.0, 10, pct_start=0.3, div_factor=10, final_div_factor=10,
            anneal_strategy="linear", three_phase=True,
        ),
        [0.1, 0.55, 1, 0.55, 0.1, 0.1 - 0.018, 0.1 - 0.036, 0.1 - 0.054, 0.1 - 0.072, 0.01],
    ),
}  # fmt: skip
EVERY_SCHEDULE = pytest.mark.parametrize("name", SCHEDULES)


@EVERY_SCHEDULE
def test_rates_are_the_formula(name):
    make, expected = SCHEDULES[name]
    cycle = name.startswith("one cycle")
    seen = rates(make, len(expected) - cycle)
    assert seen == pytest.approx(expected[: len(seen)], rel=1e-12)


@EVERY_SCHEDULE
def test_schedule_resumes_at_every_epoch(name):
    make, expected = SCHEDULES[name]
    for cut in range(len(expected) - 1):
        first = sgd()
        schedule = make(first)
        for _ in range(cut):
            schedule.step()
        second = sgd()
        resumed = make(second)
        resumed.load_state_dict(schedule.state_dict())
        second.load_state_dict(first.state_dict())
        for _ in range(len(expected) - 1 - cut):
            assert second.param_groups[0] == {
                **first.param_groups[0],
                "params": second.param_groups[0]["params"],
            }
            schedule.step()
            resumed.step()


@pytest.mark.parametrize("name", [n for n in SCHEDULES if not n.startswith("one cycle")])
def test_groups_keep_their_ratio(name):
    make, expected = SCHEDULES[name]
    a, b = Parameter(np.ones(1)), Parameter(np.ones(1))
    optimizer = optim.SGD([{"params": a}, {"params": b, "lr": 3.0}], 1.0)
    schedule = make(optimizer)
    for _ in expected:
        one, three = schedule.get_last_lr()
        if name != "cosine":  # eta_min does not scale
            assert three == pytest.approx(3 * one, rel=1e-12)
        assert [group["lr"] for group in optimizer.param_groups] == [one, three]
        schedule.step()


def test_one_cycle_moves_the_momentum_against_the_rate():
    optimizer = sgd()
    schedule = schedules.OneCycleLR(optimizer, 1.0, 6, pct_start=0.5, anneal_strategy="linear")
    seen = []
    for _ in range(5):
        seen.append(optimizer.param_groups[0]["momentum"])
        schedule.step()
    seen.append(optimizer.param_groups[0]["momentum"])
    down = 0.1 / 3
    assert seen == pytest.approx([0.95, 0.9, 0.85, 0.85 + down, 0.85 + 2 * down, 0.95])


def test_one_cycle_moves_the_first_beta_of_adam():
    optimizer = optim.Adam([Parameter(np.ones(1))])
    schedules.OneCycleLR(optimizer, 1.0, 6)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)


def test_one_cycle_has_an_end():
    optimizer = sgd()
    schedule = schedules.OneCycleLR(optimizer, 1.0, 3)
    for _ in range(3):  # as in PyTorch, the loop may step once more after its last batch
        schedule.step()
    last = optimizer.param_groups[0]["lr"]
    with pytest.raises(ArgError, match="step 5 of a cycle of 3 steps"):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == last and schedule.last_epoch == 3


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_one_cycle_of_any_length_stays_between_its_bounds(steps, share):
    schedule = lambda o: schedules.OneCycleLR(o, 2.0, steps, pct_start=share)  # noqa: E731
    optimizer = sgd()
    made, seen = schedule(optimizer), [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        made.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert all(2.0 / 25 / 1e4 * 0.999 <= lr <= 2.0 for lr in seen)


def plateau(values, **options):
    optimizer = sgd()
    schedule = schedules.ReduceLROnPlateau(optimizer, **options)
    seen = []
    for value in values:
        schedule.step(value)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_plateau_waits_patience_epochs_and_reduces():
    assert plateau([5, 4, 4, 4, 4, 3], patience=2, factor=0.5) == [1, 1, 1, 1, 0.5, 0.5]


def test_plateau_counts_no_epoch_during_cooldown():
    seen = plateau([1, 1, 1, 1, 1, 1], patience=0, factor=0.5, cooldown=2)
    assert seen == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_plateau_of_a_maximum():
    assert plateau([1, 2, 1.5, 3], mode="max", patience=0, factor=0.5) == [1, 1, 0.5, 0.5]


def test_plateau_threshold_absolute_and_relative():
    assert plateau([10, 9.95], patience=0, factor=0.5, threshold=0.1, threshold_mode="abs") == [
        1,
        0.5,
    ]
    assert plateau([10, 9.85], patience=0, factor=0.5, threshold=0.1, threshold_mode="abs") == [
        1,
        1,
    ]
    assert plateau([10, 9.5], patience=0, factor=0.5, threshold=0.1) == [1, 0.5]
    assert plateau([10, 8.5], patience=0, factor=0.5, threshold=0.1) == [1, 1]


def test_plateau_takes_nan_for_no_progress():
    assert plateau([1, math.nan, math.nan], patience=1, factor=0.5) == [1, 1, 0.5]


def test_plateau_stops_at_min_lr():
    assert plateau([1] * 4, patience=0, factor=0.1, min_lr=0.05) == [1, 0.1, 0.05, 0.05]


def test_plateau_resumes():
    first, second = sgd(), sgd()
    one = schedules.ReduceLROnPlateau(first, patience=2)
    for _ in range(3):
        one.step(1.0)
    two = schedules.ReduceLROnPlateau(second, patience=2)
    two.load_state_dict(one.state_dict())
    one.step(1.0)
    two.step(1.0)
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"] == pytest.approx(0.1)


BAD = {
    "optimizer": (lambda o: schedules.StepLR([1], 2), TypeError, "expected an Optimizer"),
    "plateau's": (lambda o: schedules.ReduceLROnPlateau(None), TypeError, "expected an Optimizer"),
    "step 0": (lambda o: schedules.StepLR(o, 0), ArgError, "step_size"),
    "step 1.5": (lambda o: schedules.StepLR(o, 1.5), TypeError, "step_size"),
    "T_max": (lambda o: schedules.CosineAnnealingLR(o, 0), ArgError, "T_max"),
    "factor": (lambda o: schedules.LinearLR(o, 0.0), ArgError, "start_factor"),
    "no length": (lambda o: schedules.OneCycleLR(o, 1.0), ArgError, "total_steps"),
    "share": (lambda o: schedules.OneCycleLR(o, 1.0, 5, pct_start=2), ArgError, "pct_start"),
    "strategy": (lambda o: schedules.OneCycleLR(o, 1.0, 5, anneal_strategy="x"), ArgError, "'x'"),
    "peaks": (lambda o: schedules.OneCycleLR(o, [1.0, 2.0], 5), ArgError, "one value or 1"),
    "lambdas": (lambda o: schedules.LambdaLR(o, [abs, abs]), ArgError, "one value or 1"),
    "increase": (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), ArgError, "less than 1"),
    "mode": (lambda o: schedules.ReduceLROnPlateau(o, "best"), ArgError, "'best'"),
    "milestones": (
        lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)] * 3, [5, 2]),
        ArgError,
        "increase",
    ),
    "too few": (
        lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [5]),
        ArgError,
        "need 0 milestones",
    ),
    "foreign": (
        lambda o: schedules.SequentialLR(o, [schedules.StepLR(sgd(), 1)], []),
        ArgError,
        "of this optimizer",
    ),
    "plateau in a row": (
        lambda o: schedules.SequentialLR(o, [schedules.ReduceLROnPlateau(o)], []),
        ArgError,
        "ReduceLROnPlateau",
    ),
    "continue": (lambda o: schedules.StepLR(o, 1, last_epoch=3), ArgError, "'initial_lr'"),
}


@pytest.mark.parametrize("case", BAD)
def test_senseless_arguments_are_refused_with_reason(case):
    make, error, reason = BAD[case]
    with pytest.raises(error, match=reason):
        make(sgd())


@EVERY_SCHEDULE
def test_state_that_does_not_fit_is_refused(name):
    schedule = SCHEDULES[name][0](sgd())
    before = schedule.state_dict()
    for bad in ({}, {**before, "more": 1}, {**before, "base_lrs": [1.0, 2.0]}, None):
        with pytest.raises(CheckpointError, match=type(schedule).__name__):
            schedule.load_state_dict(bad)
    assert schedule.state_dict() == before
