"""Design: cases of the ops of networks: convolution, pooling, normalization, softmax and losses.

Geometry is chosen so that no two sizes of a case are equal where a mix-up could hide, and rows and
columns differ in stride, padding and dilation. Channels are below, at and above a vector.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tests.registry.draws import EMPTY, LINEAR, PIECEWISE, Case, expand, f, pos

GEOMETRIES = [  # x, w, constants
    ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    ((1, 3, 7, 5), (2, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0, 2, 1)}),
    ((2, 1, 6, 8), (3, 1, 2, 3), {"dilation": (3, 2), "padding": (2, 2, 0, 0)}),
    ((2, 4, 5, 3), (6, 2, 2, 3), {"groups": 2, "padding": (0, 1, 1, 1)}),
    ((1, 3, 5, 6), (6, 1, 3, 2), {"groups": 3, "stride": (1, 2), "padding": (1, 1, 0, 1)}),
    ((2, 5, 3, 4), (7, 5, 1, 1), {"stride": (2, 3)}),
    ((1, 9, 4, 3), (17, 9, 3, 3), {"padding": (1, 1, 1, 1)}),
    ((1, 17, 5, 4), (17, 1, 3, 3), {"padding": (1, 1, 1, 1), "groups": 17}),
]


PADDED = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
STRIDED = ((2, 1), (1, 0, 0, 1), (1, 2), 2)
PLAIN = ((1, 1), (0, 0, 0, 0), (1, 1), 1)


def output(x: tuple[int, ...], w: tuple[int, ...], k: dict[str, Any]) -> tuple[int, int]:
    """(P, Q) of a window over x."""
    (sh, sw), (dh, dw) = k.get("stride", (1, 1)), k.get("dilation", (1, 1))
    top, bottom, left, right = k.get("padding", (0, 0, 0, 0))
    p = (x[2] + top + bottom - dh * (w[2] - 1) - 1) // sh + 1
    return p, (x[3] + left + right - dw * (w[3] - 1) - 1) // sw + 1


def convolutions(kind: str, geometries: Any) -> list[Case]:
    found = []
    for x, w, k in geometries:
        gy = (x[0], w[0], *output(x, w, k))
        shared = {"kind": kind, "nan": "felt"}  # a stride may step over the last pixels
        found += [
            *expand("conv2d", (f(*x), f(*w), f(w[0]), k), **shared),
            *expand("conv2d_grad_x", (f(*gy), f(*w), {"x_shape": x, **k}), **shared),
            *expand("conv2d_grad_w", (f(*gy), f(*x), {"w_shape": w, **k}), **shared),
            *expand("conv2d_grad_b", f(*gy), kind=kind),
            *expand("conv_transpose2d", (f(*gy), f(*w), f(x[1]), k), **shared),
        ]
    return found


WINDOWS = [  # x, constants
    ((2, 3, 6, 4), {"kernel": (2, 3), "stride": (2, 1)}),
    ((1, 3, 5, 7), {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0, 0, 1)}),
    ((2, 9, 4, 5), {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 0)}),
]
DILATED = [
    ((1, 2, 7, 8), {"kernel": (2, 3), "stride": (1, 2), "dilation": (3, 2)}),
    ((2, 1, 6, 7), {"kernel": (2, 2), "stride": (2, 3), "padding": (0, 1, 1, 0),
                    "dilation": (2, 1)}),
]  # fmt: skip
CEIL = ((1, 3, 6, 5), {"kernel": (3, 2), "stride": (2, 2), "ceil_mode": True})


@lru_cache
def winners(x: tuple[int, ...], *constants: Any) -> np.ndarray:
    """The argmax of some max_pool2d."""
    from minigrad.ops.pool import max_pool2d

    values = np.random.default_rng(0).permutation(int(np.prod(x))).reshape(x) / 8.0
    return max_pool2d.full(values, **dict(constants))[1]


def pools() -> list[Case]:
    found = []
    for x, k in [*WINDOWS, *DILATED, CEIL]:
        both = (f(*x), k), (f(*x), {**k, "relu": True})
        found += expand("max_pool2d", *both, kind=PIECEWISE, nan="felt")
        argmax = winners(x, *k.items())
        k = {a: b for a, b in k.items() if a != "ceil_mode"}
        gy = f(*argmax.shape)
        found += [
            *expand("max_pool2d_grad", (gy, argmax, {"x_shape": x, **k}), kind=LINEAR),
            *expand("max_pool2d_gather", (f(*x), argmax, k), kind=LINEAR, nan="felt"),
        ]
    averages = [
        *WINDOWS,
        *[(x, {**k, "count_include_pad": False}) for x, k in WINDOWS],
        (WINDOWS[1][0], {**WINDOWS[1][1], "divisor": 5}),
        CEIL,
    ]
    for x, k in averages:
        found += expand("avg_pool2d", (f(*x), k), kind=LINEAR, nan="felt")
        from minigrad.ops.pool import avg_pool2d

        found += expand("tanh_avg_pool2d", (f(*x), k), nan="felt")
        gy = avg_pool2d(np.zeros(x), **k).shape
        found += expand("avg_pool2d_grad", (f(*gy), {"x_shape": x, **k}), kind=LINEAR)
    return found


def empty_pools() -> list[Case]:
    x, k = (0, 3, 6, 4), WINDOWS[0][1]
    argmax = np.zeros((0, 3, 3, 2), np.uint8)
    return [
        *expand("max_pool2d", (f(*x), k), kind=EMPTY),
        *expand("max_pool2d_grad", (f(0, 3, 3, 2), argmax, {"x_shape": x, **k}), kind=EMPTY),
        *expand("max_pool2d_gather", (f(*x), argmax, k), kind=EMPTY),
        *expand("avg_pool2d", (f(*x), k), kind=EMPTY),
        *expand("avg_pool2d_grad", (f(0, 3, 3, 2), {"x_shape": x, **k}), kind=EMPTY),
        *expand("tanh_avg_pool2d", (f(*x), k), kind=EMPTY),
        *expand("adaptive_avg_pool2d", (f(*x), {"output": (2, 3)}), kind=EMPTY),
        *expand("adaptive_avg_pool2d_grad", (f(0, 3, 2, 3), {"x_shape": x}), kind=EMPTY),
        *expand("global_avg_pool2d", f(*x), kind=EMPTY),
        *expand("global_avg_pool2d_grad", (f(0, 3, 1, 1), {"x_shape": x}), kind=EMPTY),
    ]


BINS = [
    *expand("adaptive_avg_pool2d", (f(2, 3, 7, 5), {"output": (3, 2)}),
            (f(1, 3, 2, 4), {"output": (5, 4)}), (f(2, 9, 4, 6), {"output": (2, 3)}), kind=LINEAR),
    *expand("adaptive_avg_pool2d_grad", (f(2, 3, 3, 2), {"x_shape": (2, 3, 7, 5)}),
            (f(1, 3, 5, 4), {"x_shape": (1, 3, 2, 4)}), kind=LINEAR),
    *expand("global_avg_pool2d", f(2, 3, 4, 5), f(3, 9, 1, 2), kind=LINEAR),
    *expand("global_avg_pool2d_grad", (f(2, 3, 1, 1), {"x_shape": (2, 3, 4, 5)}), kind=LINEAR),
]  # fmt: skip

E = {"eps": 0.125}
R = {"eps": 0.125, "relu": True}
IMAGE = (2, 3, 4, 5)
PAST = ("mean", "var")  # statistics of the past: constants of the op
NORMS = [
    *expand("batch_norm", (f(6, 4), f(4), f(4), E), (f(5, 3), E), (f(*IMAGE), f(3), f(3), E),
            (f(*IMAGE), f(3), f(3), R), (f(*IMAGE), f(3), f(3), f(*IMAGE), E),
            (f(*IMAGE), f(3), f(3), f(*IMAGE), R), (f(*IMAGE), None, None, f(*IMAGE), R),
            (f(3, 9, 2, 4), f(9), None, E), (f(3, 17, 2, 4), None, f(17), R)),
    *expand("batch_norm_inference", (f(6, 4), f(4), pos(4), f(4), f(4), E),
            (f(5, 3), f(3), pos(3), E), (f(*IMAGE), f(3), pos(3), f(3), f(3), R),
            (f(*IMAGE), f(3), pos(3), f(3), f(3), f(*IMAGE), E),
            (f(*IMAGE), f(3), pos(3), None, None, f(*IMAGE), R), fixed=PAST),
    *expand("local_response_norm", (f(2, 5, 3, 4), {"size": 3}),
            (f(2, 7, 3, 2), {"size": 4, "alpha": 0.5, "beta": 0.5, "k": 2.0}),
            (f(2, 3, 4, 1), {"size": 9, "alpha": 1.5, "beta": 1.25, "k": 0.5})),
    *expand("layer_norm", (f(2, 5), f(5), f(5), {"shape": (5,), **E}),
            (f(2, 3, 4), f(3, 4), f(3, 4), {"shape": (3, 4)}), (f(2, 3, 4), {"shape": (4,), **E}),
            (f(2, 5), None, f(5), {"shape": (5,), **E})),
    *expand("group_norm", (f(2, 6, 3, 5), f(6), f(6), {"groups": 3, **E}),
            (f(3, 4), f(4), f(4), {"groups": 2, **E}), (f(2, 4, 3), {"groups": 1, **E}),
            (f(2, 3, 5, 4), f(3), None, {"groups": 3, **E})),
]  # fmt: skip

LABELS = np.array([2, 0, 4, 2])
IGNORED = np.array([2, -100, 4, 1])
SEVEN = np.array([2, 0, 3, 2])  # 3 is ignored
LOSSES = [
    *expand("log_softmax", f(3, 5), (f(3, 5, 2), {"axis": 1}), (f(4, 3), {"axis": 0}), f(6)),
    *expand("log_softmax_grad", (f(3, 5), f(3, 5)), (f(3, 4, 2), f(3, 4, 2), {"axis": 1})),
    *expand("softmax", f(3, 5), (f(3, 5, 2), {"axis": 1}), (f(4, 3), {"axis": 0}), f(6)),
    *expand("cross_entropy", (f(4, 5), LABELS), (f(4, 5), LABELS, pos(5)),
            (f(4, 5), LABELS, {"label_smoothing": 0.25}),
            (f(4, 5), LABELS, pos(5), {"label_smoothing": 0.25}), fixed=("weight",), nan="felt"),
    *expand("cross_entropy", (f(4, 5), IGNORED), (f(4, 5), SEVEN, pos(5), {"ignore_index": 3}),
            fixed=("weight",), nan="felt"),
    *expand("nll_loss", (f(4, 5), LABELS), (f(4, 5), IGNORED, pos(5)),
            (f(4, 5), SEVEN, {"ignore_index": 3}), kind=LINEAR, fixed=("weight",), nan="felt"),
    *expand("nll_loss_grad", (f(4), LABELS, {"classes": 5}),
            (f(4), IGNORED, pos(5), {"classes": 5}),
            (f(4), SEVEN, {"classes": 6, "ignore_index": 3}),
            kind=LINEAR, fixed=("weight",), nan="felt"),
]  # fmt: skip

NO_LABELS = np.zeros(0, np.int64)
NOTHING = [
    *expand("batch_norm_inference", (f(0, 3, 4, 5), f(3), pos(3), f(3), f(3), E), kind=EMPTY,
            fixed=PAST),
    *expand("local_response_norm", (f(0, 3, 4, 5), {"size": 3}), kind=EMPTY),
    *expand("layer_norm", (f(0, 5), f(5), f(5), {"shape": (5,)}), kind=EMPTY),
    *expand("group_norm", (f(0, 4, 3), f(4), f(4), {"groups": 2}), kind=EMPTY),
    *expand("log_softmax", f(0, 5), kind=EMPTY),
    *expand("log_softmax_grad", (f(0, 5), f(0, 5)), kind=EMPTY),
    *expand("softmax", f(0, 5), kind=EMPTY),
    *expand("cross_entropy", (f(0, 5), NO_LABELS), kind=EMPTY),
    *expand("nll_loss", (f(0, 5), NO_LABELS), kind=EMPTY),
    *expand("nll_loss_grad", (f(0), NO_LABELS, {"classes": 5}), kind=EMPTY),
]  # fmt: skip

CASES = [
    *convolutions(LINEAR, GEOMETRIES),
    *convolutions(EMPTY, [((0, *x[1:]), w, k) for x, w, k in GEOMETRIES[:5:2]]),
    *expand("conv2d_relu", (f(0, 3, 4, 4), f(2, 3, 3, 3), f(2)), kind=EMPTY),
    *expand("conv_transpose2d", (f(2, 3, 2, 3), f(3, 4, 3, 2),
            {"stride": (3, 2), "padding": (1, 0, 0, 1), "output_padding": (2, 1)}), kind=LINEAR),
    *expand("conv2d", (f(2, 2, 4, 4), f(3, 2, 3, 3), {"algorithm": "direct"}), kind=LINEAR),
    *expand(
        "conv2d_grad_x",
        (f(2, 3, 2, 2), f(3, 2, 3, 3), {"x_shape": (2, 2, 4, 4), "algorithm": "direct"}),
        kind=LINEAR,
    ),
    *expand(
        "conv2d_grad_w",
        (f(2, 3, 2, 2), f(2, 2, 4, 4), {"w_shape": (3, 2, 3, 3), "algorithm": "direct"}),
        kind=LINEAR,
    ),
    *expand("conv2d", (f(2, 3, 6, 5), f(4, 3, 3, 2)), kind=LINEAR),
    *expand("conv2d_moments", (f(2, 3, 6, 5), f(4, 3, 3, 2)),
            *((f(*x), f(*w), f(w[0]), {**k, "algorithm": "auto"}) for x, w, k in GEOMETRIES[:4]),
            (f(2, 3, 5, 5), f(4, 3, 2, 2), f(4), {"dilation": (2, 1)}), kind=LINEAR, nan="felt"),
    *expand("conv2d_moments", (f(0, 3, 4, 4), f(2, 3, 3, 3), f(2)), kind=EMPTY),
    *expand("conv2d_relu", (f(2, 3, 6, 5), f(4, 3, 3, 2)), kind=PIECEWISE),
    *expand(
        "conv2d_relu",
        *((f(*x), f(*w), f(w[0]), {**k, "algorithm": "auto"}) for x, w, k in GEOMETRIES[:4]),
        (f(2, 3, 5, 5), f(4, 3, 2, 2), f(4), {"dilation": (2, 1)}),
        kind=PIECEWISE,
        nan="felt",
    ),
    *expand(
        "conv2d_relu_concat",
        (f(2, 3, 6, 5), f(4, 3, 3, 2), f(4), {"geometries": (PLAIN,)}),
        (f(2, 3, 3, 4), f(5, 3, 1, 1), f(5), f(2, 2, 3, 4), f(3, 2, 3, 3), f(3),
         {"geometries": (PLAIN, PADDED)}),
        (f(1, 2, 3, 4), f(1, 2, 1, 1), None, f(1, 4, 5, 5), f(4, 2, 2, 2), f(4),
         f(1, 1, 5, 6), f(2, 1, 3, 3), None, {"geometries": (PLAIN, STRIDED, PLAIN)}),
        kind=PIECEWISE,
        nan="felt",
    ),
    *expand("conv2d_relu_concat",
            (f(0, 3, 3, 4), f(5, 3, 1, 1), f(5), f(0, 2, 5, 6), f(3, 2, 3, 3), f(3),
             {"geometries": (PLAIN, PLAIN)}), kind=EMPTY),
    *pools(),
    *empty_pools(),
    *BINS,
    *NORMS,
    *LOSSES,
    *NOTHING,
]  # fmt: skip
