"""Class activation maps, Grad-CAM, boxes and the rule of localization."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.functional as F
import zoo
from minigrad import nn
from minigrad.errors import ArgError, ShapeError
from zoo.localize import (
    box_of,
    class_activation_maps,
    default_layer,
    evaluating,
    grad_cam,
    iou,
    is_localized,
    localization_error,
    output_of,
    upsample,
)
from zoo.vgg import VGG

from .nets import images

THIN = (4, "M", 6, "M", 8, 8, "M", 8, 8, "M", 8, 8, "M")
# nets that end with global pooling, each with an image that they take and their last maps
POOLED = {
    "nin_cifar10": (32, (8, 8)),
    "resnet20": (24, (6, 6)),
    "preact_resnet20": (24, (6, 6)),
    "resnet18": (64, (2, 2)),
    "googlenet": (64, (2, 2)),
}


def pooled(name):
    """A net in float64 with a bias in its last layer, and two images."""
    mg.manual_seed(5)
    net = zoo.get_model(name, 7, **({"aux": False} if name == "googlenet" else {})).double()
    last = list(net.modules())[-1]
    if isinstance(last, nn.Linear):
        nn.init.normal_(last.bias)
    size = POOLED[name][0]
    return net, images(2, 3, size, size, dtype=np.float64)


def logits_of(net, x):
    with evaluating(net), mg.no_grad():
        return net(x).numpy()


# -- class activation maps ------------------------------------------------------------------------


@pytest.mark.parametrize("name", POOLED)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(name):
    net, x = pooled(name)
    maps, bias = class_activation_maps(net, x)
    logits = logits_of(net, x)
    assert maps.shape == (2, 7, *POOLED[name][1]) and bias.shape == (7,)
    off = np.abs(maps.mean(axis=(2, 3)) + bias - logits).max()
    assert off <= 1e-13 * (1 + np.abs(maps).max())
    assert np.ptp(maps) > 0


def test_the_maps_of_network_in_network_are_its_class_activation_maps():
    net, x = pooled("nin_cifar10")
    maps, bias = class_activation_maps(net, x)
    assert np.array_equal(maps, output_of(net, "features", x).numpy()) and not bias.any()


@pytest.mark.parametrize("name", POOLED)
def test_grad_cam_is_the_class_activation_map_up_to_a_positive_factor(name):
    net, x = pooled(name)
    maps, _ = class_activation_maps(net, x)
    for classes in ([0, 6], [3, 3]):
        found = grad_cam(net, x, classes)
        positive = np.maximum(maps[[0, 1], classes], 0)
        factor = 1 / np.prod(POOLED[name][1])
        assert np.abs(found - factor * positive).max() <= 1e-13 * (1 + np.abs(maps).max())


def test_vgg_with_global_pooling_has_maps_and_with_linear_layers_has_not():
    x = images(1, 3, 64, 96, dtype=np.float64)
    gap = VGG(THIN, 5, head="gap").double()
    maps, bias = class_activation_maps(gap, x)
    assert maps.shape == (1, 5, 2, 3)
    assert np.allclose(maps.mean(axis=(2, 3)) + bias, logits_of(gap, x), atol=1e-13)
    with pytest.raises(ArgError, match=r"no global average pooling.*use grad_cam"):
        class_activation_maps(zoo.get_model("lenet"), images(1, 1, 28, 28))


def test_a_net_that_bends_the_mean_is_refused():
    class Bent(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return mg.exp(self.fc(F.flatten(self.pool(self.conv(x)), 1)))

    with pytest.raises(ArgError, match="not a linear function of the mean"):
        class_activation_maps(Bent(), images(2, 3, 8, 8))
    two = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.Linear(5, 2)
    )
    with pytest.raises(ArgError, match="use grad_cam"):
        class_activation_maps(two, images(1, 3, 8, 8))
    part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1))
    with pytest.raises(ArgError, match="not the net's classes"):
        class_activation_maps(nn.Sequential(part, nn.Flatten()), images(1, 3, 8, 8))


# -- Grad-CAM -------------------------------------------------------------------------------------


def test_grad_cam_is_its_definition_at_any_layer():
    mg.manual_seed(1)
    net = zoo.get_model("lenet").double()
    x = images(3, 1, 28, 28, dtype=np.float64)
    for layer, shape in (("c1", (28, 28)), ("s2", (14, 14)), ("c3", (10, 10)), ("s4", (5, 5))):
        found = grad_cam(net, x, [1, 9, 4], layer)
        a = output_of(net, layer, x).numpy()  # (3, K, h, w)

        def score(net, moved, k, layer=layer):
            remove = dict(net.named_modules())[layer].register_forward_hook(
                lambda m, xs, y: mg.tensor(moved)
            )
            try:
                return logits_of(net, x)[np.arange(3), [1, 9, 4]]
            finally:
                remove()

        alpha = np.empty(a.shape[:2])
        for k in range(a.shape[1]):  # the mean derivative: all pixels of map k move together
            step = np.zeros_like(a)
            step[:, k] = 1e-6
            alpha[:, k] = (score(net, a + step, k) - score(net, a - step, k)) / 2e-6
        alpha /= np.prod(shape)
        wanted = np.maximum((alpha[:, :, None, None] * a).sum(axis=1), 0)
        assert found.shape == (3, *shape)
        assert np.abs(found - wanted).max() < 1e-7 * np.abs(wanted).max() + 1e-10


def test_by_default_it_looks_at_the_most_likely_class_and_the_last_maps():
    net = VGG(THIN, 5, hidden=8, init="normal")
    x = images(2, 3, 224, 224)
    top = logits_of(net, x).argmax(axis=1)
    assert default_layer(net, x) == "features.19"  # the ReLU before the last pooling, 14 x 14
    found = grad_cam(net, x)
    assert found.shape == (2, 14, 14)
    assert np.array_equal(found, grad_cam(net, x, top, "features.19"))
    assert default_layer(zoo.get_model("lenet"), images(1, 1, 28, 28)) == "c3"
    assert default_layer(zoo.get_model("resnet20"), images(1, 3, 32, 32)) == "layer3"


def test_a_batch_gives_what_single_images_give():
    net, x = pooled("resnet20")
    together = grad_cam(net, x, [2, 5], "layer2")
    for i, k in enumerate([2, 5]):
        assert np.allclose(grad_cam(net, x[i : i + 1], [k], "layer2")[0], together[i], atol=1e-12)


@pytest.mark.parametrize("look", [grad_cam, class_activation_maps, default_layer])
def test_the_net_is_left_as_it_was(look):
    net, x = pooled("resnet20")
    net.train()
    net.layer2.eval()
    before = {name: v.numpy().copy() for name, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    look(net, x)
    assert [m.training for m in net.modules()] == modes and True in modes and False in modes
    assert all(np.array_equal(v.numpy(), before[name]) for name, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._hooks for m in net.modules())


def test_it_works_inside_of_no_grad_and_for_frozen_nets():
    net, x = pooled("resnet20")
    free = grad_cam(net, x, [0, 1])
    with mg.no_grad():
        assert np.array_equal(grad_cam(net.requires_grad_(False), x, [0, 1]), free)


def test_hooks_go_away_with_errors_too():
    net = zoo.get_model("lenet")
    for look in (grad_cam, class_activation_maps):
        with pytest.raises(ShapeError, match="28x28"):
            look(net, images(1, 1, 30, 30))
    assert not any(m._hooks for m in net.modules())


@pytest.mark.parametrize(
    ("classes", "layer", "error", "message"),
    [
        (None, "conv3", ArgError, r"no layer 'conv3'; layers: c1, s2, c3, s4, c5, f6, \.\.\."),
        (None, "f6", ShapeError, r"'f6' puts out \(2, 84\), expected maps"),
        ([1], "c3", ShapeError, "one class for each of 2 images"),
        ([1, 10], "c3", ArgError, r"has 10 classes, got \[1, 10\]"),
        ([1.0, 2.0], "c3", ShapeError, "one class for each"),
    ],
)
def test_what_grad_cam_cannot_do_is_said(classes, layer, error, message):
    with pytest.raises(error, match=message):
        grad_cam(zoo.get_model("lenet"), images(2, 1, 28, 28), classes, layer)


def test_a_misspelt_layer_is_recognized():
    with pytest.raises(ArgError, match=r"'layer3\.4'; did you mean 'layer3\.2'"):
        grad_cam(zoo.get_model("resnet20"), images(1, 3, 32, 32), [0], "layer3.4")


def test_layers_that_do_not_run_or_have_no_maps():
    net = zoo.get_model("googlenet", 3)
    with pytest.raises(ArgError, match="'aux1' does not run in evaluation"):
        output_of(net, "aux1", images(1, 3, 32, 32))
    with pytest.raises(ArgError, match=r"'aux1\.conv' does not run in evaluation"):
        grad_cam(net, images(1, 3, 32, 32), [0], "aux1.conv")
    with pytest.raises(ArgError, match="maps of more than one pixel"):
        default_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), images(1, 3, 2, 2))


def test_a_bright_square_is_found_where_it_is():
    """A hand-made net: class 0 likes bright pixels, class 1 dark ones."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2, 2),
    )  # fmt: skip
    with mg.no_grad():
        net[0].weight.copy_(np.stack([np.ones((1, 3, 3)), -np.ones((1, 3, 3))]).astype("f4"))
        net[0].bias.copy_(np.array([-4.5, 4.5], "f4"))
        net[4].weight.copy_(np.eye(2, dtype="f4"))
    x = np.zeros((1, 1, 16, 16), np.float32)
    x[:, :, 3:9, 8:14] = 1
    maps, _ = class_activation_maps(net, mg.tensor(x))
    assert box_of(maps[0, 0]) == (8, 3, 14, 9)
    assert box_of(grad_cam(net, mg.tensor(x), [0])[0]) == (8, 3, 14, 9)
    assert maps[0, 1, 5, 10] == 0 and maps[0, 1, 0, 0] > 0


