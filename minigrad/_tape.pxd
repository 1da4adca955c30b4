# The compiled tape's types, shared by src/tape.pyx, record.pyx (writing), sweep.pyx (playing).

ctypedef object (*operation)(object rule, object x, object y)


cdef class TensorBase:
    cdef public object data
    cdef public Node node
    cdef object __weakref__


cdef class Plan:
    cdef readonly tuple needs               # per input: does a gradient flow to it
    cdef readonly tuple sources             # what a node keeps: (kind, index) pairs
    cdef tuple calls                        # per input: where its rule's arguments lie in `kept`
    cdef tuple functions                    # per input: its rule, or the joint rule
    cdef tuple numbers                      # 0, 1, 2, ...
    cdef int count                          # the first sources again, as C integers
    cdef int kinds[8]
    cdef int places[8]


cdef class Node:
    cdef readonly long long serial          # when it was made
    cdef public long long born              # when its output's memory last moved on with the tape
    cdef readonly object rule               # None: a leaf
    cdef readonly tuple parents             # Node or None per input
    cdef public tuple kept
    cdef readonly Plan plan
    cdef public object grad, trace, segment
    cdef list before, after                 # hooks
    cdef readonly bint played
    # of the sweep that is playing
    cdef object slot                        # the gradient so far
    cdef object sweep                       # whose it is
    cdef bint leads                         # to an input that was asked for
    # the output's shape and dtype: what an incoming gradient must have
    cdef int ndim, typenum
    cdef Py_ssize_t dims[6]
    cdef tuple big
    cdef int stamp(self, object out) except -1


cdef class Above:
    cdef object tensor, unbroadcast, accumulate, compose, anomaly

cdef Above above
cdef TensorBase wrap(object data, Node node)
cdef int set_recording(int on) noexcept
cdef long long mutations() noexcept
cdef long long tracked_changes() noexcept
cdef bint recording() noexcept
cdef bint in_segment() noexcept
cdef int join_segment(Node node) except -1
cdef Node new_node(object rule, Plan plan, object out, tuple parents)
cdef int set_operation(operation f) noexcept
