# cython: language_level=3
"""Pooling: maxima and means over windows of channels-last images, and their gradients.

Design: operands at the door, geometry to tables (`windows.pyx`), rows of work to C
(`src/simd/pooling.c`, `pooling_mean.c`). Padding, dilation, ceil_mode and adaptive bins live in the
tables only: mean, adaptive and global pooling are one kernel. A tanh before the means can be taken
in the same pass; it is kept, for its gradient.

Conventions: a NaN wins its window, the first NaN if there are several; ties go to the first tap in
row-major order; a window that misses the image is -inf (maximum, index 0) or 0 (mean), and sends no
gradient. With relu, max(0, .) of it is taken in the same pass. argmax is the tap r*S + s, or R*S
where that ReLU is flat (the maximum is not above 0): a byte while R*S <= 255, else int32.

Deliberately not here: the output size, which the caller computes (ceil_mode), and rules such as
"padding at most half the window" (minigrad/ops/pool.py). Next: `norm.pyx`.
"""
import numpy as np

from minigrad.errors import DTypeError, ShapeError

cimport numpy as cnp
from libc.stdint cimport intptr_t

from minigrad._kernels.dispatch cimport rows_kernel, table_for
from minigrad._kernels.grid cimport data, images, integers, run_rows, volume
from minigrad._kernels.memory cimport empty
from minigrad._kernels.windows cimport (
    MaxWindows, MeanWindows, max_windows, mean_bins, mean_windows,
)

cnp.import_array()

cdef double TANH_COST = 4            # of an image, against reading it


cdef object output_array(str op, shape, int typenum):
    """A channels-last array of 4 axes."""
    cdef Py_ssize_t dims[4]
    volume(op, shape)
    dims[0], dims[1], dims[2], dims[3] = shape
    return empty(4, dims, typenum, True)


cdef object index_pixels(str op, object argmax, bint wide, object shape):
    """argmax of that shape and of the dtype that the window calls for, its memory (N,P,Q,C)."""
    wanted = np.int32 if wide else np.uint8
    if not isinstance(argmax, np.ndarray) or argmax.dtype != wanted:
        raise DTypeError(f"{op}: argmax must be {np.dtype(wanted)} for this window, got "
                         f"{getattr(argmax, 'dtype', type(argmax).__name__)}")
    if argmax.shape != tuple(shape):
        raise ShapeError(f"{op}: argmax has shape {argmax.shape}, expected {tuple(shape)}")
    return np.require(argmax.transpose(0, 2, 3, 1), wanted, ("C", "A")).transpose(0, 3, 1, 2)


cdef tuple image_shape(str op, x_shape, gy):
    """x_shape as four sizes that fit gy in N and C, and of which only N may be 0."""
    x_shape = integers(op, "x_shape", x_shape, 4, 0)
    if x_shape[:2] != gy.shape[:2]:
        raise ShapeError(f"{op}: gy {gy.shape} does not belong to an x of shape {x_shape}")
    if 0 in x_shape[1:]:
        raise ShapeError(f"{op}: an x of shape {x_shape} has no pixels; only N may be 0")
    return x_shape


cdef int run(rows_kernel kernel, const void *args, intptr_t rows, object x, object y) except -1:
    """kernel over all rows, which read x and write y."""
    return run_rows(kernel, args, rows, (<double>x.nbytes + y.nbytes) / max(rows, 1))


def max_pool2d(x, *, kernel, stride, padding, dilation, output, bint relu=False, bint places=True):
    """x (N,C,H,W) -> (y, argmax), both (N,C,P,Q) with output = (P, Q); relu: y = max(0, .).

    places=False: argmax is None, and of several NaNs in a window any may be y.
    padding = (top, bottom, left, right). Raises ShapeError, DTypeError, ArgError.
    """
    cdef str op = "max_pool2d"
    x = images(op, "x", x)
    cdef MaxWindows v = max_windows(op, x.shape, output, kernel, stride, padding, dilation)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
    shape = (v.a.n, v.a.c, v.a.p, v.a.q)
    y, argmax = output_array(op, shape, typenum), None
    if places:
        argmax = output_array(op, shape, cnp.NPY_INT32 if v.a.wide else cnp.NPY_UINT8)
    v.find_taps()
    v.a.x, v.a.y, v.a.argmax, v.a.relu = data(x), data(y), data(argmax), relu
    run(table_for(typenum).pooling.max_forward, &v.a, v.a.n * v.a.p, x, y)
    return y, argmax


