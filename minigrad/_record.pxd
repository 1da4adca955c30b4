# An op as a function: see src/record.pyx.
from minigrad._kernels.kernel cimport Kernel
from minigrad._tape cimport Plan


cdef class Rule:
    cdef readonly object spec
    cdef readonly str __name__
    cdef readonly object __doc__
    cdef object forward, forward_only, joint, composite, params, defaults
    cdef Kernel kernel
    cdef list differentiable
    cdef Py_ssize_t arity, required
    cdef bint variadic, broadcasts, byproducts
    cdef dict plans
    cdef Plan plan_x, plan_y, plan_xy       # of a binary op: who needs a gradient
    cdef Plan plan(self, object key, Py_ssize_t n)
