"""What an op is: slots from signatures, errors in definitions, custom ops."""

from typing import ClassVar

import numpy as np
import pytest

import minigrad as mg
from minigrad._engine import Rule
from minigrad.errors import ArgError, DTypeError, GraphError
from minigrad.op import Op, registry, snake_case


class Scale(Op):
    """y = factor x."""

    def forward(x, *, factor):
        return x * factor

    def grad_x(gy, factor):
        return gy * factor


def test_on_arrays_an_op_just_computes():
    y = Scale.apply(np.ones(3), factor=2.0)
    assert type(y) is np.ndarray
    assert y.tolist() == [2.0, 2.0, 2.0]


def test_on_tensors_an_op_records_only_when_an_input_is_tracked():
    assert Scale.apply(mg.ones(3), factor=2.0).node is None
    assert Scale.apply(mg.ones(3, requires_grad=True), factor=2.0).node.name == "scale"


class Halve(Op, byproducts=("rest",)):
    """y = floor(x / 2), and what is left; `heard` is who computed."""

    heard: ClassVar[list[str]] = []

    def forward(x, *, twice=False):
        Halve.heard.append("forward")
        return x // 2, x % 2

    def forward_only(x, *, twice=False):
        Halve.heard.append("forward_only")
        return x // 2

    def grad_x(gy, rest):
        return gy * rest


def test_by_products_are_computed_for_those_who_want_them_only():
    x, leaf = mg.ones(3), mg.ones(3, requires_grad=True)
    calls = [
        (lambda: Halve.apply(x.data), "forward_only"),
        (lambda: Halve.apply(x, twice=True), "forward_only"),
        (lambda: Halve.apply.full(x)[0], "forward"),
        (lambda: Halve.apply.full(x.data)[0], "forward"),
        (lambda: Halve.apply(leaf), "forward"),
    ]
    for call, who in calls:
        Halve.heard.clear()
        assert np.asarray(call().data).tobytes() == np.zeros(3, np.float32).tobytes()
        assert Halve.heard == [who] or Rule.__module__ == "minigrad.reference.tape"
    Halve.heard.clear()
    with mg.no_grad():
        Halve.apply(leaf)
    assert Halve.heard == ["forward_only"] or Rule.__module__ == "minigrad.reference.tape"


def test_an_op_without_by_products_has_no_other_forward():
    two = {"forward": lambda x, *, a: (x, x), "forward_only": lambda x: x}
    with pytest.raises(ArgError, match="one signature"):
        type("Broken", (Op,), two, byproducts=("rest",))


def test_a_node_keeps_exactly_what_the_rules_of_tracked_inputs_name():
    x, w = mg.ones(3, requires_grad=True), mg.ones(3)
    assert [name for name, _ in (x * w).node.kept_items()] == ["y"]
    assert [name for name, _ in (w * x).node.kept_items()] == ["x"]
    assert (x + w).node.kept_items() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "define forward"),
        ({"forward": lambda x: x, "grad_y": lambda g: g}, "no input of that name"),
        ({"forward": lambda x: x, "grad_x": lambda g, q: g}, "asks for 'q'"),
        ({"forward": lambda x: x, "forward_only": lambda x: x}, "without its by-products"),
    ],
)
def test_a_definition_that_does_not_fit_is_refused(body, message):
    with pytest.raises(ArgError, match=message):
        type("Broken", (Op,), body)


def test_ops_are_not_instantiated():
    with pytest.raises(TypeError, match="apply"):
        Scale(np.ones(3))


def test_missing_and_unknown_arguments_name_the_op_and_its_inputs():
    with pytest.raises(TypeError, match=r"scale\(\) needs 'factor'"):
        Scale.apply(np.ones(3))
    with pytest.raises(TypeError, match=r"does not know 'scale'"):
        Scale.apply(np.ones(3), factor=1.0, scale=2.0)
    with pytest.raises(TypeError, match="positional"):
        Scale.apply(np.ones(3), np.ones(3), factor=1.0)


def test_a_rule_with_the_wrong_shape_or_dtype_is_caught_and_named():
    wrong = mg.custom_op(lambda x: x.sum(), lambda gy: gy, name="wrong")
    with pytest.raises(GraphError, match=r"wrong: the gradient of input 0 is \(\)"):
        wrong(mg.ones(3, requires_grad=True)).backward()
    narrow = mg.custom_op(lambda x: x * 1, lambda gy: gy.astype(np.float64), name="narrow")
    with pytest.raises(GraphError, match="float64"):
        narrow(mg.ones(3, requires_grad=True)).sum().backward()


def test_custom_op_counts_its_rules():
    with pytest.raises(ArgError, match="2 inputs"):
        mg.custom_op(lambda x, y: x + y, lambda gz: gz)


def test_custom_op_has_every_order_of_derivative():
    cube = mg.custom_op(lambda x: x * x * x, lambda gy, x: gy * (3.0 * x * x), name="cube")
    x = mg.tensor([2.0], requires_grad=True)
    (g,) = mg.grad(cube(x), x, create_graph=True)
    (h,) = mg.grad(g, x, create_graph=True)
    (t,) = mg.grad(h, x)
    assert (g.item(), h.item(), t.item()) == (12.0, 12.0, 6.0)


def test_an_error_in_a_custom_rule_arrives_unchanged_and_the_tape_survives():
    def explode(gy):
        raise KeyError("mine")

    bomb = mg.custom_op(lambda x: x * 1.0, explode, name="bomb")
    x = mg.ones(2, requires_grad=True)
    y = bomb(x * 2.0).sum()
    with pytest.raises(KeyError, match="mine"):
        y.backward()
    assert x.grad is None
    (x * 3.0).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    "value",
    [
        np.ones(2, np.float16),
        np.ones(2, np.complex128),
        np.ones(2, object),
        np.ma.ones(2),
        np.ones((1, 2)).view(np.matrix),
        "text",
        object(),
    ],
    ids=["float16", "complex", "object", "masked", "matrix", "str", "instance"],
)
def test_inputs_without_a_meaning_are_refused(value):
    with pytest.raises(DTypeError, match="scale"):
        Scale.apply(value, factor=1.0)


def test_float32_and_float64_do_not_mix():
    with pytest.raises(DTypeError, match=r"mul: inputs mix float32 and float64.*astype"):
        mg.ones(2) * mg.ones(2, dtype=np.float64)


def test_byte_swapped_and_misaligned_arrays_are_understood():
    swapped = np.arange(3.0).astype(">f8")
    assert Scale.apply(swapped, factor=2.0).tolist() == [0.0, 2.0, 4.0]
    raw = np.zeros(25, np.uint8)
    misaligned = raw[1:].view(np.float64)
    misaligned[:] = [1.0, 2.0, 3.0]
    assert (mg.tensor(misaligned) + misaligned).tolist() == [2.0, 4.0, 6.0]


def test_names_become_registry_names():
    assert snake_case("MaxPool2dGrad") == "max_pool2d_grad"
    assert all(name == op.spec.name for name, op in registry.items())
    assert "scale" not in registry
