# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Convolution: conv2d, its two gradients, and the gradient of its bias.

Design. This module checks the arguments and takes one of four ways to the sums: by the definition,
never making the im2row matrix (`conv_direct.pyx`); Winograd's algorithm where that is faster
(`conv_choice.pyx` says where, `winograd.pyx` runs it, or `conv_direct.pyx` along lines); kernels of
their own for depthwise convolution (`conv_depthwise.pyx`); and where pixels are few, the im2row
matrix is made after all (`conv_rows.pyx`).

Padding is part of the sum: a zero of the padding times an infinite weight is NaN, as in the
definition; such products are left out only where all weights are finite (`src/simd/padding.h`).
Results are the same bits for any number of threads.

Where to go next: `conv_direct.pyx`, then `src/simd/conv_forward.c`; `src/simd/winograd.h`.
"""
import numpy as np

from minigrad._kernels import norm
from minigrad.errors import ArgError, DTypeError, ShapeError

cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.conv_choice cimport (
    DIRECT, FORWARD, GRAD_W, GRAD_X, LINES_WINOGRAD, WINOGRAD, choose, conv_algorithm, takes_rows)
from minigrad._kernels.conv_depthwise cimport depthwise, depthwise_grad_w, depthwise_grad_x
from minigrad._kernels.conv_direct cimport NOTHING, direct, direct_grad_w, direct_grad_x
from minigrad._kernels.conv_geometry cimport epilogue, geometry, read_geometry
from minigrad._kernels.conv_rows cimport rows_forward, rows_grad_w, rows_grad_x
from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.gemm cimport gemm_kernels
from minigrad._kernels.kept cimport memo_of
from minigrad._kernels.memory cimport empty
from minigrad._kernels.operands cimport (
    c_order, channels_last, floats, pixel_pitch, sizes, zeros)
from minigrad._kernels.tasks cimport run_tasks
from minigrad._kernels.threads cimport team
from minigrad._kernels.winograd cimport winograd_forward, winograd_grad_w

cnp.import_array()


cdef int check_shape(str op, str name, ndarray a, Py_ssize_t n, Py_ssize_t c, Py_ssize_t h,
                     Py_ssize_t w) except -1:
    if (<object>a).shape != (n, c, h, w):
        raise ShapeError(f"{op}: {name} has shape {(<object>a).shape}, expected {(n, c, h, w)}")
    return 0


cdef ndarray channel_values(str name, object values, Py_ssize_t channels, int typenum):
    """One value for each output channel, or None."""
    cdef ndarray array
    if values is None:
        return None
    array = c_order(floats("conv2d", name, values, 1, typenum))
    if cnp.PyArray_DIM(array, 0) != channels:
        raise ShapeError(
            f"conv2d: {name} has shape {(<object>array).shape}, expected ({channels},)")
    return array


cdef ndarray place(object out, const Py_ssize_t *dims, int typenum, tuple read):
    """`out`, once it is known that y can be written there; read: what may not share its memory."""
    if type(out) is not ndarray or cnp.PyArray_TYPE(out) != typenum:
        raise DTypeError(
            f"conv2d: out is {getattr(out, 'dtype', type(out).__name__)}, the other arrays are "
            f"{'float32' if typenum == cnp.NPY_FLOAT else 'float64'}; give an array of that")
    if out.shape != (dims[0], dims[1], dims[2], dims[3]):
        raise ShapeError(f"conv2d: out has shape {out.shape}, "
                         f"expected {(dims[0], dims[1], dims[2], dims[3])}")
    if not cnp.PyArray_ISBEHAVED(out):
        raise ArgError("conv2d: out is read-only, misaligned or of another byte order; give an "
                       "array that can be written")
    if not pixel_pitch(out):
        raise ArgError(f"conv2d: out has strides {out.strides}, its channels are not side by side; "
                       "give channels-last images, or neighboring channels of such")
    for name, array in zip(("x", "w", "b", "scale"), read):
        if array is not None and np.may_share_memory(out, array):
            raise ArgError(f"conv2d: out shares memory with {name}; give it memory of its own")
    return out


cdef inline const void *data_of(ndarray a) noexcept:
    return NULL if a is None else cnp.PyArray_DATA(a)


cdef int scale_pixels(object y, object scale, object bias, object residual, bint relu) except -1:
    """y (N, P, Q, K) = relu(y scale + bias + residual) in place, where there are few pixels."""
    y *= scale
    if bias is not None:
        y += bias
    if residual is not None:
        y += residual.transpose(0, 2, 3, 1)
    if relu:
        np.maximum(y, 0, out=y)
    return 0


cdef int compute(const geometry *g, ndarray image, ndarray weight, ndarray bias, ndarray factors,
                 ndarray added, epilogue *end, conv_algorithm way, ndarray y) except -1:
    """y by the way that is the shortest; end.mean becomes NULL where the way takes no moments."""
    cdef int typenum = cnp.PyArray_TYPE(y)
    if way == WINOGRAD:
        winograd_forward(g, False, cnp.PyArray_DATA(image), cnp.PyArray_DATA(weight), end,
                         cnp.PyArray_DATA(y), pixel_pitch(y), memo_of(weight))
    elif g.group_c == 1 and g.groups > 1:
        end.mean = NULL
        depthwise(g, image, weight, bias, end.relu, y)
    elif way == DIRECT and takes_rows(g, FORWARD, typenum):
        end.mean = NULL
        if factors is None:
            rows_forward(g, image, weight, bias, end.relu, y)
        else:
            rows_forward(g, image, weight, None, False, y)
            scale_pixels(y.transpose(0, 2, 3, 1), factors, bias, added, end.relu)
    else:
        if way == LINES_WINOGRAD:
            end.mean = NULL
        direct(g, image, weight, end, way == LINES_WINOGRAD, y)
    return 0


cdef tuple convolve(object x, object w, object b, object stride, object padding, object dilation,
                    object groups, object algorithm, bint relu, object scale, object residual,
                    bint moments, object out=None):
    """(y, mean, variance): conv2d and conv2d_moments."""
    cdef geometry g
    cdef epilogue end
    cdef Py_ssize_t dims[4]
    cdef ndarray image = floats("conv2d", "x", x, 4, -1), y, bias, factors, added = None
    cdef int typenum = cnp.PyArray_TYPE(image)
    cdef ndarray weight = floats("conv2d", "w", w, 4, typenum), mean = None, var = None
    read_geometry("conv2d", &g, <const Py_ssize_t *>cnp.PyArray_DIMS(image),
                  <const Py_ssize_t *>cnp.PyArray_DIMS(weight), stride, padding, dilation, groups)
    bias = channel_values("b", b, g.K, typenum)
    factors = channel_values("scale", scale, g.K, typenum)
    if residual is not None:
        added = channels_last(floats("conv2d", "residual", residual, 4, typenum))
        check_shape("conv2d", "residual", added, g.N, g.K, g.P, g.Q)
        if factors is None:
            raise ArgError("conv2d: residual is only added after a scale; give scale as well")
    dims[0], dims[1], dims[2], dims[3] = g.N, g.K, g.P, g.Q
    if out is None:
        y = empty(4, dims, typenum, True)
    elif added is not None:
        raise ArgError("conv2d: residual is laid out as y and cannot be added where y is part of "
                       "out; leave out one of them")
    else:
        y = place(out, dims, typenum, (image, weight, bias, factors))
    way = choose("conv2d", &g, FORWARD, typenum, algorithm, factors is None)
    if factors is not None and g.N and g.K and (not g.C or g.group_c == 1 and g.groups > 1):
        raise ArgError("conv2d: scale is not for depthwise convolution, nor for images without "
                       "channels; scale the result")
    if moments:
        mean, var = empty(1, dims + 1, typenum, False), empty(1, dims + 1, typenum, False)
    end.bias, end.scale, end.residual, end.relu = (
        data_of(bias), data_of(factors), data_of(added), relu)
    end.mean, end.var = <void *>data_of(mean), <void *>data_of(var)
    if not g.N or not g.K or not g.C:
        end.mean = NULL
        (<object>y)[...] = 0 if bias is None else (<object>bias).reshape(1, -1, 1, 1)
        if relu:
            np.maximum(y, 0, out=y)
    else:
        compute(&g, channels_last(image), c_order(weight), bias, factors, added, &end, way, y)
    if moments and end.mean == NULL:
        mean, var = norm.moments(y)
    return y, mean, var


def conv2d(x, w, b=None, *, stride, padding, dilation, groups, relu=False, algorithm=None,
           scale=None, residual=None, out=None):
    """y[n,k,p,q] = b[k] + sum_crs xp[n, c, p sh + r dh, q sw + s dw] w[k,c,r,s], then relu.

    With scale the sums are multiplied by scale[k] before b is added, and residual is added then:
    convolution, batch normalization by known statistics and addition in one pass over memory.

    out: where y is written, and what is returned: channels-last images, or neighboring channels of
    such, z[:, o : o + K], whose other channels are left alone; without residual.

    Shapes  x: (N, C, H, W); w: (K, C/groups, R, S); b, scale: (K,) or None; residual: as y, or None
            (without scale, None); y, out: (N, K, P, Q), channels-last;
            P = (H + top + bottom - dh (R-1) - 1) // sh + 1
    algorithm  None (MINIGRAD_CONV, or what is estimated to be faster), "auto", "direct", "winograd"
    Raises  ShapeError, DTypeError, ArgError, MemoryError
    Source  Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD
            architectures", SC 2018 (blocking); the offset tables are ours
    """
    return convolve(x, w, b, stride, padding, dilation, groups, algorithm, relu, scale, residual,
                    False, out)[0]


def conv2d_moments(x, w, b=None, *, stride, padding, dilation, groups, algorithm=None):
    """y = conv2d(x, w, b), and the mean and the biased variance of each of its channels.

    They are taken of outputs that have just been computed, while those are in the cache: batch
    normalization of y need not read it for them.

    Shapes  as conv2d; mean, variance: (K,); of no images, 0
    Raises  ShapeError, DTypeError, ArgError, MemoryError
    """
    return convolve(x, w, b, stride, padding, dilation, groups, algorithm, False, None, None, True)


def conv2d_grad_x(gy, w, *, x_shape, stride, padding, dilation, groups, algorithm=None):
    """gx = the adjoint of x -> conv2d(x, w), applied to gy.

    Shapes  gy: (N, K, P, Q); w: (K, C/groups, R, S); gx: x_shape = (N, C, H, W), channels-last
    Raises  ShapeError (also when gy is not what x_shape gives), DTypeError, ArgError, MemoryError
    """
    cdef geometry g
    cdef conv_algorithm way
    cdef Py_ssize_t dims[4]
    cdef ndarray grad = floats("conv2d_grad_x", "gy", gy, 4, -1), gx
    cdef int typenum = cnp.PyArray_TYPE(grad)
    cdef ndarray weight = floats("conv2d_grad_x", "w", w, 4, typenum)
    sizes("conv2d_grad_x", "x_shape", x_shape, 4, 0, dims)
    read_geometry("conv2d_grad_x", &g, dims, <const Py_ssize_t *>cnp.PyArray_DIMS(weight), stride,
                  padding, dilation, groups)
    check_shape("conv2d_grad_x", "gy", grad, g.N, g.K, g.P, g.Q)
    way = choose("conv2d_grad_x", &g, GRAD_X, typenum, algorithm, True)
    if covers(g.R, g.stride_h, g.dilation_h, g.top, g.H) and covers(
            g.S, g.stride_w, g.dilation_w, g.left, g.W) and g.K:
        gx = empty(4, dims, typenum, True)
    else:
        gx = zeros(4, dims, typenum, True)
    if not g.N or not g.C or not g.K:
        return gx
    if g.group_c == 1 and g.groups > 1:
        depthwise_grad_x(&g, channels_last(grad), c_order(weight), gx)
    elif way == WINOGRAD:
        grad, weight = channels_last(grad), c_order(weight)
        winograd_forward(&g, True, cnp.PyArray_DATA(grad), cnp.PyArray_DATA(weight), &NOTHING,
                         cnp.PyArray_DATA(gx), g.C, None)
    elif way == DIRECT and takes_rows(&g, GRAD_X, typenum):
        rows_grad_x(&g, channels_last(grad), c_order(weight), gx)
    else:
        direct_grad_x(&g, channels_last(grad), c_order(weight), way == LINES_WINOGRAD, gx)
    return gx


cdef bint covers(Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t dilation, Py_ssize_t before,
                 Py_ssize_t size) noexcept:
    """Whether every row of x meets a tap: the phases of the taps are all phases of the rows."""
    cdef Py_ssize_t phase, r, phases = min(stride, size)
    if phases > taps:
        return False
    for phase in range(phases):
        for r in range(taps):
            if (r * dilation - before % stride - phase) % stride == 0:
                break
        else:
            return False
    return True


def conv2d_grad_w(gy, x, *, w_shape, stride, padding, dilation, groups, algorithm=None):
    """gw[k,c,r,s] = sum_npq gy[n,k,p,q] xp[n, c, p sh + r dh, q sw + s dw].

    Shapes  gy: (N, K, P, Q); x: (N, C, H, W); gw: w_shape = (K, C/groups, R, S), C order
    Raises  ShapeError (also when gy is not what x and w_shape give), DTypeError, ArgError,
            MemoryError
    """
    cdef geometry g
    cdef conv_algorithm way
    cdef Py_ssize_t dims[4]
    cdef ndarray grad = floats("conv2d_grad_w", "gy", gy, 4, -1), gw
    cdef int typenum = cnp.PyArray_TYPE(grad)
    cdef ndarray image = floats("conv2d_grad_w", "x", x, 4, typenum)
    sizes("conv2d_grad_w", "w_shape", w_shape, 4, 0, dims)
    read_geometry("conv2d_grad_w", &g, <const Py_ssize_t *>cnp.PyArray_DIMS(image), dims, stride,
                  padding, dilation, groups)
    check_shape("conv2d_grad_w", "gy", grad, g.N, g.K, g.P, g.Q)
    way = choose("conv2d_grad_w", &g, GRAD_W, typenum, algorithm, True)
    if not g.N or not g.C or not g.K:
        return zeros(4, dims, typenum, False)
    gw = empty(4, dims, typenum, False)
    if g.group_c == 1 and g.groups > 1:
        depthwise_grad_w(&g, channels_last(grad), channels_last(image), gw)
    elif way == WINOGRAD:
        grad, image = channels_last(grad), channels_last(image)
        winograd_grad_w(&g, cnp.PyArray_DATA(grad), cnp.PyArray_DATA(image), cnp.PyArray_DATA(gw))
    elif way == DIRECT and takes_rows(&g, GRAD_W, typenum):
        rows_grad_w(&g, channels_last(grad), channels_last(image), gw)
    else:
        direct_grad_w(&g, channels_last(grad), channels_last(image), way == LINES_WINOGRAD, gw)
    return gw


cdef struct ColumnSums:
    const gemm_kernels *kernels
    const char *data
    Py_ssize_t rows, columns, shares, item
    double *sums                     # (shares, columns)


cdef void column_sums_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const ColumnSums *p = <const ColumnSums *>plan
    cdef Py_ssize_t first = p.rows * task // p.shares
    p.kernels.column_sums(p.data + first * p.columns * p.item,
                          p.rows * (task + 1) // p.shares - first, p.columns,
                          p.sums + task * p.columns)


def bias_grad(gy):
    """gb[k] = sum_npq gy[n,k,p,q], summed in double but for runs of 64.

    Shapes  gy: (N, K, P, Q); gb: (K,)
    Raises  ShapeError, DTypeError
    """
    cdef ndarray grad = channels_last(floats("bias_grad", "gy", gy, 4, -1)), sums
    cdef ColumnSums p
    p.kernels, p.data = table_for(cnp.PyArray_TYPE(grad)).gemm, cnp.PyArray_BYTES(grad)
    p.columns, p.item = cnp.PyArray_DIM(grad, 1), cnp.PyArray_ITEMSIZE(grad)
    p.rows = cnp.PyArray_DIM(grad, 0) * cnp.PyArray_DIM(grad, 2) * cnp.PyArray_DIM(grad, 3)
    p.shares = max(1, min(16, p.rows * p.columns // 65536))
    sums = np.empty((p.shares, p.columns))
    p.sums = <double *>cnp.PyArray_DATA(sums)
    run_tasks(column_sums_task, &p, p.shares, 10.0 * p.rows * p.columns / p.shares, NULL, 0,
              team(10.0 * p.rows * p.columns))
    return (<object>sums).sum(axis=0).astype(grad.dtype, copy=False)