def max_pool2d_grad(gy, argmax, *, x_shape, kernel, stride, padding, dilation):
    """gy, argmax (N,C,P,Q) -> gx of x_shape: each gy goes to the tap that won; overlaps add up."""
    cdef str op = "max_pool2d_grad"
    gy = images(op, "gy", gy)
    x_shape = image_shape(op, x_shape, gy)
    cdef MaxWindows v = max_windows(op, x_shape, gy.shape[2:], kernel, stride, padding, dilation)
    argmax = index_pixels(op, argmax, v.a.wide, gy.shape)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>gy)
    gx = output_array(op, x_shape, typenum)
    v.find_taps()
    v.find_hits()
    v.a.x, v.a.argmax_in, v.a.y = data(gy), data(argmax), data(gx)
    run(table_for(typenum).pooling.max_gradient, &v.a, v.a.n * v.a.h, gy, gx)
    return gx


def max_pool2d_gather(v, argmax, *, kernel, stride, padding, dilation):
    """v (N,C,H,W), argmax (N,C,P,Q) -> v at the winning taps (N,C,P,Q); 0 where none is inside."""
    cdef str op = "max_pool2d_gather"
    v = images(op, "v", v)
    if not isinstance(argmax, np.ndarray) or argmax.ndim != 4:
        raise ShapeError(f"{op}: argmax must be an array of 4 axes")
    cdef MaxWindows m
    m = max_windows(op, v.shape, argmax.shape[2:], kernel, stride, padding, dilation)
    argmax = index_pixels(op, argmax, m.a.wide, v.shape[:2] + argmax.shape[2:])
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>v)
    out = output_array(op, argmax.shape, typenum)
    m.find_taps()
    m.a.x, m.a.argmax_in, m.a.y = data(v), data(argmax), data(out)
    run(table_for(typenum).pooling.max_gather, &m.a, m.a.n * m.a.p, v, out)
    return out


cdef object mean(str op, MeanWindows v, object x):
    """The means over the windows v of x (N,C,H,W)."""
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
    v.a.n, v.a.c = x.shape[:2]
    y = output_array(op, (v.a.n, v.a.c, v.a.p, v.a.q), typenum)
    v.a.x, v.a.y = data(x), data(y)
    run(table_for(typenum).pooling.mean_forward, &v.a, v.a.n * v.a.p, x, y)
    return y


cdef object mean_grad(str op, MeanWindows v, object gy):
    """The adjoint of `mean`: gy (N,C,P,Q) -> (N,C,H,W)."""
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>gy)
    v.a.n, v.a.c = gy.shape[:2]
    if gy.shape[2:] != (v.a.p, v.a.q):
        raise ShapeError(f"{op}: gy {gy.shape} has not the output {(v.a.p, v.a.q)}")
    gx = output_array(op, (v.a.n, v.a.c, v.a.h, v.a.w), typenum)
    v.a.x, v.a.y = data(gy), data(gx)
    run(table_for(typenum).pooling.mean_gradient, &v.a, v.a.n * v.a.h, gy, gx)
    return gx


def avg_pool2d(x, *, kernel, stride, padding, output, count_include_pad=True, divisor=None):
    """x (N,C,H,W) -> (N,C,P,Q): a window's sum over `divisor`, else over its area inside the padded
    image (count_include_pad), else inside the image. padding = (top, bottom, left, right)."""
    x = images("avg_pool2d", "x", x)
    v = mean_windows("avg_pool2d", x.shape, output, kernel, stride, padding, count_include_pad,
                     divisor)
    return mean("avg_pool2d", v, x)


