"""Design: cases of the ops that work element by element, and of those that choose."""

from __future__ import annotations

import numpy as np

from tests.registry.draws import (
    EMPTY,
    JUMPS,
    LINEAR,
    PIECEWISE,
    Fresh,
    expand,
    f,
    pos,
    unit,
)

MASK = np.array([[True, False, True], [False, False, True]])
BITS = np.array([0b01101001, 0b11010110, 0b00101110, 0b10011010, 0b11100001, 0b00010111], np.uint8)
TWO = [(f(2, 3), f(2, 3)), (f(4, 2, 3), f(2, 1)), (f(3), f()), (f(2, 3), 1.25), (0.75, f(2, 3))]
SIX = [f(5), f(2, 3), f(2, 3, 4), f()]


def generator() -> Fresh:
    from minigrad import Generator

    return Fresh(lambda: Generator(5))


CASES = [
    *expand("add", *TWO, kind=LINEAR),
    *expand("sub", *TWO, kind=LINEAR),
    *expand("mul", *TWO, kind=LINEAR),
    *expand("div", (f(2, 3), pos(2, 3)), (f(4, 2, 3), pos(2, 1)), (2.0, pos(3)), (f(3), 2.0)),
    *expand("neg", *SIX, kind=LINEAR),
    *expand("pow", (pos(2, 3), f(2, 3)), (pos(4, 2, 3), f(2, 1)), (2.0, f(3))),
    *expand("pow", (f(2, 3), 2.0), (pos(2, 3), 3), (pos(5), 0.5), (pos(5), -1.5), (f(4), 1.0)),
    *expand("exp", *SIX),
    *expand("log", pos(5), pos(2, 3)),
    *expand("sqrt", pos(5), pos(2, 3)),
    *expand("abs", *SIX, kind=PIECEWISE),
    *expand("sign", *SIX, kind=JUMPS, zero=("x",)),
    *expand("sin", *SIX),
    *expand("cos", *SIX),
    *expand("tanh", *SIX),
    *expand("tanh_grad", (f(2, 3), f(2, 3)), (f(5), f(5))),
    *expand("sigmoid", *SIX),
    *expand("relu", *SIX, f(3, 17), kind=PIECEWISE),
    *expand("relu_grad", (f(2, 3), f(2, 3)), (f(5), f(5)), kind=PIECEWISE, zero=("z",), nan="felt"),
    *expand("leaky_relu", f(5), (f(2, 3), {"negative_slope": 0.25}), kind=PIECEWISE),
    *expand("elu", f(5), (f(2, 3), {"alpha": 0.5})),
    *expand("softplus", f(5), (f(2, 12), {"beta": 4.0, "threshold": 1.0})),
    *expand("erf", f(5), f(3, 50)),
    *expand("gelu", f(5), (f(2, 3), {"approximate": "tanh"}), f(2, 3)),
    *expand("where", (MASK, f(2, 3), f(2, 3)), (MASK, f(2, 3), 0.0), kind=LINEAR, nan="felt"),
    *expand("where", (MASK, 0.0, f(2, 3)), (MASK, f(3), f(2, 1)), kind=LINEAR, nan="felt"),
    *expand("maximum", (f(2, 3), f(2, 3)), (f(4, 2, 3), f(2, 1)), (f(7), 0.0), kind=PIECEWISE),
    *expand("minimum", (f(2, 3), f(2, 3)), (f(4, 2, 3), f(2, 1)), (f(7), 0.0), kind=PIECEWISE),
    *expand("clip", (f(2, 12), {"min": -0.25, "max": 0.25}), (f(7), {"min": 0.0}), kind=PIECEWISE),
    *expand("clip", (f(7), {"max": 0.0}), kind=PIECEWISE),
    *expand("astype", (f(2, 3), {"dtype": np.float64}), kind=LINEAR),
    *expand("astype", (f(2, 3), {"dtype": np.float32}), kind=JUMPS),
    *expand("mse_loss", (f(2, 3), f(2, 3)), (f(5), f(5))),
    *expand("l1_loss", (f(2, 3), f(2, 3)), (f(5), f(5)), kind=PIECEWISE),
    # every difference is a multiple of 2^-5, so it is 2^-6 away from these betas, or below 1
    *expand("smooth_l1_loss", (f(2, 3), f(2, 3)), (f(9), f(9), {"beta": 9 / 64})),
    *expand("binary_cross_entropy_with_logits", (f(2, 3), unit(2, 3)), (f(5), unit(5))),
    *expand("dropout", (f(4, 6), {"generator": generator()}), kind=LINEAR, nan="felt"),
    *expand("dropout", (f(5, 7), {"p": 0.25, "generator": generator()}), kind=LINEAR, nan="felt"),
    *expand("dropout", (f(5), {"p": 0.0, "generator": generator()}), kind=LINEAR),
    *expand("dropout", (f(2, 8, 3, 5), {"generator": generator()}), (f(3, 3, 2, 3), {"p": 0.25,
            "generator": generator()}), (f(), {"generator": generator()}), kind=LINEAR, nan="felt"),
    *expand("dropout_grad", (f(4, 9), BITS[:5], {"p": 0.5}), (f(2, 3, 2, 4), BITS, {"p": 0.25,
            "channels_last": True}), (f(5), BITS[:1], {"p": 0.0}), kind=LINEAR, nan="felt"),
    *expand("dropout2d", (f(3, 4, 2, 5), {"generator": generator()}), kind=LINEAR, nan="felt"),
    *expand("dropout2d", (f(2, 9, 1, 3), {"p": 0.25, "generator": generator()}), kind=LINEAR,
            nan="felt"),
    *expand("masked_scale", (f(2, 3), MASK, {"p": 0.5}), kind=LINEAR, nan="felt"),
]  # fmt: skip

PAIRS = ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "relu_grad", "tanh_grad",
         "mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits")  # fmt: skip
SINGLE = ("neg", "exp", "log", "sqrt", "abs", "sign", "sin", "cos", "tanh", "sigmoid", "relu",
          "leaky_relu", "elu", "softplus", "erf", "gelu")  # fmt: skip

CASES += [
    *(c for op in PAIRS for c in expand(op, (f(0, 3), f(0, 3)), kind=EMPTY)),
    *(c for op in SINGLE for c in expand(op, f(0, 3), f(2, 0), kind=EMPTY)),
    *expand("where", (np.zeros((0, 3), bool), f(0, 3), f(0, 3)), kind=EMPTY),
    *expand("clip", (f(0, 3), {"min": 0.0}), kind=EMPTY),
    *expand("astype", (f(0, 3), {"dtype": np.float64}), kind=EMPTY),
    *expand("dropout", (f(0, 3), {"generator": generator()}), kind=EMPTY),
    *expand("dropout_grad", (f(0, 3), BITS[:0], {"p": 0.5}), kind=EMPTY),
    *expand("dropout2d", (f(0, 3, 4, 5), {"generator": generator()}), kind=EMPTY),
    *expand("masked_scale", (f(0, 3), np.zeros((0, 3), bool), {"p": 0.5}), kind=EMPTY),
]
