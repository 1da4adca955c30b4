"""Design: batch norm of so many rows and channels that its sums are shared out and merged.

Fewer than 512 rows are one slot and fewer than 512 channels one block: what the properties of
`test_norm.py` draw. Here are several of each, of unequal size, and chunks of rows that end early.
"""

import numpy as np
import pytest

from minigrad._kernels import norm as kernel
from minigrad.reference import norm as ref
from tests.kernels.test_norm import check_close, off_the_kink, operands, wide

SHAPES = [(1031, 7), (3, 5, 17, 19), (2, 17, 23, 33), (641, 530), (2, 3, 97, 101)]
MODES = [{"relu": False, "residual": False, "affine": True},
         {"relu": True, "residual": True, "affine": True}]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mode", MODES, ids=["plain", "residual and relu"])
def test_sums_of_many_slots_and_blocks_equal_the_reference(dtype, shape, mode):
    x, gamma, beta, res, gy = operands(shape, 3, dtype, mode)
    eps, relu = 1e-2, mode["relu"]
    y, mean, var = kernel.batch_norm(x, gamma, beta, res, eps=eps, relu=relu)
    want = ref.batch_norm(*wide(x, gamma, beta, res), eps=eps, relu=relu)
    for got, right in zip((y, mean, var), want, strict=True):
        check_close(got, right, dtype, 8 * abs(right).max())
    gy = off_the_kink(x, gamma, beta, res, gy, eps)
    flags = {"eps": eps, "relu": relu, "needs_residual": mode["residual"]}
    stats = tuple(a.astype(dtype) for a in want[1:])
    got = kernel.batch_norm_grad(gy, x, gamma, beta, *stats, res, **flags)
    right = ref.batch_norm_grad(*wide(gy, x, gamma, beta, *stats, res), **flags)
    rows = x.size // shape[1]
    check_close(got[0], right[0], dtype, 8 * abs(right[0]).max())
    for k in (1, 2):
        check_close(got[k], right[k], dtype, abs(right[k]).max(), terms=rows)
