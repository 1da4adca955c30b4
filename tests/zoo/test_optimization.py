"""Groups of parameters, schedules and averages: what the recipes' words mean, step by step."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.errors import CheckpointError
from zoo.config import TrainConfig
from zoo.optimization import WINDOW, Schedule, WeightAverage, make_optimizer


def net():
    mg.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


def rates(config, steps, *, per_epoch=10, errors=None, test=None):
    """The learning rate at which each step is made."""
    found = []
    sgd = optim.SGD([nn.Parameter([1.0])], lr=config.lr, momentum=0.9)
    schedule = Schedule(config.check(), sgd, steps, per_epoch)
    for k in range(steps):
        found.append(sgd.param_groups[0]["lr"])
        schedule.after_batch(0.0 if errors is None else errors[k])
        if (k + 1) % per_epoch == 0:
            schedule.after_epoch(0.0 if test is None else test[k // per_epoch])
    return found


def test_biases_of_caffe_s_nets_move_twice_as_fast_and_do_not_decay():
    model = net()
    config = TrainConfig(lr=0.1, momentum=0.0, weight_decay=0.5, bias_lr=2.0, bias_decay=0.0)
    sgd = make_optimizer(model, config)
    before = {n: p.numpy().copy() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = mg.tensor(np.full(p.shape, 3.0, np.float32))
    sgd.step()
    for name, p in model.named_parameters():
        bias = name in ("0.bias", "3.bias")  # batch norm's beta decays, as in ResNets
        step = 0.2 * 3 if bias else 0.1 * (3 + 0.5 * before[name])
        np.testing.assert_allclose(p.numpy(), before[name] - step, rtol=1e-5, atol=1e-6)


def test_without_that_there_is_one_group_in_the_order_of_the_net():
    model = net()
    (group,) = make_optimizer(model, TrainConfig()).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert group["nesterov"]
    assert not make_optimizer(model, TrainConfig(momentum=0.0)).param_groups[0]["nesterov"]


def test_both_groups_follow_one_schedule():
    config = TrainConfig(lr=0.1, bias_lr=2.0, schedule="steps", milestones=(1,))
    sgd = make_optimizer(net(), config)
    schedule = Schedule(config, sgd, 4, 2)
    for expected in (0.1, 0.1, 0.01, 0.01):
        a, b = (group["lr"] for group in sgd.param_groups)
        assert a == pytest.approx(expected) and b == pytest.approx(2 * expected)
        schedule.after_batch(0.0)


def test_steps_by_epoch_and_by_iteration():
    by_epoch = TrainConfig(lr=1.0, schedule="steps", milestones=(2, 3))
    np.testing.assert_allclose(rates(by_epoch, 40), [1.0] * 20 + [0.1] * 10 + [0.01] * 10)
    by_step = TrainConfig(
        lr=1.0, schedule="steps", milestones=(3, 7), unit="iterations", factor=0.5
    )
    np.testing.assert_allclose(rates(by_step, 10), [1] * 3 + [0.5] * 4 + [0.25] * 3)


def test_four_percent_less_every_eight_epochs():
    config = TrainConfig(lr=0.01, schedule="exponential", every=8, factor=0.96)
    found = rates(config, 200)
    np.testing.assert_allclose(found, [0.01 * 0.96 ** (k // 80) for k in range(200)])


def test_a_constant_rate_and_the_one_cycle_schedule():
    assert rates(TrainConfig(lr=0.3, schedule="constant"), 20) == [0.3] * 20
    found = rates(TrainConfig(lr=0.2), 100)
    assert found[0] == pytest.approx(0.2 / 25) and max(found) == pytest.approx(0.2)
    assert np.argmax(found) == 24 and found[-1] < 1e-5


def test_a_plateau_of_the_test_error_divides_by_ten_three_times_at_most():
    config = TrainConfig(lr=1.0, schedule="plateau", patience=1, reductions=3)
    test = [0.5, 0.4, 0.4, 0.4, 0.3, *[0.3] * 20]
    found = rates(config, 250, test=test)[::10]
    np.testing.assert_allclose(found[:8], [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    np.testing.assert_allclose(found[-5:], 1e-3)


def test_warm_up_lasts_until_the_training_error_is_below_eighty_percent():
    config = TrainConfig(lr=0.1, schedule="steps", milestones=(15,), warmup_lr=0.01)
    errors = [0.9] * 70 + [0.7] * 130
    found = rates(config, 200, errors=errors)
    mean = [np.mean(errors[max(0, k - WINDOW + 1) : k + 1]) for k in range(200)]
    over = next(k for k in range(200) if k + 1 >= WINDOW and mean[k] < 0.8)
    assert over == 95  # 26 of the last 50 are at 0.7
    np.testing.assert_allclose(found[: over + 1], 0.01)
    np.testing.assert_allclose(found[over + 1 : 150], 0.1)  # back at once; the rest as without it
    np.testing.assert_allclose(found[150:], 0.01)


def test_a_first_lucky_batch_does_not_end_the_warm_up():
    config = TrainConfig(lr=0.1, schedule="constant", warmup_lr=0.01)
    assert rates(config, 40, errors=[0.0] * 40) == [0.01] * 40


@pytest.mark.parametrize("cut", [3, 60, 97])
def test_a_schedule_continues_from_its_state(cut):
    config = TrainConfig(lr=0.1, schedule="steps", milestones=(11,), warmup_lr=0.01).check()
    errors = np.linspace(1.0, 0.5, 120)

    def make():
        sgd = optim.SGD([nn.Parameter([1.0])], lr=config.lr, momentum=0.9)
        return sgd, Schedule(config, sgd, 120, 10)

    whole = rates(config, 120, errors=errors)
    sgd, schedule = make()
    for k in range(cut):
        schedule.after_batch(errors[k])
    again, second = make()
    again.load_state_dict(sgd.state_dict())
    second.load_state_dict(schedule.state_dict())
    found = []
    for k in range(cut, 120):
        found.append(again.param_groups[0]["lr"])
        second.after_batch(errors[k])
    assert found == whole[cut:]
    with pytest.raises(CheckpointError):
        second.load_state_dict({"inner": {}})


def test_averages_are_the_running_mean_that_they_say():
    model = net()
    average = WeightAverage(model, 0.5)
    expected = {n: v.numpy().astype(np.float64) for n, v in model.state_dict().items()}
    for t in range(6):
        for p in model.parameters():
            p.data[...] += 1.0
            p.mutated_()
        average.update()
        decay = min(0.5, (1 + t) / (10 + t))
        for n, v in model.state_dict().items():
            expected[n] = decay * expected[n] + (1 - decay) * v.numpy()
    for n, a in average.mean.items():
        np.testing.assert_allclose(a, expected[n], rtol=1e-5, atol=1e-6)
    assert {"0.weight", "1.running_mean"} <= average.mean.keys()


def test_averages_stand_in_for_parameters_and_go_again():
    model = net()
    average = WeightAverage(model, 0.9)
    for p in model.parameters():
        p.data[...] += 1.0
        p.mutated_()
    average.update()
    own = model[0].weight.numpy().copy()
    with pytest.raises(KeyError), average.applied():
        np.testing.assert_array_equal(model[0].weight.numpy(), average.mean["0.weight"])
        raise KeyError
    np.testing.assert_array_equal(model[0].weight.numpy(), own)
    other = WeightAverage(net(), 0.9)
    other.load_state_dict(average.state_dict())
    np.testing.assert_array_equal(other.mean["0.weight"], average.mean["0.weight"])
    with pytest.raises(CheckpointError, match="another net"):
        WeightAverage(nn.Linear(2, 2), 0.9).load_state_dict(average.state_dict())