# -- maps and boxes -------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 13), st.integers(1, 13))
def test_upsampling_is_bilinear_between_centers(h, w, height, width):
    heat = np.random.default_rng(h * 7 + w).normal(size=(h, w))
    found = upsample(heat, (height, width))

    def weight(place, index, count):  # of pixel `index` at a place measured in pixels
        place = min(max(place, 0), count - 1)
        return max(0.0, 1 - abs(place - index))

    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * h / height - 0.5, (j + 0.5) * w / width - 0.5
            value = sum(
                heat[a, b] * weight(y, a, h) * weight(x, b, w) for a in range(h) for b in range(w)
            )
            assert found[i, j] == pytest.approx(value, abs=1e-12)


def test_upsampling_keeps_constants_and_its_own_size_and_takes_batches():
    maps = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    assert np.array_equal(upsample(maps, (5, 4)), maps)
    assert np.allclose(upsample(np.full((2, 7, 7), 3.0), (224, 200)), 3.0)
    assert np.allclose(upsample(maps, (9, 8))[1, 2], upsample(maps[1, 2], (9, 8)))


def test_the_box_is_that_of_the_largest_part_above_a_fifth_of_the_peak():
    heat = np.zeros((10, 12))
    heat[1, 1] = 10.0  # the peak, alone
    heat[4:7, 5:9] = 2.5
    heat[8, 5:9] = 1.9  # under a fifth
    assert box_of(heat) == (5, 4, 9, 7)
    assert box_of(heat, 0.5) == (1, 1, 2, 2)
    assert box_of(heat, 0.1) == (5, 4, 9, 7)  # rows 4 to 6 and row 8 do not touch
    heat[7, 8] = 3.0  # now they do
    assert box_of(heat, 0.1) == (5, 4, 9, 9)


