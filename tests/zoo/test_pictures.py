"""Kernels, feature maps and receptive fields: the arrays that are drawn, and the commands."""

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad import io, nn
from minigrad.errors import ArgError
from zoo import pictures
from zoo.cli import main
from zoo.pictures import (
    draw_fields,
    feature_maps,
    first_kernels,
    middle_gradient,
    spread,
    strongest,
    tiles,
    windows,
)


def test_kernels_are_scaled_around_gray_one_by_one():
    net = zoo.get_model("nin_cifar10")
    found = first_kernels(net)
    w = net.features.conv1.weight.numpy()
    assert found.shape == (192, 3, 5, 5)
    largest = np.abs(found - 0.5).max(axis=(1, 2, 3))
    assert np.allclose(largest, 0.5)
    assert (np.sign(found - 0.5) == np.sign(w)).all()
    nn.init.zeros_(net.features.conv1.weight)
    assert (first_kernels(net) == 0.5).all()
    with pytest.raises(ArgError, match="no convolution"):
        first_kernels(nn.Sequential(nn.Linear(2, 2)))


def test_tiles_stand_in_rows_with_a_line_between_them():
    images = np.arange(5.0)[:, None, None, None] * np.ones((5, 2, 3, 3))
    sheet = tiles(images, 3)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 1, 3)
    assert (sheet[1:3, 5:8] == 1).all() and (sheet[4:6, 1:4] == 3).all()
    assert (sheet[0] == pictures.PAPER).all() and (sheet[4:6, 9:12] == pictures.PAPER).all()


def test_feature_maps_are_what_layers_give_after_their_relu():
    mg.manual_seed(0)
    net = zoo.get_model("resnet20").eval()
    x = np.random.default_rng(0).standard_normal((3, 32, 32)).astype(np.float32)
    found = feature_maps(net, x)
    assert found["conv1"].shape == (16, 32, 32) and found["conv1"].min() == 0
    assert found["layer3.2.conv2"].shape == (64, 8, 8)
    with mg.no_grad():
        own = net.bn1(net.conv1(mg.from_numpy(x[None])), relu=True).numpy()[0]
        logits = net(mg.from_numpy(x[None])).numpy()
    assert (found["conv1"] == own).all()
    mean = found["layer3.2.conv2"].mean(axis=(1, 2))
    assert np.allclose(mean @ net.linear.weight.numpy().T + net.linear.bias.numpy(), logits[0],
                       atol=1e-4)  # fmt: skip
    assert not any(m._hooks for m in net.modules())


def test_the_strongest_maps_come_first_and_fill_the_scale():
    maps = np.stack([np.full((2, 2), 1.0), np.array([[0, 8], [8, 8.0]]), np.eye(2)])
    found = strongest(maps, 2)
    assert (found[0] == np.array([[0, 1], [1, 1]])).all() and (found[1] == 0).all()
    assert spread("abcdefg", 3) == ["a", "d", "g"] and spread("ab", 6) == ["a", "b"]


@pytest.mark.parametrize("sizes, field", [((3, 3, 3), 7), ((5, 3), 7), ((3,), 3)])
def test_the_gradient_of_the_middle_covers_the_field(sizes, field):
    mg.manual_seed(0)
    layers = [nn.Conv2d(4 if k else 3, 4, s, padding=s // 2) for k, s in enumerate(sizes)]
    net = nn.Sequential(*layers)
    found = middle_gradient(net, (3, 15, 15), str(len(sizes) - 1))
    acts = np.nonzero(found)
    assert [int(np.ptp(v)) + 1 for v in acts] == [field, field]
    assert found.max() == 1
    rows = zoo.summary(net, (3, 15, 15)).rows
    assert windows(rows)[-1].field == field


def test_a_layer_without_a_middle_is_refused():
    net = zoo.get_model("lenet")
    with pytest.raises(ArgError, match="unknown; layers are c1"):
        middle_gradient(net, (1, 28, 28), "c9")
    with pytest.raises(ArgError, match="no middle pixel"):
        middle_gradient(net, (1, 28, 28), "f6")


def test_fields_are_drawn_with_what_was_measured(tmp_path):
    rows = zoo.summary("lenet").rows
    gradient = np.zeros((28, 28))
    gradient[10:16, 9:15] = 1
    figures = []

    def draw(figure):
        draw_fields(figure, rows, gradient, "s2", "lenet")
        figures.append(figure)

    pictures.save_figure(tmp_path / "f.png", draw, (6, 3))
    assert "6x6 pixels act, field 6" in figures[0].axes[1].get_title()


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A folder as training leaves it: untrained LeNet on fashion-mini."""
    monkeypatch.chdir(tmp_path)
    from zoo.config import TrainConfig
    from zoo.datasets import get_dataset

    folder = tmp_path / "run"
    folder.mkdir()
    TrainConfig(model="lenet").check().save(folder / "config.json")
    _, test, about = get_dataset("fashion-mini")
    io.save(folder / "best.safetensors", zoo.get_model("lenet").state_dict(),
            {"data": about.to_json()})  # fmt: skip
    np.save(tmp_path / "image.npy", test.arrays[0][0])
    return folder


def test_the_commands_draw_runs_and_named_nets(run_folder, tmp_path):
    assert main(["kernels", "run", "--out", "k.png"]) == 0
    assert main(["feature-maps", "run", "image.npy", "--out", "m.svg"]) == 0
    assert main(["feature-maps", "lenet", "image.npy"]) == 0
    assert main(["kernels", "resnet20"]) == 0
    assert main(["receptive-field", "lenet"]) == 0
    for name in ("k.png", "lenet-maps.png", "resnet20-kernels.png", "lenet-field.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "m.svg").read_text()


def test_named_nets_take_weights_that_fit(run_folder, tmp_path):
    io.save(tmp_path / "w.safetensors", zoo.get_model("lenet").state_dict())
    assert main(["kernels", "lenet", "--weights", "w.safetensors"]) == 0
    assert main(["kernels", "resnet20", "--weights", "w.safetensors", "--out", "x.png"]) == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "command, code, message",
    [
        (["kernels", "resnt20"], 2, "did you mean resnet20"),
        (["kernels", "lenet", "--out", "k.txt"], 2, "must end in .png or .svg"),
        (["kernels", "run", "--variant", "paper"], 2, "a run knows its own"),
        (["kernels", "empty"], 1, "run folder"),
        (["feature-maps", "lenet", "none.npy"], 1, "no such file"),
        (["feature-maps", "resnet20", "image.npy"], 1, "28x28"),
        (["receptive-field", "lenet", "--layer", "c9"], 2, "unknown; layers are"),
    ],
)
def test_bad_input_is_one_line(run_folder, tmp_path, capsys, command, code, message):
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert main(command) == code
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_matplotlib_the_way_to_it_is_said(run_folder, capsys, monkeypatch):
    import zoo.cli.pictures as commands

    for module in (commands, pictures):
        monkeypatch.setattr(module, "can_plot", lambda: False)
    assert main(["kernels", "run"]) == 1
    assert "pip install" in capsys.readouterr().err
