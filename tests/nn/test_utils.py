"""Design: clipping is one factor for all gradients, or a bound for each element; nothing changes
on bad input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.errors import ArgError, DTypeError, GraphError, ShapeError
from minigrad.nn import Parameter, utils
from minigrad.tensor import Tensor


def graded(*gradients, dtype=np.float64):
    made = []
    for g in gradients:
        p = Parameter(np.zeros_like(np.array(g, dtype)))
        p.grad = Tensor(np.array(g, dtype))
        made.append(p)
    return made


def test_clip_by_norm_scales_all_gradients_by_one_factor():
    params = [*graded([3.0], [[0.0, 4.0]]), Parameter([1.0])]
    assert utils.clip_grad_norm_(params, 1.0) == pytest.approx(5.0, rel=1e-15)
    factor = 1 / (5 + 1e-6)
    assert params[0].grad.tolist() == [3 * factor] and params[1].grad.tolist() == [[0, 4 * factor]]
    assert params[2].grad is None


def test_small_gradients_are_not_touched():
    (p,) = graded([0.3, 0.4])
    before = p.grad.data.tobytes()
    assert utils.clip_grad_norm_(p, 0.6) == pytest.approx(0.5)
    assert p.grad.data.tobytes() == before


NORMS = {1.0: 7.0, 2.0: 5.0, 3.0: 91 ** (1 / 3), math.inf: 4.0}


@pytest.mark.parametrize("p", NORMS)
def test_norms_of_other_kinds(p):
    assert utils.clip_grad_norm_(graded([3.0], [-4.0]), 100.0, p) == pytest.approx(
        NORMS[p], rel=1e-14
    )


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9),
    st.floats(0.001, 1e3),
)
def test_norm_after_clipping_is_at_most_the_bound(values, bound):
    """In float32, whose squares overflow where float64's do not."""
    params = graded(values, dtype=np.float32)
    before = utils.clip_grad_norm_(params, bound)
    assert math.isfinite(before)
    after = np.linalg.norm(params[0].grad.data.astype(np.float64))
    assert after <= bound * (1 + 1e-5)


def test_norm_that_is_not_finite_is_returned_or_refused():
    params = graded([math.inf, 1.0])
    with pytest.raises(ArgError, match="norm of the gradients is inf; they are unchanged"):
        utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad.tolist() == [math.inf, 1.0]
    with np.errstate(invalid="ignore"):
        assert utils.clip_grad_norm_(params, 1.0) == math.inf
    assert math.isnan(params[0].grad.tolist()[0])
    assert utils.clip_grad_norm_([Parameter([1.0])], 1.0) == 0.0


@pytest.mark.parametrize(
    "clip", [lambda p: utils.clip_grad_norm_(p, 1.0), lambda p: utils.clip_grad_value_(p, 1.0)]
)
def test_clipping_a_kept_gradient_is_noticed_by_the_tape(clip):
    (p,) = graded([3.0])
    loss = (Parameter(np.ones(1)) * p.grad).sum()
    clip(p)
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_clip_by_value_bounds_each_element():
    params = graded([3.0, -0.5], [[-7.0]])
    utils.clip_grad_value_(params, 1.0)
    assert params[0].grad.tolist() == [1, -0.5] and params[1].grad.tolist() == [[-1]]


@pytest.mark.parametrize(
    "call",
    [
        lambda p: utils.clip_grad_norm_(p, -1.0),
        lambda p: utils.clip_grad_norm_(p, math.nan),
        lambda p: utils.clip_grad_norm_(p, 1.0, 0.0),
        lambda p: utils.clip_grad_value_(p, -1.0),
    ],
)
def test_senseless_bounds_are_refused(call):
    params = graded([3.0])
    with pytest.raises(ArgError):
        call(params)
    assert params[0].grad.tolist() == [3]


def test_parameters_to_vector_and_back():
    params = [Parameter([[1.0, 2.0], [3.0, 4.0]]), Parameter([5.0])]
    vector = utils.parameters_to_vector(params)
    assert vector.tolist() == [1, 2, 3, 4, 5]
    utils.vector_to_parameters(Tensor(vector.data * 2), params)
    assert params[0].tolist() == [[2, 4], [6, 8]] and params[1].tolist() == [10]
    with pytest.raises(ShapeError, match=r"5 elements.*\(4,\)"):
        utils.vector_to_parameters(Tensor(np.ones(4, np.float32)), params)
    assert params[1].tolist() == [10]
    with pytest.raises(DTypeError, match="one dtype"):
        utils.parameters_to_vector([*params, *graded([1.0])])
