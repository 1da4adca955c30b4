# Grids of tasks on the team of threads (see src/kernels/tasks.pyx).
cdef extern from "task.h" nogil:
    ctypedef void task_kernel(const void *plan, Py_ssize_t task, void *scratch) noexcept nogil

# Run tasks 0 .. count-1, of about `flop` each; thread t has the bytes rooms + t * room.
cdef int run_tasks(task_kernel *kernel, const void *plan, Py_ssize_t count, double flop, char *rooms,
                   Py_ssize_t room, int threads) except -1
