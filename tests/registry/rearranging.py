"""Design: cases of the ops that move, copy, join, pick and reduce, and of products."""

from __future__ import annotations

import numpy as np

from tests.registry.draws import EMPTY, JUMPS, LINEAR, PIECEWISE, expand, f, pos, top

X, K = "axis", "keepdims"
PICK = np.array([2, 0, 2, 1])
WIDTHS = ((1, 2), (3, 0))
ROW, COL = np.array([0, 1, 1]), np.array([3, 0, 0])
MASK = np.array([[True, False, True, True], [False, True, False, False], [False] * 4])
AXES = [  # of a (2, 3, 4)
    {}, {X: 0}, {X: -1}, {X: 1, K: True}, {X: (0, 2)}, {X: (-1, 1), K: True}, {K: True},
]  # fmt: skip

MOVING = [
    *expand("reshape", (f(2, 3, 4), {"shape": (4, 6)}), (f(6), {"shape": (-1, 2)}), kind=LINEAR),
    *expand("reshape", (f(), {"shape": (1, 1)}), (f(2, 3), {"shape": -1}), kind=LINEAR),
    *expand("flatten", f(2, 3, 4), (f(2, 3, 4, 5), {"start_dim": 1, "end_dim": 2}), kind=LINEAR),
    *expand("flatten", (f(2, 3, 4), {"start_dim": -2}), f(), kind=LINEAR),
    *expand("transpose", f(2, 3, 4), (f(2, 3, 4), {"axes": (1, 2, 0)}), kind=LINEAR),
    *expand("transpose", (f(2, 3, 4), {"axes": (-1, 0, 1)}), kind=LINEAR),
    *expand("swapaxes", (f(2, 3, 4), {"axis1": 0, "axis2": -1}), kind=LINEAR),
    *expand("expand_dims", (f(2, 3), {X: 1}), (f(2, 3), {X: (0, -1)}), kind=LINEAR),
    *expand("squeeze", f(1, 3, 1, 2), (f(1, 3, 1), {X: -1}), (f(1, 2, 1), {X: (0, 2)}),
            kind=LINEAR),
    *expand("clone", f(2, 3), f(), kind=LINEAR),
    *expand("broadcast_to", (f(3, 1), {"shape": (2, 3, 4)}), (f(), {"shape": (2, 3)}), kind=LINEAR),
    *expand("sum_to", (f(2, 3, 4), {"shape": (3, 1)}), (f(2, 3), {"shape": ()}), kind=LINEAR),
    *expand("concat", (f(2, 3), f(4, 3), f(1, 3)), (f(3), f(2), {X: -1}), kind=LINEAR),
    *expand("concat", (f(2, 3, 4), f(2, 5, 4), {X: 1}), (f(2, 3), {X: 1}), kind=LINEAR),
    *expand("stack", (f(2, 3), f(2, 3), f(2, 3)), (f(2, 3), f(2, 3), {X: -1}), kind=LINEAR),
    *expand("stack", (f(2, 3), f(2, 3), {X: 1}), kind=LINEAR),
    *expand("flip", f(2, 3), (f(2, 3, 4), {X: 1}), (f(2, 3, 4), {X: (0, -1)}), kind=LINEAR),
    *expand("roll", (f(2, 3), {"shift": 2}), (f(2, 5), {"shift": -2, X: 1}), kind=LINEAR),
    *expand("roll", (f(2, 5), {"shift": (1, 7), X: (0, -1)}), kind=LINEAR),
    *expand("repeat", (f(2, 3), {"repeats": 2}), (f(2, 3), {"repeats": 3, X: 1}), kind=LINEAR),
    *expand("repeat", (f(2, 3), {"repeats": [2, 1, 4], X: -1}), kind=LINEAR),
    *expand("repeat", (f(2, 3), {"repeats": [2, 0, 1], X: 1}), kind=LINEAR, nan="felt"),
    *expand("pad", (f(2, 3), {"pad_width": ((1, 2), (0, 3)), "value": 1.5}), kind=LINEAR),
    *(
        c
        for mode in ("edge", "reflect", "symmetric", "wrap")
        for c in expand("pad", (f(4, 5), {"pad_width": WIDTHS, "mode": mode}), kind=LINEAR)
    ),
    *expand("getitem", (f(3, 4), {"index": 1}), (f(3, 4), {"index": (..., slice(1, None, 2))}),
            (f(3, 4), {"index": (None, slice(None, None, -1))}), (f(3, 4), {"index": MASK}),
            kind=LINEAR, nan="felt"),
    *expand("getitem", (f(3, 4), {"index": PICK}), (f(3, 4), {"index": (slice(None), PICK)}),
            kind=LINEAR, nan="felt"),
    *expand("getitem", (f(2, 4), {"index": (ROW, COL)}),
            (f(2, 4, 3), {"index": (ROW, 0, PICK[:3])}),
            kind=LINEAR, nan="felt"),
    *expand("scatter_add", (f(4, 3), {"index": PICK, "shape": (3, 3)}), kind=LINEAR),
    *expand("scatter_add", (f(2, 2), {"index": (..., slice(2)), "shape": (2, 5)}), kind=LINEAR),
    *expand("scatter_add", (f(3), {"index": (ROW, COL), "shape": (2, 4)}), kind=LINEAR),
    *expand("setitem", (f(3, 4), f(4), {"index": 1}),
            (f(3, 4), f(3, 1), {"index": (..., slice(2))}), (f(3, 4), f(), {"index": MASK}),
            (f(3, 4), f(4), {"index": MASK}),
            kind=LINEAR, nan="felt"),
    *expand("setitem", (f(5, 4), f(4, 4), {"index": PICK}), (f(2, 4), f(3), {"index": (ROW, COL)}),
            kind=LINEAR, nan="felt"),
]  # fmt: skip

