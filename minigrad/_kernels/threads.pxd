cdef int team(double work) noexcept nogil       # threads for `work` flop-equivalents
cdef int check_signals() except -1              # KeyboardInterrupt, between slices of a long grid
