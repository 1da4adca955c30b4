/* ndarray.h: the few NumPy calls of the hot path, with their references in order.
 *
 * Design: Cython's declarations of these functions take objects where C passes NULL or steals a
 * reference. Here they are wrapped once, as inline functions over `PyObject *`. An array that owns
 * pooled memory is an ordinary owner: flag OWNDATA, and our handler (NEP 49) to free it. That costs
 * no base object.
 *
 * Needs <numpy/arrayobject.h> and an import_array() in the module that includes it. */
#ifndef MINIGRAD_NDARRAY_H
#define MINIGRAD_NDARRAY_H

#include <Python.h>
#include <numpy/arrayobject.h>
#include <string.h>

/* NPY_FLOAT or NPY_DOUBLE for an exact ndarray of native, aligned floats; else -1. */
static inline int array_real(PyObject *x) {
    if (Py_TYPE(x) != &PyArray_Type) return -1;
    PyArrayObject *array = (PyArrayObject *)x;
    int typenum = PyArray_TYPE(array);
    if (typenum != NPY_FLOAT && typenum != NPY_DOUBLE) return -1;
    return PyArray_ISBEHAVED_RO(array) ? typenum : -1;
}

/* Whether the elements fill their memory without a gap or an overlap, in any order of the axes. */
static inline int array_dense(PyArrayObject *x) {
    if (PyArray_FLAGS(x) & (NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS)) return 1;
    int nd = PyArray_NDIM(x);
    const npy_intp *dims = PyArray_DIMS(x), *strides = PyArray_STRIDES(x);
    npy_intp expected = PyArray_ITEMSIZE(x);
    unsigned long long used = 0;
    for (int step = 0; step < nd; step++) {      /* next axis: the one whose stride comes next */
        int axis = 0;
        while (axis < nd && (used >> axis & 1 || strides[axis] != expected || dims[axis] == 1))
            axis++;
        if (axis == nd) break;
        used |= 1ULL << axis;
        expected *= dims[axis];
    }
    return expected == PyArray_NBYTES(x);
}

/* Whether the elements of two arrays of one shape lie in memory in the same, dense order. */
static inline int arrays_agree(PyArrayObject *x, PyArrayObject *y) {
    int nd = PyArray_NDIM(x);
    if (PyArray_NDIM(y) != nd) return 0;
    const size_t bytes = (size_t)nd * sizeof(npy_intp);
    if (memcmp(PyArray_DIMS(x), PyArray_DIMS(y), bytes)) return 0;
    if (PyArray_FLAGS(x) & PyArray_FLAGS(y) & NPY_ARRAY_C_CONTIGUOUS) return 1;
    return !memcmp(PyArray_STRIDES(x), PyArray_STRIDES(y), bytes) && array_dense(x);
}

/* Images (N, C, H, W) whose pixels lie one after the other, `pitch` elements apart, the channels of
 * each side by side: channels-last memory, or some neighboring channels of it. */
static inline int array_pixels(PyArrayObject *x, npy_intp *pitch) {
    if (PyArray_NDIM(x) != 4) return 0;
    const npy_intp *dims = PyArray_DIMS(x), *strides = PyArray_STRIDES(x);
    const npy_intp item = PyArray_ITEMSIZE(x);
    const int order[3] = {3, 2, 0};
    npy_intp step = 0;                           /* elements to the next index of an axis */
    if (!dims[1] || (dims[1] != 1 && strides[1] != item)) return 0;
    for (int i = 0; i < 3; i++) {
        const npy_intp size = dims[order[i]], stride = strides[order[i]];
        if (size == 1) continue;
        if (!step) step = *pitch = stride / item;
        if (size == 0 || step < dims[1] || stride != step * item) return 0;
        step *= size;
    }
    return step != 0;
}

/* An uninitialized array in NumPy's own memory. `strides` NULL: C order (or F by `flags`). */
static inline PyObject *array_new(int typenum, int nd, const npy_intp *dims,
                                  const npy_intp *strides, int flags) {
    PyArray_Descr *descr = PyArray_DescrFromType(typenum);
    if (!descr) return NULL;
    return PyArray_NewFromDescr(&PyArray_Type, descr, nd, dims, strides, NULL, flags, NULL);
}

/* An array that owns `data` and frees it through `handler`, a capsule of a PyDataMem_Handler.
 * NULL with an error set: the data are still the caller's. */
static inline PyObject *array_own(void *data, PyObject *handler, int typenum, int nd,
                                  const npy_intp *dims, const npy_intp *strides, int flags) {
    PyArray_Descr *descr = PyArray_DescrFromType(typenum);
    if (!descr) return NULL;
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, descr, nd, dims, strides, data,
                                           flags | NPY_ARRAY_ALIGNED | NPY_ARRAY_WRITEABLE, NULL);
    if (!array) return NULL;
    Py_INCREF(handler);
    ((PyArrayObject_fields *)array)->mem_handler = handler;
    PyArray_ENABLEFLAGS((PyArrayObject *)array, NPY_ARRAY_OWNDATA);
    return array;
}

#endif