REDUCING = [
    *expand("sum", *[(f(2, 3, 4), a) for a in AXES], f(), kind=LINEAR),
    *expand("mean", *[(f(2, 3, 4), a) for a in AXES], f(), kind=LINEAR),
    *expand("var", *[(f(2, 3, 4), a) for a in AXES], (f(3, 5), {X: 0, "correction": 1})),
    *expand("std", *[(f(2, 3, 4), a) for a in AXES], (f(3, 5), {X: 1, "correction": 1})),
    *expand("prod", *[(pos(2, 3, 4), a) for a in AXES], (f(2, 5), {X: 1}), (f(7, 1), {X: 1})),
    *expand("cumsum", f(2, 3), (f(2, 3, 4), {X: 1}), (f(2, 3), {X: -1}), kind=LINEAR),
    *expand("max", *[(f(2, 3, 4), a) for a in AXES], kind=PIECEWISE),
    *expand("min", *[(f(2, 3, 4), a) for a in AXES], kind=PIECEWISE),
    *expand("tie_share", (f(1, 4), top(1, 1)), (f(1, 2, 3), top(1, 1, 1)), kind=JUMPS,
            zero=("x", "z"), nan="no"),
    *expand("logsumexp", *[(f(2, 3, 4), a) for a in AXES]),
    *expand("norm", *[(f(2, 3, 4), a) for a in AXES], (pos(3, 5), {X: 1, "ord": 3})),
    *expand("norm", (f(3, 5), {X: 0, "ord": 1}), (f(3, 5), {"ord": float("inf"), X: -1}),
            kind=PIECEWISE),
]  # fmt: skip

PRODUCTS = [
    *expand("matmul", (f(2, 3), f(3, 4)), (f(3), f(3)), (f(2, 3), f(3)), (f(3), f(3, 4)),
            (f(5, 2, 3), f(3, 4)), (f(5, 2, 3), f(5, 3, 4)), (f(2, 3), f(5, 3, 4)),
            (f(1, 5, 2, 3), f(4, 1, 3, 2)), (f(5, 2, 3), f(3)), (f(3, 17), f(17, 9)), kind=LINEAR),
    *expand("linear", (f(2, 3), f(4, 3)), (f(2, 3), f(4, 3), f(4)), (f(5, 2, 3), f(4, 3), f(4)),
            (f(3), f(4, 3), f(4)), kind=LINEAR),
    *expand("linear_relu", (f(2, 3), f(4, 3)), (f(2, 3), f(4, 3), f(4)), (f(3), f(4, 3), f(4)),
            (f(5, 2, 3), f(4, 3), f(4)), kind=PIECEWISE, nan="felt"),
    *expand("einsum", (f(2, 3), f(3, 4), {"subscripts": "ij,jk->ik"}),
            (f(2, 3), f(4), f(5), {"subscripts": "ij,k,l->lik"}),
            (f(2, 3, 4), f(2, 4, 5), {"subscripts": "bij,bjk->bki"}),
            (f(3, 3), {"subscripts": "ij->ji"}), (f(2, 3), {"subscripts": "ij->"}),
            (f(5, 2, 3), f(3, 4), {"subscripts": "...j,jk->...k"}),
            (f(2, 3), f(2, 3), f(3), {"subscripts": "ij,ij,j->i"}), kind=LINEAR),
    *expand("einsum", (f(3, 3), {"subscripts": "ii->i"}), (f(3, 3), f(3), {"subscripts": "ii,i"}),
            kind=LINEAR, nan="felt"),
    *expand("tensordot", (f(2, 3, 4), f(3, 4, 5)), (f(2, 3), f(4, 5), {"axes": 0}),
            (f(2, 3, 4), f(4, 5, 2), {"axes": ((0, 2), (2, 0))}), (f(2, 3), f(3, 4), {"axes": 1}),
            kind=LINEAR),
    *expand("outer", (f(3), f(4)), (f(2, 3), f(4)), kind=LINEAR),
]  # fmt: skip

