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
