# cython: language_level=3, boundscheck=False, wraparound=False
"""Images side by side: concatenation along the channels, in channels-last memory.

Design. A pixel of the result is the pixels of all images one after the other, so an image is copied
pixel by pixel to its place in them (`copy_pixels`, which deals the pixels out to the threads).
Anything else is NumPy's to join. The way back copies nothing: it is a view of some channels, and
kernels read such a view as it lies.
"""
from minigrad._kernels.memory cimport empty
from minigrad._kernels.operands cimport copy_pixels

cimport numpy as cnp
from numpy cimport ndarray

cnp.import_array()


def concat_channels(tuple xs):
    """z[:, o_i + c] = x_i[:, c], o_i the channels before x_i; None where this module has no way.

    Shapes  x_i: (N, C_i, H, W) of one dtype, channels-last; z: (N, sum C_i, H, W), channels-last
    """
    cdef Py_ssize_t dims[4]
    cdef Py_ssize_t channels = 0
    cdef int axis, typenum = -1
    cdef ndarray a, z
    for x in xs:
        if type(x) is not ndarray or x.ndim != 4:
            return None
        a = x
        if typenum < 0:
            typenum = cnp.PyArray_TYPE(a)
            for axis in range(4):
                dims[axis] = cnp.PyArray_DIM(a, axis)
        for axis in range(4):
            if axis != 1 and cnp.PyArray_DIM(a, axis) != dims[axis]:
                return None
        if cnp.PyArray_TYPE(a) != typenum or not cnp.PyArray_ISBEHAVED_RO(a):
            return None
        channels += cnp.PyArray_DIM(a, 1)
    if typenum != cnp.NPY_FLOAT and typenum != cnp.NPY_DOUBLE:
        return None
    dims[1] = channels
    z = empty(4, dims, typenum, True)
    channels = 0
    for x in xs:
        a = x
        if not copy_pixels(a, <char *>cnp.PyArray_DATA(z) + channels * cnp.PyArray_ITEMSIZE(z),
                           dims[1]):
            return None
        channels += cnp.PyArray_DIM(a, 1)
    return z
