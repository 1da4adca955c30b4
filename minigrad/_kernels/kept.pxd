# Packed weights that are kept from call to call (see src/kernels/kept.pyx).
from numpy cimport ndarray

from minigrad._kernels.tasks cimport task_kernel

# What is kept of this array; None: nothing may be.
cdef dict memo_of(ndarray weight)

# Let the grid of `pack` fill `nbytes` at *packed (a field of plan), or find them in memo. Returns
# their owner, to be held on to while they are read.
cdef ndarray pack_once(dict memo, object kind, tuple key, Py_ssize_t nbytes, void **packed,
                       task_kernel *pack, const void *plan, Py_ssize_t tasks, double flop,
                       int threads)
