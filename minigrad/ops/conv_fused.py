"""A convolution with a part of what follows it: a ReLU, or the statistics of batch normalization.

Design: what can be done to the sums of a convolution while they are in a register or in the cache
saves a trip of the feature maps through memory.  A ReLU is applied before they are stored; the
mask of its gradient is the output itself, which the next layer keeps anyway.  ``composite`` says
the same in two ops: the definition, and what ``create_graph=True`` plays.  Batch normalization must
know all outputs first, but ``conv2d_moments`` takes their means and variances on the way; as an op
of its own, batch normalization can let go of its input before the convolution's gradients are
computed.  Next: ``conv_join.py``, several convolutions into one result.
"""

from __future__ import annotations

from minigrad._kernels import conv as kernels
from minigrad.op import Op
from minigrad.ops.activations import relu, relu_grad
from minigrad.ops.conv import (
    NO_PADDING,
    ONE,
    Conv2d,
    checked,
    conv2d,
    conv2d_grad_b,
    conv2d_grad_w,
    conv2d_grad_x,
)


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
        how = checked(x, w, b, stride, padding, dilation, groups)
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


class Conv2dMoments(Op, byproducts=("mean", "var")):
    """y = x * w + b as conv2d's, and the mean and the variance of each of its channels.

    Shapes    as conv2d: x (N, C, H, W); w (K, C/groups, R, S); b (K,) or None; y (N, K, P, Q);
              mean, var (K,)
    Forward   y = conv2d(x, w, b);  mean = 1/m sum y;  var = 1/m sum (y - mean)^2;  m = N P Q
    Backward  dL/dx = conv2d_grad_x(dL/dy, w)      because y is linear in x: the adjoint map
              dL/dw = conv2d_grad_w(dL/dy, x)      because y is linear in w: the adjoint map
              dL/db[k] = sum_npq dL/dy[n,k,p,q]    because b[k] is added to every pixel of k
              mean and var get none: who uses them knows that they move with y (batch_norm)
    Keeps     w (for x), x (for w)
    Example
        >>> x = np.array([[[[1.0, 2.0, 3.0]]]])
        >>> y, mean, var = conv2d_moments.full(x, np.array([[[[3.0]]]]))
        >>> mean, var
        (array([6.]), array([6.]))

    Reference Ioffe and Szegedy, "Batch normalization", 2015, section 3.2
    """

    def forward(
        x, w, b=None, *, stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None
    ):
        how = checked(x, w, b, stride, padding, dilation, groups)
        return kernels.conv2d_moments(x, w, b, algorithm=algorithm, **how)

    grad_x, grad_w, grad_b = Conv2d.grad_x, Conv2d.grad_w, Conv2d.grad_b


conv2d_relu = Conv2dRelu.apply
conv2d_moments = Conv2dMoments.apply
