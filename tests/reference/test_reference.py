"""Design: who checks the checkers. The twins are held to tiny cases worked out by hand, to the
adjoint identity, and to the complex step of their own forward, which needs no step size.

Where to go next: `tests/kernels`, where the compiled kernels are held to the twins.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigrad.reference import conv, elementwise, linear, loss, norm, optim, pool
from tests.strategies import SEEDS, convs, nchw, pools, reals

H = 1e-30


def slope(f, x, u):
    """d/dt f(x + t u) at 0 by the complex step: exact to rounding."""
    return f(x + 1j * H * u).imag / H


def close(a, b, scale=1.0, tol=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.all(np.abs(a - b) <= tol * (scale + np.abs(b)))


def check_adjoint(f, x, gx, gy, rng):
    """<f'(x) u, gy> = <u, gx> for a random u, the left side by the complex step."""
    u = reals(rng, x.shape)
    jvp = slope(f, x, u)
    left, right = (jvp * gy).sum(), (u * gx).sum()
    assert abs(left - right) <= 1e-11 * (np.abs(jvp * gy).sum() + 1e-300)


# ---- worked out by hand


def test_conv2d_of_a_known_image():
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    w = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    y = conv.conv2d(x, w, np.array([0.5]))
    assert y.tolist() == [[[[27.5, 37.5], [57.5, 67.5]]]]  # 0*1 + 1*2 + 3*3 + 4*4 + 0.5
    gx = conv.conv2d_grad_x(np.ones((1, 1, 2, 2)), w, x_shape=x.shape)
    assert gx.tolist() == [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]]
    gw = conv.conv2d_grad_w(np.ones((1, 1, 2, 2)), x, w_shape=w.shape)
    assert gw.tolist() == [[[[8, 12], [20, 24]]]]


def test_conv2d_places_stride_padding_dilation_and_groups_where_they_belong():
    x = np.arange(1.0, 6).reshape(1, 1, 1, 5)
    w = np.array([[[[1.0, 10.0]]]])
    assert conv.conv2d(x, w, stride=(1, 2)).tolist() == [[[[21, 43]]]]
    assert conv.conv2d(x, w, dilation=(1, 3)).tolist() == [[[[41, 52]]]]
    padded = conv.conv2d(x, w, padding=(0, 1, 1, 0))  # one row below, one column to the left
    assert padded.tolist() == [[[[10, 21, 32, 43, 54], [0, 0, 0, 0, 0]]]]
    two = np.array([3.0, 5.0]).reshape(1, 2, 1, 1)
    by_group = np.array([7.0, 11.0]).reshape(2, 1, 1, 1)
    assert conv.conv2d(two, by_group, groups=2).ravel().tolist() == [21, 55]


def test_max_pool_conventions():
    x = np.array([[[[2.0, 5.0, 5.0, np.nan, 1.0]]]])
    y, at = pool.max_pool2d(
        x, kernel=(1, 2), stride=(1, 1), padding=(0, 0, 1, 0), dilation=(1, 1), output=(1, 5)
    )
    np.testing.assert_array_equal(y, [[[[2, 5, 5, np.nan, np.nan]]]])
    assert at.tolist() == [[[[1, 1, 0, 1, 0]]]] and at.dtype == np.uint8
    low = np.full((1, 1, 1, 2), -np.inf)
    window = dict(kernel=(1, 3), stride=(1, 1), padding=(0, 0, 1, 1), dilation=(1, 1))
    y, at = pool.max_pool2d(low, output=(1, 2), **window)
    assert (y == -np.inf).all() and at.tolist() == [[[[1, 0]]]]  # valid indices, not padding


def test_avg_pool_divisors():
    x = np.ones((1, 1, 1, 3))
    window = dict(kernel=(1, 2), stride=(1, 2), padding=(0, 0, 1, 0), output=(1, 2))
    assert pool.avg_pool2d(x, **window).tolist() == [[[[0.5, 1]]]]
    assert pool.avg_pool2d(x, **window, count_include_pad=False).tolist() == [[[[1, 1]]]]
    assert pool.avg_pool2d(x, **window, divisor=4).tolist() == [[[[0.25, 0.5]]]]


def test_adaptive_bins_overlap_when_they_must():
    x = np.arange(5.0).reshape(1, 1, 1, 5)
    assert pool.adaptive_avg_pool2d(x, output=(1, 3)).tolist() == [[[[0.5, 2, 3.5]]]]


