"""Making Tensors, what NumPy may do with them, in-place changes, bad input."""

import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import ArgError, DTypeError, GraphError, ShapeError


def test_numbers_and_lists_become_float32_and_arrays_keep_their_dtype():
    assert mg.tensor([1, 2.5]).dtype == np.float32
    assert mg.tensor(1.5).dtype == np.float32
    assert mg.tensor([1, 2]).dtype == np.int64
    assert mg.tensor(np.ones(2)).dtype == np.float64
    assert mg.tensor([1, 2], dtype=np.float64).dtype == np.float64


def test_tensor_and_from_numpy_own_their_memory():
    a = np.ones(3)
    for t in (mg.tensor(a), mg.from_numpy(a)):
        a[0] = 7.0
        assert t.tolist()[0] == 1.0
        a[0] = 1.0


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ([[1.0], [1.0, 2.0]], ShapeError),
        (np.ones(2, np.float16), DTypeError),
        (np.ones(2, complex), DTypeError),
        ("abc", DTypeError),
        (None, DTypeError),
        (np.array([object()]), DTypeError),
        (np.ma.ones(2), DTypeError),
    ],
    ids=["ragged", "float16", "complex", "str", "None", "object", "masked"],
)
def test_data_without_a_meaning_is_refused(data, error):
    with pytest.raises(error):
        mg.tensor(data)


def test_integers_and_bools_have_no_derivative():
    with pytest.raises(DTypeError, match="no derivative"):
        mg.tensor([1, 2], requires_grad=True)


def test_negative_sizes_are_refused():
    with pytest.raises(ShapeError, match=">= 0"):
        mg.zeros(2, -1)


def test_makers_make_what_they_say():
    assert mg.zeros(2, 3).numpy().sum() == 0 and mg.ones((2, 3)).shape == (2, 3)
    assert mg.full((2,), 3.0).tolist() == [3.0, 3.0]
    assert mg.arange(3).dtype == np.int64 and mg.arange(0, 1, 0.25).dtype == np.float32
    assert mg.eye(2).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert mg.linspace(0, 1, 3).tolist() == [0.0, 0.5, 1.0]
    x = mg.tensor(np.asfortranarray(np.ones((2, 3))))
    assert mg.zeros_like(x).data.strides == x.data.strides
    assert sorted(mg.randperm(5).tolist()) == [0, 1, 2, 3, 4]


def test_the_generator_decides_the_draws():
    mg.manual_seed(5)
    first = mg.randn(4).tolist(), mg.rand(4).tolist(), mg.randint(0, 9, (4,)).tolist()
    mg.manual_seed(5)
    assert first == (mg.randn(4).tolist(), mg.rand(4).tolist(), mg.randint(0, 9, (4,)).tolist())
    own = mg.Generator(5)
    assert mg.randn(4, generator=own).tolist() == first[0]


def test_detach_shares_memory_and_clone_does_not():
    x = mg.ones(2, requires_grad=True)
    assert np.shares_memory(x.detach().data, x.data)
    assert not np.shares_memory(x.clone().data, x.data)
    assert x.clone().requires_grad and not x.detach().requires_grad


