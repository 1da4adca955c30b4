"""The tape: order, memory, versions, hooks, threads, depth.  Runs on both tapes."""

import gc
import os
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DTypeError, GraphError, ShapeError

COMPILED = os.environ.get("MINIGRAD_TAPE") != "reference"
DEPTH = 1_000_000 if COMPILED else 20_000


def leaf(*values, dtype=np.float64):
    return mg.tensor(np.array(values, dtype), requires_grad=True)


# -- accumulation and sharing ---------------------------------------------------------------------


def test_a_value_used_twice_gets_both_gradients():
    x = leaf(3.0)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [7.0]


def test_diamonds_take_linear_time():
    x = y = leaf(1.0)
    for _ in range(2000):
        y = y + y * 1e-6
    y.sum().backward()
    assert x.grad.item() == pytest.approx((1 + 1e-6) ** 2000)


def test_no_two_gradients_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = np.ones(2)
    (x + y).backward(seed)
    arrays = [x.grad.data, y.grad.data, seed, x.data, y.data]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])


def test_gradients_add_up_over_backward_calls():
    x = leaf(2.0)
    for _ in range(3):
        (x * x).sum().backward()
    assert x.grad.tolist() == [12.0]


def test_an_in_place_step_on_one_gradient_leaves_the_other_alone():
    x, y = leaf(1.0), leaf(1.0)
    (x + y).sum().backward()
    x.grad.data[...] = 99.0
    assert y.grad.tolist() == [1.0]


def test_the_incoming_gradient_is_not_changed():
    x = leaf(1.0, 2.0)
    seed = np.array([1.0, 1.0])
    y = x + x
    (y + y * 2.0).backward(seed)
    assert seed.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [6.0, 6.0]


# -- playing twice, retaining, asking for some ----------------------------------------------------


def test_a_graph_is_played_once_unless_retained():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(GraphError, match="retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == [8.0]


def test_grad_returns_gradients_of_inner_tensors_and_touches_no_leaf():
    x = leaf(2.0)
    y = x * x
    z = (y * 3.0).sum()
    gy, gx = mg.grad(z, [y, x])
    assert (gy.item(), gx.item(), x.grad) == (3.0, 12.0, None)


def test_grad_of_an_input_that_depends_on_another_input():
    x = leaf(2.0)
    y = x * 5.0
    z = (y * x).sum()
    gx, gy = mg.grad(z, [x, y])
    assert (gx.item(), gy.item()) == (20.0, 2.0)


def test_unused_inputs_are_reported_or_none():
    x, y = leaf(1.0), leaf(1.0)
    z = (x * 2.0).sum()
    with pytest.raises(GraphError, match="allow_unused"):
        mg.grad(z, [x, y], retain_graph=True)
    assert mg.grad(z, [x, y], allow_unused=True)[1] is None


def test_backward_needs_a_scalar_or_a_gradient_of_the_right_shape_and_dtype():
    y = leaf(1.0, 2.0) * 2.0
    with pytest.raises(GraphError, match=r"shape \(2,\).*gradient="):
        y.backward()
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        y.backward(np.ones(3))
    with pytest.raises(DTypeError, match="float32"):
        y.backward(np.ones(2, np.float32))
    with pytest.raises(GraphError, match="not tracked"):
        mg.ones(1).backward()


# -- memory ---------------------------------------------------------------------------------------


def test_backward_frees_what_the_graph_kept_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(*range(50))
        y = x * x
        kept = weakref.ref(y)
        z = (y * y).sum()
        del y
        z.backward()
        assert kept() is None
        assert z.node.kept in (None, ())
    finally:
        gc.enable()


def test_dropping_the_output_frees_the_tape():
    gc.disable()
    try:
        x = leaf(1.0)
        middle = np.array([1.0])
        y = mg.custom_op(lambda a: a * 1.0, lambda g: g * middle, name="f")(x)
        probe = weakref.ref(y)
        z = y * y
        del y, z
        assert probe() is None
    finally:
        gc.enable()


def chain(n):
    x = leaf(1.0)
    one = mg.tensor(np.array([0.0]))
    y = x
    for _ in range(n):
        y = y + one
    return x, y


def in_small_thread(work):
    """Run `work` in a thread with a 256 KiB stack; re-raise what it raises."""
    errors = []

    def guarded():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    if errors:
        raise errors[0]


@pytest.mark.skipif(not COMPILED, reason="the reference tape frees recursively, like any Python")
def test_a_million_nodes_are_played_in_a_small_stack():
    def work():
        x, y = chain(DEPTH)
        y.backward(np.ones(1))
        assert x.grad.tolist() == [1.0]

    in_small_thread(work)


@pytest.mark.skipif(not COMPILED, reason="the reference tape frees recursively, like any Python")
def test_a_million_nodes_are_freed_in_a_small_stack_without_being_played():
    def work():
        _, y = chain(DEPTH)
        del y

    in_small_thread(work)


def test_a_ladder_with_shared_rungs_is_freed():
    def work():
        a = b = leaf(1.0)
        for _ in range(DEPTH // 50):
            a, b = a + b, b + a
        del a, b

    in_small_thread(work)


# -- hooks ----------------------------------------------------------------------------------------


def test_a_tensor_hook_sees_and_replaces_the_gradient():
    x = leaf(1.0)
    y = x * 2.0
    seen = []

    def hook(g):
        seen.append(g.item())
        return g * 10.0

    remove = y.register_hook(hook)
    (y * 3.0).sum().backward()
    assert (seen, x.grad.tolist()) == ([3.0], [60.0])
    remove()
    x.grad = None
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0]


def test_a_leaf_hook_sees_the_sum():
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * 2.0 + x * 3.0).sum().backward()
    assert seen == [5.0]


