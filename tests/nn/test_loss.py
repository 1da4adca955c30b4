"""Design: losses on numbers small enough to do by hand, with each reduction and option passed
through."""

import math

import numpy as np
import pytest

from minigrad import nn
from minigrad.tensor import Tensor


def tensor(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype))


LOG = math.log
X = tensor(
    [LOG(1), LOG(2), LOG(5)], [LOG(6), LOG(3), LOG(1)]
)  # probabilities 1/8 2/8 5/8; 6/10 3/10 1/10
Y = tensor(2, 1, dtype=np.int64)
A, B = tensor([1.0, -2.0], [0.5, 3.0]), tensor([0.0, 1.0], [0.0, 3.0])  # differences 1 -3 0.5 0

NONE = "none"
CASES = {
    "cross entropy": (nn.CrossEntropyLoss(), (X, Y), -(LOG(5 / 8) + LOG(3 / 10)) / 2),
    "cross entropy sum": (nn.CrossEntropyLoss(reduction="sum"), (X, Y), -LOG(5 / 8) - LOG(3 / 10)),
    "cross entropy none": (
        nn.CrossEntropyLoss(reduction=NONE),
        (X, Y),
        [-LOG(5 / 8), -LOG(3 / 10)],
    ),
    "cross entropy weight": (
        nn.CrossEntropyLoss(tensor(1.0, 2.0, 6.0)),
        (X, Y),
        -(6 * LOG(5 / 8) + 2 * LOG(3 / 10)) / 8,
    ),
    "cross entropy ignore": (nn.CrossEntropyLoss(ignore_index=1), (X, Y), -LOG(5 / 8)),
    "cross entropy smooth": (
        nn.CrossEntropyLoss(label_smoothing=0.3, reduction=NONE),
        (X, Y),
        [-(0.8 * LOG(5 / 8) + 0.1 * LOG(1 / 8) + 0.1 * LOG(2 / 8)),
         -(0.8 * LOG(3 / 10) + 0.1 * LOG(6 / 10) + 0.1 * LOG(1 / 10))],
    ),
    "cross entropy probabilities": (
        nn.CrossEntropyLoss(),
        (X, tensor([0.5, 0.5, 0.0], [0.0, 0.0, 1.0])),
        -(0.5 * LOG(1 / 8) + 0.5 * LOG(2 / 8) + LOG(1 / 10)) / 2,
    ),
    "nll": (nn.NLLLoss(), (X, Y), -(LOG(5) + LOG(3)) / 2),
    "nll ignore": (nn.NLLLoss(ignore_index=2), (X, Y), -LOG(3)),
    "nll weight": (
        nn.NLLLoss(tensor(1.0, 2.0, 6.0), reduction="sum"),
        (X, Y),
        -(6 * LOG(5) + 2 * LOG(3)),
    ),
    "mse": (nn.MSELoss(), (A, B), (1 + 9 + 0.25) / 4),
    "mse none": (nn.MSELoss(reduction=NONE), (A, B), [[1, 9], [0.25, 0]]),
    "l1": (nn.L1Loss(reduction="sum"), (A, B), 4.5),
    "smooth l1": (nn.SmoothL1Loss(reduction=NONE), (A, B), [[0.5, 2.5], [0.125, 0]]),
    "smooth l1 beta": (
        nn.SmoothL1Loss(beta=2.0, reduction=NONE),
        (A, B),
        [[0.25, 2], [0.0625, 0]],
    ),
    "bce": (nn.BCEWithLogitsLoss(), (tensor(0.0, LOG(3)), tensor(1.0, 0.0)), (LOG(2) + LOG(4)) / 2),
    "bce weights": (
        nn.BCEWithLogitsLoss(tensor(1.0, 10.0), pos_weight=tensor(3.0, 3.0), reduction="sum"),
        (tensor(0.0, LOG(3)), tensor(1.0, 0.0)),
        3 * LOG(2) + 10 * LOG(4),
    ),
    "bce far": (
        nn.BCEWithLogitsLoss(reduction=NONE),
        (tensor(-800.0, 800.0), tensor(1.0, 1.0)),
        [800, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_loss_is_the_number_worked_out_by_hand(name):
    loss, inputs, expected = CASES[name]
    np.testing.assert_allclose(loss(*inputs).data, expected, rtol=1e-12, atol=1e-15)


def test_weights_are_part_of_the_state_as_in_pytorch():
    assert list(nn.CrossEntropyLoss(tensor(1.0, 2.0)).state_dict()) == ["weight"]
    assert nn.CrossEntropyLoss().state_dict() == {}


def test_repr_shows_what_is_not_the_default():
    assert repr(nn.MSELoss()) == "MSELoss()"
    assert repr(nn.L1Loss(reduction="sum")) == "L1Loss(reduction='sum')"
