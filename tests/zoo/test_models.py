"""The zoo's networks against the papers' tables: parameters, MACs, layers, gradients."""

import os

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError
from minigrad.gradcheck import check_parameters
from zoo.registry import MODELS, entry, image_of
from zoo.resnet_cifar import Block, PadShortcut, ResNetCifar
from zoo.summary import summary

from .nets import training_step

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
# depth: (plain = A, B, C, MACs of A)
TABLE = {
    20: (269_722, 272_474, 283_962, 40_551_040),
    32: (464_154, 466_906, 489_594, 68_862_592),
    44: (658_586, 661_338, 695_226, 97_174_144),
    56: (853_018, 855_770, 900_858, 125_485_696),
    110: (1_727_962, 1_730_714, 1_826_202, 252_887_680),
}


def parameters(net):
    return sum(p.size for p in net.parameters())


@pytest.mark.parametrize("depth", TABLE)
def test_parameters_are_the_papers_for_every_shortcut(depth):
    plain, b, c, _ = TABLE[depth]
    assert parameters(zoo.get_model(f"plain{depth}")) == plain
    assert parameters(zoo.get_model(f"resnet{depth}")) == plain
    assert parameters(zoo.get_model(f"resnet{depth}", shortcut="B")) == b
    assert parameters(zoo.get_model(f"resnet{depth}", shortcut="C")) == c


def test_resnet1202_has_19_4_million_parameters():
    assert parameters(zoo.get_model("resnet1202")) == 19_421_274


@pytest.mark.parametrize("depth", [20, 56])
def test_macs_are_the_papers(depth):
    rows = summary(zoo.get_model(f"resnet{depth}"), (3, 32, 32))
    assert sum(r.macs for r in rows) == TABLE[depth][3]


@pytest.mark.parametrize("depth", [20, 32])
def test_weighted_layers_are_6n_plus_2(depth):
    net = zoo.get_model(f"resnet{depth}")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth


def test_batch_norm_follows_every_convolution_and_there_is_no_dropout():
    net = zoo.get_model("resnet20")
    kinds = [type(m) for m in net.modules()]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.Conv2d) == 19
    assert not any("Dropout" in k.__name__ for k in kinds)


def test_state_dict_keys_are_those_of_the_published_weights():
    keys = set(zoo.get_model("resnet20").state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer3.2.bn2.bias",
            "linear.weight", "linear.bias"} <= keys  # fmt: skip
    option_b = zoo.get_model("resnet20", shortcut="B").state_dict()
    assert "layer2.0.shortcut.1.running_mean" in option_b


@pytest.mark.parametrize(("residual", "expected"), [(True, "relu(x)"), (False, "zero")])
def test_a_block_with_zero_weights_is_relu_of_x_or_zero(residual, expected):
    block = Block(4, 4, 1, "A" if residual else None)
    for p in block.parameters():
        p.requires_grad_(False).zero_()
    x = mg.randn(2, 4, 6, 5)
    wanted = np.maximum(x.numpy(), 0) if expected == "relu(x)" else np.zeros(x.shape)
    assert (block(x).numpy() == wanted).all()


def test_option_a_takes_every_second_pixel_and_centers_the_new_channels():
    x = mg.randn(2, 3, 5, 6)
    y = PadShortcut(2, 2)(x).numpy()
    assert y.shape == (2, 5, 3, 3)
    assert (y[:, 1:4] == x.numpy()[:, :, ::2, ::2]).all()
    assert not y[:, 0].any() and not y[:, 4].any()


def test_stages_halve_the_map_and_double_the_filters():
    rows = {r.name: r.output for r in summary(zoo.get_model("resnet20"), (3, 32, 32))}
    assert rows["layer1.2.bn2"] == (16, 32, 32)
    assert rows["layer2.2.bn2"] == (32, 16, 16)
    assert rows["layer3.2.bn2"] == (64, 8, 8)


def test_convolutions_start_with_he_variance():
    w = zoo.get_model("resnet110").layer3[5].conv1.weight.numpy()
    assert w.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.03)


