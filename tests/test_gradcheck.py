"""The checker must accept right gradients, refuse wrong ones, and say when there is none."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import ArgError, DTypeError, GradientError, NonDifferentiableError
from minigrad.gradcheck import Probe, check_parameters, elements, gradcheck, gradgradcheck


def leaf(*shape, seed=0):
    return mg.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def scaled_rule(factor):
    return mg.custom_op(lambda x: x * x, lambda gy, x: gy * (factor * 2.0 * x), name="square")


def test_a_right_gradient_passes():
    assert gradcheck(scaled_rule(1.0), leaf(3, 4))
    assert gradgradcheck(scaled_rule(1.0), leaf(3, 4))


@pytest.mark.parametrize("factor", [1.00001, 0.9, -1.0, 0.0])
def test_a_gradient_that_is_off_by_a_factor_is_refused(factor):
    with pytest.raises(GradientError, match=r"element|direction"):
        gradcheck(scaled_rule(factor), leaf(3, 4))


def test_one_wrong_element_of_a_small_tensor_is_named():
    def grad(gy):
        wrong = np.zeros(gy.shape)
        wrong[1, 2] = 1e-3
        return gy + wrong

    op = mg.custom_op(lambda x: x * 1.0, grad, name="f")
    with pytest.raises(GradientError, match=r"element \(1, 2\)"):
        gradcheck(op, leaf(3, 4), directions=0)


def test_a_wrong_corner_of_a_large_tensor_is_found():
    def grad(gy):
        wrong = np.zeros(gy.shape)
        wrong[-1, -1] = 1e-2
        return gy + wrong

    op = mg.custom_op(lambda x: x * 1.0, grad, name="f")
    with pytest.raises(GradientError):
        gradcheck(op, leaf(40, 50))


def test_a_second_derivative_that_is_wrong_is_refused_though_the_first_is_right():
    detached = mg.custom_op(
        lambda x: x * x, lambda gy, x: gy * (2.0 * getattr(x, "detach", lambda: x)()), name="d"
    )
    assert gradcheck(detached, leaf(3))
    with pytest.raises(GradientError):
        gradgradcheck(detached, leaf(3))


@pytest.mark.parametrize("point", [[0.0, 1.0], [1.0, 0.0]])
def test_a_kink_is_reported_as_a_kink(point):
    x = mg.tensor(np.array(point), requires_grad=True)
    with pytest.raises(NonDifferentiableError, match="kink"):
        gradcheck(lambda t: t.relu(), x)


def test_a_kink_nearby_is_no_kink():
    x = mg.tensor(np.array([1e-5, 1.0]), requires_grad=True)
    assert gradcheck(lambda t: t.relu(), x)


def test_small_gradients_do_not_pass_by_being_small():
    op = mg.custom_op(lambda x: x * 1e-9, lambda gy: gy * 2e-9, name="tiny")
    with pytest.raises(GradientError):
        gradcheck(op, leaf(3))


def test_multilinear_functions_are_checked_exactly_with_a_step_of_one():
    assert gradcheck(lambda a, b: a @ b, [leaf(3, 4), leaf(4, 2)], eps=1.0, tol=1e-11)


def test_several_outputs_and_inputs_that_need_nothing():
    fixed = mg.tensor(np.ones(3))
    assert gradcheck(lambda a, b: [a * b, (a + b).exp()], [leaf(3), fixed])


def test_inputs_are_restored():
    x = leaf(4)
    before = x.numpy().copy()
    gradcheck(lambda t: t.exp(), x)
    assert (x.numpy() == before).all()


def test_float32_and_untracked_inputs_are_refused():
    with pytest.raises(DTypeError, match="float64"):
        gradcheck(lambda t: t * 2.0, mg.ones(2, requires_grad=True))
    with pytest.raises(ArgError, match="requires_grad_"):
        gradcheck(lambda t: t * 2.0, mg.ones(2, dtype=np.float64))
    with pytest.raises(GradientError, match="does not depend"):
        gradcheck(lambda t: t.detach() * 2.0, leaf(2))


def test_elements_of_a_large_tensor_include_its_corners():
    found = elements(np.random.default_rng(0), (5, 3, 7, 7), 40)
    assert {(0, 0, 0, 0), (4, 2, 6, 6), (0, 0, 0, 6), (0, 0, 6, 0)} <= set(found)
    assert len(elements(np.random.default_rng(0), (2, 3), 40)) == 6


def test_check_parameters_returns_the_worst_of_each():
    w, b = leaf(3, 2, seed=1), leaf(2, seed=2)
    x = mg.tensor(np.ones((4, 3)))
    worst = check_parameters(lambda: ((x @ w + b).tanh()).sum(), [("w", w), ("b", b)])
    assert [p.name for p in worst] == ["w", "b"] and all(p.error <= 1 for p in worst)
    assert Probe("w", None, 1.0, 2.0, 0.5).error == 2.0