def test_a_node_hook_sees_both_sides():
    x, seen = leaf(2.0), []
    y = x * 3.0
    y.node.after_hooks.append(lambda gs, g: seen.append((float(gs[0][0]), float(g[0]))))
    y.sum().backward()
    assert seen == [(3.0, 1.0)]


def test_retain_grad_keeps_an_inner_gradient():
    x = leaf(2.0)
    y = (x * x).retain_grad()
    (y * 3.0).sum().backward()
    assert y.grad.tolist() == [3.0]


# -- threads and errors ---------------------------------------------------------------------------


def test_recording_is_a_matter_of_the_thread():
    states = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: states.append(mg.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not mg.is_grad_enabled()
    assert states == [True]
    assert mg.is_grad_enabled()


def test_no_grad_ends_when_an_error_leaves_it():
    with pytest.raises(KeyError), mg.no_grad():
        raise KeyError
    assert mg.is_grad_enabled()


def test_graphs_of_many_threads_do_not_disturb_each_other():
    def work(k, out):
        x = leaf(float(k), 1.0)
        for _ in range(50):
            y = (x * x).exp() * 1e-3
            x.grad = None
            (y * x).sum().backward()
        out[k] = x.grad.tolist()

    alone, together = {}, {}
    for k in range(4):
        work(k, alone)
    threads = [threading.Thread(target=work, args=(k, together)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert alone == together


def test_a_graph_is_played_by_one_thread_only():
    for _ in range(30):
        x = leaf(1.0)
        y = x
        for _ in range(50):
            y = y * 1.5
        y = y.sum()
        barrier, errors = threading.Barrier(2), []

        def play(y=y, barrier=barrier, errors=errors):
            barrier.wait()
            try:
                y.backward()
            except GraphError as error:
                errors.append(error)

        threads = [threading.Thread(target=play) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(errors) == 1
        assert x.grad.item() == pytest.approx(1.5**50)


def test_backward_inside_a_hook_on_another_graph_works():
    x, other = leaf(1.0), leaf(2.0)
    y = x * 3.0

    def hook(g):
        with mg.enable_grad():  # a sweep does not record, unless create_graph
            (other * other).sum().backward()

    y.register_hook(hook)
    y.sum().backward()
    assert (x.grad.item(), other.grad.item()) == (3.0, 4.0)


def test_an_error_in_a_hook_changes_no_leaf_and_the_next_backward_works():
    for position in range(10):
        x = leaf(1.0)
        y, nodes = x, []
        for _ in range(10):
            y = y * 2.0
            nodes.append(y)

        def hook(g):
            raise ZeroDivisionError

        nodes[position].register_hook(hook)
        with pytest.raises(ZeroDivisionError):
            y.sum().backward()
        assert x.grad is None
        (x * 2.0).sum().backward()
        assert x.grad.tolist() == [2.0]
