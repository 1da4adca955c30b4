"""The table of a net: its conventions, its columns, and `python -m zoo info`."""

import subprocess
import sys
import time

import numpy as np
import pytest

import zoo
from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from zoo import cli
from zoo.registry import image_of

from .nets import images, summary


def seen_pixels(net, x, place):
    """Height and width of the part of x that has a gradient from one value of net(x)."""
    x.requires_grad_()
    net(x)[place].backward()
    rows, columns = np.nonzero(x.grad.numpy()[0].any(axis=0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def ones(net):
    """Positive weights, so that no gradient cancels."""
    for p in net.parameters():
        p.requires_grad_(False).copy_(1.0)
    return net.double()


def test_three_3x3_convolutions_see_7x7():
    net = ones(nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3))))
    assert [r.field for r in zoo.summary(net, (1, 15, 15))] == [1, 3, 5, 7]
    x = images(1, 1, 15, 15, dtype=np.float64)
    assert seen_pixels(net, x, (0, 0, 7, 7)) == (7, 7)


def test_fields_with_strides_dilation_and_pooling_are_the_support_of_the_gradient():
    net = ones(
        nn.Sequential(
            nn.Conv2d(1, 2, 3, stride=2),
            nn.AvgPool2d(2),
            nn.Conv2d(2, 1, 2, dilation=3),
            nn.AvgPool2d(3, 1),
        )
    )
    fields = [r.field for r in zoo.summary(net, (1, 61, 61))]
    assert fields == [1, 3, 5, 17, 25]
    x = images(1, 1, 61, 61, dtype=np.float64)
    assert seen_pixels(net, x, (0, 0, 3, 4)) == (25, 25)


def test_a_linear_layer_sees_the_whole_map():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(36, 2), nn.Linear(2, 2))
    assert [r.field for r in zoo.summary(net, (1, 8, 8))] == [1, 3, 8, 8]
    pooled = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1))
    assert zoo.summary(pooled, (1, 8, 8)).rows[-1].field == 8
    lenet = {r.name: r.field for r in summary("lenet")}  # tanh is a function in between
    assert [lenet[n] for n in ("c1", "s2", "c3", "s4", "c5")] == [5, 6, 14, 16, 32]


def test_rows_are_in_order_with_the_input_first_and_what_works_in_place_left_out():
    found = summary("resnet20")
    assert [r.name for r in found.rows[:4]] == ["input", "conv1", "bn1", "layer1.0.conv1"]
    assert not {"ReLU", "Dropout", "Identity", "Tanh"} & {r.kind for r in found}
    rows = {r.name: r for r in found}
    bn = rows["bn1"]
    assert (bn.values, bn.weights, bn.parameters, bn.macs) == (0, 16, 32, 0)  # beta is a bias
    assert rows["conv1"].weights == rows["conv1"].parameters == 432
    assert rows["layer2.0.shortcut"].kind == "PadShortcut"
    assert (rows["linear"].weights, rows["linear"].parameters) == (640, 650)


def test_a_net_of_ones_own_needs_an_image_and_keeps_its_mode_and_hooks():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    net[1].eval()
    with pytest.raises(ArgError, match=r"needs an image \(C, H, W\)"):
        zoo.summary(net)
    before = net[1].running_mean.numpy().copy()
    found = zoo.summary(net, (3, 8, 8))
    assert [m.training for m in net.modules()] == [True, True, False, True]
    assert not any(m._hooks for m in net.modules())
    assert np.array_equal(net[1].running_mean.numpy(), before)
    assert found.total("macs") == 108 * 36
    with pytest.raises(ShapeError):
        zoo.summary(net, (3, 2, 2))
    assert net.training and not any(m._hooks for m in net.modules())


def test_a_net_in_float64_and_one_without_parameters():
    alone = zoo.summary(nn.Conv2d(3, 4, 3).double(), (3, 4, 4))
    assert (alone.total("parameters"), alone.total("macs"), alone.idle) == (112, 432, 0)
    assert zoo.summary(nn.Sequential(nn.MaxPool2d(2)), (1, 4, 4)).total("values") == 20


def test_the_text_has_totals_memory_and_the_convention():
    text = str(summary("vgg16"))
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "values", "weights", "parameters",
                                "MACs", "field"]  # fmt: skip
    assert lines[1].split() == ["input", "3x224x224", "150,528", "1"]
    assert lines[3].split() == ["features.2", "Conv2d", "64x224x224", "3,211,264", "36,864",
                                "36,928", "1,849,688,064", "5"]  # fmt: skip
    assert "15,237,608  138,344,128  138,357,544  15,470,264,320" in text
    assert "61.0 MB (58.1 MiB)" in text and "multiply-add" in text
    assert max(map(len, lines)) <= 120
    assert "6,379,728 more parameters did not run" in str(summary("googlenet"))


