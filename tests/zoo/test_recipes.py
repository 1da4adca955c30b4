"""Recipes: what the papers did, what a file may say, and that the command line wins."""

import json

import numpy as np
import pytest

from minigrad.errors import ArgError, DataFormatError
from zoo import cli
from zoo.config import SECTIONS, TrainConfig, hints
from zoo.recipes import get_recipe, list_recipes
from zoo.registry import entry

NAMES = list_recipes()
SMALL = """
title = "LeNet on squares"
source = "nobody"
[net]
model = "lenet"
[augment]
crop = "none"
flip = false
[optimizer]
batch_size = 16
lr = 0.05
[schedule]
epochs = 3
"""


@pytest.fixture
def data(tmp_path):
    """64 training and 16 test images of two classes that differ in where they are bright."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 64), ("test", 16)):
        labels = np.arange(n) % 2
        x = rng.integers(0, 80, (n, 28, 28), dtype=np.uint8)
        x[labels == 1, :14] += 120
        arrays |= {f"x_{part}": x, f"y_{part}": labels}
    np.savez(tmp_path / "two.npz", **arrays)
    return tmp_path / "two.npz"


# -- the papers -----------------------------------------------------------------------------------

SGD = {"momentum": 0.9, "nesterov": False, "flip": True}
CAFFE = {"bias_lr": 2.0, "bias_decay": 0.0}
CIFAR = SGD | {
    "data": "cifar10", "batch_size": 128, "lr": 0.1, "weight_decay": 1e-4, "iterations": 64_000,
    "schedule": "steps", "milestones": (32_000, 48_000), "unit": "iterations", "factor": 0.1,
    "crop": "pad", "crop_padding": 4, "normalize": "pixel", "views": "single",
}  # fmt: skip
PAPERS = {
    "alexnet-imagenet": SGD | {
        "model": "alexnet_grouped", "batch_size": 128, "lr": 0.01, "weight_decay": 5e-4,
        "epochs": 90, "schedule": "plateau", "factor": 0.1, "reductions": 3, "resize": 256,
        "crop": "random", "color_noise": 0.1, "normalize": "pixel", "views": "10-crop",
    },
    "vgg16-imagenet": SGD | {
        "model": "vgg16", "batch_size": 256, "lr": 0.01, "weight_decay": 5e-4, "epochs": 74,
        "schedule": "plateau", "factor": 0.1, "reductions": 3, "crop": "jitter",
        "scales": (256, 512), "size": 224, "color_noise": 0.1, "views": "multi-scale",
    },
    "nin-cifar10": SGD | CAFFE | {
        "data": "cifar10", "batch_size": 128, "lr": 0.1, "weight_decay": 1e-4, "flip": False,
        "iterations": 120_000, "milestones": (100_000,), "unit": "iterations", "crop": "none",
        "normalize": "gcn-zca", "views": "single",
    },
    "googlenet-imagenet": SGD | CAFFE | {
        "lr": 0.01, "weight_decay": 2e-4, "schedule": "exponential", "factor": 0.96, "every": 8,
        "crop": "area", "area": (0.08, 1.0), "aspect": (3 / 4, 4 / 3), "views": "144-crop",
    },
    "resnet50-imagenet": SGD | {
        "batch_size": 256, "lr": 0.1, "weight_decay": 1e-4, "iterations": 600_000,
        "schedule": "plateau", "factor": 0.1, "crop": "jitter", "scales": (256, 480), "size": 224,
        "normalize": "pixel", "views": "10-crop",
    },
    "resnet20-cifar10": CIFAR | {"warmup_lr": None},
    "resnet110-cifar10": CIFAR | {"warmup_lr": 0.01, "warmup_error": 0.8},
    "preact-cifar10": CIFAR | {"model": "preact_resnet110"},
    "caffenet-imagenet": SGD | CAFFE | {
        "batch_size": 256, "lr": 0.01, "weight_decay": 5e-4, "iterations": 450_000, "resize": 256,
        "milestones": (100_000, 200_000, 300_000, 400_000), "unit": "iterations", "size": 227,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_says_what_its_paper_did(name):
    config = TrainConfig.of(get_recipe(name).values)
    assert {key: getattr(config, key) for key in PAPERS[name]} == PAPERS[name]


def test_polyak_averaging_and_auxiliary_heads_are_google_s_alone():
    google = TrainConfig.of(get_recipe("googlenet-imagenet").values)
    assert google.average > 0.99 and google.options == {"aux": True}
    others = [n for n in PAPERS if n != "googlenet-imagenet"]
    assert not any(TrainConfig.of(get_recipe(n).values).average for n in others)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_complete_and_says_how_it_is_scaled(name):
    recipe = get_recipe(name)
    config = recipe.config({"data": "fashion-mini"})
    assert entry(config.model, config.variant) and recipe.source and recipe.title
    if recipe.scales_down is None:
        assert recipe.published, "an original has an anchor"
        assert recipe.scaling() == []
    else:
        original = get_recipe(recipe.scales_down)
        assert original.scales_down is None and NAMES.index(name) > NAMES.index(original.name)
        assert any(text.startswith("data") for text in recipe.scaling())


def test_every_family_of_the_lecture_has_a_scaled_form():
    scaled = {get_recipe(n).scales_down for n in NAMES} - {None}
    assert scaled >= set(PAPERS) - {"caffenet-imagenet"}


def test_imagenet_is_asked_for(capsys):
    with pytest.raises(ArgError, match="recipe vgg16-imagenet: pass --data PATH"):
        get_recipe("vgg16-imagenet").config()
    assert cli.main(["train", "--recipe", "alexnet-imagenet"]) == 2
    assert "pass --data PATH (ImageNet 2012" in capsys.readouterr().err


def test_the_list_names_sources_and_what_was_scaled(capsys):
    assert cli.main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name}\n" in text for name in NAMES)
    assert "scaled down from resnet20-cifar10: data cifar10 -> fashion-mini" in text
    assert cli.main(["recipes", "nin-cifar10"]) == 0
    text = capsys.readouterr().out
    assert "gcn-zca" in text and "source: Lin" in text


# -- files ----------------------------------------------------------------------------------------

BAD = [
    ('title = 1\nsource = "x"', "title must be text, got 1"),
    ('source = "x"', "title is missing"),
    (SMALL + "[nett]\nmodel = 'lenet'", "unknown key 'nett'; did you mean net?"),
    (SMALL.replace("lr =", "lrr ="), r"unknown key 'lrr' in \[optimizer\]; did you mean lr?"),
    (SMALL.replace("[optimizer]\n", "[optimizer]\nmodel = 'x'\n"), "unknown key 'model' in"),
    (SMALL.replace("lr = 0.05", "lr = 'fast'"), "--lr 'fast': must be a number"),
    (SMALL.replace("epochs = 3", "epochs = 3.5"), "--epochs 3.5: must be a whole number"),
    (SMALL.replace("epochs = 3", "epochs = true"), "--epochs True: must be a whole number"),
    (SMALL.replace("flip = false", "flip = 0"), "--flip 0: must be true or false"),
    (SMALL.replace("epochs = 3", "milestones = 3"), "--milestones 3: must be a list"),
    (SMALL.replace("flip = false", "scales = [1, 2, 3]"), "must be a list of 2"),
    (SMALL.replace("lr = 0.05", "lr = -1"), "--lr -1: must be a positive number"),
    (SMALL.replace('"lenet"', '"lennet"'), "did you mean lenet?"),
    (SMALL.replace('"none"', '"middle"'), "--crop middle: use pad, random"),
    (SMALL.replace('"none"', '"random"'), "--crop random: pass --size"),
    (SMALL.replace("epochs = 3", 'schedule = "steps"'), "--milestones and --schedule steps go"),
    (SMALL.replace("epochs = 3", "warmup_lr = 0.1"), "no meaning with --schedule one-cycle"),
    (SMALL.replace("[net]", "differs = 3\n[net]"), "differs must be a list of texts"),
    (SMALL.replace("[net]", "net = 3\n[nets]"), "unknown key 'nets'"),
    ("title = ", "not a TOML file"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[m for _, m in BAD])
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, text, message, capsys):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DataFormatError, match=message):
        get_recipe(path)
    assert cli.main(["train", "--recipe", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "mine.toml" in err


def test_unknown_recipes_get_a_suggestion_and_the_list(capsys, tmp_path):
    assert cli.main(["train", "--recipe", "resnet20-cifar"]) == 2
    err = capsys.readouterr().err
    assert "did you mean resnet20-cifar10?" in err and "vgg16-imagenet" in err
    assert cli.main(["train", "--recipe", str(tmp_path / "no.toml")]) == 1
    assert "no such recipe" in capsys.readouterr().err
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe title")
    assert cli.main(["recipes", str(tmp_path / "bytes.toml")]) == 1


# -- the command line -----------------------------------------------------------------------------


def test_a_file_trains_and_options_of_the_command_line_win(tmp_path, data, capsys):
    path, out = tmp_path / "mine.toml", tmp_path / "run"
    path.write_text(SMALL)
    args = ["train", "--recipe", str(path), "--data", str(data), "--out", str(out)]
    assert cli.main([*args, "--epochs", "1", "--momentum", "0.8", "--flip"]) == 0
    saved = TrainConfig.load(out / "config.json")
    assert (saved.epochs, saved.momentum, saved.flip, saved.data) == (1, 0.8, True, str(data))
    assert (saved.model, saved.lr, saved.batch_size, saved.crop) == ("lenet", 0.05, 16, "none")
    assert json.loads((out / "environment.json").read_text())["recipe"] == str(path)


def test_options_of_the_net_are_merged(tmp_path):
    recipe = get_recipe("googlenet-mini")
    assert recipe.config({"options": {"aux": True}}).options == {"aux": True}
    assert recipe.config().options == {"aux": False}


def test_epochs_and_another_schedule_replace_what_they_stand_for():
    recipe = get_recipe("resnet110-cifar10")
    short = recipe.config({"epochs": 3})
    assert (short.epochs, short.iterations, short.milestones) == (3, None, (32_000, 48_000))
    other = recipe.config({"schedule": "one-cycle"})
    assert (other.milestones, other.warmup_lr, other.iterations) == ((), None, 64_000)
    assert recipe.config({"schedule": "steps"}).milestones == (32_000, 48_000)


def test_every_field_is_an_option_and_has_its_place_in_a_recipe():
    fields = [name for names in SECTIONS.values() for name in names]
    assert sorted(fields) == sorted(hints())
    values = {
        "model": "vgg11", "variant": "paper", "data": "d", "resize": "40", "size": "32",
        "normalize": "pixel", "crop": "jitter", "crop_padding": "3", "scales": "32,40",
        "area": "0.2,0.9", "aspect": "0.5,2", "color_noise": "0.1", "batch_size": "8",
        "lr": "0.5", "momentum": "0.7", "weight_decay": "0.1", "bias_lr": "2", "bias_decay": "0",
        "label_smoothing": "0.1", "average": "0.9", "epochs": "3", "iterations": "5",
        "schedule": "steps", "milestones": "1,2", "unit": "iterations", "every": "2",
        "factor": "0.5", "patience": "1", "reductions": "2", "warmup_lr": "0.01",
        "warmup_error": "0.5", "views": "10-crop", "view_scales": "40", "seed": "3",
        "workers": "2",
    }  # fmt: skip
    line = [part for k, v in values.items() for part in (f"--{k.replace('_', '-')}", v)]
    line += ["--no-flip", "--no-nesterov", "--option", "head=gap", "--option", "init=normal"]
    from zoo.cli.training import config_from

    config = config_from(cli.parser().parse_args(["train", *line]))
    default = TrainConfig()
    same = [name for name in hints() if getattr(config, name) == getattr(default, name)]
    assert not same, "options that do nothing"
    assert config.options == {"head": "gap", "init": "normal"} and config.scales == (32, 40)
    assert TrainConfig.of(json.loads(json.dumps(vars(config)))) == config


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--option", "shortcut"], "is not NAME=VALUE"),
        (["--option", "shortcut=B", "--model", "plain20"], "option 'shortcut' is unknown"),
        (["--scales", "a,b"], "invalid list of ints"),
        (["--crop", "middle"], "invalid choice"),
        (["--size", "20", "--model", "lenet"], "takes images of (28, 28), --size is (20, 20)"),
        (["--size", "20", "--resize", "10"], "--resize 10: must be at least --size, which is 20"),
        (["--size", "20", "--crop", "random"], "--crop random: pass --resize"),
        (["--size", "20", "--crop", "jitter", "--scales", "30,20"], "--scales 30,20"),
        (["--area", "0,2"], "--area 0,2"),
        (["--normalize", "gcn-zca", "--crop", "area", "--size", "20"], "--normalize gcn-zca"),
        (["--milestones", "3,2", "--schedule", "steps"], "--milestones 3,2: must be >= 1 and"),
        (["--average", "1"], "--average 1: must lie in [0, 1)"),
        (["--iterations", "0"], "not >= 1"),
        (["--resume", "x", "--epochs", "3"], "leave out --epochs"),
    ],
)
def test_options_that_cannot_be_are_refused(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(["train", *line])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
