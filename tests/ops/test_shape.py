"""Design: rearranging arrays, joining and cutting them, moving elements. All are linear, so the
gradient is the adjoint: <A x, g> = <x, A^T g>, exact on integers. Inverse pairs give the gradient
back bitwise. The general demands are in `checks.py`."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.errors import ArgError, DTypeError, ShapeError
from tests.ops.checks import CHECKS, Case

X = (2, 3, 4)

LINEAR = [
    ("reshape", lambda x: ops.reshape(x, shape=(4, 6)), (X,)),
    ("reshape -1", lambda x: ops.reshape(x, shape=(3, -1)), (X,)),
    ("flatten", lambda x: ops.flatten(x), (X,)),
    ("flatten 1", lambda x: ops.flatten(x, start_dim=1), (X,)),
    ("flatten 0 1", lambda x: ops.flatten(x, end_dim=-2), (X,)),
    ("transpose", lambda x: ops.transpose(x), (X,)),
    ("transpose axes", lambda x: ops.transpose(x, axes=(1, -1, 0)), (X,)),
    ("permute", lambda x: ops.permute(x, axes=(2, 0, 1)), (X,)),
    ("swapaxes", lambda x: ops.swapaxes(x, axis1=0, axis2=-1), (X,)),
    ("expand_dims", lambda x: ops.expand_dims(x, axis=1), (X,)),
    ("expand_dims two", lambda x: ops.expand_dims(x, axis=(0, -1)), (X,)),
    ("squeeze", lambda x: ops.squeeze(x), ((2, 1, 3, 1),)),
    ("squeeze one", lambda x: ops.squeeze(x, axis=1), ((2, 1, 3, 1),)),
    ("broadcast_to", lambda x: ops.broadcast_to(x, shape=(5, 2, 4, 3)), ((2, 1, 3),)),
    ("broadcast_to 0-d", lambda x: ops.broadcast_to(x, shape=(2, 3)), ((),)),
    ("sum_to", lambda x: ops.sum_to(x, shape=(3, 1)), (X,)),
    ("sum_to ()", lambda x: ops.sum_to(x, shape=()), (X,)),
    ("clone", lambda x: ops.clone(x), (X,)),
    ("flip", lambda x: ops.flip(x), (X,)),
    ("flip two", lambda x: ops.flip(x, axis=(0, -1)), (X,)),
    ("roll", lambda x: ops.roll(x, shift=5), (X,)),
    ("roll axis", lambda x: ops.roll(x, shift=-1, axis=1), (X,)),
    ("roll axes", lambda x: ops.roll(x, shift=(1, 2), axis=(0, 2)), (X,)),
    ("repeat", lambda x: ops.repeat(x, repeats=2), (X,)),
    ("repeat axis", lambda x: ops.repeat(x, repeats=3, axis=-2), (X,)),
    ("repeat counts", lambda x: ops.repeat(x, repeats=(2, 0, 1), axis=1), (X,)),
    ("concat", lambda x, y: ops.concat(x, y), ((2, 3), (4, 3))),
    ("concat three", lambda x, y, z: ops.concat(x, y, z, axis=-1), ((2, 3), (2, 1), (2, 2))),
    ("concat twice", lambda x: ops.concat(x, x, axis=1), ((2, 3),)),
    ("stack", lambda x, y: ops.stack(x, y), ((2, 3), (2, 3))),
    ("stack last", lambda x, y: ops.stack(x, y, axis=-1), ((2, 3), (2, 3))),
    ("pad", lambda x: ops.pad(x, pad_width=((1, 2), (0, 3))), ((2, 3),)),
    ("pad value", lambda x: ops.pad(x, pad_width=((0, 0), (2, 0)), value=7.0), ((2, 3),)),
    *(
        (f"pad {mode}", lambda x, m=mode: ops.pad(x, pad_width=((1, 2), (4, 3)), mode=m), ((3, 4),))
        for mode in ("edge", "reflect", "symmetric", "wrap")
    ),
    ("split", lambda x: ops.split(x, 2, axis=2)[1], (X,)),
    ("split at", lambda x: ops.concat(*ops.split(x, (1, 3), axis=2)[::-1], axis=2), (X,)),
]
CASES = [
    Case(name, call, shapes, flat=True, tol=1e-10, ulps=8 * ("to" in name))
    for name, call, shapes in LINEAR
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_rules_are_derivatives(case, check):
    check(case)


def integers(shape, seed):
    return np.asarray(np.random.default_rng(seed).integers(-3, 4, shape), np.float64)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_gradient_is_the_adjoint_exactly(case):
    arrays = [integers(s, i) for i, s in enumerate(case.shapes)]
    xs = [mg.Tensor(a).requires_grad_() for a in arrays]
    y = case.call(*xs)
    zero = case.call(*[mg.Tensor(np.zeros_like(a)) for a in arrays])  # pad may add a value
    g = integers(y.shape, 9)
    y.backward(mg.Tensor(g))
    ax = ((y.numpy() - zero.numpy()) * g).sum()
    assert ax == sum((a * x.grad.numpy()).sum() for a, x in zip(arrays, xs, strict=True))


NUMPY = [
    (lambda x: ops.flip(x, axis=1), lambda x: np.flip(x, 1)),
    (lambda x: ops.roll(x, shift=2, axis=2), lambda x: np.roll(x, 2, 2)),
    (lambda x: ops.repeat(x, repeats=2, axis=1), lambda x: np.repeat(x, 2, 1)),
    (lambda x: ops.transpose(x, axes=(1, 2, 0)), lambda x: np.transpose(x, (1, 2, 0))),
    (lambda x: ops.expand_dims(x, axis=(0, 2)), lambda x: np.expand_dims(x, (0, 2))),
    (lambda x: ops.split(x, (1, 2), axis=1)[1], lambda x: np.split(x, (1, 2), 1)[1]),
    (lambda x: ops.stack(x, x, axis=1), lambda x: np.stack([x, x], 1)),
    *(
        (
            lambda x, m=mode: ops.pad(x, pad_width=((1, 2), (0, 3), (2, 1)), mode=m),
            lambda x, m=mode: np.pad(x, ((1, 2), (0, 3), (2, 1)), m),
        )
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
    ),
]


@pytest.mark.parametrize(("ours", "numpys"), NUMPY)
def test_same_as_numpy(ours, numpys):
    x = integers(X, 3)
    assert np.array_equal(ours(x), numpys(x))


@pytest.mark.parametrize(
    "there_and_back",
    [
        lambda x: x.reshape(6, 4).reshape(2, 3, 4),
        lambda x: x.transpose(2, 0, 1).transpose(1, 2, 0),
        lambda x: ops.pad(x, pad_width=((1, 1),) * 3)[1:-1, 1:-1, 1:-1],
        lambda x: ops.concat(*ops.split(x, 3, axis=1), axis=1),
        lambda x: ops.roll(ops.roll(x, shift=3, axis=2), shift=-3, axis=2),
        lambda x: ops.flip(ops.flip(x)),
        lambda x: ops.squeeze(ops.expand_dims(x, axis=1), axis=1),
        lambda x: ops.stack(x, x)[1],
    ],
)
def test_there_and_back_gives_the_gradient_back_bitwise(there_and_back):
    x = mg.Tensor(integers(X, 1)).requires_grad_()
    g = np.random.default_rng(2).normal(size=X)
    y = there_and_back(x)
    y.backward(mg.Tensor(g))
    assert np.array_equal(y.numpy(), x.numpy()) and np.array_equal(x.grad.numpy(), g)


def test_rearranging_ops_return_views():
    x = np.ones(X)
    for y in (
        ops.reshape(x, shape=(6, 4)), ops.transpose(x), ops.swapaxes(x, axis1=0, axis2=1),
        ops.broadcast_to(x, shape=(2, *X)), ops.flip(x), ops.split(x, 2)[0],
    ):  # fmt: skip
        assert np.shares_memory(x, y)
    assert not np.shares_memory(x, ops.clone(x))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_empty_arrays_pass_through(shape):
    x = mg.Tensor(np.ones(shape)).requires_grad_()
    parts = [x.reshape(shape[::-1]), ops.concat(x, x), ops.stack(x, x), ops.flip(x), x.clone()]
    parts += [ops.pad(x, pad_width=((1, 0),) * len(shape)), ops.repeat(x, repeats=2, axis=0)]
    parts += [ops.roll(x, shift=1), ops.flatten(x), ops.broadcast_to(x, shape=(2, *shape))]
    sum((p.sum() for p in parts), mg.Tensor(np.zeros(()))).backward()
    assert x.grad.shape == shape


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 5), r"reshape: x has 24 elements, shape \(2, 3, 4\); \(5, 5\) has 25"),
        ((-1, -1), r"reshape: x has 24 elements.*only one -1"),
        ((5, -1), r"reshape: .*-1 in \(5, -1\) has no solution: the other sizes multiply to 5"),
        ((0, -1), r"reshape: .*-1 in \(0, -1\) could be any size"),
        ((-2, 12), r"reshape: .*sizes must be at least 0"),
        ((2**62, 2**62), r"reshape: x has 24 elements"),
        ((2**64,), r"reshape: x has 24 elements"),
    ],
)
def test_reshape_says_what_does_not_fit(shape, message):
    with pytest.raises(ShapeError, match=message):
        ops.reshape(np.ones(X), shape=shape)


def test_reshape_of_nothing_needs_explicit_sizes():
    with pytest.raises(ShapeError, match="could be any size"):
        ops.reshape(np.ones((0, 3)), shape=(0, -1))
    assert ops.reshape(np.ones((0, 4)), shape=(-1, 2)).shape == (0, 2)


AXIS = [
    ("flatten", lambda x, a: ops.flatten(x, start_dim=a)),
    ("swapaxes", lambda x, a: ops.swapaxes(x, axis1=0, axis2=a)),
    ("squeeze", lambda x, a: ops.squeeze(x, axis=a)),
    ("flip", lambda x, a: ops.flip(x, axis=a)),
    ("roll", lambda x, a: ops.roll(x, shift=1, axis=a)),
    ("repeat", lambda x, a: ops.repeat(x, repeats=2, axis=a)),
    ("concat", lambda x, a: ops.concat(x, x, axis=a)),
    ("split", lambda x, a: ops.split(x, 1, axis=a)[0]),
]


@pytest.mark.parametrize(("name", "call"), AXIS)
def test_an_axis_out_of_range_names_the_op_and_the_shape(name, call):
    for axis in (3, -4):
        with pytest.raises(ArgError, match=rf"{name}: axis {axis} is out of range.*\(2, 3, 4\)"):
            call(np.ones(X), axis)


def test_new_axes_out_of_range():
    with pytest.raises(ArgError, match=r"expand_dims: axis 4 is out of range"):
        ops.expand_dims(np.ones(X), axis=4)
    with pytest.raises(ArgError, match=r"stack: axis 4 is out of range"):
        ops.stack(np.ones(X), np.ones(X), axis=4)


def test_axes_of_the_wrong_kind():
    for call in (lambda a: ops.flip(np.ones(X), axis=a), lambda a: ops.concat(np.ones(X), axis=a)):
        with pytest.raises(TypeError, match="axis must be an int"):
            call(1.5)


def test_transpose_wants_each_axis_once():
    for axes in ((0, 1), (0, 0, 1), (0, 1, 3)):
        with pytest.raises(ArgError, match=r"transpose: axes .* name each of 0 to 2 once"):
            ops.transpose(np.ones(X), axes=axes)


def test_flatten_wants_its_ends_in_order():
    with pytest.raises(ArgError, match="flatten: start_dim 2 lies after end_dim 1"):
        ops.flatten(np.ones(X), start_dim=2, end_dim=1)


def test_squeeze_of_a_longer_axis():
    with pytest.raises(ShapeError, match=r"squeeze: x has shape \(2, 3, 4\); axis 1 is not"):
        ops.squeeze(np.ones(X), axis=1)


def test_broadcast_to_a_shape_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"broadcast_to: x of shape \(2, 3, 4\).*\(2, 3, 5\)"):
        ops.broadcast_to(np.ones(X), shape=(2, 3, 5))
    with pytest.raises(ShapeError, match="sum_to"):
        ops.sum_to(np.ones(X), shape=(2, 3))


def test_concat_and_stack_refuse_what_does_not_fit():
    with pytest.raises(ArgError, match="concat: no arrays were given"):
        ops.concat()
    with pytest.raises(ArgError, match="stack: no arrays were given"):
        ops.stack()
    with pytest.raises(ShapeError, match=r"concat: .*axis 1 has 3 in array 0 .* and 5 in array 1"):
        ops.concat(np.ones((2, 3)), np.ones((2, 5)))
    with pytest.raises(ShapeError, match=r"concat: array 0 has 2 axes .*array 1 has 1 "):
        ops.concat(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ShapeError, match=r"stack: all shapes must be equal"):
        ops.stack(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ShapeError, match=r"concat: arrays without axes"):
        ops.concat(np.ones(()), np.ones(()))
    with pytest.raises(DTypeError, match=r"concat.*float32.*float64"):
        ops.concat(np.ones(2), np.ones(2, np.float32))
    with pytest.raises(DTypeError, match=r"stack: array 0 is float64 but array 1 is int64"):
        ops.stack(np.ones(2), np.ones(2, int))


def test_pad_refuses_what_it_cannot_do():
    with pytest.raises(ShapeError, match=r"pad: x of shape \(2, 3\) needs pad_width with 2"):
        ops.pad(np.ones((2, 3)), pad_width=((1, 1),))
    with pytest.raises(ArgError, match=r"pad: widths must be whole and at least 0"):
        ops.pad(np.ones((2, 3)), pad_width=((1, -1), (0, 0)))
    with pytest.raises(ArgError, match=r"pad: mode 'mirror' is unknown"):
        ops.pad(np.ones((2, 3)), pad_width=((1, 1), (0, 0)), mode="mirror")
    with pytest.raises(ShapeError, match=r"pad: mode 'edge' has nothing to copy"):
        ops.pad(np.ones((0, 3)), pad_width=((1, 1), (0, 0)), mode="edge")


def test_split_and_repeat_refuse_what_does_not_divide():
    with pytest.raises(ShapeError, match=r"split: axis 1 .* has size 3, not divisible into 2"):
        ops.split(np.ones(X), 2, axis=1)
    with pytest.raises(ArgError, match=r"split: sections must be at least 1, got 0"):
        ops.split(np.ones(X), 0)
    with pytest.raises(ArgError, match=r"repeat: repeats -1 does not fit"):
        ops.repeat(np.ones(X), repeats=-1)
    with pytest.raises(ArgError, match=r"repeat: repeats \(1, 2\) does not fit axis 1"):
        ops.repeat(np.ones(X), repeats=(1, 2), axis=1)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("reshape: shape", lambda x: ops.reshape(x, shape=(2.0, 12))),
        ("reshape: shape", lambda x: ops.reshape(x, shape=None)),
        ("flatten: axis", lambda x: ops.flatten(x, start_dim=0.5)),
        ("squeeze: axis", lambda x: ops.squeeze(x, axis=1.0)),
        ("swapaxes: axis", lambda x: ops.swapaxes(x, axis1="a", axis2=0)),
        ("repeat: repeats", lambda x: ops.repeat(x, repeats=1.5)),
        ("roll: shift", lambda x: ops.roll(x, shift=1.5)),
        ("split: sections", lambda x: ops.split(x, 2.0)),
        ("split: sections", lambda x: ops.split(x, "a")),
    ],
)
def test_an_argument_of_the_wrong_kind_is_a_type_error(name, call):
    with pytest.raises(TypeError, match=f"{name}.* must be an int"):
        call(np.ones(X))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("pad", lambda x: ops.pad(x, pad_width=((2**62, 0),))),
        ("pad", lambda x: ops.pad(x, pad_width=((2**70, 0),), mode="reflect")),
        ("broadcast_to", lambda x: ops.broadcast_to(x, shape=(2**40, 2**40, 3))),
        ("outer", lambda x: ops.outer(*[np.broadcast_to(1.0, 2**31)] * 2)),
    ],
)
def test_a_size_that_overflows_is_found_before_memory_is_asked_for(name, call):
    with pytest.raises(ShapeError, match=f"{name}: .*overflows"):
        call(np.ones(3))


def test_a_size_that_no_machine_has_is_a_memory_error():
    with pytest.raises(MemoryError):
        ops.repeat(np.ones(3), repeats=2**45)