def test_lenet_has_61706_parameters():
    assert parameters(zoo.get_model("lenet")) == 61_706


@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("lenet", (1, 28, 28), {}),
        ("resnet20", (3, 8, 8), {}),
        ("resnet20", (3, 9, 7), {"shortcut": "B"}),
    ],
)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_parameter_gradient_of_a_net_is_the_derivative(name, image, options, training):
    mg.manual_seed(1)
    net = zoo.get_model(name, **options).double().train(training)
    x, t = mg.randn(2, *image, dtype=np.float64), mg.tensor([1, 3])
    if not training:  # statistics that are not the trivial ones
        for _, b in net.named_buffers():
            if b.dtype == np.float64:
                b.copy_(mg.rand(*b.shape, dtype=np.float64) + 0.5)
    saved = {n: b.data.copy() for n, b in net.named_buffers()}

    def loss():
        for n, b in net.named_buffers():
            b.copy_(saved[n])
        return F.cross_entropy(net(x), t)

    worst = check_parameters(loss, net.named_parameters(), directions=1, limit=4)
    assert max(probe.error for probe in worst) <= 1, max(worst, key=lambda p: p.error)


def test_what_is_unknown_is_answered_with_what_is_known():
    with pytest.raises(ArgError, match=r"did you mean lenet\? available: lenet"):
        zoo.get_model("lennet")
    with pytest.raises(ArgError, match="option 'shortcut' is unknown"):
        zoo.get_model("plain20", shortcut="B")
    with pytest.raises(ArgError, match="use 'A', 'B' or 'C'"):
        zoo.get_model("resnet20", shortcut="D")
    with pytest.raises(ArgError, match="6n"):
        ResNetCifar(21)
    with pytest.raises(ArgError, match="num_classes"):
        zoo.get_model("lenet", num_classes=0)
    with pytest.raises(ArgError, match="variant"):
        zoo.get_model("lenet", variant="caffe")


def test_every_name_of_the_issue_is_there_with_its_class_count_and_channels():
    names = "lenet alexnet alexnet_grouped caffenet nin_cifar10 nin_imagenet vgg11_lrn vgg16c"
    names += " googlenet googlenet_bn plain18 plain34 preact_resnet164 preact_resnet1001"
    wanted = {*names.split(), *(f"vgg{d}{bn}" for d in (11, 13, 16, 19) for bn in ("", "_bn"))}
    wanted |= {f"resnet{d}" for d in (18, 34, 50, 101, 152)}
    wanted |= {f"{kind}{d}" for kind in ("resnet", "plain") for d in (20, 32, 44, 56, 110, 1202)}
    wanted |= {f"preact_resnet{d}" for d in (20, 32, 44, 56, 110)}
    assert wanted <= set(zoo.list_models())
    for name in wanted:
        with nn.meta():
            net = zoo.get_model(name, 7, variant="paper", in_channels=2).eval()
        with mg.no_grad():
            assert net(mg.zeros(0, 2, *image_of(name)[1:])).shape == (0, 7)


@pytest.mark.parametrize("name", zoo.list_models())
def test_an_option_that_a_net_has_not_is_refused_with_those_it_has(name):
    every = {option for known in MODELS.values() for option in known.options} | {"depth"}
    for variant in ("paper", "torchvision")[: 1 + (entry(name).torchvision is not None)]:
        for option in sorted(every - set(entry(name, variant).options)):
            with pytest.raises(ArgError, match=f"{name}: option '{option}' is unknown; known"):
                zoo.get_model(name, variant=variant, **{option: True})


@pytest.mark.skipif(not DEEP, reason="a minute, 2 GB; set HYPOTHESIS_PROFILE=deep")
@pytest.mark.parametrize("name", zoo.list_models())
def test_a_training_step_at_the_nets_own_size(name):
    assert np.isfinite(training_step(name, 2))


def test_list_models_filters_by_pattern():
    assert zoo.list_models("plain*") == [f"plain{d}" for d in (18, 34, 20, 32, 44, 56, 110, 1202)]
