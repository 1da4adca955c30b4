"""Every op, by name, in reading order.

Design: one family a file, one op a screen: its equation, what it keeps, its rules, an example.  The
names here work on NumPy arrays (they just compute) and on Tensors (they also record).  ``python -m
minigrad.ops`` prints the formula sheet, made from the docstrings of what is registered here.

Absent on purpose: PyTorch's argument conventions, which ``minigrad.functional`` adds.
Next: ``select.py``, the smallest family.
"""

from minigrad.ops.activations import (
    elu,
    erf,
    gelu,
    leaky_relu,
    relu,
    relu_grad,
    sigmoid,
    softplus,
    tanh,
    tanh_grad,
)
from minigrad.ops.conv import conv2d, conv2d_grad_b, conv2d_grad_w, conv2d_grad_x
from minigrad.ops.conv_fused import conv2d_moments, conv2d_relu
from minigrad.ops.conv_join import conv2d_relu_concat
from minigrad.ops.conv_transpose import conv_transpose2d
from minigrad.ops.einsum import einsum, outer, tensordot
from minigrad.ops.elementwise import (
    abs,
    add,
    cos,
    div,
    exp,
    log,
    mul,
    neg,
    pow,
    sign,
    sin,
    sqrt,
    sub,
)
from minigrad.ops.extremes import logsumexp, max, min, tie_share
from minigrad.ops.extremes import norm as vector_norm
from minigrad.ops.index import getitem, plain, scatter_add, setitem
from minigrad.ops.join import concat, flip, pad, repeat, roll, split, stack
from minigrad.ops.linear import linear, linear_relu, matmul
from minigrad.ops.loss import (
    cross_entropy,
    log_softmax,
    log_softmax_grad,
    nll_loss,
    nll_loss_grad,
    softmax,
)
from minigrad.ops.loss_regression import (
    binary_cross_entropy_with_logits,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from minigrad.ops.norm import batch_norm, batch_norm_inference
from minigrad.ops.norm_local import group_norm, layer_norm, local_response_norm
from minigrad.ops.pool import (
    avg_pool2d,
    avg_pool2d_grad,
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_grad,
)
from minigrad.ops.pool_adaptive import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_grad,
    global_avg_pool2d,
    global_avg_pool2d_grad,
)
from minigrad.ops.pool_fused import tanh_avg_pool2d
from minigrad.ops.random import (
    Generator,
    default_generator,
    dropout,
    dropout2d,
    dropout_grad,
    manual_seed,
    masked_scale,
    unpack_mask,
)
from minigrad.ops.reduce import cumsum, mean, prod, std, sum, var
from minigrad.ops.select import astype, clip, maximum, minimum, where
from minigrad.ops.shape import (
    broadcast_to,
    clone,
    expand_dims,
    flatten,
    permute,
    reshape,
    squeeze,
    sum_to,
    swapaxes,
    transpose,
)

norm = vector_norm  # a family, norm.py, has this name too; here it means the op

# In reading order: arithmetic first, then shapes, reductions, products, images, losses, chance.
# fmt: off
__all__ = [  # noqa: RUF022
    "where", "maximum", "minimum", "clip", "astype",
    "add", "sub", "mul", "div", "neg", "pow", "exp", "log", "sqrt", "abs", "sign", "sin", "cos",
    "tanh", "tanh_grad", "sigmoid", "relu", "relu_grad", "leaky_relu", "elu", "softplus", "erf",
    "gelu",
    "reshape", "flatten", "transpose", "permute", "swapaxes", "expand_dims", "squeeze",
    "broadcast_to", "sum_to", "clone",
    "getitem", "scatter_add", "setitem", "plain",
    "concat", "stack", "split", "pad", "repeat", "flip", "roll",
    "sum", "mean", "var", "std", "prod", "cumsum",
    "max", "min", "tie_share", "logsumexp", "norm",
    "matmul", "linear", "linear_relu", "einsum", "tensordot", "outer",
    "conv2d", "conv2d_grad_x", "conv2d_grad_w", "conv2d_grad_b", "conv2d_relu",
    "conv2d_moments", "conv2d_relu_concat",
    "conv_transpose2d",
    "max_pool2d", "max_pool2d_grad", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_grad",
    "tanh_avg_pool2d", "adaptive_avg_pool2d", "adaptive_avg_pool2d_grad", "global_avg_pool2d",
    "global_avg_pool2d_grad",
    "batch_norm", "batch_norm_inference", "local_response_norm", "layer_norm", "group_norm",
    "log_softmax", "log_softmax_grad", "softmax", "cross_entropy", "nll_loss", "nll_loss_grad",
    "mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits",
    "Generator", "default_generator", "manual_seed", "dropout", "dropout_grad", "dropout2d",
    "masked_scale", "unpack_mask",
]
# fmt: on
