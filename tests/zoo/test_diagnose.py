"""Diagnosis: every planted fault is found and named, and healthy nets are not accused."""

import math

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import nn, optim
from minigrad.data import ArrayDataset
from zoo import cli
from zoo.config import TrainConfig
from zoo.diagnose import STUCK, Watch, guessing, measure, step_size, verdicts, why_not_finite
from zoo.lr_find import Found, lr_find, overfit_one_batch, rehearsal_verdict, rehearse
from zoo.trainer import Trainer, TrainingError, training_loss


def plain(depth, *, batch_norm=False, act=nn.ReLU, width=8):
    """Convolutions without shortcuts, global averaging, a linear layer."""
    layers = [nn.Conv2d(1, width, 3, padding=1)]
    for _ in range(depth):
        layers += [nn.BatchNorm2d(width)] if batch_norm else []
        layers += [act(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(
        *layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    )


def started(net, fill, bias=0.0):
    """The net with the weights of every layer filled anew."""
    mg.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fill(layer.weight)
            nn.init.constant_(layer.bias, bias)
    return net


def batch(n=32, c=1, size=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, c, size, size)).astype(np.float32)
    return mg.tensor(x), mg.tensor(rng.integers(0, 10, n))


def said(net, lr=0.01, **options):
    return verdicts(measure(net, training_loss, *batch()), lr, **options)


def normal(std):
    return lambda w: nn.init.normal_(w, 0.0, std)


FAULTS = {
    "zeros": (lambda: started(plain(3), nn.init.zeros_), "all weights are equal"),
    "no batch norm, small": (lambda: started(plain(18), normal(0.01)), "outputs shrink from"),
    "no batch norm, large": (lambda: started(plain(18), normal(1.0)), "outputs grow from"),
    "dead": (lambda: started(plain(3), nn.init.kaiming_normal_, -10.0), "dead ReLUs (100%"),
    "sigmoid": (
        lambda: started(plain(18, act=nn.Sigmoid), nn.init.xavier_normal_),
        "the gradient vanishes toward the input",
    ),
    "plain110": (lambda: zoo.get_model("plain110", in_channels=1), "the gradient explodes toward"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(name):
    make, words = FAULTS[name]
    mg.manual_seed(0)
    found = said(make())
    assert len(found) == 1 and words in found[0], found


def test_one_dead_layer_among_healthy_ones_is_named():
    net = started(plain(3), nn.init.kaiming_normal_)
    nn.init.constant_(net[4].bias, -100.0)
    (sentence,) = said(net)
    assert sentence.startswith("layers 4, 6, 10: dead ReLUs (100% of the maps of 4")


def test_a_rate_that_is_too_high_or_too_low_is_found():
    net = started(plain(3), nn.init.kaiming_normal_)
    report = measure(net, training_loss, *batch())
    assert step_size(report, 0.1) == []
    assert "too far; take a smaller --lr" in step_size(report, 1e3)[0]
    assert "next to nothing; take a larger --lr" in step_size(report, 1e-9)[0]


def test_outputs_that_are_too_large_at_first_are_found():
    net = started(plain(2), nn.init.kaiming_normal_)
    nn.init.normal_(net[-1].weight, 0.0, 100.0)
    assert "that of guessing 2.3" in said(net)[0]
    assert said(net, fresh=False) == []


HEALTHY = {
    "he": lambda: started(plain(18), nn.init.kaiming_normal_),
    "batch norm mends small weights": lambda: started(plain(18, batch_norm=True), normal(0.01)),
    "tanh": lambda: started(plain(18, act=nn.Tanh), nn.init.xavier_normal_),
    **{
        name: (lambda name=name: zoo.get_model(name, in_channels=1, num_classes=10))
        for name in ("plain20", "resnet56", "preact_resnet20", "nin_cifar10", "resnet18")
    },
    "vgg11": lambda: zoo.get_model("vgg11", head="gap", in_channels=1, num_classes=10),
    "zero_init_residual": lambda: zoo.get_model(
        "resnet18", zero_init_residual=True, in_channels=1, num_classes=10
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_net_is_not_accused(name):
    mg.manual_seed(0)
    net = HEALTHY[name]()
    x, t = batch(16, size=32)
    assert verdicts(measure(net, training_loss, x, t), 0.01) == []


def test_auxiliary_heads_are_layers_too():
    mg.manual_seed(0)
    net = zoo.get_model("googlenet", num_classes=10)
    report = measure(net, training_loss, *batch(4, 3, 64))
    assert {"aux1.fc2", "aux2.conv.conv", "fc"} <= {layer.name for layer in report.layers}
    assert verdicts(report, 0.01) == []


def test_measuring_leaves_the_net_and_the_random_numbers_as_they_were():
    mg.manual_seed(0)
    net = zoo.get_model("resnet20", in_channels=1).eval()
    before = {n: v.numpy().copy() for n, v in net.state_dict().items()}
    random = mg.default_generator.get_state()
    report = measure(net, training_loss, *batch())
    assert all((before[n] == v.numpy()).all() for n, v in net.state_dict().items())
    assert mg.default_generator.get_state() == random
    assert not net.training and all(p.grad is None for p in net.parameters())
    assert not any(m._hooks for m in net.modules())
    assert len(report.layers) == 20  # the weighted layers of the name


def test_the_numbers_of_a_layer_are_those_of_its_definition():
    net = started(plain(1), nn.init.kaiming_normal_)
    x, t = batch()
    report = measure(net, training_loss, x, t)
    y = net[0](x).numpy()
    loss = training_loss(net(x), t)
    loss.backward()
    first = report.layers[0]
    assert (first.mean, first.std) == (pytest.approx(y.mean(), abs=1e-6), pytest.approx(y.std()))
    assert first.gradient == pytest.approx(np.linalg.norm(net[0].weight.grad.numpy()), rel=1e-5)
    assert first.dead == pytest.approx(1 - (y > 0).any(axis=(0, 2, 3)).mean())
    assert first.step(0.1) == pytest.approx(0.1 * first.gradient / first.weight)
    assert report.loss == pytest.approx(loss.item()) and report.chance == pytest.approx(
        math.log(10)
    )


def test_the_loss_of_guessing_is_the_entropy_of_the_labels():
    images = np.zeros((8, 1))
    assert guessing(ArrayDataset(images, np.arange(8) % 4), 4) == pytest.approx(math.log(4))
    assert guessing(ArrayDataset(images, np.array([0] * 6 + [1] * 2)), 2) == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    )
    assert guessing(object(), 7) == pytest.approx(math.log(7))


# -- while training -------------------------------------------------------------------------------


def watched(net, loss, steps, lr=0.1):
    sgd = optim.SGD(list(net.parameters()), lr=lr)
    watch = Watch(object(), 10, training_loss, sgd)
    x, t = batch()
    return [said for k in range(steps) if (said := watch.after_batch(loss(k), net, x, t))]


def test_a_loss_that_stays_at_ln_10_is_said_once_with_the_reason():
    net = started(plain(18), normal(0.01))
    (told,) = watched(net, lambda k: math.log(10) + 0.001 * (-1) ** k, 2 * STUCK)
    assert "the loss has stayed at 2.303 for 200 steps" in told
    assert "ln 10 = 2.303" in told and "outputs shrink from" in told


def test_where_no_layer_looks_wrong_the_usual_suspects_are_named():
    net = started(plain(3), nn.init.kaiming_normal_)
    (told,) = watched(net, lambda k: math.log(10), STUCK)
    assert "no layer looks wrong: try another --lr than 0.1" in told and "batch norm" in told


@pytest.mark.parametrize(
    "loss",
    [lambda k: 2.3026 - 0.001 * k, lambda k: 2.6, lambda k: 1.0],
    ids=["falls", "high", "low"],
)
def test_a_loss_that_moves_or_is_elsewhere_is_not_remarked_on(loss):
    assert watched(started(plain(1), nn.init.kaiming_normal_), loss, STUCK) == []


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (256, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.arange(256) % 4, x_test=x[:8],
             y_test=np.arange(8) % 4)  # fmt: skip
    return str(tmp_path / "x.npz")


def test_training_says_it_and_goes_on(data, tmp_path, capsys):
    args = {"model": "lenet", "data": data, "batch_size": 16, "lr": 1e-9, "epochs": 14}
    trainer = Trainer(TrainConfig(**args, workers=0).check(), tmp_path)
    nn.init.normal_(trainer.net.output.weight, 0.0, 0.01)  # so it starts at ln 4
    assert len(trainer.fit()) == 14
    err = capsys.readouterr().err
    assert err.count("the loss has stayed at 1.386") == 1
    assert "next to nothing; take a larger --lr" in err


def test_nan_is_traced_to_the_op_the_weights_or_the_images():
    net = started(plain(1), nn.init.kaiming_normal_)
    x, t = batch()

    def explain(net, x):
        return why_not_finite(net, training_loss, x, t, 0.1)

    class Root(nn.Module):
        def forward(self, x):
            return mg.sqrt(x)

    born = explain(nn.Sequential(Root(), *net), x)
    assert "sqrt made the first NaN" in born and "test_diagnose.py" in born
    huge = started(plain(1), nn.init.kaiming_normal_)
    huge[0].weight.requires_grad_(False).copy_(np.full((8, 1, 3, 3), 3e38, np.float32))
    assert "output of 0 is infinite" in explain(huge, x) or "NaN" in explain(huge, x)
    net[2].bias.requires_grad_(False).copy_(np.full(8, np.inf, np.float32))
    assert "2.bias holds NaN or infinity already" in explain(net, x)
    bad = x.numpy().copy()
    bad[0, 0, 0, 0] = np.nan
    assert "the images themselves" in explain(net, mg.tensor(bad))


def test_a_rate_that_breaks_training_is_named_when_the_loss_does(data, tmp_path):
    config = TrainConfig(model="resnet20", data=data, batch_size=16, lr=1e30, schedule="constant")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) .*smaller --lr than 1e\+30"):
        Trainer(config.check(), tmp_path).fit()


# -- short trainings ------------------------------------------------------------------------------


def test_lr_find_finds_where_a_quadratic_breaks():
    p = nn.Parameter([4.0])  # loss p^2: the step 1 / 2 is exact, from 1 on it diverges

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = p

        def forward(self, x):
            return self.p * x

    sgd = optim.SGD([p], lr=1.0)
    x = mg.tensor(np.ones(1, np.float32))
    found = lr_find(
        Net(), sgd, lambda y, t: (y * y).sum(), [(x, x)], low=1e-3, high=100.0, steps=120
    )
    assert found.fell and found.rates[0] == pytest.approx(1e-3)
    assert len(found.rates) < 120, "it stops where the loss breaks"
    assert 1e-2 < found.rates[found.steepest] < 0.5
    assert found.steepest < found.lowest


def test_one_lucky_batch_is_not_where_the_loss_falls_fastest():
    steps = np.arange(100)
    losses = 3.0 - 1.5 / (1 + np.exp((60 - steps) / 4))  # falls around step 60
    losses[20:] -= 0.1  # a batch that is easy
    found = Found(tuple(10.0 ** (steps / 25 - 4)), tuple(losses))
    assert 55 <= found.steepest <= 65
    assert Found((0.1,), (2.0,)).steepest == 0
    assert Found((0.1, 0.2, 0.4), (2.0, 1.5, 1.0)).steepest == 1


def test_a_rehearsal_shows_a_rate_that_is_too_high():
    x, t = batch()
    for lr, broken in ((0.05, False), (1e4, True)):
        net = started(plain(3), nn.init.kaiming_normal_)
        sgd = optim.SGD(list(net.parameters()), lr=lr, momentum=0.9)
        losses = rehearse(net, sgd, training_loss, [(x, t)], 20)
        assert sgd.param_groups[0]["lr"] == lr
        verdict = rehearsal_verdict(losses, math.log(10), lr)
        assert (verdict is not None) == broken, losses
        assert not broken or "take a smaller --lr" in verdict


def test_a_net_that_can_learn_learns_a_batch_by_heart_and_zeros_cannot():
    x, t = batch(16)
    good = overfit_one_batch(started(plain(2, width=16), nn.init.kaiming_normal_), training_loss,
                             x, t, lr=1e-2)  # fmt: skip
    assert good.accuracy == 1.0 and good.loss < 0.1 and good.steps < 200
    bad = overfit_one_batch(started(plain(2), nn.init.zeros_), training_loss, x, t, steps=40)
    assert bad.accuracy < 0.6 and bad.steps == 40


# -- commands -------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_finds_nothing_in_a_healthy_net(data, capsys):
    line = ["diagnose", "lenet", "--data", data, "--batch-size", "32", "--lr", "0.05"]
    assert cli.main([*line, "--overfit"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name} " in text for name in ("c1", "c3", "c5", "f6", "output"))
    assert "nothing is suspicious" in text and "100% right" in text


def test_the_command_finds_a_rate_that_is_too_high(data, capsys):
    line = ["diagnose", "--model", "resnet20", "--data", data, "--batch-size", "32"]
    assert cli.main([*line, "--lr", "1000", "--steps", "5"]) == 1
    assert "suspicious: one step at --lr 1000" in capsys.readouterr().out
    assert cli.main(["diagnose", "lenet", "--model", "resnet20"]) == 2


def test_lr_find_prints_a_curve_and_a_rate(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["lr-find", "--model", "lenet", "--batch-size", "32", "--steps", "40"]
    assert cli.main([*line, "--from", "1e-3", "--to", "10", "--out", "c.png"]) == 0
    text = capsys.readouterr().out
    assert "try --lr" in text and (tmp_path / "c.png").stat().st_size > 5000
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]
    assert cli.main([*line, "--from", "1", "--to", "0.1"]) == 2
