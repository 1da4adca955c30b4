"""Design: every case of every op, and the exceptions that are allowed, each with its reason.

The tables are closed: `test_every_op.py` fails for an op without a case and for a reason that no op
needs. Next: `draws.py` for what a case is.
"""

from __future__ import annotations

from tests.registry import arithmetic, layers, rearranging
from tests.registry.draws import Case

CASES: list[Case] = [*arithmetic.CASES, *rearranging.CASES, *layers.CASES]

# Ops that refuse a batch of none.
NEEDS_ELEMENTS = {
    "batch_norm": "the variance of one value or none per channel is refused",
}

# Parameters that no case gives.
NOT_DRAWN = {
    "batch_norm": {"moments": "known statistics of this very x: see nn/test_fused.py"},
}

# Ops whose result may differ in its last bits (1e-14) between memory layouts. Where an op is not
# listed, all layouts give the same bits on these values (sums of dyadic numbers are exact).
LAST_BITS = {
    "exp": "contiguous operands go to a kernel, others to NumPy, and both are right to an ulp",
    "log": "as exp",
    "sigmoid": "as exp",
    "tanh": "as exp",
    "prod": "NumPy multiplies in the order of memory",
    "logsumexp": "NumPy adds in the order of memory",
    "group_norm": "NumPy adds in the order of memory",
}