def test_parts_touch_by_edges_and_the_first_of_equals_wins():
    heat = np.zeros((4, 4))
    heat[0, 0] = heat[1, 1] = heat[2, 2] = 1.0  # corners only
    assert box_of(heat) == (0, 0, 1, 1)
    assert box_of(np.zeros((4, 6))) == (0, 0, 6, 4)
    assert box_of(-np.ones((4, 6))) == (0, 0, 6, 4)
    assert box_of(np.ones((4, 6))) == (0, 0, 6, 4)
    with pytest.raises(ArgError, match=r"part_of_peak must lie in \[0, 1\), got 1"):
        box_of(heat, 1)


def boxes_in(size):
    corner = st.tuples(st.integers(0, size), st.integers(0, size))
    return st.tuples(corner, corner).map(
        lambda c: tuple(np.sort(np.array(c), axis=0).ravel().tolist())
    )


@given(boxes_in(7), boxes_in(7))
def test_iou_counts_pixels(a, b):
    inside = []
    for left, top, right, bottom in (a, b):
        pixels = np.zeros((7, 7), bool)
        pixels[top:bottom, left:right] = True
        inside.append(pixels)
    both, either = inside[0] & inside[1], inside[0] | inside[1]
    wanted = both.sum() / either.sum() if either.any() else 0.0
    assert float(iou(a, b)) == pytest.approx(wanted)
    assert float(iou(b, a)) == float(iou(a, b))


