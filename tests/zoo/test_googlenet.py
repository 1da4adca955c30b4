"""GoogLeNet against table 1, the lecture's Inception examples, and its auxiliary heads."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from zoo.config import TrainConfig
from zoo.googlenet import GoogLeNet, Inception, NaiveInception, Outputs, googlenet_loss
from zoo.trainer import Trainer

from .nets import (
    assert_gradients_reach_everything,
    images,
    layers,
    parameters,
    shapes_of,
    summary,
    total,
    weighted,
)

# module: (output maps, pixels, parameters, MACs)
MODULES = {
    "3a": (256, 28, 163_696, 128_049_152),
    "3b": (480, 28, 388_736, 304_267_264),
    "4a": (512, 14, 376_176, 73_608_192),
    "4b": (512, 14, 449_160, 87_908_352),
    "4c": (512, 14, 510_104, 99_850_240),
    "4d": (528, 14, 605_376, 118_515_712),
    "4e": (832, 14, 868_352, 169_996_288),
    "5a": (832, 7, 1_043_456, 51_079_168),
    "5b": (1024, 7, 1_444_080, 70_697_984),
}


def inside(found, prefix):
    return [r for r in found if r.name.startswith(prefix)]


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_table_1(name):
    maps, size, count, macs = MODULES[name]
    rows = inside(summary("googlenet"), f"inception{name}.")
    ends = [r for r in rows if r.name.rpartition(".conv")[0].endswith(
        ("branch1", "branch2.1", "branch3.1", "branch4.1"))]  # fmt: skip
    assert sum(r.output[0] for r in ends) == maps
    assert {r.output[1:] for r in rows} == {(size, size)}
    assert (sum(r.parameters for r in rows), sum(r.macs for r in rows)) == (count, macs)


def test_stem_and_classifier():
    rows = {r.name: r for r in summary("googlenet")}
    assert (rows["conv1.conv"].parameters, rows["conv1.conv"].macs) == (9_472, 118_013_952)
    assert rows["conv2.conv"].parameters == 4_160
    assert rows["conv3.conv"].parameters == 110_784
    assert rows["conv2.conv"].macs + rows["conv3.conv"].macs == 359_661_568
    assert rows["fc"].parameters == 1_025_000
    wanted = {"conv1.conv": 112, "maxpool1": 56, "maxpool2": 28, "maxpool3": 14, "maxpool4": 7,
              "avgpool": 1}  # fmt: skip
    assert {name: rows[name].output[1] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "variant", "count", "with_aux", "macs"),
    [
        ("googlenet", None, 6_998_552, 13_378_280, 1_582_671_872),
        ("googlenet_bn", None, 7_005_832, 13_385_816, 1_582_671_872),
        ("googlenet", "torchvision", 6_624_904, 13_004_888, 1_498_376_192),
    ],
)
def test_totals(name, variant, count, with_aux, macs):
    found = summary(name, variant=variant)
    assert (found.total("parameters"), found.total("macs")) == (count, macs)
    assert parameters(shapes_of(name, variant=variant, aux=False)) == count
    assert parameters(shapes_of(name, variant=variant)) == with_aux == count + found.idle


def test_activations_without_and_with_the_pooling_inside_modules():
    found = summary("googlenet")
    inside = [r for r in layers(found, "MaxPool2d") if r not in between_modules(found)]
    assert len(inside) == 9  # one in each module
    pools = sum(r.values for r in inside)
    assert total(found, "values") - pools == 3_714_264
    assert pools == 931_392


def between_modules(found):
    """The four poolings that are not part of an Inception module."""
    return [r for r in found.rows if r.name.startswith("maxpool")]


def test_22_layers_with_parameters_on_the_longest_path_and_5_poolings():
    net = shapes_of("googlenet", aux=False)
    modules = [m for m in net.modules() if isinstance(m, Inception)]
    assert len(modules) == 9
    others = weighted(net)[:3] + weighted(net)[-1:]  # conv1, conv2 with its reduction, fc
    assert len(others) + 2 * len(modules) == 22
    found = summary("googlenet")
    assert len(between_modules(found)) + len(layers(found, "AdaptiveAvgPool2d")) == 5


def test_pooling_rounds_up():
    assert [r.output[1] for r in between_modules(summary("googlenet"))] == [56, 28, 14, 7]
    assert F.max_pool2d(mg.zeros(1, 1, 112, 112), 3, 2).shape[2] == 55


# -- the lecture's examples -----------------------------------------------------------------------


def example(module):
    return zoo.summary(module, (256, 28, 28))


def test_the_naive_module_of_the_lecture():
    found = example(NaiveInception(256, 128, 192, 96))
    assert [r.macs for r in layers(found, "Conv2d")] == [25_690_112, 346_816_512, 481_689_600]
    assert found.total("macs") == 854_196_224
    with mg.no_grad():
        y = NaiveInception(256, 128, 192, 96)(mg.zeros(1, 256, 28, 28))
    assert y.shape == (1, 672, 28, 28) and y.size == 526_848
    assert found.total("weights") == 1_089_536


def test_the_module_with_reductions_costs_271_million_not_358():
    found = example(Inception(256, 128, 64, 192, 64, 96, 64))
    macs = [r.macs for r in layers(found, "Conv2d")]
    assert sorted(macs) == [12_845_056] * 3 + [25_690_112, 86_704_128, 120_422_400]
    assert found.total("macs") == 271_351_808
    assert found.total("macs") + 86_704_128 == 358_055_936  # the 3x3 counted twice
    assert found.total("weights") == 346_112
    saving = 854_196_224 / found.total("macs")
    assert saving == pytest.approx(3.148, abs=5e-4)
    with mg.no_grad():
        y = Inception(256, 128, 64, 192, 64, 96, 64)(mg.zeros(1, 256, 28, 28))
    assert y.shape == (1, 480, 28, 28)


def test_naive_depth_can_only_grow():
    x, channels = images(1, 3, 4, 4), [3]
    for n1, n3, n5 in ((2, 1, 1), (1, 2, 1), (4, 4, 4)):
        x = NaiveInception(channels[-1], n1, n3, n5)(x)
        assert x.shape[1] == channels[-1] + n1 + n3 + n5
        channels.append(x.shape[1])
    assert channels == sorted(channels)


@pytest.mark.parametrize("form", ({}, {"batch_norm": True}, {"torchvision": True}))
def test_branches_write_side_by_side_what_concat_would_copy(form, monkeypatch):
    mg.manual_seed(0)
    net, x = GoogLeNet(10, aux=False, **form).eval(), images(2, 3, 64, 64)
    with mg.no_grad():
        whole = net(x)
        monkeypatch.setattr(
            Inception,
            "forward",
            lambda self, x: mg.concat(*(b(x) for b in self.children()), axis=1),
        )
        np.testing.assert_array_equal(whole.data, net(x).data)


def test_branches_see_1_3_5_and_3_pixels():
    module = Inception(2, 1, 1, 1, 1, 1, 1).double()
    for p in module.parameters():
        p.requires_grad_(False).copy_(1.0)
    for channel, pixels in enumerate((1, 3, 5)):
        x = (images(1, 2, 9, 9, dtype=np.float64) ** 2 + 1).requires_grad_()
        module(x)[0, channel, 4, 4].backward()
        seen = np.argwhere(x.grad.numpy()[0].any(axis=0))
        assert (seen.max(axis=0) - seen.min(axis=0) + 1).tolist() == [pixels, pixels]
    fields = {r.name: r.field for r in zoo.summary(module, (2, 9, 9))}
    assert [fields[f"branch{k}.conv"] for k in ("1", "2.1", "3.1", "4.1")] == [1, 3, 5, 3]


# -- forms ----------------------------------------------------------------------------------------


def test_normalization_across_channels_gives_way_to_batch_norm():
    norms = layers(summary("googlenet"), "LocalResponseNorm")
    assert [r.output for r in norms] == [(64, 56, 56), (192, 56, 56)]
    layer = next(m for m in shapes_of("googlenet").modules() if isinstance(m, nn.LocalResponseNorm))
    assert (layer.size, layer.alpha, layer.beta, layer.k) == (5, 1e-4, 0.75, 1.0)
    for name, variant in (("googlenet_bn", None), ("googlenet", "torchvision")):
        net = shapes_of(name, variant=variant, aux=False)
        kinds = [type(m) for m in net.modules()]
        assert nn.LocalResponseNorm not in kinds
        assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.Conv2d) == 57
        assert all(m.eps == 1e-3 for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_torchvisions_5x5_is_3x3_and_its_fourth_pooling_2x2():
    kernels = {}
    for variant in (None, "torchvision"):
        net = shapes_of("googlenet", variant=variant)
        kernels[variant] = (
            net.inception3a.branch3[1].conv.kernel_size, net.maxpool4.kernel_size, net.dropout.p
        )  # fmt: skip
    assert kernels == {None: ((5, 5), (3, 3), 0.4), "torchvision": ((3, 3), (2, 2), 0.2)}


def test_state_dict_keys_are_torchvisions():
    keys = set(shapes_of("googlenet", variant="torchvision").state_dict())
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    convs = [f"conv{i}" for i in (1, 2, 3)]
    for name in MODULES:
        places = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
        convs += [f"inception{name}.{place}" for place in places]
    convs += ["aux1.conv", "aux2.conv"]
    wanted = {f"{c}.conv.weight" for c in convs} | {f"{c}.bn.{k}" for c in convs for k in bn}
    linears = ["fc", *(f"aux{i}.fc{k}" for i in (1, 2) for k in (1, 2))]
    wanted |= {f"{fc}.{kind}" for fc in linears for kind in ("weight", "bias")}
    assert keys == wanted
    paper = set(shapes_of("googlenet").state_dict())
    assert paper == {k for k in keys if ".bn." not in k} | {f"{c}.conv.bias" for c in convs}


def test_published_weights_expect_images_between_minus_1_and_1():
    net = shapes_of("googlenet", variant="torchvision", transform_input=True)
    mean, std = (
        np.reshape(v, (1, 3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    pixels = np.random.default_rng(0).random((2, 3, 15, 15))
    seen = []
    net.conv1.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0].numpy()))
    net.double()(mg.tensor((pixels - mean) / std))
    assert np.allclose(seen[0], 2 * pixels - 1, atol=1e-12)


@pytest.mark.parametrize("variant", [None, "torchvision"])
def test_starting_values(variant):
    mg.manual_seed(1)
    net = zoo.get_model("googlenet", variant=variant)
    w = net.inception3b.branch2[1].conv.weight.numpy()
    if variant is None:
        assert np.abs(w).max() == pytest.approx(np.sqrt(3 / (9 * 128)), rel=1e-3)
        assert (net.conv1.conv.bias.numpy() == np.float32(0.2)).all()
        assert not net.fc.bias.numpy().any() and not net.aux1.fc2.bias.numpy().any()
        assert (net.aux1.fc1.bias.numpy() == np.float32(0.2)).all()
    else:
        assert np.abs(w).max() <= 0.02
        assert w.std() == pytest.approx(0.01 * 0.880, rel=0.01)  # cut at two deviations


# -- auxiliary heads ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net():
    mg.manual_seed(5)
    return zoo.get_model("googlenet", num_classes=4)


def test_heads_run_in_training_only(net):
    x = images(1, 3, 64, 64)
    out = net.train()(x)
    assert isinstance(out, Outputs) and [o.shape for o in out] == [(1, 4)] * 3
    ran = []
    removers = [aux.register_forward_hook(lambda *_: ran.append(1)) for aux in (net.aux1, net.aux2)]
    assert net.eval()(x).shape == (1, 4) and not ran
    for remove in removers:
        remove()
    assert zoo.get_model("googlenet", aux=False, num_classes=4).train()(x).shape == (1, 4)


def test_heads_average_5x5_by_3_at_the_papers_size():
    head = shapes_of("googlenet").aux1
    seen = []
    head.conv.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    x = images(1, 512, 14, 14)
    head(x)
    assert np.array_equal(seen[0].numpy(), F.avg_pool2d(x, 5, 3).numpy())
    assert seen[0].shape == (1, 512, 4, 4)


def test_the_loss_weighs_heads_by_three_tenths():
    logits = [images(3, 4).requires_grad_() for _ in range(3)]
    t = mg.tensor([0, 1, 2])
    loss = googlenet_loss(Outputs(*logits), t)
    alone = [F.cross_entropy(x, t).item() for x in logits]
    assert loss.item() == pytest.approx(alone[0] + 0.3 * alone[1] + 0.3 * alone[2], rel=1e-6)
    loss.backward()
    for x, weight in zip(logits, (1.0, 0.3, 0.3), strict=True):
        y = x.detach().requires_grad_()
        F.cross_entropy(y, t).backward()
        assert np.allclose(x.grad.numpy(), weight * y.grad.numpy(), atol=1e-7)
    assert googlenet_loss(logits[0], t).item() == pytest.approx(alone[0])


def test_heads_send_gradients_to_4a_and_4d_through_three_tenths(net):
    net.train()
    for aux in (net.aux1, net.aux2):
        aux.dropout.p = 0.0
    x, t = images(2, 3, 64, 64), mg.tensor([1, 3])

    def gradients(of):
        net.zero_grad()
        of(net(x)).backward()
        return {n: p.grad.numpy().copy() for n, p in net.named_parameters() if p.grad is not None}

    first = gradients(lambda out: F.cross_entropy(out.aux1, t))
    weighed = gradients(lambda out: googlenet_loss(out, t) - F.cross_entropy(out.logits, t)
                        - 0.3 * F.cross_entropy(out.aux2, t))  # fmt: skip
    name = "inception4a.branch1.conv.weight"
    assert np.allclose(weighed[name], 0.3 * first[name], atol=1e-6 * np.abs(first[name]).max())
    assert "inception4b.branch1.conv.weight" not in first  # aux1 stands on 4a
    second = gradients(lambda out: F.cross_entropy(out.aux2, t))
    assert second["inception4d.branch1.conv.weight"].any()
    assert "inception4e.branch1.conv.weight" not in second


@pytest.mark.parametrize("variant", [None, "torchvision"])
def test_gradients_reach_every_parameter(net, variant):
    mg.manual_seed(6)
    if variant:
        net = zoo.get_model("googlenet", variant=variant, num_classes=4)
        net.apply(lambda m: isinstance(m, nn.Conv2d) and nn.init.kaiming_normal_(m.weight))
    net.train()
    x = images(3, 3, 64, 64)
    assert_gradients_reach_everything(net, googlenet_loss(net(x), mg.tensor([0, 1, 3])))


def small_run(folder, size):
    """A training run on 16 images of 2 classes."""
    rng = np.random.default_rng(0)
    x, t = rng.integers(0, 256, (16, size, size, 3), dtype=np.uint8), np.arange(16) % 2
    np.savez(folder / "two.npz", x_train=x, y_train=t, x_test=x[:4], y_test=t[:4])
    config = TrainConfig(model="googlenet", data=str(folder / "two.npz"), epochs=1, batch_size=8,
                         lr=0.01, workers=0)  # fmt: skip
    return Trainer(config.check(), folder)


def test_the_trainer_trains_the_heads_and_evaluates_without_them(tmp_path):
    trainer = small_run(tmp_path, 32)
    before = trainer.net.aux2.fc2.weight.numpy().copy()
    (row,) = trainer.fit()
    assert row["train_loss"] == pytest.approx(1.6 * np.log(2), rel=0.5)  # L + 0.3 L1 + 0.3 L2
    assert 0 <= row["test_accuracy"] <= 1
    assert not np.array_equal(trainer.net.aux2.fc2.weight.numpy(), before)
    with pytest.raises(ArgError, match=r"at least 31 pixels, the data has \(28, 28\)"):
        small_run(tmp_path, 28)


def test_what_does_not_fit():
    for variant, least in ((None, 31), ("torchvision", 15)):
        net = shapes_of("googlenet", variant=variant, num_classes=2)
        with mg.no_grad():
            assert net(mg.zeros(1, 3, least, least)).shape == (1, 2)
            with pytest.raises(ShapeError, match=f"at least {least}x{least}"):
                net(mg.zeros(1, 3, least, least - 1))
    with pytest.raises(ArgError, match="aux 'yes' is unknown; use True or False"):
        zoo.get_model("googlenet", aux="yes")
    with pytest.raises(ArgError, match="option 'transform_input' is unknown; known options: aux"):
        zoo.get_model("googlenet", transform_input=True)
    with nn.meta():
        assert parameters(GoogLeNet(10, aux=False)) == 6_998_552 - 990 * 1025
