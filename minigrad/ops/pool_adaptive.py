"""Averages over bins that divide the image: adaptive and global pooling.

Design: linear maps and their adjoints, each other's rules.  The global mean has ops of its own
because every residual network ends in it.  Where to go next: ``norm.py``.
"""

from __future__ import annotations

from minigrad._kernels import pool as kernels
from minigrad.errors import ShapeError
from minigrad.op import Op
from minigrad.ops.geometry import check_bytes, floats, images, integers


class AdaptiveAvgPool2d(Op):
    """y = the means of P x Q bins that cover the image, whatever its size.

    Shapes    x: (N, C, H, W); y: (N, C, P, Q), output = (P, Q)
    Forward   y[n,c,p,q] = mean of x[n,c,i,j] over floor(p H/P) <= i < ceil((p+1) H/P) and
              floor(q W/Q) <= j < ceil((q+1) W/Q); bins overlap where the sizes do not divide
    Backward  dL/dx = adaptive_avg_pool2d_grad(dL/dy)    because y is linear in x: the adjoint map
    Keeps     nothing
    Example
        >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 6.0]]]]), output=(1, 2))
        array([[[[1.5, 4. ]]]])

    Reference PyTorch's AdaptiveAvgPool2d; He et al. 2014 (spatial pyramid pooling), section 2
    """

    def forward(x, *, output):
        images("adaptive_avg_pool2d", "x", x)
        integers("adaptive_avg_pool2d", "output_size", output, 2, 1)
        check_bytes("adaptive_avg_pool2d", (*x.shape[:2], *output))
        return kernels.adaptive_avg_pool2d(x, output=output)

    def grad_x(gy, x_shape):
        return adaptive_avg_pool2d_grad(gy, x_shape=x_shape)


class AdaptiveAvgPool2dGrad(Op):
    """gx = gy over the bin's area, spread over each bin: the adjoint of adaptive_avg_pool2d.

    Shapes    gy: (N, C, P, Q); gx: x_shape = (N, C, H, W)
    Forward   gx[n,c,i,j] = sum of gy[n,c,p,q] / area[p,q] over the bins (p, q) that hold (i, j)
    Backward  dL/dgy = adaptive_avg_pool2d(dL/dgx)    because the adjoint of the adjoint is the map
    Keeps     nothing
    Example
        >>> adaptive_avg_pool2d_grad(np.array([[[[2.0, 4.0]]]]), x_shape=(1, 1, 1, 3))
        array([[[[1., 3., 2.]]]])

    Reference PyTorch's adaptive_avg_pool2d_backward
    """

    def forward(gy, *, x_shape):
        images("adaptive_avg_pool2d_grad", "gy", gy)
        integers("adaptive_avg_pool2d_grad", "x_shape", x_shape, 4, 0)
        return kernels.adaptive_avg_pool2d_grad(gy, x_shape=x_shape)

    def grad_gy(gx, gy_shape):
        return adaptive_avg_pool2d(gx, output=gy_shape[2:])


class GlobalAvgPool2d(Op):
    """y = the mean of each channel's image.

    Shapes    x: (N, C, H, W); y: (N, C, 1, 1)
    Forward   y[n,c] = 1/(H W) sum_ij x[n,c,i,j]
    Backward  dL/dx[n,c,i,j] = dL/dy[n,c] / (H W)  because dy[n,c]/dx[n,c,i,j] = 1/(H W)
    Keeps     nothing
    Example
        >>> global_avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2))
        array([[[[1.5]]]])

    Reference Lin, Chen and Yan, "Network in network", 2014, section 3.2
    """

    def forward(x):
        images("global_avg_pool2d", "x", x)
        return kernels.global_avg_pool2d(x)

    def grad_x(gy, x_shape):
        return global_avg_pool2d_grad(gy, x_shape=x_shape)


class GlobalAvgPool2dGrad(Op):
    """gx = gy / (H W) at every pixel, the adjoint of global_avg_pool2d.

    Shapes    gy: (N, C, 1, 1); gx: x_shape = (N, C, H, W)
    Forward   gx[n,c,i,j] = gy[n,c] / (H W)
    Backward  dL/dgy = global_avg_pool2d(dL/dgx)   because sum_ij dL/dgx[n,c,i,j] / (H W) is it
    Keeps     nothing
    Example
        >>> global_avg_pool2d_grad(np.array([[[[8.0]]]]), x_shape=(1, 1, 2, 2))
        array([[[[2., 2.],
                 [2., 2.]]]])

    Reference Lin, Chen and Yan 2014, section 3.2
    """

    def forward(gy, *, x_shape):
        op = "global_avg_pool2d_grad"
        floats(op, "gy", gy)
        integers(op, "x_shape", x_shape, 4, 0)
        if gy.shape != (*x_shape[:2], 1, 1):
            raise ShapeError(f"{op}: gy has shape {gy.shape}, expected {(*x_shape[:2], 1, 1)}")
        return kernels.global_avg_pool2d_grad(gy, x_shape=x_shape)

    def grad_gy(gx):
        return global_avg_pool2d(gx)


adaptive_avg_pool2d = AdaptiveAvgPool2d.apply
adaptive_avg_pool2d_grad = AdaptiveAvgPool2dGrad.apply
global_avg_pool2d = GlobalAvgPool2d.apply
global_avg_pool2d_grad = GlobalAvgPool2dGrad.apply
