"""Convolution and the ReLU behind it as one op: the sums never reach memory without their ReLU.

Design: the pair saves one trip of the feature maps through memory forward, and one array of their
size.  The mask of the gradient is the output itself, which the next layer keeps anyway.
``composite`` says the same in two ops: the definition, and what ``create_graph=True`` plays.
Next: ``pool.py``.
"""

from __future__ import annotations

from minigrad._kernels import conv as kernels
from minigrad.op import Op
from minigrad.ops.activations import relu, relu_grad
from minigrad.ops.conv import (
    NO_PADDING,
    ONE,
    check_bias,
    conv2d,
    conv2d_grad_b,
    conv2d_grad_w,
    conv2d_grad_x,
    output_shape,
)
from minigrad.ops.geometry import floats, same_dtype


class Conv2dRelu(Op):
    """y = max(0, x * w + b).

    Shapes    as conv2d: x (N, C, H, W); w (K, C/groups, R, S); b (K,) or None; y (N, K, P, Q)
    Forward   y = relu(conv2d(x, w, b))
    Backward  with gz = dL/dy where y > 0, else 0 (relu'(0) = 0)
              dL/dx = conv2d_grad_x(gz, w)       because z = conv2d(x, w, b) is linear in x
              dL/dw = conv2d_grad_w(gz, x)       because z is linear in w
              dL/db[k] = sum_npq gz[n,k,p,q]     because b[k] is added to every pixel of k
    Keeps     x, w, y
    Example
        >>> conv2d_relu(np.array([[[[1.0, -2.0]]]]), np.array([[[[3.0]]]]))
        array([[[[3., 0.]]]])

    Reference Glorot, Bordes and Bengio, "Deep sparse rectifier neural networks", 2011
    """

    def forward(
        x, w, b=None, *, stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None
    ):
        same_dtype("conv2d", "x", x, weight=floats("conv2d", "weight", w), bias=b)
        output_shape("conv2d", x.shape, w.shape, stride, padding, dilation, groups)
        check_bias("conv2d", b, w.shape[0])
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return kernels.conv2d(x, w, b, relu=True, algorithm=algorithm, **how)

    def grads(gy, needs, out, x, w, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        how["algorithm"] = algorithm
        gz = relu_grad(gy, out)
        return (
            conv2d_grad_x(gz, w, x_shape=x.shape, **how) if needs[0] else None,
            conv2d_grad_w(gz, x, w_shape=w.shape, **how) if needs[1] else None,
            conv2d_grad_b(gz) if needs[2] else None,
        )

    def composite(
        x, w, b=None, *, stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None
    ):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return relu(conv2d(x, w, b, algorithm=algorithm, **how))


conv2d_relu = Conv2dRelu.apply
