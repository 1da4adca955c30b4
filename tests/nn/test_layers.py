"""Design: a layer is its function with remembered arguments, so what is tested here is what the
layer adds: starting values, names, shapes, refusals. The functions have tests of their own.
"""

import math

import numpy as np
import pytest

import minigrad.functional as F
from minigrad import nn
from minigrad.errors import ArgError, MinigradError, ShapeError
from minigrad.ops.random import default_generator
from minigrad.tensor import Tensor


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


X = image(2, 4, 9, 8)
LAYERS = {
    "linear": (nn.Linear(8, 3), (2, 4, 9, 3), lambda m: F.linear(X, m.weight, m.bias)),
    "no bias": (nn.Linear(8, 3, bias=False), (2, 4, 9, 3), lambda m: F.linear(X, m.weight)),
    "conv": (
        nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2),
        (2, 6, 5, 6),
        lambda m: F.conv2d(X, m.weight, m.bias, (2, 1), (1, 0), (1, 2), 2),
    ),
    "same": (
        nn.Conv2d(4, 5, 4, padding="same"),
        (2, 5, 9, 8),
        lambda m: F.conv2d(X, m.weight, m.bias, padding="same"),
    ),
    "asymmetric": (
        nn.Conv2d(4, 5, 3, padding=(0, 2, 1, 0)),
        (2, 5, 9, 7),
        lambda m: F.conv2d(X, m.weight, m.bias, padding=(0, 2, 1, 0)),
    ),
    "depthwise": (
        nn.Conv2d(4, 4, 3, groups=4, bias=False),
        (2, 4, 7, 6),
        lambda m: F.conv2d(X, m.weight, groups=4),
    ),
    "transpose": (
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, dilation=2),
        (2, 6, 20, 18),
        lambda m: F.conv_transpose2d(X, m.weight, m.bias, 2, 1, 1, 2, 2),
    ),
    "max": (nn.MaxPool2d(3, 2, 1), (2, 4, 5, 4), lambda m: F.max_pool2d(X, 3, 2, 1)),
    "max options": (
        nn.MaxPool2d((2, 3), dilation=(2, 1), ceil_mode=True),
        (2, 4, 4, 3),
        lambda m: F.max_pool2d(X, (2, 3), (2, 3), 0, (2, 1), ceil_mode=True),
    ),
    "avg": (
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (2, 4, 5, 4),
        lambda m: F.avg_pool2d(X, 3, 2, 1, count_include_pad=False),
    ),
    "avg options": (
        nn.AvgPool2d(2, ceil_mode=True, divisor_override=3),
        (2, 4, 5, 4),
        lambda m: F.avg_pool2d(X, 2, ceil_mode=True, divisor_override=3),
    ),
    "adaptive": (
        nn.AdaptiveAvgPool2d((3, None)),
        (2, 4, 3, 8),
        lambda m: F.adaptive_avg_pool2d(X, (3, 8)),
    ),
    "global": (nn.AdaptiveAvgPool2d(1), (2, 4, 1, 1), lambda m: X.mean(axis=(2, 3), keepdims=True)),
    "flatten": (nn.Flatten(), (2, 288), lambda m: X.reshape(2, 288)),
    "flatten some": (nn.Flatten(2), (2, 4, 72), lambda m: X.reshape(2, 4, 72)),
    "identity": (nn.Identity(), (2, 4, 9, 8), lambda m: X),
    "layer norm": (nn.LayerNorm((9, 8)), (2, 4, 9, 8), lambda m: F.layer_norm(X, (9, 8))),
    "layer norm plain": (
        nn.LayerNorm(8, elementwise_affine=False),
        (2, 4, 9, 8),
        lambda m: F.layer_norm(X, 8),
    ),
    "group norm": (nn.GroupNorm(2, 4), (2, 4, 9, 8), lambda m: F.group_norm(X, 2)),
    "lrn": (
        nn.LocalResponseNorm(3, 0.1, 0.7, 2.0),
        (2, 4, 9, 8),
        lambda m: F.local_response_norm(X, 3, 0.1, 0.7, 2.0),
    ),
    "relu": (nn.ReLU(), (2, 4, 9, 8), lambda m: F.relu(X)),
    "relu6": (nn.ReLU6(), (2, 4, 9, 8), lambda m: F.relu6(X)),
    "silu": (nn.SiLU(), (2, 4, 9, 8), lambda m: F.silu(X)),
    "leaky": (nn.LeakyReLU(0.2), (2, 4, 9, 8), lambda m: F.leaky_relu(X, 0.2)),
    "elu": (nn.ELU(0.5), (2, 4, 9, 8), lambda m: F.elu(X, 0.5)),
    "gelu": (nn.GELU(), (2, 4, 9, 8), lambda m: F.gelu(X)),
    "gelu tanh": (nn.GELU("tanh"), (2, 4, 9, 8), lambda m: F.gelu(X, "tanh")),
    "softplus": (nn.Softplus(2.0, 3.0), (2, 4, 9, 8), lambda m: F.softplus(X, 2.0, 3.0)),
    "sigmoid": (nn.Sigmoid(), (2, 4, 9, 8), lambda m: F.sigmoid(X)),
    "tanh": (nn.Tanh(), (2, 4, 9, 8), lambda m: F.tanh(X)),
    "softmax": (nn.Softmax(1), (2, 4, 9, 8), lambda m: F.softmax(X, 1)),
    "log softmax": (nn.LogSoftmax(-1), (2, 4, 9, 8), lambda m: F.log_softmax(X, -1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_its_function(name):
    layer, shape, function = LAYERS[name]
    y = layer(X)
    assert y.shape == shape
    np.testing.assert_allclose(y.data, function(layer).data, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_gets_a_gradient(name):
    layer = LAYERS[name][0]
    layer.zero_grad()
    y = layer(image(*X.shape).requires_grad_())
    y.backward(image(*y.shape))
    for parameter in layer.parameters():
        assert parameter.grad.shape == parameter.shape and parameter.grad.data.any()


def test_max_pool_returns_indices():
    y, places = nn.MaxPool2d(2, return_indices=True)(X)
    flat = X.data.reshape(2, 4, 72)
    assert np.array_equal(
        np.take_along_axis(flat, places.data.reshape(2, 4, -1), 2), y.data.reshape(2, 4, -1)
    )


# ---- starting values


FAN_IN = {
    "linear": (lambda: nn.Linear(50, 400), 50),
    "conv": (lambda: nn.Conv2d(8, 60, (3, 5), groups=2), 60),
    "transpose": (lambda: nn.ConvTranspose2d(40, 16, 3, groups=2), 72),
}


@pytest.mark.parametrize("name", FAN_IN)
def test_starting_values_are_uniform_within_one_over_root_fan_in(name):
    make, fan = FAN_IN[name]
    default_generator.manual_seed(0)
    layer, bound = make(), 1 / math.sqrt(fan)
    for p in layer.parameters():
        assert np.abs(p.data).max() <= bound
        assert abs(p.data.mean()) < 5 * bound / math.sqrt(3 * p.size)
        assert abs(p.data.std() * math.sqrt(3) / bound - 1) < 5 * math.sqrt(0.2 / p.size)
        assert p.dtype == np.float32


def test_parameters_have_pytorchs_shapes():
    shapes = {name: [p.shape for p in make().parameters()] for name, (make, _) in FAN_IN.items()}
    assert shapes == {
        "linear": [(400, 50), (400,)],
        "conv": [(60, 4, 3, 5), (60,)],
        "transpose": [(40, 8, 3, 3), (16,)],
    }


def test_reset_parameters_takes_a_generator():
    layer = nn.Conv2d(1, 2, 3)
    layer.reset_parameters(default_generator.manual_seed(5))
    first = layer.weight.data.copy()
    layer.reset_parameters(default_generator.manual_seed(5))
    assert np.array_equal(first, layer.weight.data)


# ---- dropout


def test_dropout_drops_in_training_only():
    x, layer = Tensor(np.ones((100, 100), np.float32)), nn.Dropout(0.3)
    y = layer(x).data
    assert set(np.unique(y)) == {0, np.float32(1 / 0.7)} and abs((y == 0).mean() - 0.3) < 0.03
    assert layer.eval()(x) is x


def test_dropout2d_drops_whole_channels():
    y = nn.Dropout2d(0.5)(Tensor(np.ones((20, 30, 4, 4), np.float32))).data
    channels = y.reshape(600, 16)
    assert (channels == channels[:, :1]).all() and 200 < (channels[:, 0] == 0).sum() < 400


def test_dropout_gradient_follows_the_recorded_mode():
    x = Tensor(np.ones((10, 10), np.float32)).requires_grad_()
    layer = nn.Dropout(0.5)
    y = layer(x)
    layer.eval()
    y.sum().backward()
    assert np.array_equal(x.grad.data, y.data)


# ---- bad input


BAD = {
    "linear 0": (lambda: nn.Linear(0, 3), ArgError, "in_features must be at least 1"),
    "linear 1.5": (lambda: nn.Linear(3, 1.5), TypeError, "out_features must be an int"),
    "linear bias": (lambda: nn.Linear(3, 1, bias=1), TypeError, "bias must be True or False"),
    "channels": (lambda: nn.Conv2d(3, 0, 3), ArgError, "out_channels"),
    "kernel 0": (lambda: nn.Conv2d(3, 3, 0), ArgError, "kernel_size"),
    "kernel of 3": (lambda: nn.Conv2d(3, 3, (3, 3, 3)), ArgError, "kernel_size takes 2 ints"),
    "stride 0": (lambda: nn.Conv2d(3, 3, 3, stride=0), ArgError, "stride"),
    "stride 1.0": (lambda: nn.Conv2d(3, 3, 3, stride=1.0), TypeError, "stride"),
    "padding -1": (lambda: nn.Conv2d(3, 3, 3, padding=-1), ArgError, "padding"),
    "padding word": (lambda: nn.Conv2d(3, 3, 3, padding="full"), ArgError, "'full'"),
    "same strided": (lambda: nn.Conv2d(3, 3, 3, 2, "same"), ArgError, "needs stride 1"),
    "groups 0": (lambda: nn.Conv2d(4, 4, 3, groups=0), ArgError, "groups"),
    "groups True": (lambda: nn.Conv2d(4, 4, 3, groups=True), TypeError, "groups"),
    "groups of C": (lambda: nn.Conv2d(3, 4, 3, groups=2), ArgError, "in_channels 3 .* groups 2"),
    "groups of K": (lambda: nn.Conv2d(4, 3, 3, groups=2), ArgError, "out_channels 3 .* groups 2"),
    "dropout 2": (lambda: nn.Dropout(2), ArgError, "p is a probability"),
    "dropout nan": (lambda: nn.Dropout2d(math.nan), ArgError, "Dropout2d: p is a probability"),
    "pool 0": (lambda: nn.MaxPool2d(0), ArgError, "kernel_size"),
    "pool stride": (lambda: nn.AvgPool2d(2, 0), ArgError, "stride"),
    "pool padding": (lambda: nn.MaxPool2d(3, 1, 2), ArgError, "at most half"),
    "pool flag": (lambda: nn.MaxPool2d(3, ceil_mode=1), TypeError, "ceil_mode"),
    "divisor": (lambda: nn.AvgPool2d(3, divisor_override=0), ArgError, "divisor_override"),
    "adaptive 0": (lambda: nn.AdaptiveAvgPool2d(0), ArgError, "output_size"),
    "adaptive 3": (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), ArgError, "2 sizes"),
    "gelu": (lambda: nn.GELU("erf"), ArgError, "'erf'"),
    "lrn": (lambda: nn.LocalResponseNorm(0), ArgError, "size"),
    "group norm": (lambda: nn.GroupNorm(3, 4), ArgError, "num_channels 4 .* num_groups 3"),
    "layer norm": (lambda: nn.LayerNorm(()), ArgError, "no axis"),
    "layer norm eps": (lambda: nn.LayerNorm(3, eps=0), ArgError, "eps"),
    "reduction": (lambda: nn.MSELoss(reduction="avg"), ArgError, "'avg'"),
    "smoothing": (lambda: nn.CrossEntropyLoss(label_smoothing=2), ArgError, "label_smoothing"),
    "beta": (lambda: nn.SmoothL1Loss(beta=-1), ArgError, "beta"),
}


@pytest.mark.parametrize("case", BAD)
def test_senseless_arguments_are_refused_with_reason(case):
    make, error, reason = BAD[case]
    with pytest.raises(error, match=reason) as caught:
        make()
    assert len(str(caught.value)) <= 200


@pytest.mark.parametrize(
    "layer, x",
    [
        (nn.Linear(3, 2), (4, 5)),
        (nn.Conv2d(3, 2, 3), (1, 4, 5, 5)),
        (nn.Conv2d(3, 2, 3), (3, 5, 5)),
        (nn.BatchNorm2d(3), (2, 4, 5, 5)),
        (nn.BatchNorm2d(3), (2, 3)),
        (nn.BatchNorm1d(3), (2, 3, 4, 4)),
        (nn.GroupNorm(1, 3), (2, 4, 5)),
        (nn.LayerNorm(3), (2, 4)),
        (nn.MaxPool2d(3), (1, 1, 2, 2)),
    ],
)
def test_wrong_shapes_are_refused_by_name_and_number(layer, x):
    with pytest.raises(ShapeError, match=r"\d"):
        layer(image(*x))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_images_straight_from_a_file_are_refused_with_advice(dtype):
    for layer in (nn.Conv2d(4, 1, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2)):
        with pytest.raises(MinigradError, match="divide by 255"):
            layer(Tensor(np.ones((1, 4, 9, 8), dtype)))
