"""grad, vjp, jvp, hvp, jacobian, hessian, checkpoint, anomaly: against hand-made derivatives."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import nn
from minigrad.errors import ArgError, GraphError
from minigrad.gradcheck import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 4))


def f(x):
    """R^4 -> R^3, with a Jacobian that is known: diag(1 - tanh^2(Ax)) A."""
    return (mg.tensor(A) @ x).tanh()


def jacobian_of_f(x):
    return (1 - np.tanh(A @ x) ** 2)[:, None] * A


X = RNG.standard_normal(4)
U = RNG.standard_normal(4)
V = RNG.standard_normal(3)


def test_vjp_is_v_times_the_jacobian():
    y, g = mg.vjp(f, mg.tensor(X), mg.tensor(V))
    np.testing.assert_allclose(y.numpy(), np.tanh(A @ X))
    np.testing.assert_allclose(g.numpy(), V @ jacobian_of_f(X))


def test_jvp_is_the_jacobian_times_u():
    y, t = mg.jvp(f, mg.tensor(X), mg.tensor(U))
    assert not y.requires_grad
    np.testing.assert_allclose(t.numpy(), jacobian_of_f(X) @ U)


def test_jvp_and_vjp_are_adjoint_for_several_inputs_and_outputs():
    def g(x, w):
        return (x @ w).sum(axis=0), (x * x).exp()

    x, w = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 2))
    dx, dw = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 2))
    v1, v2 = RNG.standard_normal(2), RNG.standard_normal((2, 3))
    inputs = [mg.tensor(x), mg.tensor(w)]
    _, (t1, t2) = mg.jvp(g, inputs, [mg.tensor(dx), mg.tensor(dw)])
    _, (gx, gw) = mg.vjp(g, inputs, [mg.tensor(v1), mg.tensor(v2)])
    left = np.vdot(t1.numpy(), v1) + np.vdot(t2.numpy(), v2)
    assert left == pytest.approx(np.vdot(gx.numpy(), dx) + np.vdot(gw.numpy(), dw))


def test_jacobian():
    np.testing.assert_allclose(mg.jacobian(f, mg.tensor(X)).numpy(), jacobian_of_f(X))


def test_hessian_and_hvp_of_a_quartic():
    def quartic(x):
        return (x * x * x * x).sum()

    h = mg.hessian(quartic, mg.tensor(X))
    np.testing.assert_allclose(h.numpy(), np.diag(12 * X**2), atol=1e-12)
    y, hv = mg.hvp(quartic, mg.tensor(X), mg.tensor(U))
    assert y.item() == pytest.approx((X**4).sum())
    np.testing.assert_allclose(hv.numpy(), 12 * X**2 * U)


def test_derivatives_of_a_function_without_influence_are_zero():
    def constant(x):
        return mg.tensor(np.ones(2)) + 0.0 * x.sum().detach()

    assert mg.jacobian(constant, mg.tensor(X)).tolist() == np.zeros((2, 4)).tolist()
    assert mg.hessian(lambda x: x.sum(), mg.tensor(X)).numpy().any() == False  # noqa: E712
    assert mg.jvp(constant, mg.tensor(X), mg.tensor(U))[1].tolist() == [0.0, 0.0]


def test_hessian_takes_one_tensor():
    with pytest.raises(ArgError, match="one"):
        mg.hessian(lambda x, y: (x * y).sum(), [mg.ones(1), mg.ones(1)])


def test_transforms_leave_the_grads_of_leaves_alone():
    w = mg.tensor(A, requires_grad=True)
    mg.vjp(lambda x: w @ x, mg.tensor(X), mg.tensor(V))
    assert w.grad is None


def test_create_graph_differentiates_a_gradient_penalty():
    x = mg.tensor(X, requires_grad=True)
    y = (x.exp() * x).sum()
    (g,) = mg.grad(y, x, create_graph=True)
    (g * g).sum().backward()
    first, second = np.exp(X) * (1 + X), np.exp(X) * (2 + X)
    np.testing.assert_allclose(x.grad.numpy(), 2 * first * second)


def test_mismatched_grad_outputs_are_counted():
    x = mg.ones(2, requires_grad=True)
    with pytest.raises(ArgError, match="2 grad_outputs"):
        mg.grad((x * 2).sum(), x, [mg.ones(1), mg.ones(1)])


# -- a random graph against finite differences ----------------------------------------------------

UNARY = [mg.tanh, mg.sin, lambda t: t.exp() * 0.1, lambda t: t.sigmoid(), lambda t: t * t * 0.3]
BINARY = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a - b * 0.5,
    lambda a, b: a / (b * b + 1.0),
]


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_with_shared_nodes_and_broadcasts(seed):
    """Relation M18: the chain rule on graphs of up to 12 nodes."""
    plan = np.random.default_rng(seed)
    choices = [
        (
            int(plan.integers(2)),
            int(plan.integers(100)),
            int(plan.integers(100)),
            int(plan.integers(100)),
        )
        for _ in range(10)
    ]

    def graph(x, y):
        values = [x, y]
        for kind, which, i, j in choices:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(UNARY[which % 5](a) if kind else BINARY[which % 4](a, b))
        total = values[-1]
        for value in values[2:-1]:
            total = total + value * 0.1
        return total

    x = mg.tensor(plan.standard_normal((2, 3)), requires_grad=True)
    y = mg.tensor(plan.standard_normal((3,)), requires_grad=True)
    gradcheck(graph, [x, y])
    gradgradcheck(graph, [x, y])


# -- checkpoint -----------------------------------------------------------------------------------


def stretch(x, w):
    return ((x @ w).tanh() @ w).relu()


def test_checkpoint_gives_the_same_bits_and_keeps_nothing():
    x, w = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 3))
    grads = []
    for run in (stretch, lambda a, b: mg.checkpoint(stretch, a, b)):
        a, b = mg.tensor(x, requires_grad=True), mg.tensor(w, requires_grad=True)
        y = run(a, b)
        y.sum().backward()
        grads.append((y.tolist(), a.grad.tolist(), b.grad.tolist()))
    assert grads[0] == grads[1]
    a, b = mg.tensor(x, requires_grad=True), mg.tensor(w, requires_grad=True)
    node = mg.checkpoint(stretch, a, b).node
    while node.rule is not None:
        assert node.kept is None
        node = node.parents[0]


def test_checkpoint_has_second_derivatives_and_works_with_grad():
    x = mg.tensor(RNG.standard_normal((2, 3)), requires_grad=True)
    w = mg.tensor(RNG.standard_normal((3, 3)), requires_grad=True)
    smooth = lambda a, b: (a @ b).tanh() @ b  # noqa: E731
    gradgradcheck(lambda a, b: mg.checkpoint(smooth, a, b), [x, w])


def test_checkpoint_draws_the_same_dropout_mask_twice():
    mg.manual_seed(3)
    x = mg.ones(100, requires_grad=True)
    y = mg.checkpoint(lambda t: F.dropout(t * 1.0, 0.5, training=True) * t, x)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * y.numpy())


def test_checkpoint_counts_batch_statistics_once():
    bn = nn.BatchNorm2d(2)
    x = mg.randn(4, 2, 3, 3, requires_grad=True)
    mg.checkpoint(bn, x).sum().backward()
    assert bn.num_batches_tracked.item() == 1


def test_checkpoint_notices_a_function_that_does_other_work_the_second_time():
    calls = []

    def moody(x):
        calls.append(1)
        return x * 2.0 if len(calls) == 1 else (x * 2.0).exp()

    y = mg.checkpoint(lambda t: moody(t) * t, mg.ones(1, requires_grad=True)).sum()
    with pytest.raises(GraphError, match="other ops"):
        y.backward()


def test_checkpoint_notices_an_input_that_was_changed():
    x, w = mg.ones(2, 2, requires_grad=True), mg.ones(2, 2)
    y = mg.checkpoint(stretch, x, w).sum()
    w += 1.0
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


# -- anomaly --------------------------------------------------------------------------------------


def test_anomaly_names_the_op_and_the_line_where_a_nan_was_born():
    message = r"log made the first NaN.*test_autograd"
    with mg.anomaly(), np.errstate(invalid="ignore"), pytest.raises(GraphError, match=message):
        mg.tensor([1.0, -1.0], requires_grad=True).log()


def test_anomaly_names_the_gradient_that_made_a_nan():
    x = mg.tensor([0.0], requires_grad=True)
    with mg.anomaly(), np.errstate(all="ignore"):
        y = (x * 0.0).sqrt() * 0.0
        with pytest.raises(GraphError, match=r"gradient of sqrt.*test_autograd"):
            y.sum().backward()


def test_anomaly_costs_nothing_when_off():
    with mg.anomaly():
        pass
    with np.errstate(invalid="ignore"):
        assert np.isnan(mg.tensor([-1.0]).log().numpy()).all()
