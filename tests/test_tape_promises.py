"""Design: promises of the tape that only a planted fault had shown to be untested."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GraphError


def test_a_gradient_that_grew_since_it_was_used_is_noticed():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    w = mg.tensor([3.0, 5.0], requires_grad=True)
    (x * x).sum().backward()
    y = (x.grad * w).sum()  # keeps x.grad for w
    (x * x).sum().backward()  # adds to x.grad in place
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


def test_nothing_is_recorded_while_first_derivatives_are_played():
    seen = []
    x = mg.tensor([2.0], requires_grad=True)
    y = x * x
    y.register_hook(lambda g: seen.append((mg.is_grad_enabled(), (g * x).requires_grad)))
    y.sum().backward()
    assert seen == [(False, False)]
    assert mg.is_grad_enabled()


def test_everything_is_recorded_while_a_graph_of_the_gradient_is_made():
    seen = []
    x = mg.tensor([2.0], requires_grad=True)
    y = x * x
    y.register_hook(lambda g: seen.append((mg.is_grad_enabled(), (g * x).requires_grad)))
    mg.grad(y, x, create_graph=True)
    assert seen == [(True, True)]


def test_an_input_without_a_rule_is_no_parent():
    x = mg.Tensor(np.ones((2, 3))).requires_grad_()
    weight = mg.Tensor(np.ones(3)).requires_grad_()
    labels = np.array([0, 2])
    mg.ops.cross_entropy(x, labels, weight).sum().backward()
    assert x.grad is not None and weight.grad is None