def test_kinks():
    x = np.array([-1.0, 0.0, 2.0])
    assert elementwise.relu_grad(np.ones(3), x).tolist() == [0, 0, 1]
    a, b = elementwise.maximum_grad(np.ones(3), x, np.array([0.0, 0.0, 0.0]))
    assert a.tolist() == [0, 0.5, 1] and b.tolist() == [1, 0.5, 0]
    assert elementwise.clip_grad(np.ones(3), x, -1.0, 1.0).tolist() == [1, 1, 0]


def test_cross_entropy_of_two_equal_logits_is_log_two_times_the_weight():
    x, labels = np.zeros((2, 2)), np.array([1, -100])
    rows, probs = loss.cross_entropy(x, labels, np.array([1.0, 3.0]))
    close(rows, [3 * np.log(2), 0])
    assert (probs == 0.5).all()


def test_sgd_and_adam_take_the_step_the_paper_says():
    p, b = np.array([1.0]), np.array([0.5])
    optim.sgd([p], [np.array([2.0])], [b], lr=0.1, momentum=0.5, nesterov=True, weight_decay=1.0)
    assert b[0] == 3.25 and p[0] == 1 - 0.1 * (3 + 0.5 * 3.25)
    p, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    step = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=0.0, step=1)
    optim.adam([p], [np.array([-7.0])], [m], [v], **step)
    close(p, [1.1])  # the first step is lr times the sign of the gradient


# ---- gradients against the complex step


@given(convs(max_n=2, channels=(1, 2, 3, 5)))
def test_conv_gradients(case):
    rng = np.random.default_rng(case.seed)
    x, w, gy = (reals(rng, s) for s in (case.x_shape, case.w_shape, case.y_shape))
    gx = conv.conv2d_grad_x(gy, w, x_shape=case.x_shape, **case.kwargs)
    gw = conv.conv2d_grad_w(gy, x, w_shape=case.w_shape, **case.kwargs)
    check_adjoint(lambda v: conv.conv2d(v, w, **case.kwargs), x, gx, gy, rng)
    check_adjoint(lambda v: conv.conv2d(x, v, **case.kwargs), w, gw, gy, rng)
    close(conv.bias_grad(gy), gy.sum(axis=(0, 2, 3)), scale=10)


@given(pools())
def test_pool_gradients(case):
    rng = np.random.default_rng(case.seed)
    x, gy = rng.integers(-3, 4, case.x_shape) / 2, reals(rng, case.y_shape)  # with ties
    y, at = pool.max_pool2d(x, output=case.output, **case.window)
    gx = pool.max_pool2d_grad(gy, at, x_shape=case.x_shape, **case.window)

    def forward(v):
        return pool.max_pool2d(v, output=case.output, **case.window)[0]

    check_adjoint(forward, x, gx, gy, rng)
    u = reals(rng, x.shape)
    close(pool.max_pool2d_gather(u, at, **case.window), slope(forward, x, u))
    assert (pool.max_pool2d_gather(x, at, **case.window) == y).all()


@given(pools(dilated=False), st.booleans(), st.sampled_from((None, 7)), SEEDS)
def test_average_pool_gradients(case, include, divisor, seed):
    rng = np.random.default_rng(seed)
    x, gy = reals(rng, case.x_shape), reals(rng, case.y_shape)
    kw = {**case.window, "output": case.output, "divisor": divisor}
    kw["count_include_pad"] = include
    del kw["dilation"]
    gx = pool.avg_pool2d_grad(gy, x_shape=x.shape, **kw)
    check_adjoint(lambda v: pool.avg_pool2d(v, **kw), x, gx, gy, rng)
    gx = pool.adaptive_avg_pool2d_grad(gy, x_shape=x.shape)
    check_adjoint(lambda v: pool.adaptive_avg_pool2d(v, output=case.output), x, gx, gy, rng)
    gy = gy[:, :, :1, :1]
    gx = pool.global_avg_pool2d_grad(gy, x_shape=x.shape)
    check_adjoint(pool.global_avg_pool2d, x, gx, gy, rng)


@given(nchw(min_n=1), st.booleans(), st.booleans(), SEEDS)
def test_batch_norm_gradients(shape, relu, rank2, seed):
    rng = np.random.default_rng(seed)
    shape = (shape[0] + 2, shape[1]) if rank2 else shape
    x, gy, res = (reals(rng, shape) for _ in range(3))
    gamma, beta = reals(rng, shape[1]), reals(rng, shape[1])
    kw = dict(eps=1e-2, relu=relu)
    _, mean, var = norm.batch_norm(x, gamma, beta, res, **kw)
    grads = norm.batch_norm_grad(gy, x, gamma, beta, mean, var, res, needs_residual=True, **kw)
    for i, (v, g) in enumerate(zip((x, gamma, beta, res), grads, strict=True)):

        def forward(v, i=i):
            args = [x, gamma, beta, res]
            args[i] = v
            return norm.batch_norm(*args, **kw)[0]

        check_adjoint(forward, v, g, gy, rng)


