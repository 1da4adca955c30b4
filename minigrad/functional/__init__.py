"""``import minigrad.functional as F``: the names people know from torch.nn.functional.

Design: PyTorch's names, argument names, defaults and meaning, one file a family.  Each function
reads its arguments and calls one op; the op's page has shapes, formula, derivation and paper.  All
of them also work on plain NumPy arrays, and then only compute.

Absent on purpose: ``inplace``, ``size_average`` and ``reduce``; 3-D images without a batch axis.
Files in reading order: ``activations``, ``windows``, ``normalization``, ``losses``.
"""

from .activations import (
    dropout,
    dropout2d,
    elu,
    flatten,
    gelu,
    leaky_relu,
    linear,
    log_softmax,
    logsigmoid,
    one_hot,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .normalization import (
    batch_norm,
    conv2d_batch_norm,
    group_norm,
    layer_norm,
    local_response_norm,
)
from .windows import (
    adaptive_avg_pool2d,
    avg_pool2d,
    conv2d,
    conv_transpose2d,
    global_avg_pool2d,
    max_pool2d,
    pad,
)

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "conv2d_batch_norm",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "elu",
    "flatten",
    "gelu",
    "global_avg_pool2d",
    "group_norm",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
