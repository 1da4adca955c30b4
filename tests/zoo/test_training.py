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
import zoo
from minigrad import io
from minigrad.errors import ArgError
from zoo import cli
from zoo.config import TrainConfig
from zoo.run_folder import sparkline
from zoo.trainer import EVAL_BATCH, EVAL_BYTES, Interrupted, Trainer, TrainingError, eval_batch

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


EVERYTHING = {
    "average": {"average": 0.9, "schedule": "plateau", "patience": 0},
    "warm-up": {"schedule": "steps", "milestones": (1,), "warmup_lr": 0.01, "bias_lr": 2.0,
                "bias_decay": 0.0, "label_smoothing": 0.1, "nesterov": False},
    "whitened": {"model": "resnet20", "size": 8, "resize": 9, "normalize": "gcn-zca"},
    "jitter": {"size": 28, "crop": "jitter", "scales": (28, 34), "normalize": "pixel",
               "color_noise": 0.1, "schedule": "exponential", "factor": 0.5},
    "area": {"size": 28, "crop": "area", "iterations": 9, "schedule": "constant"},
}  # fmt: skip


def cut_and_continued(data, tmp_path, cut, **changes):
    """The states of a run, and of one that was interrupted after some steps."""
    whole = Trainer(config(data, **changes), tmp_path / "a")
    (tmp_path / "a").mkdir()
    whole.fit()
    (tmp_path / "b").mkdir()
    first = Trainer(config(data, **changes), tmp_path / "b")
    step, done = first.step, []

    def counted(images, labels):
        done.append(1)
        first.stop = len(done) == cut
        return step(images, labels)

    first.step = counted
    with pytest.raises(Interrupted):
        first.fit()
    mg.randn(7)  # the process goes on using the generator
    second = Trainer(config(data, **changes, workers=2), tmp_path / "b")
    second.resume()
    second.fit()
    (a, rows), (b, rows2) = state(whole), state(second)
    assert rows == rows2
    assert all((a[k] == b[k]).all() for k in a)
    best = [io.load(tmp_path / f / "best.safetensors").tensors for f in "ab"]
    assert all((best[0][k] == best[1][k]).all() for k in best[0])
    return whole


@pytest.mark.parametrize("cut", [1, 4, 6, 9])
def test_a_run_that_was_cut_continues_with_the_same_bits(data, tmp_path, cut):
    cut_and_continued(data, tmp_path, cut)


@pytest.mark.parametrize("name", EVERYTHING)
def test_so_does_one_with_all_that_a_recipe_can_say(data, tmp_path, name):
    whole = cut_and_continued(data, tmp_path, 8, **EVERYTHING[name])
    assert len(whole.metrics) == 2
    assert all(np.isfinite(m["test_loss"]) for m in whole.metrics)


@pytest.mark.parametrize("cut", [7, 8])
def test_iterations_end_a_run_within_an_epoch(data, tmp_path, cut):
    whole = cut_and_continued(data, tmp_path, cut, iterations=8)
    assert whole.epochs == 2 and whole.schedule.inner.last_epoch == 8
    again = Trainer(config(data, iterations=8), tmp_path / "a")
    again.resume()
    assert len(again.fit()) == 2  # it is over: nothing happens


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
    with pytest.raises(TrainingError, match=r"nan at epoch 1, batch 1 .*: output.bias holds NaN"):
        trainer.fit()


def test_what_is_tested_and_kept_is_the_average(data, tmp_path):
    trainer = Trainer(config(data, average=0.9, epochs=1), tmp_path)
    trainer.fit()
    best = io.load(tmp_path / "best.safetensors").tensors
    assert all((best[k] == a).all() for k, a in trainer.average.mean.items())
    own = trainer.net.state_dict()
    assert any((best[k] != own[k].numpy()).any() for k in best)
    assert cli.main(["eval", str(tmp_path)]) == 1  # no config.json: nothing else was written
    trainer.config.save(tmp_path / "config.json")
    assert cli.main(["eval", str(tmp_path)]) == 0


def test_training_images_are_not_read_to_evaluate(data, tmp_path, capsys):
    run, test = tmp_path / "run", tmp_path / "test.npz"
    options = ["--size", "28", "--normalize", "pixel", "--crop", "none"]
    args = ["--model", "lenet", "--data", str(data), "--epochs", "1", "--batch-size", "16"]
    assert cli.main(["train", *args, *options, "--out", str(run)]) == 0
    said = capsys.readouterr().out
    with np.load(data) as arrays:  # other training images: another mean image, if it were used
        np.savez(test, x_train=arrays["x_train"][:4] * 0, y_train=arrays["y_train"][:4],
                 x_test=arrays["x_test"], y_test=arrays["y_test"])  # fmt: skip
    assert cli.main(["eval", str(run), "--data", str(test)]) == 0
    accuracy = said.split("best test accuracy ")[1].split(";")[0]
    assert f"accuracy {accuracy}" in capsys.readouterr().out
    image = tmp_path / "one.npy"
    np.save(image, np.load(data)["x_test"][0])
    assert cli.main(["predict", str(image), "--run", str(run)]) == 0


def test_the_evaluation_batch_is_chosen_by_bytes():
    small, large = zoo.get_model("resnet20"), zoo.get_model("resnet18")
    assert eval_batch(small, (3, 32, 32)) == EVAL_BATCH
    few = eval_batch(large, (3, 224, 224))
    assert 1 < few < 40
    assert few * 12 * 64 * 112 * 112 <= EVAL_BYTES


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
    ([], 2, "required: COMMAND; see python -m zoo --help"),
    (["fly"], 2, "invalid choice"),
    (["train", "--model", "alexnett"], 2, "available: lenet"),
    (["train", "--model", "lennet"], 2, "did you mean lenet?"),
    (["train", "--epochs", "-1"], 2, "-1 is not >= 1; see python -m zoo train --help"),
    (["train", "--batch-size", "0"], 2, "not >= 1"),
    (["train", "--size", "40000"], 2, "--size 40000: must be at most 32768"),
    (["train", "--scales", "28,40000"], 2, "--scales 28,40000: must be at most 32768"),
    (["train", "--data", ""], 2, "unknown data set ''"),
    (["train", "--lr", "abc"], 2, "invalid float"),
    (["train", "--lr", "nan"], 2, "positive"),
    (["train", "--threads", "0"], 2, "not >= 1"),
    (["train", "--threads", "many"], 2, "'many' is not a whole number"),
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
    (["gradcheck", "lenet", "--size", "5"], 2, "takes images of 28x28 pixels, not 5x5"),
    (["lr-find", "--out", "curve.txt"], 2, "--out curve.txt: the name must end in .png or .svg"),
    (["eval", "--weights", "none.pt", "--data", "x"], 1, "none.pt: no such file or directory"),
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
    assert words in err and err.count("\n") == 1 and err.startswith("zoo")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_overwritten(data, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    args = ["train", "--model", "lenet", "--data", str(data), "--out", str(tmp_path)]
    assert cli.main(args) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"
    args[-1] = str(tmp_path / "notes.txt")
    assert cli.main([*args, "--force"]) == 2
    assert "notes.txt: is not a folder" in capsys.readouterr().err
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
