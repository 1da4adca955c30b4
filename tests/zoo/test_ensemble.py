"""Ensembles: the mean of answers, what it scores, and what is always true of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.errors import ArgError, ShapeError
from zoo import cli
from zoo.ensemble import combine, table


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "four.npz"
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 64), ("test", 40)):
        labels = np.arange(n) % 4
        x = rng.integers(0, 200, (n, 28, 28), dtype=np.uint8)
        for k, image in zip(labels, x, strict=True):
            image[7 * k : 7 * k + 7] = np.minimum(image[7 * k : 7 * k + 7] + 30, 255)
        arrays |= {f"x_{part}": x, f"y_{part}": labels}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Three small nets that differ in their seed."""
    base = tmp_path_factory.mktemp("runs")
    args = ["train", "--model", "lenet", "--data", str(data), "--epochs", "2", "--batch-size", "16"]
    for seed in range(3):
        assert cli.main([*args, "--seed", str(seed), "--out", str(base / f"r{seed}")]) == 0
    return [str(base / f"r{seed}") for seed in range(3)]


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(2, 5)),
               elements=st.floats(-30, 30)),
    st.integers(0, 2**31),
)  # fmt: skip
def test_the_loss_of_the_mean_is_never_above_the_mean_loss(logits, seed):
    members = list(softmax(logits))  # Jensen: -log is convex
    labels = np.random.default_rng(seed).integers(0, logits.shape[2], logits.shape[1])
    found = combine(members, labels)
    assert found.together.loss <= found.mean.loss * (1 + 1e-12) + 1e-12


def test_scores_are_counted_as_they_say():
    labels = np.array([0, 1, 2, 0])
    a = softmax(3.0 * np.eye(3)[[0, 1, 2, 1]])  # right, right, right, wrong
    b = softmax(1.0 * np.eye(3)[[0, 2, 2, 0]])  # right, wrong, right, right
    found = combine([a, b], labels)
    assert [m.error for m in found.members] == [0.25, 0.25]
    own = ((a + b) / 2)[np.arange(4), labels]
    assert found.together.loss == pytest.approx(-np.log(own).mean())
    assert found.together.error == 0.25 and found.mean.error == 0.25
    text = table(["a", "b"], found)
    assert "ensemble of 2" in text and text.count("25.00%") == 4


def test_equal_members_are_one_member():
    a = softmax(np.random.default_rng(0).standard_normal((6, 4)))
    found = combine([a, a, a], np.zeros(6, int))
    assert found.together.loss == pytest.approx(found.mean.loss, rel=1e-12)


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(ArgError, match="at least one run"):
        combine([], np.zeros(0, int))
    with pytest.raises(ShapeError, match=r"\(4, 2\), \(5, 2\)"):
        combine([np.full((4, 2), 0.5), np.full((5, 2), 0.5)], np.zeros(4, int))


def test_the_command_reports_members_their_mean_and_the_ensemble(runs, capsys):
    assert cli.main(["ensemble", *runs]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert "40 test images" in lines[0]
    rows = {line.rsplit(None, 2)[0]: line.split()[-2:] for line in lines[2:-1]}
    losses = [float(v[0]) for k, v in rows.items() if k.startswith("lenet of")]
    errors = [float(v[1][:-1]) for k, v in rows.items() if k.startswith("lenet of")]
    assert len(losses) == 3 and len(set(losses)) == 3
    assert float(rows["mean of members"][0]) == pytest.approx(np.mean(losses), abs=1e-4)
    assert float(rows["mean of members"][1][:-1]) == pytest.approx(np.mean(errors), abs=1e-2)
    assert float(rows["ensemble of 3"][0]) <= float(rows["mean of members"][0])
    for run, loss in zip(runs, losses, strict=True):
        assert cli.main(["eval", run]) == 0
        assert f"loss {loss:.4f}" in capsys.readouterr().out


def test_an_ensemble_may_look_at_views(runs, capsys):
    assert cli.main(["ensemble", runs[0], "--views", "10-crop"]) == 0
    alone = capsys.readouterr().out
    assert cli.main(["eval", runs[0], "--views", "10-crop"]) == 0
    assert capsys.readouterr().out.split("loss ")[1][:6] in alone
    assert cli.main(["eval", runs[0], "--views", "10-crop", "--view-scales", "20"]) == 2
    assert "the net takes 28x28" in capsys.readouterr().err
    assert cli.main(["eval", runs[0], "--views", "dense"]) == 2
    assert "use 10-crop" in capsys.readouterr().err


def test_members_of_other_data_are_refused(runs, tmp_path, capsys):
    rng = np.random.default_rng(1)
    for name, classes in (("same", 4), ("other", 3)):
        arrays = {}
        for part in ("train", "test"):
            arrays[f"x_{part}"] = rng.integers(0, 256, (32, 28, 28), dtype=np.uint8)
            arrays[f"y_{part}"] = np.arange(32) % classes
        np.savez(tmp_path / f"{name}.npz", **arrays)
        args = ["train", "--model", "lenet", "--data", str(tmp_path / f"{name}.npz")]
        line = [*args, "--epochs", "1", "--batch-size", "16", "--out", str(tmp_path / name)]
        assert cli.main(line) == 0
    capsys.readouterr()
    assert cli.main(["ensemble", runs[0], str(tmp_path / "same")]) == 2
    assert "pass --data" in capsys.readouterr().err
    shared = ["--data", str(tmp_path / "same.npz")]
    assert cli.main(["ensemble", runs[0], str(tmp_path / "same"), *shared]) == 0
    assert cli.main(["ensemble", runs[0], str(tmp_path / "other")]) == 2
    assert "has other classes than" in capsys.readouterr().err
    assert cli.main(["ensemble", runs[0], "no/such/run"]) == 1