def test_reading_as_python():
    x = mg.tensor([[1.5]])
    assert (x.item(), float(x), int(x), bool(x), len(x)) == (1.5, 1.5, 1, True, 1)
    assert [row.tolist() for row in mg.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    assert [10, 20][mg.tensor(1)] == 20
    with pytest.raises(ShapeError, match="2 elements"):
        mg.ones(2).item()
    with pytest.raises(TypeError, match="0-d"):
        len(mg.tensor(1.0))


def test_repr_says_where_a_tensor_comes_from():
    x = mg.tensor([1.0], requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x * 2.0) == "tensor([2.], made by mul)"


def test_comparisons_give_bool_tensors_off_the_tape():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert (x > 1.5).tolist() == [False, True]
    assert (x == x).node is None and (~(x > 1.5)).tolist() == [True, False]
    assert {x: 1}[x] == 1


def test_requires_grad_of_inner_tensors_cannot_be_switched():
    with pytest.raises(GraphError, match="detach"):
        (mg.ones(2, requires_grad=True) * 2).requires_grad_(False)


def test_grad_is_checked_when_it_is_set():
    x = mg.ones(2, requires_grad=True)
    x.grad = mg.ones(2)
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        x.grad = mg.ones(3)
    with pytest.raises(GraphError):
        mg.ones(2).grad = mg.ones(2)


# -- in place -------------------------------------------------------------------------------------


def test_in_place_on_untracked_tensors_writes_into_their_memory():
    x = mg.tensor([1.0, 2.0])
    view, memory = x[0:1], x.data
    x += 1.0
    x[1] = 10.0
    x -= mg.tensor([1.0, 1.0])
    x /= 2.0
    assert x.data is memory and x.tolist() == [0.5, 4.5] and view.tolist() == [0.5]


def test_an_in_place_change_must_fit():
    x = mg.tensor([1.0, 2.0])
    with pytest.raises(ShapeError, match="cannot write"):
        x[0] = mg.ones(3)
    with pytest.raises((ShapeError, ValueError)):
        x += mg.ones(3, 2)
    with pytest.raises(DTypeError):
        x += np.ones(2)
    with pytest.raises(DTypeError, match="float64"):
        x.copy_(np.ones(2))
    assert x.tolist() == [1.0, 2.0]


def test_an_element_of_a_tracked_tensor_may_be_added_to():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1.0
    y[0] += x[1]
    y.sum().backward()
    assert (y.tolist(), x.grad.tolist()) == ([3.0, 2.0], [1.0, 2.0])


def test_setitem_accepts_tensors_and_masks_as_index():
    x = mg.zeros(4)
    x[mg.tensor([0, 2])] = 1.0
    x[x > 0.5] = 5.0
    assert x.tolist() == [5.0, 0.0, 5.0, 0.0]


# -- NumPy ----------------------------------------------------------------------------------------

UFUNC_CASES = [
    (np.add, 2), (np.subtract, 2), (np.multiply, 2), (np.divide, 2), (np.maximum, 2),
    (np.minimum, 2), (np.power, 2), (np.exp, 1), (np.log, 1), (np.sqrt, 1), (np.sin, 1),
    (np.cos, 1), (np.tanh, 1), (np.negative, 1), (np.absolute, 1), (np.square, 1), (np.sign, 1),
]  # fmt: skip


@pytest.mark.parametrize(("ufunc", "operands"), UFUNC_CASES)
def test_ufuncs_work_on_tensors_and_record(ufunc, operands):
    a, b = np.array([1.5, 2.5]), np.array([0.5, 3.0])
    arrays = (a, b)[:operands]
    x = mg.tensor(a, requires_grad=True)
    made = ufunc(x, *arrays[1:])
    np.testing.assert_allclose(made.numpy(), ufunc(*arrays), rtol=1e-15)
    assert made.requires_grad
    if operands == 2:
        np.testing.assert_allclose(ufunc(b, x).numpy(), ufunc(b, a), rtol=1e-15)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.sum(x, axis=0),
        lambda m, x: m.mean(x, axis=1, keepdims=True),
        lambda m, x: m.max(x),
        lambda m, x: m.min(x, axis=-1),
        lambda m, x: m.prod(x, axis=0),
        lambda m, x: m.var(x, axis=0, ddof=1),
        lambda m, x: m.std(x),
        lambda m, x: m.cumsum(x, axis=1),
        lambda m, x: m.reshape(x, (3, 2)),
        lambda m, x: m.transpose(x),
        lambda m, x: m.swapaxes(x, 0, 1),
        lambda m, x: m.expand_dims(x, 1),
        lambda m, x: m.squeeze(m.expand_dims(x, 1)),
        lambda m, x: m.broadcast_to(x, (4, 2, 3)),
        lambda m, x: m.repeat(x, 2, axis=1),
        lambda m, x: m.flip(x, axis=1),
        lambda m, x: m.roll(x, 1, axis=0),
        lambda m, x: m.concatenate([x, x], axis=1),
        lambda m, x: m.stack([x, x]),
        lambda m, x: m.where(x > 2, x, -x),
        lambda m, x: m.clip(x, 1.0, 3.0),
        lambda m, x: m.matmul(x, m.transpose(x)),
    ],
)
def test_numpy_functions_mean_the_same_on_tensors(call):
    a = np.array([[0.5, 2.0, 1.0], [4.0, 3.5, 2.5]])
    x = mg.tensor(a, requires_grad=True)
    made = call(np, x)
    np.testing.assert_allclose(made.numpy(), call(np, a), rtol=1e-14)
    assert made.requires_grad


def test_a_numpy_function_without_a_gradient_is_refused_on_tracked_tensors_only():
    assert np.floor(mg.tensor([1.5])).tolist() == [1.0]
    assert np.argmax(mg.tensor([1.0, 3.0])) == 1
    with pytest.raises(TypeError, match="no gradient"):
        np.floor(mg.ones(1, requires_grad=True))
    with pytest.raises(TypeError, match="no gradient"):
        np.median(mg.ones(1, requires_grad=True))
    assert np.isnan(mg.ones(1, requires_grad=True)).tolist() == [False]


def test_dlpack_goes_both_ways():
    t = mg.tensor([1.0, 2.0])
    assert np.from_dlpack(t).tolist() == [1.0, 2.0]
    assert mg.from_dlpack(np.ones(3, np.float32)).tolist() == [1.0, 1.0, 1.0]


def test_tensors_are_not_pickled():
    with pytest.raises(TypeError, match=r"io\.save"):
        pickle.dumps(mg.ones(1))


def test_unknown_operands_are_left_to_python():
    with pytest.raises(TypeError):
        mg.ones(1) + object()
    with pytest.raises(TypeError):
        mg.ones(1) + "a"
    assert (mg.ones(1) == "a") is False


def test_a_wrong_choice_of_tape_is_explained():
    import subprocess
    import sys

    run = subprocess.run(
        [sys.executable, "-c", "import minigrad"],
        env={"MINIGRAD_TAPE": "wax", "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1 and "use 'compiled' or 'reference'" in run.stderr
    assert ArgError.__name__ in run.stderr
