"""An average pool with the tanh in front of it, as LeNet has them.

Design: a map is squashed row by row, and averaged while the rows are in the cache; on the way back
a row gets its share of the means and the slope of the tanh at once.  What is kept is the squashed
map; ``composite`` says the same in two ops: the definition, and what ``create_graph=True`` plays.
A maximum takes its ReLU along without a file of its own (``pool.py``): it selects, so its gradient
needs no map.  Next: ``pool_adaptive.py``.
"""

from __future__ import annotations

from minigrad._kernels import pool as kernels
from minigrad.op import Op
from minigrad.ops.activations import tanh
from minigrad.ops.pool import NO_PADDING, averaged, avg_pool2d


class TanhAvgPool2d(Op, byproducts=("z",)):
    """y = the mean of tanh x over each window, in one pass over memory each way.

    Shapes    x, z: (N, C, H, W); y: (N, C, P, Q) as avg_pool2d's
    Forward   z = tanh x;  y = avg_pool2d(z)
    Backward  dL/dx = avg_pool2d_grad(dL/dy) (1 - z^2)    because y is linear in z, and
                                                          d(tanh x)/dx = 1 - tanh^2 x
    Keeps     z (and x, for the composite)
    Example
        >>> tanh_avg_pool2d(np.array([[[[0.0, 0.0, 99.0, 0.0]]]]), kernel=(1, 2), stride=(1, 2))
        array([[[[0. , 0.5]]]])

    Reference LeCun et al. 1998, section II.B
    """

    def forward(
        x,
        *,
        kernel,
        stride,
        padding=NO_PADDING,
        ceil_mode=False,
        count_include_pad=True,
        divisor=None,
    ):
        output = averaged("tanh_avg_pool2d", x, kernel, stride, padding, ceil_mode, divisor)
        how = dict(kernel=kernel, stride=stride, padding=padding, divisor=divisor)
        return kernels.tanh_avg_pool2d(x, output=output, count_include_pad=count_include_pad, **how)

    def grad_x(gy, z, kernel, stride, padding, count_include_pad, divisor):
        how = dict(kernel=kernel, stride=stride, padding=padding, divisor=divisor)
        return kernels.tanh_avg_pool2d_grad(gy, z, count_include_pad=count_include_pad, **how)

    def composite(
        x,
        *,
        kernel,
        stride,
        padding=NO_PADDING,
        ceil_mode=False,
        count_include_pad=True,
        divisor=None,
    ):
        how = dict(kernel=kernel, stride=stride, padding=padding, divisor=divisor)
        how |= dict(ceil_mode=ceil_mode, count_include_pad=count_include_pad)
        return avg_pool2d(tanh(x), **how)


tanh_avg_pool2d = TanhAvgPool2d.apply
