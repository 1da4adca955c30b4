"""Design: x[index] in every form that NumPy has, reading, adding and writing. Elements that are
picked twice get both gradients; places that are written twice keep the last, and only its gradient.
Hypothesis draws basic indices; integer and boolean arrays are listed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import ops
from minigrad.errors import DTypeError, ShapeError
from tests.ops.checks import CHECKS, Case

X = (3, 4, 5)
MASK = np.random.default_rng(0).random(X) < 0.4
ROWS = np.array([2, 0, 2])

INDICES = {
    "int": 1,
    "negative": -1,
    "slice": slice(1, None),
    "step": (slice(None, None, 2), slice(None, None, -1)),
    "ellipsis": (..., 2),
    "newaxis": (slice(None), None, 1),
    "element": (0, 1, 2),
    "empty slice": slice(2, 2),
    "array": ROWS,
    "list": [0, 0, 1],
    "negative array": np.array([-1, 0, -1]),
    "array 2-D": np.array([[0, 1], [1, 1]]),
    "array and slice": (slice(None), np.array([3, 3])),
    "two arrays": (np.array([0, 2, 0]), np.array([1, 1, 1])),
    "arrays apart": (np.array([0, 2]), slice(None), np.array([1, 1])),
    "arrays broadcast": (np.array([[0], [2]]), np.array([1, 1, 3])),
    "mask": MASK,
    "mask of rows": np.array([True, False, True]),
    "mask of columns": (slice(None), np.array([True, False, False, True])),
    "mask and array": (np.array([True, False, True]), np.array([1, 1])),
    "empty array": np.zeros(0, int),
    "nothing masked": np.zeros(3, bool),
}
READS = [
    Case(f"x[{n}]", lambda x, i=i: x[i], (X,), flat=True, tol=1e-10, ulps=0)
    for n, i in INDICES.items()
    if "empty" not in n and "nothing" not in n
]
WRITES = [
    Case(
        f"x[{n}] = v",
        lambda x, v, i=i: ops.setitem(x, v, index=i),
        (X, np.ones(X)[i].shape),
        flat=True,
        tol=1e-10,
        ulps=0,
    )
    for n, i in INDICES.items()
    if n in ("int", "step", "ellipsis", "element", "mask", "mask of rows", "negative array")
]
ADDS = [
    Case(
        f"add into x[{n}]",
        lambda y, i=i: ops.scatter_add(y, index=i, shape=X),
        (np.ones(X)[i].shape,),
        flat=True,
        tol=1e-10,
        ulps=0,
    )
    for n, i in INDICES.items()
    if "empty" not in n and "nothing" not in n
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize(
    "case", [*READS, *ADDS, *(w for w in WRITES if "negative" not in w.name)], ids=repr
)
def test_rules_are_derivatives(case, check):
    check(case)


@pytest.mark.parametrize("name", INDICES)
def test_reads_what_numpy_reads_and_adds_back_what_was_read(name):
    index = INDICES[name]
    a = np.arange(60.0).reshape(X)
    x = mg.Tensor(a).requires_grad_()
    y = x[index]
    assert np.array_equal(y.numpy(), a[index])
    g = np.random.default_rng(1).integers(-3, 4, y.shape).astype(float)
    y.backward(mg.Tensor(g))
    want = np.zeros(X)
    np.add.at(want, index, g)
    assert np.array_equal(x.grad.numpy(), want)


@given(st.data(), hnp.array_shapes(max_dims=4, min_side=0, max_side=5))
def test_any_basic_index(data, shape):
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    a = np.arange(float(np.prod(shape))).reshape(shape)
    x = mg.Tensor(a).requires_grad_()
    y = x[index]
    assert np.array_equal(y.numpy(), a[index])
    y.backward(mg.Tensor(np.full(y.shape, 2.0)))
    want = np.zeros(shape)
    want[index] = 2.0
    assert np.array_equal(x.grad.numpy(), want)


@given(hnp.array_shapes(max_dims=3, min_side=1, max_side=4), st.data())
def test_any_integer_index(shape, data):
    arrays = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2)))
    x = mg.Tensor(np.zeros(shape)).requires_grad_()
    y = x[arrays]
    y.backward(mg.Tensor(np.ones(y.shape)))
    want = np.zeros(shape)
    np.add.at(want, arrays, 1.0)
    assert np.array_equal(x.grad.numpy(), want)


def test_repeated_indices_accumulate():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 2, 2, 2]].sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 3.0]


def test_a_tensor_is_an_index_too():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[mg.tensor(np.array([2, 2]))].sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 2.0]
    y = mg.tensor([1.0, -2.0, 3.0], requires_grad=True)
    y[y > 0.0].sum().backward()
    assert y.grad.tolist() == [1.0, 0.0, 1.0]


def test_an_index_that_changes_later_does_not_change_the_gradient():
    rows = np.array([0, 0])
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x[rows].sum()
    rows[:] = 1
    y.backward()
    assert x.grad.tolist() == [2.0, 0.0]


def test_of_two_writes_to_one_place_the_last_gets_the_gradient():
    x = mg.Tensor(np.zeros(3)).requires_grad_()
    v = mg.Tensor(np.array([1.0, 2.0, 3.0])).requires_grad_()
    z = ops.setitem(x, v, index=np.array([0, 2, 0]))
    assert z.tolist() == [3.0, 0.0, 2.0]
    (z * mg.Tensor(np.array([10.0, 20.0, 30.0]))).sum().backward()
    assert v.grad.tolist() == [0.0, 30.0, 10.0]
    assert x.grad.tolist() == [0.0, 20.0, 0.0]


@pytest.mark.parametrize("v_shape", [(), (1,), (4, 5), (1, 5), (4, 1), (1, 1, 4, 5)])
def test_what_is_written_broadcasts_and_its_gradient_is_summed(v_shape):
    x = mg.Tensor(np.zeros(X)).requires_grad_()
    v = mg.Tensor(np.full(v_shape, 7.0)).requires_grad_()
    z = ops.setitem(x, v, index=1)
    assert (z.numpy()[1] == 7.0).all() and (z.numpy()[[0, 2]] == 0.0).all()
    z.sum().backward()
    assert np.array_equal(v.grad.numpy(), np.full(v_shape, 20.0 / v.size))


def test_setitem_leaves_the_input_alone():
    a = np.zeros(3)
    ops.setitem(a, np.array(5.0), index=0)
    assert a.tolist() == [0.0, 0.0, 0.0]


def test_writing_through_the_tensor_is_differentiated():
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2.0
    y[1] = x[0] * 10.0
    y.sum().backward()
    assert x.grad.tolist() == [12.0, 0.0, 2.0]
    z = mg.Tensor(np.ones(3)).requires_grad_().clone()
    z[0] = 5.0  # a Python number into float64
    assert z.tolist() == [5.0, 1.0, 1.0]


def test_an_index_out_of_range_is_an_index_error_with_the_shape():
    with pytest.raises(IndexError, match=r"getitem: .*\(x has shape \(3, 4, 5\)\)"):
        ops.getitem(np.ones(X), index=7)
    with pytest.raises(IndexError, match=r"setitem: .*\(x has shape \(3, 4, 5\)\)"):
        ops.setitem(np.ones(X), np.ones(()), index=np.array([9]))
    assert [float(v) for v in mg.tensor([1.0, 2.0])] == [1.0, 2.0]  # iteration ends by IndexError


@pytest.mark.parametrize("bad", [1.5, "a", np.array([0.5])])
def test_an_index_of_the_wrong_kind(bad):
    with pytest.raises(DTypeError, match=r"getitem: .* is no index of x \(3, 4, 5\); use ints"):
        ops.getitem(np.ones(X), index=bad)


def test_a_value_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"setitem: v of shape \(3,\) .*x\[index\] .*\(4, 5\)"):
        ops.setitem(np.ones(X), np.ones(3), index=0)