def test_info_prints_the_table_for_every_option(capsys):
    assert cli.main(["info", "resnet50", "--variant", "torchvision", "--size", "64",
                     "--num-classes", "7"]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert text.startswith("resnet50: torchvision; one image 3x64x64")
    assert f"{25_557_032 - 993 * 2049:,}" in text
    assert cli.main(["info", "resnet20", "--shortcut", "B"]) == 0
    assert "272,474" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gogglenet"], "did you mean googlenet?"),
        (["vgg16", "--variant", "caffe"], "use 'paper' or 'torchvision'"),
        (["lenet", "--variant", "torchvision"], "use 'paper'"),
        (["vgg16", "--shortcut", "A"], "known options: head, init"),
        (["alexnet", "--size", "224"], "takes images of 227x227 pixels, not 224x224"),
        (["googlenet", "--size", "30"], "at least 31x31 pixels, not 30x30"),
        (["resnet20", "--size", "99999999999"], "the most is 32768x32768"),
        (["resnet20", "--num-classes", "9" * 20], "num_classes must be a positive integer"),
        (["googlenet", "--option", "aux=7"], "aux 7 is unknown; use True or False"),
    ],
)
def test_info_answers_what_cannot_be_meant_in_one_line(arguments, message, capsys):
    assert cli.main(["info", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_list_shows_forms_and_filters(capsys):
    assert cli.main(["list", "vgg16*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["vgg16", "vgg16_bn", "vgg16c"]
    assert "torchvision" in lines[0] and "torchvision" not in lines[2]


def test_every_model_has_a_table_at_its_own_size():
    for name in zoo.list_models():
        found = summary(name)
        classes = 10 if found.rows[0].output[1] <= 32 else 1000
        assert np.prod(found.rows[-1].output) == classes, name


@pytest.mark.parametrize("name", ["lenet", "googlenet", "resnet18", "preact_resnet20"])
def test_a_batch_of_no_images_has_the_rows_of_one_image(name):
    assert zoo.summary(zoo.get_model(name), image_of(name)).rows == summary(name).rows


def test_a_net_of_ones_own_may_ask_for_values():
    class Scaled(nn.Sequential):
        def forward(self, x):
            assert float(x.max().item()) == 0.0
            return super().forward(x.reshape((x.shape[0], -1)))

    assert zoo.summary(Scaled(nn.Linear(27, 2)), (3, 3, 3)).total("macs") == 54


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["resnet1202", "vgg16"])
def test_large_nets_need_little_time_and_memory(name):
    code = (
        "import sys; from zoo import cli; code = cli.main(['info', sys.argv[1]]); "
        "print([line for line in open('/proc/self/status') if 'VmHWM' in line]); sys.exit(code)"
    )
    began = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert time.perf_counter() - began < 20  # a second, on a machine that does nothing else
    kib = int(run.stdout.splitlines()[-1].split()[1])
    assert kib < 150_000  # the weights of VGG-16 are 553 MB, its values 61


def test_info_takes_options_of_the_net(capsys):
    assert cli.main(["info", "googlenet", "--option", "aux=false"]) == 0
    assert "did not run" not in capsys.readouterr().out
    assert cli.main(["info", "resnet50", "--option", "stride_on=3x3", "--shortcut", "C"]) == 0
    assert "40,128,552" in capsys.readouterr().out


def test_options_and_class_counts_are_checked():
    with pytest.raises(ArgError, match="num_classes must be a positive integer, got True"):
        zoo.get_model("resnet18", num_classes=True)
    with pytest.raises(ArgError, match=r"num_classes must be a positive integer, got 2\.5"):
        zoo.summary("resnet18", num_classes=2.5)
    with pytest.raises(ArgError, match="option 'depth' is unknown; known options: none"):
        zoo.get_model("plain18", depth=3)
    for channels in (0, True, 2.5, "3", 2**31):
        with pytest.raises(ArgError, match="in_channels must be a positive integer"):
            zoo.get_model("resnet20", in_channels=channels)
    for name in (3, None, ["lenet"]):
        with pytest.raises(ArgError, match="unknown model"):
            zoo.get_model(name)
    with pytest.raises(ArgError, match="transform_input is for RGB, not 1 channels"):
        zoo.get_model("googlenet", variant="torchvision", in_channels=1, transform_input=True)
