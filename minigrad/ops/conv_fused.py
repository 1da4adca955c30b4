"""A convolution and what follows it as one op: a ReLU, or batch normalization.

Design: what can be done to the sums of a convolution while they are in a register or in the cache
saves a trip of the feature maps through memory.  A ReLU is applied before they are stored; the
mask of its gradient is the output itself, which the next layer keeps anyway.  Batch normalization
must know all of them first, but their means and variances are taken on the way.  ``composite``
says the same in two ops: the definition, and what ``create_graph=True`` plays.  Next: ``pool.py``.
"""

from __future__ import annotations

from minigrad._kernels import conv as kernels
from minigrad._kernels import norm as norm_kernels
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
from minigrad.ops.norm import batch_norm, check_many, check_norm


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


class Conv2dBatchNorm(Op, byproducts=("z", "mean", "var")):
    """y = relu(gamma zhat + beta + residual), zhat = z = x * w + b with mean 0 and variance 1.

    Shapes    as conv2d: x (N, C, H, W); w (K, C/groups, R, S); b (K,) or None; z, y, residual
              (N, K, P, Q); gamma, beta, mean, var (K,); gamma, beta, residual may be None (1, 0, 0)
    Forward   z = conv2d(x, w, b), mean and var of its channels;  y = batch_norm(z, gamma, beta,
              residual);  without relu, relu(v) reads v
    Backward  dL/dz, dL/dgamma, dL/dbeta and dL/dresidual are those of batch_norm
              dL/dx = conv2d_grad_x(dL/dz, w)      because z is linear in x: the adjoint map
              dL/dw = conv2d_grad_w(dL/dz, x)      because z is linear in w: the adjoint map
              dL/db[k] = sum_npq dL/dz[n,k,p,q]    because b[k] is added to every pixel of k
    Keeps     x, w, z, gamma, beta, residual, mean, var; the ReLU's mask is recomputed
    Example
        >>> x = np.array([[[[1.0, 2.0, 3.0]]]])
        >>> y = conv2d_batch_norm(x, np.array([[[[5.0]]]]), eps=1e-12)
        >>> bool(abs(y.mean()) < 1e-12), round(float(y.var()), 6)
        (True, 1.0)

    Reference Ioffe and Szegedy, "Batch normalization", 2015, section 3.2
    """

    def forward(
        x, w, b=None, gamma=None, beta=None, residual=None, *, eps, relu=False,
        stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None,
    ):  # fmt: skip
        same_dtype("conv2d", "x", x, weight=floats("conv2d", "weight", w), bias=b)
        z_shape = output_shape("conv2d", x.shape, w.shape, stride, padding, dilation, groups)
        check_bias("conv2d", b, w.shape[0])
        same_dtype("batch_norm", "x", x, weight=gamma, bias=beta, residual=residual)
        check_norm("batch_norm", z_shape, eps, residual, weight=gamma, bias=beta)
        check_many("batch_norm", z_shape)
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        z, mean, var = kernels.conv2d_moments(x, w, b, algorithm=algorithm, **how)
        normalize = norm_kernels.batch_norm_inference
        return normalize(z, gamma, beta, mean, var, residual, eps=eps, relu=relu), z, mean, var

    def grads(
        gy, needs, x, w, z, gamma, beta, residual, mean, var, eps, relu,
        stride, padding, dilation, groups, algorithm,
    ):  # fmt: skip
        gz, ggamma, gbeta, gresidual = norm_kernels.batch_norm_grad(
            gy, z, gamma, beta, mean, var, residual, eps=eps, relu=relu, needs_residual=needs[5]
        )
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        how["algorithm"] = algorithm
        return (
            conv2d_grad_x(gz, w, x_shape=x.shape, **how) if needs[0] else None,
            conv2d_grad_w(gz, x, w_shape=w.shape, **how) if needs[1] else None,
            conv2d_grad_b(gz) if needs[2] else None,
            ggamma if needs[3] else None,
            gbeta if needs[4] else None,
            gresidual,
        )

    def composite(
        x, w, b=None, gamma=None, beta=None, residual=None, *, eps, relu=False,
        stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None,
    ):  # fmt: skip
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        z = conv2d(x, w, b, algorithm=algorithm, **how)
        return batch_norm(z, gamma, beta, residual, eps=eps, relu=relu)


conv2d_relu = Conv2dRelu.apply
conv2d_batch_norm = Conv2dBatchNorm.apply
