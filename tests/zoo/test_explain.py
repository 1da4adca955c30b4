"""``zoo predict --explain``: what is drawn, where it goes, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import io, nn
from zoo import cli
from zoo.cli.explain import draw, maps_of
from zoo.localize import box_of, class_activation_maps, default_layer, grad_cam, upsample

from .nets import images

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a residual net and two images."""
    path = tmp_path_factory.mktemp("explain")
    mg.manual_seed(0)
    io.save(path / "net.safetensors", zoo.get_model("resnet20").state_dict())
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(path / f"{name}.npy", rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return path


def predict(folder, *args, images=("a",)):
    """The exit code of the command."""
    names = [str(folder / f"{name}.npy") for name in images]
    weights = ["--model", "resnet20", "--weights", str(folder / "net.safetensors")]
    return cli.main(["predict", *names, *weights, *map(str, args)])


def pictures(folder):
    return sorted(path.name for path in folder.glob("*.png"))


@pytest.fixture
def clean(folder):
    """The folder, without pictures afterwards."""
    yield folder
    for path in folder.glob("*.png"):
        path.unlink()


def test_a_picture_beside_each_image(clean, capsys):
    pytest.importorskip("matplotlib")
    assert predict(clean, "--explain", images=("a", "b")) == 0
    assert pictures(clean) == ["a-explained.png", "b-explained.png"]
    assert all((clean / name).read_bytes().startswith(PNG) for name in pictures(clean))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"; {clean / 'a-explained.png'}") and "%" in lines[0]


def test_a_picture_with_a_name_and_at_a_layer(clean, tmp_path):
    pytest.importorskip("matplotlib")
    assert predict(clean, "--explain", "--out", tmp_path / "x.png", "--layer", "layer1") == 0
    assert predict(clean, "--explain", "--out", tmp_path, images=("a", "b")) == 0
    assert pictures(tmp_path) == ["a-explained.png", "b-explained.png", "x.png"]
    assert not pictures(clean)


def test_without_explain_nothing_is_drawn_and_the_line_is_as_before(clean, capsys):
    assert predict(clean) == 0
    assert pictures(clean) == [] and capsys.readouterr().out.rstrip().endswith("%")


def test_pictures_are_replaced_only_by_force(clean, capsys):
    pytest.importorskip("matplotlib")
    target = clean / "mine.png"
    target.write_text("precious")
    assert predict(clean, "--explain", "--out", target) == 2
    assert "exists; use --force to replace it" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert predict(clean, "--explain", "--out", target, "--force") == 0
    assert target.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--out", "x.png"), "--out needs --explain"),
        (("--layer", "layer1"), "--layer needs --explain"),
        (("--force",), "--force needs --explain"),
        (("--explain", "--out", "x.png"), "one picture for 2 images; give a folder"),
        (("--explain", "--out", "nowhere"), "must be NAME.png or a folder that exists"),
        (("--explain", "--layer", "layer4"), "no layer 'layer4'; did you mean 'layer"),
        (("--explain", "--layer", "linear"), "'linear' puts out (1, 10), expected maps"),
    ],
)
def test_what_makes_no_sense_is_refused(clean, capsys, args, message):
    pytest.importorskip("matplotlib")
    assert predict(clean, *args, images=("a", "b")) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("zoo predict: error: ") and message in error
    assert error.count("\n") == 1 and not pictures(clean)


def test_an_image_is_never_replaced_by_its_explanation(clean, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    from PIL import Image

    source = tmp_path / "photo.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(source)
    before = source.read_bytes()
    weights = ["--model", "resnet20", "--weights", str(clean / "net.safetensors")]
    command = ["predict", str(source), *weights, "--explain", "--force", "--out", str(source)]
    assert cli.main(command) == 2
    assert "is one of the images" in capsys.readouterr().err and source.read_bytes() == before
    assert cli.main(command[:-2]) == 0 and pictures(tmp_path) == [
        "photo-explained.png", "photo.png",
    ]  # fmt: skip


def test_two_images_of_one_name_are_explained_apart(clean, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "a.npy"
    twin.write_bytes((clean / "a.npy").read_bytes())
    weights = ["--model", "resnet20", "--weights", str(clean / "net.safetensors")]
    names = [str(clean / "a.npy"), str(twin)]
    assert cli.main(["predict", *names, *weights, "--explain", "--out", str(tmp_path)]) == 2
    assert "two images would have the same picture" in capsys.readouterr().err


WITHOUT = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "matplotlib" else real(name, *a)
from zoo import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_without_matplotlib_it_says_what_to_install(clean):
    args = ["predict", str(clean / "a.npy"), "--explain"]
    args += ["--model", "resnet20", "--weights", str(clean / "net.safetensors")]
    run = subprocess.run([sys.executable, "-c", WITHOUT, *args], capture_output=True, text=True)
    assert run.returncode == 1 and not pictures(clean)
    assert run.stderr == (
        'zoo predict: error: --explain needs matplotlib: pip install -e ".[plot]"\n'
    )


# -- what is drawn --------------------------------------------------------------------------------


def test_pooled_nets_are_explained_by_class_activation_maps_and_others_by_grad_cam():
    mg.manual_seed(1)
    pooled, x = zoo.get_model("resnet20"), images(1, 3, 32, 32)
    heat, method = maps_of(pooled, x, [7, 2], None)
    assert method == "class activation map"
    assert np.array_equal(heat, class_activation_maps(pooled, x)[0][0, [7, 2]])
    lenet, x = zoo.get_model("lenet"), images(1, 1, 28, 28)
    heat, method = maps_of(lenet, x, [3], None)
    assert method == f"Grad-CAM at {default_layer(lenet, x)}" == "Grad-CAM at c3"
    assert np.array_equal(heat[0], grad_cam(lenet, x, [3])[0])
    heat, method = maps_of(pooled, images(1, 3, 32, 32), [0], "layer1.0")
    assert method == "Grad-CAM at layer1.0" and heat.shape == (1, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_panels_show_the_image_and_each_map_with_its_box(channels):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    pixels = np.random.default_rng(0).random((channels, 16, 24))
    heat = np.zeros((2, 4, 6))
    heat[0, 1:3, 2:4] = 1.0
    heat[1] = -1.0  # speaks against the class everywhere
    heat = upsample(heat, (16, 24))
    figure = Figure()
    draw(figure, pixels, heat, ["cat 90%", "dog 10%"], "class activation map")
    assert [axes.get_title() for axes in figure.axes] == ["image", "cat 90%", "dog 10%"]
    plain, cat, dog = figure.axes
    assert plain.images[0].get_array().shape == (16, 24, 3) and not plain.lines
    for axes, values in ((cat, heat[0]), (dog, heat[1])):
        x, y = axes.lines[0].get_data()
        assert (min(x), min(y), max(x), max(y)) == box_of(values)
        shown = axes.images[1].get_array()
        assert shown.min() >= 0 and shown.max() <= 1
    assert box_of(heat[0]) == (7, 3, 17, 13)


def test_any_net_can_be_explained():
    for name in ("nin_cifar10", "preact_resnet20"):
        with nn.meta():
            net = zoo.get_model(name)
        for layer in net.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        heat, method = maps_of(net, images(1, 3, 32, 32), [1], None)
        assert method == "class activation map" and heat.shape == (1, 8, 8)
