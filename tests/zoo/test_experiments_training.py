"""The small data and training loop of the experiments, and the parts of those that train."""

from statistics import mean

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import ArgError
from zoo.experiments import Settings, ablations, degradation, ensembles, transfer
from zoo.experiments.nets import Chain, MiniResNet, SmallNet
from zoo.experiments.training import (
    Images,
    Recipe,
    batches,
    error,
    errors,
    fit,
    images,
    logits,
    pooled,
    smooth,
)


@pytest.fixture(scope="module")
def blobs():
    """Two classes that a net learns at once: bright on the left, bright on the right."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.standard_normal((200, 1, 16, 16)).astype(np.float32)
    x[np.arange(200), 0, :, :8] += 2 * (y == 0)[:, None, None]
    x[np.arange(200), 0, :, 8:] += 2 * (y == 1)[:, None, None]
    return Images("blobs", x[:128], y[:128], x[128:], y[128:], ("left", "right"))


def test_pooling_is_the_mean_of_squares_of_the_padded_image():
    x = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 251
    found = pooled(x.astype(np.uint8), 8)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)))
    assert found.shape == (2, 1, 8, 8)
    assert found[1, 0, 3, 5] == pytest.approx(padded[1, 12:16, 20:24].mean() / 255)
    assert pooled(np.zeros((1, 32, 32, 3), np.uint8), 32).shape == (1, 3, 32, 32)
    with pytest.raises(ArgError, match="too small"):
        pooled(np.zeros((1, 8, 8), np.uint8), 32)


def test_images_are_normalized_by_the_training_images_and_do_not_depend_on_the_seed():
    a, b = (images(Settings(seed), 8, 300) for seed in (0, 1))
    assert a.train_x.shape == (300, 1, 8, 8) and len(a.test_x) == 1000
    assert a.train_x.mean() == pytest.approx(0, abs=1e-5)
    assert a.train_x.std() == pytest.approx(1, abs=1e-3)
    assert (a.train_x == b.train_x).all() and (a.test_y == b.test_y).all()


def test_batches_are_those_of_the_seed_and_have_the_window(blobs):
    recipe = Recipe(3, batch_size=16, window=12)
    first, again, other = (next(batches(blobs, recipe, seed)) for seed in (0, 0, 1))
    assert first[0].shape == (16, 1, 12, 12)
    assert (first[0].numpy() == again[0].numpy()).all()
    assert not (first[1].numpy() == other[1].numpy()).all()


def test_training_learns_stops_and_ends_on_a_loss_that_is_not_finite(blobs):
    def net():
        mg.manual_seed(0)
        return SmallNet(16, 1, 2, widths=(4, 4), norm="bn", head="fc")

    recipe = Recipe(30, batch_size=32, lr=0.02, flip=False)
    trained = net()
    losses = fit(trained, blobs, recipe, 0)
    assert len(losses) == 30 and losses[-1] < losses[0] / 4
    assert max(errors(trained, blobs)) < 10
    assert len(fit(net(), blobs, recipe, 0, stop=lambda step, loss: step == 4)) == 5
    broken = fit(net(), blobs, recipe, 0, loss_of=lambda s, y: s.sum() * float("nan"))
    assert len(broken) == 1
    assert fit(net(), blobs, recipe, 0) == losses


def test_the_rate_drops_where_the_recipe_says(blobs):
    mg.manual_seed(0)
    net = SmallNet(16, 1, 2, widths=(4,))
    rates = [0.1, 0.01]
    for drops, lr in (((), 0.1), ((0.0,), 1.0)):  # dropped at once: ten times less
        mg.manual_seed(0)
        net = SmallNet(16, 1, 2, widths=(4,))
        rates.append(fit(net, blobs, Recipe(3, batch_size=16, lr=lr, drops=drops), 0)[-1])
    assert rates[2] == pytest.approx(rates[3], rel=1e-5)


def test_smoothing_begins_at_the_first_loss():
    assert smooth([2.0]) == [2.0]
    assert smooth([3.0] * 50)[-1] == pytest.approx(3.0)
    assert smooth([0.0, 1.0], keep=0.5) == pytest.approx([0.0, 2 / 3])


def test_plain_and_residual_mini_nets_have_equal_parameters_and_the_named_depth():
    nets = [MiniResNet(20, shortcut) for shortcut in (None, "A")]
    counts = [sum(p.size for p in net.parameters()) for net in nets]
    assert counts[0] == counts[1]
    weighted = [m for m in nets[1].modules() if isinstance(m, mg.nn.Conv2d | mg.nn.Linear)]
    assert len(weighted) == 20
    paper = MiniResNet(20, "A", 3, widths=(16, 32, 64))
    assert sum(p.size for p in paper.parameters()) == 269_722


def test_a_chain_has_its_switches():
    mg.manual_seed(0)
    kinds = (mg.nn.init.kaiming_normal_,)
    net = Chain(20, mg.functional.relu, *kinds, residual=True, batch_norm=True)
    assert sum(isinstance(m, mg.nn.Conv2d) for m in net.modules()) == 19
    assert net(mg.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_E1_one_net_is_trained_and_judged(blobs):
    found = degradation.train_one(("residual", 8), blobs, Recipe(5, batch_size=16), 0, (4, 4, 8))
    assert len(found["losses"]) == 5 and 0 <= found["train"] <= 100


def test_E1_the_criteria_read_the_runs(monkeypatch):
    final = {("plain", 20): 0.4, ("plain", 56): 1.4, ("residual", 20): 0.3, ("residual", 56): 0.4}

    def fake(key, *rest):
        return {"losses": [2.3, final.get(key, 0.5)], "train": key[1] / 2, "test": 30.0}

    monkeypatch.setattr(degradation, "train_one", fake)
    assert degradation.run(Settings()).passed
    final["residual", 56] = 1.2  # the residual net degrades as well
    assert [v.passed for v in degradation.run(Settings()).verdicts] == [True, True, False, False]


def test_E8_steps_to_marks_are_counted_and_the_highest_rate_is_found(blobs, monkeypatch):
    monkeypatch.setattr(ablations, "trains", lambda data, norm, lr, seed: lr < 0.2)
    place = ablations.highest_rate(blobs, "bn", 0)
    assert ablations.RATES[place] < 0.2 <= ablations.RATES[place + 1]
    monkeypatch.setattr(ablations, "trains", lambda *a: False)
    assert ablations.highest_rate(blobs, "bn", 0) == -1
    monkeypatch.setattr(ablations, "trains", lambda *a: True)
    assert ablations.highest_rate(blobs, "bn", 0) == len(ablations.RATES) - 1


def test_E9_the_mean_of_equal_nets_is_one_of_them_and_losses_obey_jensen():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(4), (5, 50))  # (nets, N, classes)
    labels = rng.integers(0, 4, 50)
    same = ensembles.by_size(np.stack([chances[0]] * 5), labels)
    assert same == pytest.approx([error(chances[0], labels)] * 5)
    assert ensembles.by_size(chances, labels)[0] == pytest.approx(
        mean(error(c, labels) for c in chances)
    )
    found = ensembles.combine(list(chances), labels)
    assert found.together.loss <= found.mean.loss


def test_E12_halves_shots_and_the_probe(blobs):
    new = transfer.only(images(Settings(), 8, 500), [7, 2])
    assert set(new.train_y.tolist()) == {0, 1} and new.classes == ("Sneaker", "Pullover")
    k = transfer.few(new.train_y, 3, np.random.default_rng(0))
    assert sorted(new.train_y[k].tolist()) == [0, 0, 0, 1, 1, 1] and len(set(k.tolist())) == 6
    flat = [x.reshape(len(x), -1) for x in (blobs.train_x, blobs.test_x)]
    assert transfer.linear_probe(flat[0], blobs.train_y, flat[1], blobs.test_y, 2) < 10
    net = SmallNet(16, 1, 2, widths=(4, 4), head="fc+dropout", hidden=8)
    shapes = {n: x.shape for n, x in transfer.representations(net, blobs.test_x).items()}
    assert shapes == {"pixels": (72, 256), "last pooling": (72, 64), "hidden layer": (72, 8)}


def test_logits_are_those_of_one_batch(blobs, monkeypatch):
    import zoo.experiments.training as t

    net = SmallNet(16, 1, 2, widths=(4,)).eval()
    whole = logits(net, blobs.train_x)
    monkeypatch.setattr(t, "EVAL_BATCH", 50)
    assert np.allclose(logits(net, blobs.train_x), whole, atol=1e-6)