def test_iou_broadcasts_and_refuses_boxes_inside_out():
    a = np.array([[0, 0, 2, 2], [1, 1, 3, 3]])
    assert np.allclose(iou(a[:, None], a), [[1, 1 / 7], [1 / 7, 1]])
    with pytest.raises(ArgError, match="ends before it begins"):
        iou((2, 0, 1, 3), (0, 0, 1, 1))
    with pytest.raises(ShapeError, match=r"expected boxes \(\.\.\., 4\), got \(3,\)"):
        iou((0, 0, 1), (0, 0, 1, 1))


# -- the rule of the ILSVRC -----------------------------------------------------------------------

TRUE = [(0, 0, 10, 10)]
HALF, UNDER = (0, 0, 10, 5), (0, 0, 10, 4)  # IoU 0.5 and 0.4


@pytest.mark.parametrize(
    ("classes", "boxes", "truth", "right"),
    [
        ([7], [TRUE[0]], TRUE, True),
        ([1, 2, 3, 4, 7], [TRUE[0]] * 5, TRUE, True),  # any of the five guesses
        ([1, 2, 3, 4, 5], [TRUE[0]] * 5, TRUE, False),  # a perfect box of a wrong class
        ([7], [HALF], TRUE, True),  # exactly a half is enough
        ([7], [UNDER], TRUE, False),
        ([7, 1], [UNDER, TRUE[0]], TRUE, False),  # the good box belongs to another class
        ([7, 7], [UNDER, HALF], TRUE, True),
        ([7], [(20, 20, 30, 30)], [*TRUE, (20, 20, 30, 31)], True),  # any of its objects
        ([7], [HALF], [], False),
    ],
)
def test_class_among_five_and_half_of_the_box(classes, boxes, truth, right):
    assert is_localized(classes, boxes, 7, truth) is right


def test_localization_error_is_the_share_of_images_and_at_least_the_classification_error():
    classes = [[7, 1], [1, 2], [7, 2], [7, 3]]
    boxes = [[TRUE[0], HALF], [HALF, HALF], [UNDER, HALF], [HALF, HALF]]
    error = localization_error(classes, boxes, [7] * 4, [TRUE] * 4)
    assert error == 0.5
    assert error >= np.mean([7 not in guesses for guesses in classes])
    assert localization_error(classes, boxes, [7] * 4, [TRUE] * 4, 0.4) == 0.25
    with pytest.raises(ArgError, match="of 4, 4, 3, 4 images"):
        localization_error(classes, boxes, [7] * 3, [TRUE] * 4)
    with pytest.raises(ShapeError, match="at most 5 classes"):
        is_localized(range(6), [TRUE[0]] * 6, 1, TRUE)
