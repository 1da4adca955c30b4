"""Changes in place: noticed when they matter, harmless when not.  Runs on both tapes."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GraphError


def leaf(*values, dtype=np.float64):
    return mg.tensor(np.array(values, dtype), requires_grad=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.__iadd__(1.0),
        lambda t: t.__imul__(2.0),
        lambda t: t.copy_(0.0),
        lambda t: t.zero_(),
        lambda t: t.__setitem__(0, 5.0),
    ],
    ids=["+=", "*=", "copy_", "zero_", "setitem"],
)
def test_playing_a_kept_array_that_was_changed_raises(change):
    x = leaf(1.0, 2.0)
    w = mg.tensor(np.array([3.0, 4.0]))
    y = (x * w).sum()
    change(w)
    with pytest.raises(GraphError, match=r"mul: y \(2,\) was changed in place"):
        y.backward()


def test_a_change_through_a_view_is_seen():
    x, w = leaf(1.0, 2.0), mg.tensor(np.array([3.0, 4.0]))
    y = (x * w).sum()
    w[1:].copy_(9.0)
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


def test_a_change_that_nobody_kept_is_fine():
    x, w = leaf(1.0, 2.0), mg.tensor(np.array([3.0, 4.0]))
    y = (x + w).sum()
    w += 1.0
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_tracked_tensor_moves_on_with_an_in_place_change():
    x = leaf(1.0, 2.0)
    y = x * 1.0
    y *= 3.0
    y[0] = x[1] * 10.0
    y.sum().backward()
    assert y.tolist() == [20.0, 6.0]
    assert x.grad.tolist() == [0.0, 13.0]


def test_an_old_view_of_a_changed_tracked_tensor_is_refused():
    x = leaf(1.0, 2.0)
    y = x * 2.0
    view = y[0:1]
    y *= 3.0
    with pytest.raises(GraphError, match="shares memory"):
        view * 2.0


def test_a_leaf_that_needs_a_gradient_is_not_changed_while_recording():
    x = leaf(1.0)
    with pytest.raises(GraphError, match="no_grad"):
        x += 1.0
    with mg.no_grad():
        x += 1.0
    assert x.tolist() == [2.0]


def test_arrays_handed_out_are_read_only():
    x = leaf(1.0)
    for view in (x.numpy(), np.asarray(x)):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 5.0


def test_a_users_array_may_change_after_it_was_used():
    x, a = leaf(1.0, 2.0), np.array([3.0, 4.0])
    y = (x * a).sum()
    a[:] = 0.0
    y.backward()
    assert x.grad.tolist() == [3.0, 4.0]


def test_numpy_out_is_refused():
    with pytest.raises(TypeError, match="out="):
        np.add(mg.ones(2), mg.ones(2), out=mg.ones(2))
