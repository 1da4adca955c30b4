"""Layers, nets, losses and starting values, under PyTorch's names.

Design: `Module` finds parameters by looking at attributes (`module.py`); layers only hold
parameters and call `minigrad.functional`. Read `module.py`, then `layers.py`; the rest is lists
of arguments.
"""

from minigrad.nn import init, utils
from minigrad.nn.activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minigrad.nn.branches import concat_branches, conv_norm_relu
from minigrad.nn.containers import ModuleList, Sequential
from minigrad.nn.fixed import fixed_weights
from minigrad.nn.fused import conv_norm
from minigrad.nn.layers import (
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Flatten,
    Identity,
    Linear,
)
from minigrad.nn.loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from minigrad.nn.meta import meta
from minigrad.nn.module import Module, takes_relu
from minigrad.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, LocalResponseNorm
from minigrad.nn.parameter import Parameter
from minigrad.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GroupNorm",
    "Identity",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "concat_branches",
    "conv_norm",
    "conv_norm_relu",
    "fixed_weights",
    "init",
    "meta",
    "takes_relu",
    "utils",
]
