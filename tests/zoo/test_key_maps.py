"""Names in files of weights become the zoo's names; what a file holds is recognized."""

import numpy as np
import pytest

import zoo
from minigrad import nn
from minigrad.errors import ArgError, CheckpointError
from zoo.weights import caffe
from zoo.weights.key_maps import detect, fitted, translate
from zoo.weights.recognize import recognize

rng = np.random.default_rng(0)


def shapes_of(name, **options):
    """A state_dict without memory."""
    with nn.meta():
        net = zoo.get_model(name, **options)
    return {key: t.data for key, t in net.state_dict().items()}


def paths(layers):
    """Layer -> path of the module that its weight goes to."""
    named = {f"{layer}/1": np.full(1, i, np.float32) for i, layer in enumerate(layers)}
    found = translate(named, "caffe")
    order = {float(a[0]): key.removesuffix(".bias") for key, a in found.items()}
    return [order[i] for i in range(len(layers))]


VGG_PLACES = {  # places of the convolutions, and how many there are in each block
    "vgg11": ((1, 1, 2, 2, 2), (0, 3, 6, 8, 11, 13, 16, 18)),
    "vgg13": ((2, 2, 2, 2, 2), (0, 2, 5, 7, 10, 12, 15, 17, 20, 22)),
    "vgg16": ((2, 2, 3, 3, 3), (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    "vgg19": ((2, 2, 4, 4, 4), (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)),
}


@pytest.mark.parametrize("name", VGG_PLACES)
def test_caffe_names_of_vgg(name):
    counts, places = VGG_PLACES[name]
    layers = [f"conv{b + 1}_{i + 1}" for b, n in enumerate(counts) for i in range(n)]
    wanted = [f"features.{i}" for i in places] + [f"classifier.{i}" for i in (0, 3, 6)]
    assert paths([*layers, "fc6", "fc7", "fc8"]) == wanted
    assert {f"{path}.weight" for path in wanted} <= shapes_of(name).keys()


def test_caffe_names_of_alexnet_and_nin():
    alexnet = [*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8"]
    wanted = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]
    assert paths(alexnet) == wanted
    layers = ["conv1", "cccp1", "cccp2", "conv4-1024", "cccp7-1024", "cccp8-1024"]
    wanted = [f"features.{x}" for x in ("conv1", "cccp1", "cccp2", "conv4", "cccp7", "cccp8")]
    assert paths(layers) == wanted
    assert {f"{path}.weight" for path in wanted} <= shapes_of("nin_imagenet").keys()


def test_caffe_names_of_googlenet_are_all_of_the_papers_form():
    layers = ["conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3", "loss3/classifier"]
    layers += [f"loss{k}/{part}" for k in (1, 2) for part in ("conv", "fc", "classifier")]
    for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        layers += [f"inception_{module}/{branch}" for branch in caffe.BRANCHES]
    own = {key.removesuffix(".weight") for key in shapes_of("googlenet") if "weight" in key}
    assert set(paths(layers)) == own and len(layers) == len(own)
    assert paths(["inception_4b/5x5", "loss2/fc"]) == ["inception4b.branch3.1.conv", "aux2.fc1"]


@pytest.mark.parametrize(("depth", "numbered"), [(50, False), (101, True), (152, True)])
def test_caffe_names_of_resnet_are_all_of_the_papers_form(depth, numbered):
    counts = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    arrays = {"conv1/0": np.zeros(1), "fc1000/0": np.zeros(1), "fc1000/1": np.zeros(1)}
    units = ["_conv1"]
    for stage, n in enumerate(counts, 2):
        for i in range(n):
            block = f"b{i}" if numbered and n > 3 and i else "abcdef"[i]
            parts = ["2a", "2b", "2c"] + ["1"] * (i == 0)
            units += [f"{stage}{block}_branch{part}" for part in parts]
    for unit in units:
        if unit != "_conv1":
            arrays[f"res{unit}/0"] = np.zeros(1)
        arrays |= {f"bn{unit}/{k}": np.ones(1) for k in range(3)}
        arrays |= {f"scale{unit}/{k}": np.zeros(1) for k in range(2)}
    own = {key for key in shapes_of(f"resnet{depth}") if "num_batches" not in key}
    assert translate(arrays).keys() == own


def test_caffes_statistics_are_sums_and_a_factor():
    mean, var = rng.standard_normal(4).astype(np.float32), rng.random(4, np.float32)
    blobs = {
        "res2a_branch1/0": np.zeros(1),
        "bn2a_branch2a/0": mean * 8,
        "bn2a_branch2a/1": var * 8,
    }
    state = translate({**blobs, "bn2a_branch2a/2": np.array([8], np.float32)})
    np.testing.assert_array_equal(state["layer1.0.bn1.running_mean"], mean)
    np.testing.assert_array_equal(state["layer1.0.bn1.running_var"], var)
    zero = translate({**blobs, "bn2a_branch2a/2": np.zeros((1, 1, 1, 1), np.float32)})
    assert not zero["layer1.0.bn1.running_var"].any()
    with pytest.raises(CheckpointError, match=r"'bn2a_branch2a' has blobs \[0, 1\]"):
        translate(blobs)


def test_old_blobs_lose_their_leading_ones_and_the_first_layer_turns_to_rgb():
    first = rng.standard_normal((96, 3, 11, 11)).astype(np.float32)
    fc = rng.standard_normal((8, 6)).astype(np.float32)
    state = translate({
        "conv1.weight": first, "conv1.bias": np.zeros((1, 1, 1, 96)),
        "fc6/0": fc.reshape(1, 1, 8, 6), "fc6/1": np.arange(8.0).reshape(1, 1, 1, 8),
    })  # fmt: skip
    np.testing.assert_array_equal(state["features.0.weight"], first[:, [2, 1, 0]])
    assert state["features.0.bias"].shape == (96,)
    np.testing.assert_array_equal(state["classifier.1.weight"], fc)
    np.testing.assert_array_equal(state["classifier.1.bias"], np.arange(8.0))


def test_turning_to_rgb_is_bgr_input_with_caffes_mean():
    import minigrad as mg
    import minigrad.functional as F

    x = rng.random((1, 3, 8, 8))  # RGB on [0, 1]
    w = rng.standard_normal((2, 3, 3, 3))
    bgr = 255 * x[:, ::-1] - np.array([104.0, 117, 123]).reshape(1, 3, 1, 1)
    wanted = F.conv2d(mg.tensor(bgr), mg.tensor(w), padding=1).numpy()
    mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in caffe.PIXELS)
    turned = translate({"conv1/0": w, "fc6/0": np.zeros((1, 1))})["features.0.weight"]
    found = F.conv2d(mg.tensor((x - mean) / std), mg.tensor(turned.copy()), padding=1).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-9)