@given(nchw(min_n=1), st.booleans(), SEEDS)
def test_batch_norm_inference_gradients(shape, relu, seed):
    rng = np.random.default_rng(seed)
    x, gy, res = (reals(rng, shape) for _ in range(3))
    gamma, beta, mean = (reals(rng, shape[1]) for _ in range(3))
    var, kw = rng.random(shape[1]), dict(eps=1e-2, relu=relu)
    args = x, gamma, beta, mean, var, res
    grads = norm.batch_norm_inference_grad(gy, *args, needs_residual=True, **kw)
    for i, g in zip((0, 1, 2, 5), grads, strict=True):

        def forward(v, i=i):
            return norm.batch_norm_inference(*args[:i], v, *args[i + 1 :], **kw)

        check_adjoint(forward, args[i], g, gy, rng)


@given(nchw(min_n=1), st.integers(1, 9), SEEDS)
def test_local_response_norm_gradient(shape, size, seed):
    rng = np.random.default_rng(seed)
    x, gy = reals(rng, shape), reals(rng, shape)
    kw = dict(size=size, alpha=0.7, beta=0.75, k=1.5)
    gx = norm.local_response_norm_grad(gy, x, **kw)
    check_adjoint(lambda v: norm.local_response_norm(v, **kw), x, gx, gy, rng)


def test_layer_and_group_norm_have_mean_zero_and_variance_one():
    x = reals(np.random.default_rng(0), (2, 6, 3, 5))
    y = norm.layer_norm(x, axes=2, eps=0.0)
    close(y.mean(axis=(2, 3)), np.zeros((2, 6)))
    close(y.var(axis=(2, 3)), np.ones((2, 6)))
    z = norm.group_norm(x, groups=2, eps=0.0).reshape(2, 2, 45)
    close(z.mean(axis=2), np.zeros((2, 2)))
    close(z.var(axis=2), np.ones((2, 2)))


@given(st.integers(1, 5), st.integers(2, 9), st.sampled_from((0.0, 0.1, 1.0)), SEEDS)
def test_softmax_and_cross_entropy_gradients(n, c, smoothing, seed):
    rng = np.random.default_rng(seed)
    x, g, g_row, weight = reals(rng, (n, c)), reals(rng, (n, c)), reals(rng, n), rng.random(c)
    labels = np.where(rng.random(n) < 0.3, -100, rng.integers(0, c, n))
    check_adjoint(loss.log_softmax, x, loss.log_softmax_grad(g, loss.log_softmax(x)), g, rng)
    kw = dict(ignore_index=-100, label_smoothing=smoothing)
    _, probs = loss.cross_entropy(x, labels, weight, **kw)
    gx = loss.cross_entropy_grad(g_row, probs, labels, weight, **kw)
    check_adjoint(lambda v: loss.cross_entropy(v, labels, weight, **kw)[0], x, gx, g_row, rng)


@given(SEEDS)
def test_linear_gradients(seed):
    rng = np.random.default_rng(seed)
    x, w, gy = reals(rng, (2, 3)), reals(rng, (5, 3)), reals(rng, (2, 5))
    gx, gw, gb = linear.linear_grad(gy, x, w)
    check_adjoint(lambda v: linear.linear(v, w), x, gx, gy, rng)
    check_adjoint(lambda v: linear.linear(x, v), w, gw, gy, rng)
    check_adjoint(lambda v: linear.linear(x, w, v), reals(rng, 5), gb, gy, rng)


def test_conv_transpose_is_the_adjoint_of_conv():
    rng = np.random.default_rng(1)
    x, w = reals(rng, (2, 4, 7, 9)), reals(rng, (6, 2, 3, 2))
    kw = dict(stride=(2, 3), padding=(1, 1, 0, 0), dilation=(1, 2), groups=2)
    y = conv.conv2d(x, w, **kw)
    g = reals(rng, y.shape)
    back = conv.conv_transpose2d(g, w, **kw)
    h, width = back.shape[2:]  # rows that no window reaches are missing unless asked for
    back = conv.conv_transpose2d(g, w, output_padding=(7 - h, 9 - width), **kw)
    close((back * x).sum(), (g * y).sum(), scale=100)
