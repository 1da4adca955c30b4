"""Design: what `functional` adds to ops: PyTorch's arguments, reductions, running averages.

Values are stated by hand or by another function of ours that is tested elsewhere.
"""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.functional as F
from minigrad import ops
from minigrad.checkpointing import checkpoint
from minigrad.errors import ArgError, ShapeError
from minigrad.ops.random import Generator
from minigrad.tensor import Tensor
from tests.layouts import same
from tests.ops.derivatives import check, leaf
from tests.ops.objections import refuses

# What PyTorch 2 calls the arguments, in its order, without the legacy ones.
ARGUMENTS = {
    "adaptive_avg_pool2d": "input output_size",
    "avg_pool2d": "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    "binary_cross_entropy_with_logits": "input target weight reduction pos_weight",
    "conv2d": "input weight bias stride padding dilation groups algorithm",
    "conv_transpose2d": "input weight bias stride padding output_padding groups dilation",
    "cross_entropy": "input target weight ignore_index reduction label_smoothing",
    "dropout": "input p training",
    "dropout2d": "input p training",
    "elu": "input alpha",
    "gelu": "input approximate",
    "group_norm": "input num_groups weight bias eps",
    "l1_loss": "input target reduction",
    "layer_norm": "input normalized_shape weight bias eps",
    "leaky_relu": "input negative_slope",
    "linear": "input weight bias",
    "local_response_norm": "input size alpha beta k",
    "log_softmax": "input dim",
    "logsigmoid": "input",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode return_indices",
    "mse_loss": "input target reduction",
    "nll_loss": "input target weight ignore_index reduction",
    "one_hot": "input num_classes",
    "pad": "input pad mode value",
    "relu": "input",
    "relu6": "input",
    "sigmoid": "input",
    "silu": "input",
    "smooth_l1_loss": "input target reduction beta",
    "softmax": "input dim",
    "softplus": "input beta threshold",
    "tanh": "input",
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_have_the_names_and_order_that_people_know(name):
    ours = list(inspect.signature(getattr(F, name)).parameters)
    theirs = ARGUMENTS[name].split()
    assert [n for n in ours if n in theirs] == theirs
    assert set(ours) - set(theirs) <= {"residual", "relu", "tanh", "generator"}


def test_every_function_is_in_the_table_or_ours_alone():
    ours = {"conv2d_batch_norm", "flatten", "global_avg_pool2d"}
    assert set(F.__all__) - set(ARGUMENTS) == ours


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_an_int_means_both_axes():
    x, w = image(2, 3, 7, 8), image(4, 3, 3, 2)
    y = F.conv2d(x, w, stride=2, padding=1, dilation=2)
    pairs = ops.conv2d(x, w, stride=(2, 2), padding=(1, 1, 1, 1), dilation=(2, 2))
    np.testing.assert_array_equal(y, pairs)


def test_padding_of_two_is_rows_and_columns_and_of_four_is_every_side():
    x, w = image(2, 3, 7, 8), image(4, 3, 3, 2)
    rows = F.conv2d(x, w, padding=(1, 0))
    np.testing.assert_array_equal(rows, F.conv2d(x, w, padding=(1, 1, 0, 0)))
    framed = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)))
    sides = F.conv2d(x, w, padding=(1, 2, 0, 3))
    np.testing.assert_allclose(sides, F.conv2d(framed, w), atol=1e-13)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_same_padding_keeps_the_size_and_puts_the_odd_place_last(r, s, dilation):
    x, w = image(1, 1, 9, 10), image(1, 1, r, s)
    y = F.conv2d(x, w, padding="same", dilation=dilation)
    assert y.shape == x.shape
    rows, columns = dilation * (r - 1), dilation * (s - 1)
    frame = ((rows // 2, -(-rows // 2)), (columns // 2, -(-columns // 2)))
    framed = np.pad(x, ((0, 0), (0, 0), *frame))
    np.testing.assert_allclose(y, F.conv2d(framed, w, dilation=dilation), atol=1e-13)


def test_valid_padding_is_none():
    x, w = image(1, 2, 5, 6), image(3, 2, 2, 3)
    np.testing.assert_array_equal(F.conv2d(x, w, padding="valid"), F.conv2d(x, w))


def test_output_padding_beyond_the_stride_is_bias_only():
    x, w, b = image(1, 2, 3, 3), image(2, 1, 2, 2), np.array([5.0])
    y = F.conv_transpose2d(x, w, b, output_padding=2, dilation=3)
    plain = F.conv_transpose2d(x, w, b, dilation=3)
    np.testing.assert_array_equal(y[:, :, :-2, :-2], plain)
    assert (y[:, :, -2:] == 5).all() and (y[:, :, :, -2:] == 5).all()
    check(lambda x, w, b: F.conv_transpose2d(x, w, b, output_padding=2, dilation=3), [x, w, b],
          "linear")  # fmt: skip


def test_output_padding_of_two_is_rows_and_columns():
    x, w = image(1, 2, 3, 3), image(2, 1, 2, 2)
    y = F.conv_transpose2d(x, w, stride=(2, 3), output_padding=(1, 2))
    assert y.shape == (1, 1, 2 * 2 + 1 + 1 + 1, 2 * 3 + 1 + 2 + 1)
    plain = F.conv_transpose2d(x, w, stride=(2, 3))
    np.testing.assert_array_equal(y[:, :, :-1, :-2], plain)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_indices_point_at_the_maxima(as_tensor):
    x = image(2, 3, 7, 8)
    given_ = Tensor(x) if as_tensor else x
    y, places = F.max_pool2d(given_, (3, 2), 2, 1, (1, 2), return_indices=True)
    y, places = np.asarray(y), np.asarray(places)
    assert places.dtype == np.int64
    flat = x.reshape(2, 3, -1)
    picked = np.take_along_axis(flat, places.reshape(2, 3, -1), 2).reshape(y.shape)
    np.testing.assert_array_equal(picked, y)
    both = F.max_pool2d(given_ - 1, (3, 2), 2, 1, (1, 2), return_indices=True, relu=True)
    np.testing.assert_array_equal(np.asarray(both[0]), np.maximum(y - 1, 0))
    np.testing.assert_array_equal(np.asarray(both[1]), places)


def test_the_default_stride_of_a_pool_is_its_kernel():
    x = image(1, 1, 6, 6)
    np.testing.assert_array_equal(F.max_pool2d(x, (2, 3)), F.max_pool2d(x, (2, 3), (2, 3)))
    np.testing.assert_array_equal(F.avg_pool2d(x, (2, 3)), F.avg_pool2d(x, (2, 3), (2, 3)))


def test_ceil_mode_drops_a_window_that_starts_behind_the_image():
    x = np.arange(1.0, 4.0).reshape(1, 1, 1, 3)
    assert F.max_pool2d(x, (1, 2), (1, 2), ceil_mode=True).ravel().tolist() == [2, 3]
    assert F.max_pool2d(x, (1, 2), 1, ceil_mode=True).ravel().tolist() == [2, 3]  # nothing is left
    padded = F.max_pool2d(x, (1, 2), (1, 3), (0, 1), ceil_mode=True)
    assert padded.ravel().tolist() == [1, 3]


@pytest.mark.parametrize(
    ("include", "override", "expected"), [(True, None, 0.5), (False, None, 1.0), (True, 4, 0.25)]
)
def test_divisors_of_an_average_at_the_edge(include, override, expected):
    x = np.ones((1, 1, 1, 2))
    y = F.avg_pool2d(x, (1, 2), 2, (0, 1), count_include_pad=include, divisor_override=override)
    assert y.ravel().tolist() == [expected, expected]


def test_an_adaptive_size_of_none_keeps_the_axis():
    x = image(2, 3, 6, 8)
    assert F.adaptive_avg_pool2d(x, (None, 2)).shape == (2, 3, 6, 2)
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, None), x, rtol=1e-15)
    np.testing.assert_array_equal(F.adaptive_avg_pool2d(x, 1), F.global_avg_pool2d(x))


