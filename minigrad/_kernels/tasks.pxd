# Grids of tasks on the team of threads (see src/kernels/tasks.pyx).
cdef extern from "task.h" nogil:
    ctypedef void task_kernel(const void *plan, Py_ssize_t task, void *scratch) noexcept nogil
    cdef enum:
        MERGED

cdef inline Py_ssize_t parts(Py_ssize_t size, Py_ssize_t part) noexcept nogil:
    """How many parts of `part` cover size."""
    return (size + part - 1) // part

cdef inline Py_ssize_t padded(Py_ssize_t size) noexcept nogil:
    """Bytes for one piece of scratch: whole cache lines, and one between neighbors."""
    return (size + 127) // 64 * 64

cdef inline Py_ssize_t moments_bytes(Py_ssize_t tasks, Py_ssize_t channels) noexcept nogil:
    """Scratch for the moments that tasks take of their outputs, and the numbers of these."""
    return padded(tasks * (3 * channels * <Py_ssize_t>sizeof(double)
                           + <Py_ssize_t>sizeof(Py_ssize_t)))

cdef inline Py_ssize_t *pixels_behind(double *moments, Py_ssize_t tasks,
                                      Py_ssize_t channels) noexcept nogil:
    """Where, in that scratch, the numbers of outputs are that the tasks have seen."""
    return <Py_ssize_t *>(moments + 3 * tasks * channels)

# Run tasks 0 .. count-1, of about `flop` each; thread t has the bytes rooms + t * room.
cdef int run_tasks(task_kernel *kernel, const void *plan, Py_ssize_t count, double flop,
                   char *rooms, Py_ssize_t room, int threads) except -1