NOTHING = [
    *expand("reshape", (f(0, 6), {"shape": (0, 3, 2)}), kind=EMPTY),
    *expand("flatten", (f(0, 3, 4), {"start_dim": 1}), kind=EMPTY),
    *expand("transpose", (f(0, 3), {"axes": (1, 0)}), kind=EMPTY),
    *expand("swapaxes", (f(0, 3), {"axis1": 0, "axis2": 1}), kind=EMPTY),
    *expand("expand_dims", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("squeeze", (f(0, 1), {X: 1}), kind=EMPTY),
    *expand("clone", f(0, 3), kind=EMPTY),
    *expand("broadcast_to", (f(0, 1), {"shape": (2, 0, 3)}), (f(3), {"shape": (0, 3)}), kind=EMPTY),
    *expand("sum_to", (f(0, 3), {"shape": (3,)}), kind=EMPTY),
    *expand("concat", (f(0, 3), f(2, 3)), (f(0, 3), f(0, 2), {X: 1}), kind=EMPTY),
    *expand("stack", (f(0, 3), f(0, 3)), kind=EMPTY),
    *expand("flip", f(0, 3), kind=EMPTY),
    *expand("roll", (f(0, 3), {"shift": 1}), kind=EMPTY),
    *expand("repeat", (f(0, 3), {"repeats": 2, X: 0}), (f(2, 3), {"repeats": 0}), kind=EMPTY),
    *expand("pad", (f(0, 3), {"pad_width": ((0, 0), (1, 1))}), kind=EMPTY),
    *expand("getitem", (f(0, 3), {"index": (..., 1)}), (f(2, 3), {"index": slice(0)}), kind=EMPTY),
    *expand("scatter_add", (f(0, 3), {"index": PICK[:0], "shape": (2, 3)}), kind=EMPTY),
    *expand("setitem", (f(0, 3), f(3), {"index": slice(None)}), kind=EMPTY),
    *expand("sum", f(0, 3), (f(0, 3), {X: 0}), (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("mean", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("var", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("std", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("prod", f(0, 3), (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("cumsum", f(0, 3), (f(0, 3), {X: 0}), kind=EMPTY),
    *expand("max", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("min", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("tie_share", (f(0, 3), f(0, 1)), kind=EMPTY),
    *expand("logsumexp", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("norm", (f(0, 3), {X: 1}), kind=EMPTY),
    *expand("matmul", (f(0, 3), f(3, 4)), (f(2, 0), f(0, 4)), (f(0, 2, 3), f(3, 4)), kind=EMPTY),
    *expand("linear", (f(0, 3), f(4, 3), f(4)), kind=EMPTY),
    *expand("linear_relu", (f(0, 3), f(4, 3), f(4)), kind=EMPTY),
    *expand("einsum", (f(0, 3), f(3, 4), {"subscripts": "ij,jk->ik"}), kind=EMPTY),
    *expand("tensordot", (f(0, 3), f(3, 4), {"axes": 1}), kind=EMPTY),
    *expand("outer", (f(0), f(3)), kind=EMPTY),
]

CASES = [*MOVING, *REDUCING, *PRODUCTS, *NOTHING]