PADS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", PADS)
def test_pad_names_the_last_axis_first(mode):
    x = image(2, 3, 4, 5)
    y = F.pad(x, (1, 2, 3, 0), mode)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), PADS[mode]))
    check(lambda x: F.pad(x, (1, 2, 3, 0), mode), [x], "linear")


def test_pad_by_negative_numbers_crops():
    x = image(2, 3, 4, 5)
    y = F.pad(x, (-1, 2, 0, -3), value=7.0)
    np.testing.assert_array_equal(y[..., :4], x[:, :, :1, 1:])
    assert (y[..., 4:] == 7).all()


def test_running_averages_follow_the_batch_with_unbiased_variance():
    x = image(4, 3, 5, 6).astype(np.float32)
    mean, var = Tensor(np.zeros(3, np.float32)), Tensor(np.ones(3, np.float32))
    F.batch_norm(x, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean.data, 0.25 * x.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(var.data, 0.75 + 0.25 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert mean.dtype == var.dtype == np.float32


def test_inference_uses_running_averages_and_leaves_them():
    x = image(4, 3)
    mean, var = np.array([1.0, 2.0, 3.0]), np.array([4.0, 9.0, 16.0])
    before = mean.copy(), var.copy()
    y = F.batch_norm(x, mean, var, eps=1e-12)
    np.testing.assert_allclose(y, (x - mean) / [2, 3, 4], rtol=1e-10)
    assert same(mean, before[0]) and same(var, before[1])


def test_batch_norm_takes_sequences():
    x = image(4, 3, 7)
    y = F.batch_norm(x, None, None, training=True)
    np.testing.assert_allclose(y[..., None], F.batch_norm(x[..., None], None, None, training=True))


@pytest.mark.parametrize("wrong", ["one value", "weight", "read-only var", "residual"])
def test_a_refused_batch_leaves_running_averages_alone(wrong):
    x, weight, residual = image(4, 3, 2, 2), np.ones(3), None
    mean, var = np.zeros(3), np.ones(3)
    if wrong == "one value":
        x = x[:1, :, :1, :1]
    if wrong == "weight":
        weight = np.ones(4)
    if wrong == "residual":
        residual = np.ones((1, 3, 2, 2))
    if wrong == "read-only var":
        var.flags.writeable = False
    kind = {"one value": ArgError, "read-only var": ValueError}.get(wrong, ShapeError)

    def call(mean, var):
        F.batch_norm(x, mean, var, weight, training=True, residual=residual)

    refuses(kind, "batch_norm", call, mean, var)


def test_a_checkpointed_batch_is_counted_once():
    x, mean, var = leaf(image(4, 3)), Tensor(np.zeros(3)), Tensor(np.ones(3))
    y = checkpoint(lambda x: F.batch_norm(x, mean, var, training=True), x)
    counted = mean.data.copy()
    y.sum().backward()
    assert counted.any() and same(mean.data, counted)


def test_a_changed_running_average_is_noticed_by_the_tape():
    mean, var = Tensor(np.zeros(3)), Tensor(np.ones(3))
    x = leaf(image(4, 3))
    kept = x * mean
    F.batch_norm(image(4, 3), mean, var, training=True)
    with pytest.raises(Exception, match="changed"):
        kept.sum().backward()


def test_reductions_of_cross_entropy_weigh_the_rows_that_count():
    x, weight = image(5, 4), np.array([1.0, 2.0, 3.0, 4.0])
    labels = np.array([0, 3, -100, 2, 1])
    rows = F.cross_entropy(x, labels, weight, reduction="none")
    assert rows.shape == (5,) and rows[2] == 0
    np.testing.assert_allclose(F.cross_entropy(x, labels, weight, reduction="sum"), rows.sum())
    mean = F.cross_entropy(x, labels, weight)
    np.testing.assert_allclose(mean, rows.sum() / (1 + 4 + 3 + 2))


def test_cross_entropy_takes_probabilities():
    x, labels = image(5, 4), np.array([0, 3, 1, 2, 1])
    hot = F.one_hot(labels, 4).astype(x.dtype)
    for smoothing in (0.0, 0.2):
        by_class = F.cross_entropy(x, labels, label_smoothing=smoothing)
        by_probability = F.cross_entropy(x, hot, label_smoothing=smoothing)
        np.testing.assert_allclose(by_probability, by_class, rtol=1e-13)
    q = np.random.default_rng(1).random((5, 4))
    check(lambda x, q: F.cross_entropy(x, q, np.ones(4), label_smoothing=0.1), [x, q])


def test_cross_entropy_takes_images_of_labels_and_single_rows():
    x, labels = image(2, 4, 3, 5), np.random.default_rng(2).integers(0, 4, (2, 3, 5))
    rows = F.cross_entropy(x, labels, reduction="none")
    assert rows.shape == labels.shape
    one = F.cross_entropy(x[1, :, 2, 3], int(labels[1, 2, 3]), reduction="none")
    assert one.shape == ()
    np.testing.assert_allclose(one, rows[1, 2, 3], rtol=1e-13)
    check(lambda x: F.cross_entropy(x, labels), [x])
    hot = np.moveaxis(F.one_hot(labels, 4), -1, 1).astype(x.dtype)
    np.testing.assert_allclose(F.cross_entropy(x, hot), rows.mean(), rtol=1e-13)
    weight = np.arange(1.0, 5.0)
    weighed = F.cross_entropy(x, hot, weight, reduction="none")
    by_class = F.cross_entropy(x, labels, weight, reduction="none")
    np.testing.assert_allclose(weighed, by_class, rtol=1e-13)


def test_a_soft_target_that_needs_a_gradient_gets_it():
    q = leaf(np.full((2, 3), 1 / 3))
    F.cross_entropy(image(2, 3), q).backward()
    assert q.grad.data.any()


def test_binary_cross_entropy_weighs_positives():
    x, y = image(4, 3), np.random.default_rng(3).random((4, 3))
    p = np.array([1.0, 2.0, 0.5])
    s = 1 / (1 + np.exp(-x))
    expected = -(p * y * np.log(s) + (1 - y) * np.log(1 - s))
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=p)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    weighed = F.binary_cross_entropy_with_logits(x, y, p, reduction="sum", pos_weight=p)
    np.testing.assert_allclose(weighed, (expected * p).sum(), rtol=1e-12)


def test_smooth_l1_loss_without_a_parabola_is_l1_loss():
    x, y = image(3, 4), image(3, 4, seed=1)
    np.testing.assert_array_equal(F.smooth_l1_loss(x, y, beta=0.0), F.l1_loss(x, y))


def test_dropout_is_the_identity_when_it_should_be():
    x = Tensor(image(3, 4))
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout2d(x, 0.3, False) is x
    refuses(ArgError, r"p is the chance to drop", lambda: F.dropout(x, 1.5, training=False))


def test_dropout_keeps_the_mean_and_repeats_with_its_seed():
    x = np.ones((200, 300))
    y = F.dropout(x, 0.25, generator=Generator(3))
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs(y.mean() - 1) < 0.02
    assert same(y, F.dropout(x, 0.25, generator=Generator(3)))


def test_dropout2d_drops_whole_channels():
    y = F.dropout2d(np.ones((8, 9, 2, 3)), 0.5, generator=Generator(1))
    assert (y == y[:, :, :1, :1]).all() and set(np.unique(y)) == {0.0, 2.0}


def test_one_hot_puts_ones_at_the_labels():
    assert F.one_hot(np.array([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert F.one_hot(np.zeros((2, 0), np.int64), 3).shape == (2, 0, 3)
    assert isinstance(F.one_hot(Tensor(np.array([1]))), Tensor)
    refuses(ArgError, r"indices must be in 0 to 1, got 0 to 2",
            lambda: F.one_hot(np.array([0, 2]), 2))  # fmt: skip


def test_logsigmoid_is_exact_far_out():
    np.testing.assert_array_equal(F.logsigmoid(np.array([-800.0])), [-800.0])
    middle = F.logsigmoid(np.array([-21.0]))
    np.testing.assert_allclose(middle, [-21 - np.log1p(np.exp(-21.0))], rtol=1e-15)


def test_pad_refuses_what_it_cannot_do():
    x = image(1, 2, 3, 4)
    refuses(ArgError, r"mode 'mirror' is unknown", lambda: F.pad(x, (1, 1), "mirror"))
    refuses(ArgError, r"takes two ints.*got 3", lambda: F.pad(x, (1, 1, 1)))
    refuses(ArgError, r"takes no value", lambda: F.pad(x, (1, 1), "reflect", 1.0))
    refuses(TypeError, r"must be a tuple of ints", lambda: F.pad(x, (1.0, 1)))
    refuses(ShapeError, r"cannot crop", lambda: F.pad(x, (-3, -3)))
    refuses(ShapeError, r"'reflect' can add at most 3 places", lambda: F.pad(x, (4, 0), "reflect"))
