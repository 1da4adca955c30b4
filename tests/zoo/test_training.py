"""Training runs: what the folder holds, exact resume, Ctrl-C, losses that are not finite."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad import io
from minigrad.errors import ArgError
from zoo import cli
from zoo.config import TrainConfig
from zoo.run_folder import sparkline
from zoo.trainer import Interrupted, Trainer, TrainingError

SMALL = {"model": "lenet", "data": "", "epochs": 2, "batch_size": 16, "workers": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """96 training and 32 test images of 4 classes that differ in where they are bright."""
    path = tmp_path_factory.mktemp("data") / "four.npz"
    rng = np.random.default_rng(0)

    def images(n):
        labels = np.arange(n) % 4
        x = rng.integers(0, 80, (n, 28, 28), dtype=np.uint8)
        for k, image in zip(labels, x, strict=True):
            image[14 * (k // 2) : 14 * (k // 2) + 14, 14 * (k % 2) : 14 * (k % 2) + 14] += 120
        return x, labels

    (x, t), (x2, t2) = images(96), images(32)
    np.savez(path, x_train=x, y_train=t, x_test=x2, y_test=t2)
    return path


def config(data, **changes):
    return TrainConfig(**{**SMALL, "data": str(data), **changes}).check()


def state(trainer):
    arrays = {k: v.numpy().copy() for k, v in trainer.net.state_dict().items()}
    return arrays, [{k: v for k, v in m.items() if k != "seconds"} for m in trainer.metrics]


@pytest.mark.parametrize("cut", [1, 4, 6, 9])
def test_a_run_that_was_cut_continues_with_the_same_bits(data, tmp_path, cut):
    whole = Trainer(config(data), tmp_path / "a")
    (tmp_path / "a").mkdir()
    whole.fit()
    (tmp_path / "b").mkdir()
    first = Trainer(config(data), tmp_path / "b")
    step, done = first.step, []

    def counted(images, labels):
        done.append(1)
        first.stop = len(done) == cut
        return step(images, labels)

    first.step = counted
    with pytest.raises(Interrupted):
        first.fit()
    mg.randn(7)  # the process goes on using the generator
    second = Trainer(config(data, workers=2), tmp_path / "b")
    second.resume()
    second.fit()
    (a, rows), (b, rows2) = state(whole), state(second)
    assert rows == rows2
    assert all((a[k] == b[k]).all() for k in a)


def test_the_command_trains_and_leaves_a_complete_folder(data, tmp_path, capsys):
    out = tmp_path / "run"
    args = ["--model", "lenet", "--data", str(data), "--epochs", "3", "--batch-size", "16"]
    assert cli.main(["train", *args, "--lr", "0.05", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "epoch   3/3" in text and "best test accuracy" in text
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2, 3]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert {"config.json", "environment.json", "last.safetensors", "best.safetensors"} <= {
        p.name for p in out.iterdir()
    }
    assert io.load(out / "best.safetensors").metadata["model"] == "lenet"
    assert cli.main(["eval", str(out)]) == 0
    best = max(r["test_accuracy"] for r in rows)
    assert f"accuracy {best:.2%}" in capsys.readouterr().out
    image = tmp_path / "one.npy"
    np.save(image, np.load(data)["x_test"][0])
    assert cli.main(["predict", str(image), "--run", str(out), "--top", "2"]) == 0
    assert "%" in capsys.readouterr().out


def test_curves_need_matplotlib_only_for_the_picture(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    args = ["--model", "lenet", "--data", str(data), "--epochs", "1", "--batch-size", "16"]
    assert cli.main(["train", *args, "--out", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "train_loss" in text and 'pip install -e ".[plot]"' in text
    assert not (tmp_path / "run" / "curves.png").exists()


def test_a_sparkline_goes_from_low_to_high():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([1.0, 1.0]) == "▁▁"


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(data, tmp_path):
    trainer = Trainer(config(data), tmp_path)
    trainer.net.output.bias.requires_grad_(False).copy_(float("nan"))
    with pytest.raises(TrainingError, match=r"nan at epoch 1, batch 1"):
        trainer.fit()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_saves_and_exits_with_130_and_resume_finishes(data, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "zoo", "train", "--model", "lenet", "--data", str(data)]
    options = ["--epochs", "400", "--batch-size", "16", "--out", str(out)]
    run = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if (out / "metrics.jsonl").exists() or run.poll() is not None:
            break
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "--resume" in err and "Traceback" not in err
    saved = json.loads((out / "config.json").read_text())
    trainer = Trainer(TrainConfig(**saved), out)
    trainer.resume()
    assert trainer.epoch >= 1


BAD = [
    ([], 2, "usage"),
    (["fly"], 2, "invalid choice"),
    (["train", "--model", "alexnett"], 2, "available: lenet"),
    (["train", "--model", "lennet"], 2, "did you mean lenet?"),
    (["train", "--epochs", "-1"], 2, "not >= 1"),
    (["train", "--batch-size", "0"], 2, "not >= 1"),
    (["train", "--lr", "abc"], 2, "invalid float"),
    (["train", "--lr", "nan"], 2, "positive"),
    (["train", "--threads", "0"], 2, "not >= 1"),
    (["train", "--seed", "-1"], 2, "--seed"),
    (["train", "--seed", str(2**70)], 2, "--seed"),
    (["train", "--data", "fashion-mimi"], 2, "did you mean fashion-mini?"),
    (["train", "--data", "no/such/folder"], 1, "no/such/folder"),
    (["train", "--model", "plain20", "--shortcut", "B"], 2, "shortcut"),
    (["train", "--resume", "no/such/run"], 1, "nothing to resume"),
    (["info", "resnet21"], 2, "available"),
    (["list", "transformer*"], 2, "no model matches"),
    (["eval", "no/such/run"], 1, "is it a run folder?"),
    (["gradcheck", "nothing"], 2, "available"),
    (["predict", "x.png", "--run", "no/such/run"], 1, "run folder"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input_is_one_line_and_an_exit_code(
    arguments, code, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    try:
        got = cli.main(arguments)
    except SystemExit as stop:
        got = stop.code
    err = capsys.readouterr().err
    assert got == code, err
    assert words in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_overwritten(data, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    args = ["train", "--model", "lenet", "--data", str(data), "--out", str(tmp_path)]
    assert cli.main(args) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_image_of_the_wrong_size_or_kind_is_explained(data, tmp_path, capsys):
    run = tmp_path / "run"
    args = ["--model", "lenet", "--data", str(data), "--epochs", "1", "--batch-size", "16"]
    assert cli.main(["train", *args, "--out", str(run)]) == 0
    np.save(tmp_path / "big.npy", np.zeros((32, 30), np.uint8))
    np.save(tmp_path / "color.npy", np.zeros((28, 28, 3), np.uint8))
    (tmp_path / "text.png").write_text("not a picture")
    capsys.readouterr()
    for name, words in (("big.npy", "30x32, the net takes 28x28"), ("color.npy", "3 channels"),
                        ("text.png", "text.png")):  # fmt: skip
        assert cli.main(["predict", str(tmp_path / name), "--run", str(run)]) in (1, 2)
        assert words in capsys.readouterr().err


def test_a_trained_net_needs_its_data_no_more_and_refuses_other_classes(data, tmp_path, capsys):
    copy, run, image = tmp_path / "copy.npz", tmp_path / "run", tmp_path / "one.npy"
    copy.write_bytes(data.read_bytes())
    args = ["--model", "lenet", "--data", str(copy), "--epochs", "1", "--batch-size", "16"]
    assert cli.main(["train", *args, "--out", str(run)]) == 0
    copy.unlink()
    np.save(image, np.load(data)["x_test"][0])
    assert cli.main(["predict", str(image), "--run", str(run)]) == 0
    assert cli.main(["eval", str(run), "--data", str(data)]) == 0
    assert cli.main(["eval", str(run), "--data", "fashion-mini"]) == 1
    assert "the net was trained on" in capsys.readouterr().err


def test_a_net_of_one_size_refuses_other_images(tmp_path, capsys):
    big = tmp_path / "big.npz"
    np.savez(big, x_train=np.zeros((16, 32, 32), np.uint8), y_train=np.arange(16) % 2,
             x_test=np.zeros((4, 32, 32), np.uint8), y_test=np.arange(4) % 2)  # fmt: skip
    args = ["--model", "lenet", "--data", str(big), "--batch-size", "8"]
    assert cli.main(["train", *args, "--out", str(tmp_path / "run")]) == 2
    assert "takes images of (28, 28), the data has (32, 32)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_damaged_run_is_reported(data, tmp_path, capsys):
    run = tmp_path / "run"
    args = ["--model", "lenet", "--data", str(data), "--epochs", "1", "--batch-size", "16"]
    assert cli.main(["train", *args, "--out", str(run)]) == 0
    blob = bytearray((run / "best.safetensors").read_bytes())
    blob[-5] ^= 1
    (run / "best.safetensors").write_bytes(blob)
    assert cli.main(["eval", str(run)]) == 1
    assert "best.safetensors" in capsys.readouterr().err
    (run / "config.json").write_text("{}[")
    assert cli.main(["train", "--resume", str(run)]) == 1
    assert "config.json" in capsys.readouterr().err


def test_a_batch_larger_than_the_training_set_is_refused(data, tmp_path):
    with pytest.raises(ArgError, match="only 96 images"):
        Trainer(config(data, batch_size=97), tmp_path)


def test_gradcheck_command_names_the_worst_element(capsys):
    assert cli.main(["gradcheck", "resnet20", "--size", "8", "--batch-size", "2"]) == 0
    text = capsys.readouterr().out
    assert "61 parameter tensors checked" in text or "parameter tensors checked" in text
    assert "worst:" in text
