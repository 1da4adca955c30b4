"""Design: products of matrices in every shape that NumPy has, linear layers, einsum. All are linear
in each operand: on small integers results and adjoints are exact, whatever the order of summation.
NumPy judges the forward pass. The general demands are in `checks.py`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import ops
from minigrad.errors import ArgError, DTypeError, ShapeError
from tests.layouts import same
from tests.ops.checks import CHECKS, Case, direction, third_order

MATMULS = [
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((1, 3, 4), (2, 4, 1)),
    ((2, 1, 3, 4), (3, 4, 2)),
    ((1, 1), (1, 1)),
]
EINSUMS = [
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij,jk", ((2, 3), (3, 4))),
    ("i,j->ij", ((2,), (3,))),
    ("i,i->", ((4,), (4,))),
    ("i,i", ((4,), (4,))),
    ("ij,ij->i", ((2, 3), (2, 3))),
    ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
    ("bij,bjk->kib", ((2, 3, 4), (2, 4, 5))),
    ("ij,k->ik", ((2, 3), (4,))),
    ("ij,k->k", ((2, 3), (4,))),
    ("ij->ji", ((2, 3),)),
    ("ij->j", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ii->i", ((3, 3),)),
    ("ii", ((3, 3),)),
    ("iij->j", ((3, 3, 2),)),
    ("ii,ij->j", ((3, 3), (3, 2))),
    ("ij,jj->ij", ((2, 3), (3, 3))),
    ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))),
    ("...ij,...jk", ((3, 4), (2, 4, 5))),
    ("...i,...i->...", ((2, 1, 4), (3, 4))),
    ("i...,ij->j...", ((2, 3, 4), (2, 5))),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
    ("i,j,k->ijk", ((2,), (3,), (4,))),
    ("ij,ij,ij->", ((2, 3), (2, 3), (2, 3))),
    ("i,ij,j", ((2,), (2, 3), (3,))),
    ("ij,jk->ik", ((2, 1), (3, 4))),
    ("i,i->i", ((1,), (3,))),
    ("nchw,kc->nkhw", ((2, 3, 2, 4), (5, 3))),
]
TENSORDOTS = [
    (2, ((2, 3, 4), (3, 4, 5))),
    (1, ((2, 3), (3, 4))),
    (0, ((2,), (3, 4))),
    (((0, 2), (1, 0)), ((3, 2, 4), (4, 3, 5))),
    ((-1, 0), ((2, 3), (3, 4))),
    (((1,), (0,)), ((2, 3), (3,))),
]


def sizes(shapes):
    return " ".join(map(str, shapes))


CASES = [
    *(Case(f"matmul {sizes(s)}", ops.matmul, s, ulps=64) for s in MATMULS),
    *(
        Case(f"linear {sizes(s)}", ops.linear, s, ulps=64)
        for s in (
            ((2, 3), (4, 3), (4,)),
            ((2, 3), (4, 3)),
            ((3,), (4, 3), (4,)),
            ((2, 5, 3), (4, 3), (4,)),
        )
    ),
    *(
        Case(
            f"einsum {text} {sizes(s)}",
            lambda *xs, t=text: ops.einsum(*xs, subscripts=t),
            s,
            flat=len(s) == 1,
            ulps=64,
        )
        for text, s in EINSUMS
    ),
    *(
        Case(f"tensordot {a} {sizes(s)}", lambda x, y, a=a: ops.tensordot(x, y, axes=a), s, ulps=64)
        for a, s in TENSORDOTS
    ),
    Case("linear_relu", lambda *xs: ops.linear_relu(*xs), ((2, 3), (4, 3), (4,)), ulps=64),
    Case("outer", ops.outer, ((3,), (4,))),
    Case("outer of matrices", ops.outer, ((2, 3), (4, 1))),
    Case("x @ x.T", lambda x: x @ x.T, ((2, 3),), ulps=64),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_rules_are_derivatives(case, check):
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        Case("x @ x.T @ x", lambda x: x @ x.T @ x, ((2, 3),)),
        Case("einsum", lambda x: ops.einsum(x, x, x, subscripts="ij,kj,kl->il"), ((2, 3),)),
        Case("linear in itself", lambda x: ops.linear(x, ops.linear(x, x)), ((3, 3),)),
        Case("outer cubed", lambda x: ops.tensordot(ops.outer(x, x), x, axes=1), ((3,),)),
    ],
    ids=repr,
)
def test_rules_have_derivatives_of_every_order(case):
    third_order(case)


def integers(shape, seed, dtype=np.float64):
    return np.asarray(np.random.default_rng(seed).integers(-3, 4, shape), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", MATMULS)
def test_matmul_is_numpys_exactly_on_integers(shapes, dtype):
    x, y = (integers(s, i, dtype) for i, s in enumerate(shapes))
    z = ops.matmul(x, y)
    assert z.dtype == dtype and z.shape == np.matmul(x, y).shape
    assert np.array_equal(z, np.matmul(x, y))


@given(
    st.lists(st.sampled_from([0, 1, 2, 3, 5]), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=3),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 99),
)
def test_any_matmul_and_its_adjoints(mkn, batch, dtype, seed):
    m, k, n = mkn
    lead_x = tuple(1 if bx else b for b, bx, _ in batch)
    lead_y = tuple(1 if by else b for b, _, by in batch)
    x, y = integers((*lead_x, m, k), seed, dtype), integers((*lead_y, k, n), seed + 1, dtype)
    tx, ty = mg.Tensor(x).requires_grad_(), mg.Tensor(y).requires_grad_()
    z = tx @ ty
    assert np.array_equal(z.numpy(), np.matmul(x, y))
    g = integers(z.shape, seed + 2, dtype)
    z.backward(mg.Tensor(g))
    along = (z.numpy() * g).sum()
    assert (x * tx.grad.numpy()).sum() == along == (y * ty.grad.numpy()).sum()


@pytest.mark.parametrize(("text", "shapes"), EINSUMS)
def test_einsum_is_numpys_exactly_on_integers(text, shapes):
    xs = [integers(s, i) for i, s in enumerate(shapes)]
    want = np.einsum(text, *xs)
    got = ops.einsum(*xs, subscripts=text)
    assert got.shape == want.shape and np.array_equal(got, want)


@pytest.mark.parametrize(("axes", "shapes"), TENSORDOTS)
def test_tensordot_is_numpys_exactly_on_integers(axes, shapes):
    x, y = (integers(s, i) for i, s in enumerate(shapes))
    assert np.array_equal(ops.tensordot(x, y, axes=axes), np.tensordot(x, y, axes))


def test_linear_is_its_equation():
    x, w, b = integers((5, 3), 0), integers((4, 3), 1), integers((4,), 2)
    assert np.array_equal(ops.linear(x, w, b), x @ w.T + b)
    assert np.array_equal(ops.linear(x, w), x @ w.T)


def test_integers_multiply_without_the_kernel():
    x = np.arange(6).reshape(2, 3)
    assert np.array_equal(ops.matmul(x, x.T), x @ x.T)
    assert np.array_equal(ops.einsum(x, x, subscripts="ij,ij->i"), (x * x).sum(1))
    assert np.array_equal(ops.linear(x, x), x @ x.T)


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (ops.matmul, ((0, 3), (3, 4))),
        (ops.matmul, ((2, 0), (0, 4))),
        (ops.matmul, ((0, 2, 3), (3, 4))),
        (ops.matmul, ((0,), (0,))),
        (ops.linear, ((0, 3), (4, 3), (4,))),
        (ops.linear, ((2, 0), (4, 0), (4,))),
        (lambda x, y: ops.einsum(x, y, subscripts="ij,jk->ik"), ((2, 0), (0, 3))),
        (ops.outer, ((0,), (3,))),
    ],
)
def test_empty_operands(call, shapes):
    xs = [mg.Tensor(np.ones(s)).requires_grad_() for s in shapes]
    y = call(*xs)
    y.sum().backward()
    assert [x.grad.shape for x in xs] == list(shapes)
    assert not y.size or (y.numpy() == (1.0 if len(shapes) == 3 else 0.0)).all()


def test_nan_times_zero_is_nan():
    x, y = np.zeros((2, 3)), np.full((3, 2), np.nan)
    assert np.isnan(ops.matmul(x, y)).all()


# -- a linear layer with its ReLU -----------------------------------------------------------------


def two_ops(x, w, b=None):
    return ops.relu(ops.linear(x, w, b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [(), (1,), (5,), (64,), (3, 7)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_relu_has_the_bits_of_two_ops(rows, biased, dtype):
    arrays = [direction(s, i, dtype) for i, s in enumerate(((*rows, 33), (50, 33), (50,)))]
    g = mg.Tensor(direction((*rows, 50), 3, dtype))
    found = []
    for op in (ops.linear_relu, two_ops):
        xs = [mg.Tensor(a).requires_grad_() for a in arrays[: 2 + biased]]
        y = op(*xs)
        found.append([y, *mg.grad(y, xs, g)])
    assert all(same(a.numpy(), b.numpy()) for a, b in zip(*found, strict=True))
    assert found[0][0].numpy().any() and not found[0][0].numpy().all()


def test_linear_relu_has_the_second_derivatives_of_two_ops():
    arrays = [direction(s, i) for i, s in enumerate(((6, 5), (7, 5), (7,)))]
    found = []
    for op in (ops.linear_relu, two_ops):
        xs = [mg.Tensor(a).requires_grad_() for a in arrays]
        g = mg.Tensor(direction((6, 7), 3)).requires_grad_()
        gs = mg.grad(op(*xs), xs, g, create_graph=True)
        found.append([*gs, *mg.grad(sum((a * a).sum() for a in gs), [*xs, g], allow_unused=True)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13, atol=1e-13)
    assert found[0][-1].numpy().any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_relu_keeps_nan_and_has_no_negative_zero(dtype):
    x = np.array([[np.nan, 1], [np.inf, 1], [-np.inf, 1], [0, 0], [-2, 1]], dtype)
    w, b = np.array([[1, 0], [-1, 0]], dtype), np.array([-0.0, -0.0], dtype)
    want = np.array([[np.nan, np.nan], [np.inf, 0], [0, np.inf], [0, 0], [0, 2]], dtype)
    y = ops.linear_relu(x, w, b)
    assert same(y, want) and same(y, two_ops(x, w, b))
    assert same(ops.linear_relu(x[:, :0], w[:, :0], b), two_ops(x[:, :0], w[:, :0], b))
    t = mg.Tensor(x).requires_grad_()
    ops.linear_relu(t, w, b).backward(mg.Tensor(np.ones_like(want)))
    felt = (want > 0).astype(dtype) @ w  # nothing passes a NaN or a 0
    assert np.array_equal(t.grad.numpy(), felt)


def test_linear_relu_of_whole_numbers():
    x, w = integers((4, 3), 0, np.int64), integers((5, 3), 1, np.int64)
    assert np.array_equal(ops.linear_relu(x, w), np.maximum(x @ w.T, 0))


def test_linear_relu_keeps_its_output_and_no_sums():
    x, w = (mg.Tensor(direction(s, 0)).requires_grad_() for s in ((6, 5), (7, 5)))
    kept = dict(ops.linear_relu(x, w).node.kept_items())
    assert sorted(kept) == ["out", "w", "x"] and kept["out"].shape == (6, 7)


# -- bad input ------------------------------------------------------------------------------------


def test_matmul_says_which_sizes_differ():
    with pytest.raises(ShapeError, match=r"matmul: x has 3 columns but y has 4 rows \(x \(2, 3\)"):
        ops.matmul(np.ones((2, 3)), np.ones((4, 5)))
    with pytest.raises(ShapeError, match=r"matmul: the leading axes \(2,\) .* do not broadcast"):
        ops.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5)))
    with pytest.raises(ShapeError, match=r"matmul: x has shape \(\).*use \* to multiply"):
        ops.matmul(np.ones(()), np.ones(3))
    with pytest.raises(DTypeError, match=r"matmul: .*float32.*float64"):
        ops.matmul(np.ones((2, 2), np.float32), np.ones((2, 2)))
    with pytest.raises(DTypeError, match=r"matmul: x is float64 but y is int64"):
        ops.matmul(np.ones((2, 2)), np.ones((2, 2), int))


def test_linear_says_what_it_expects():
    with pytest.raises(ShapeError, match=r"linear: x has 4 features, w expects 3 .*pass w.T"):
        ops.linear(np.ones((2, 4)), np.ones((4, 3)))
    with pytest.raises(ShapeError, match=r"linear: w \(4, 3\) needs b of shape \(4,\), got \(3,\)"):
        ops.linear(np.ones((2, 3)), np.ones((4, 3)), np.ones(3))
    with pytest.raises(ShapeError, match=r"linear: expected x \(\.\., I\) and w \(O, I\)"):
        ops.linear(np.ones((2, 3)), np.ones(3))
    with pytest.raises(DTypeError, match=r"linear: x is float64 but w is int64"):
        ops.linear(np.ones((2, 3)), np.ones((4, 3), int))


@pytest.mark.parametrize(
    ("text", "shapes", "error", "message"),
    [
        ("ij,jk->ik", ((2, 3),), ArgError, "has 2 operands but 1 arrays were given"),
        ("ij,jk->ik", ((2, 3), (4, 5)), ShapeError, "axis 'j' .* has size 3 in one place and 4"),
        ("ij,jk->ik", ((2, 3, 4), (3, 4)), ShapeError, "'ij' .* names 2 axes, the array has 3"),
        ("ij->ik", ((2, 3),), ArgError, "must name each axis once"),
        ("ij->ii", ((2, 3),), ArgError, "must name each axis once"),
        ("i1->i", ((2, 3),), ArgError, "may hold letters"),
        ("ii->i", ((2, 3),), ShapeError, "axis 'i' .* has size 2 in one place and 3"),
        ("ii->i", ((1, 3),), ShapeError, "axis 'i'"),
    ],
)
def test_einsum_says_what_does_not_fit(text, shapes, error, message):
    with pytest.raises(error, match=f"einsum: .*{message}"):
        ops.einsum(*(np.ones(s) for s in shapes), subscripts=text)


def test_einsum_wants_text_and_one_dtype():
    with pytest.raises(TypeError, match="einsum: subscripts must be a string"):
        ops.einsum(np.ones(2), subscripts=3)
    with pytest.raises(DTypeError, match="einsum: x is float64 but y is int64"):
        ops.einsum(np.ones(2), np.ones(2, int), subscripts="i,i")


def test_tensordot_says_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"tensordot: axis 1 of x .* has 3, axis 0 of y .* has 4"):
        ops.tensordot(np.ones((2, 3)), np.ones((4, 5)), axes=1)
    for bad in (3, -1, ((0, 5), (0, 1)), ((0,), (0, 1))):
        with pytest.raises(ArgError, match="tensordot: axes"):
            ops.tensordot(np.ones((2, 3)), np.ones((2, 3)), axes=bad)