def avg_pool2d_grad(gy, *, x_shape, kernel, stride, padding, output, count_include_pad=True,
                    divisor=None):
    """gy (N,C,P,Q) -> gx of x_shape: every pixel of a window receives gy over the same divisor."""
    gy = images("avg_pool2d_grad", "gy", gy)
    x_shape = image_shape("avg_pool2d_grad", x_shape, gy)
    v = mean_windows("avg_pool2d_grad", x_shape, output, kernel, stride, padding,
                     count_include_pad, divisor)
    return mean_grad("avg_pool2d_grad", v, gy)


def tanh_avg_pool2d(x, *, kernel, stride, padding, output, count_include_pad=True, divisor=None):
    """x (N,C,H,W) -> (the means of tanh x (N,C,P,Q), tanh x); arguments as avg_pool2d's."""
    cdef str op = "tanh_avg_pool2d"
    x = images(op, "x", x)
    cdef MeanWindows v = mean_windows(op, x.shape, output, kernel, stride, padding,
                                      count_include_pad, divisor)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
    v.a.n, v.a.c = x.shape[:2]
    y = output_array(op, (v.a.n, v.a.c, v.a.p, v.a.q), typenum)
    z = output_array(op, x.shape, typenum)
    v.a.x, v.a.y, v.a.z = data(x), data(y), data(z)
    run_rows(table_for(typenum).pooling.tanh_forward, &v.a, v.a.n,
             TANH_COST * x.nbytes / max(v.a.n, 1))
    return y, z


def tanh_avg_pool2d_grad(gy, z, *, kernel, stride, padding, count_include_pad=True, divisor=None):
    """gy (N,C,P,Q), z = tanh x (N,C,H,W) -> gx = avg_pool2d_grad(gy) (1 - z^2)."""
    cdef str op = "tanh_avg_pool2d_grad"
    gy, z = images(op, "gy", gy), images(op, "z", z)
    if gy.dtype != z.dtype:
        raise DTypeError(f"{op}: gy is {gy.dtype} but z is {z.dtype}; cast one with .astype")
    image_shape(op, z.shape, gy)
    cdef MeanWindows v = mean_windows(op, z.shape, gy.shape[2:], kernel, stride, padding,
                                      count_include_pad, divisor)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>gy)
    v.a.n, v.a.c = z.shape[:2]
    gx = output_array(op, z.shape, typenum)
    v.a.x, v.a.z_in, v.a.y = data(gy), data(z), data(gx)
    run(table_for(typenum).pooling.tanh_gradient, &v.a, v.a.n * v.a.h, z, gx)
    return gx


def adaptive_avg_pool2d(x, *, output):
    """x (N,C,H,W) -> (N,C,P,Q): the mean of each of P x Q bins."""
    x = images("adaptive_avg_pool2d", "x", x)
    return mean("adaptive_avg_pool2d", mean_bins("adaptive_avg_pool2d", x.shape, output), x)


def adaptive_avg_pool2d_grad(gy, *, x_shape):
    """gy (N,C,P,Q) -> gx of x_shape: each pixel of a bin receives gy over the bin's area."""
    cdef str op = "adaptive_avg_pool2d_grad"
    gy = images(op, "gy", gy)
    x_shape = image_shape(op, x_shape, gy)
    return mean_grad(op, mean_bins(op, x_shape, gy.shape[2:]), gy)


def global_avg_pool2d(x):
    """x (N,C,H,W) -> (N,C,1,1): the mean of each channel's image."""
    x = images("global_avg_pool2d", "x", x)
    return mean("global_avg_pool2d", mean_bins("global_avg_pool2d", x.shape, (1, 1)), x)


def global_avg_pool2d_grad(gy, *, x_shape):
    """gy (N,C,1,1) -> gx of x_shape: gy / (H W) everywhere."""
    cdef str op = "global_avg_pool2d_grad"
    gy = images(op, "gy", gy)
    x_shape = image_shape(op, x_shape, gy)
    return mean_grad(op, mean_bins(op, x_shape, (1, 1)), gy)