def test_the_map_is_seen_from_the_names():
    assert detect(["module.conv1.weight", "module.linear.weight"]) == "akamaster"
    assert detect(["conv1.weight", "layer1.0.conv1.weight", "fc.weight"]) == "torchvision"
    assert detect(["features.0.weight", "classifier.6.weight"]) == "torchvision"
    for name in ("alexnet", "vgg16", "nin_cifar10", "googlenet", "resnet50", "lenet"):
        assert detect(shapes_of(name)) == "torchvision"
    for names in (["conv1/0", "fc6/0"], ["conv1_1.weight"], ["inception_3a/1x1/0"],
                  ["conv1/0", "res2a_branch1/0"], ["conv1/0", "cccp1/0"]):  # fmt: skip
        assert detect(names) == "caffe"


def test_the_prefix_of_data_parallel_goes_only_where_all_names_have_it():
    x = np.zeros(1)
    assert list(translate({"module.a": x, "module.b": x})) == ["a", "b"]
    assert list(translate({"module.a": x, "b": x})) == ["module.a", "b"]


def test_an_unknown_map_or_one_that_does_not_apply_is_refused():
    with pytest.raises(ArgError, match="use torchvision, akamaster, caffe"):
        translate({}, "keras")
    with pytest.raises(CheckpointError, match="no layer of Caffe's nets"):
        translate({"layer1.0.conv1.weight": np.zeros(1)}, "caffe")


def test_missing_counters_start_at_zero_and_nothing_else_is_made_up():
    with nn.meta():
        net = zoo.get_model("resnet20")
    state = {k: a for k, a in shapes_of("resnet20").items() if "num_batches" not in k}
    assert fitted(state, net).keys() == net.state_dict().keys()
    del state["bn1.running_mean"]
    assert net.state_dict().keys() - fitted(state, net).keys() == {
        "bn1.running_mean", "bn1.num_batches_tracked"
    }  # fmt: skip


def test_auxiliary_heads_are_left_out_for_a_googlenet_without_them():
    state = shapes_of("googlenet", variant="torchvision")
    with nn.meta():
        without = zoo.get_model("googlenet", variant="torchvision", aux=False)
        other = zoo.get_model("lenet")
    assert fitted(state, without).keys() == without.state_dict().keys()
    assert "aux1.fc1.weight" in fitted(state, other)
    assert state["aux1.conv.conv.weight"].shape[1] == 512  # 4a, in every version of torchvision
    assert state["aux2.conv.conv.weight"].shape[1] == 528  # 4d


SAME = {  # nets whose names and shapes are another's
    "caffenet": "alexnet_grouped", "vgg11_lrn": "vgg11", "vgg16c_bn": "vgg16c_bn",
    **{f"plain{d}": f"resnet{d}" for d in (18, 20, 32, 34, 44, 56, 110, 1202)},
}  # fmt: skip


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_net_of_the_zoo_is_recognized(name):
    found = recognize(shapes_of(name, num_classes=7, in_channels=1))
    assert (found.name, found.num_classes, found.in_channels) == (SAME.get(name, name), 7, 1)


def test_options_and_variants_are_recognized():
    def call(map=None, **arguments):
        return str(recognize(shapes_of(**arguments), map))

    tv = "num_classes=1000, variant='torchvision'"
    assert call(name="resnet20", shortcut="C") == (
        "zoo.get_model('resnet20', num_classes=10, shortcut='C')"
    )
    assert call(name="resnet50") == f"zoo.get_model('resnet50', {tv})"
    assert call("caffe", name="resnet50") == "zoo.get_model('resnet50', num_classes=1000)"
    assert call(name="alexnet", variant="torchvision") == f"zoo.get_model('alexnet', {tv})"
    assert call(name="alexnet") == "zoo.get_model('alexnet', num_classes=1000)"
    assert call(name="googlenet", variant="torchvision", aux=False) == (
        f"zoo.get_model('googlenet', {tv}, aux=False)"
    )
    assert call(name="vgg16_bn", head="gap", in_channels=1) == (
        "zoo.get_model('vgg16_bn', num_classes=1000, in_channels=1, head='gap')"
    )


def test_what_is_no_net_of_the_zoo_is_not_recognized():
    state = shapes_of("resnet18")
    assert recognize(state, name="resnet34") is None
    assert recognize({}) is None
    wide = {k: np.zeros((*a.shape[:1], 1, 1, 1)) if a.ndim == 4 else a for k, a in state.items()}
    assert recognize(wide) is None
    assert recognize({k: a for k, a in state.items() if k != "fc.bias"}) is None
