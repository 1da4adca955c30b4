# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The tape: nodes, and the Tensor's half of them.

Design.  A ``Node`` has a serial number, its op, its parents and what the gradient rules asked for.
A node is made after its parents, so the order of serial numbers is a topological order: that is
the whole proof, and why it is called a tape.  Nodes point to nodes, never to Tensors; a leaf's node
owns the leaf's gradient.  There is no global list: what nobody can reach is freed, and without
recursion (``tape_bury``).

``minigrad/reference/tape.py`` is the same in plain Python, and the specification: read that first.
Absent on purpose: any knowledge of ops or kernels; ``configure`` names what lies above.
Next: ``record.pyx``, where ops run and nodes are written; ``sweep.pyx``, where they are played.
"""

import threading

import numpy as np

from minigrad import versions

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

cnp.import_array()

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define TAPE_LOCAL __declspec(thread)
    #else
    #define TAPE_LOCAL __thread
    #endif
    static TAPE_LOCAL int tape_recording = 1;   /* recording is a matter of the thread */
    static TAPE_LOCAL int tape_segments = 0;    /* checkpoint segments open in this thread */
    static PyObject *tape_new(PyObject *type, PyObject *args) {
        return ((PyTypeObject *)type)->tp_new((PyTypeObject *)type, args, NULL);
    }
    """
    int tape_recording, tape_segments
    object tape_new(object, object)

cdef extern from *:
    """
    /* The parents of a node that dies.  If they die with it, theirs wait here until they are gone:
     * a chain of any length is freed in a stack of two nodes.  (CPython's own trashcan, from 3.13
     * on, goes thousands of objects deep.)  The first pair takes no list. */
    static TAPE_LOCAL PyObject **tape_waiting;
    static TAPE_LOCAL Py_ssize_t tape_waits, tape_room;
    static TAPE_LOCAL int tape_burying;
    static void tape_bury(PyObject *parents) {
        if (tape_burying) {
            if (tape_waits == tape_room) {
                const Py_ssize_t room = tape_room ? 2 * tape_room : 64;
                PyObject **grown = (PyObject **)realloc(tape_waiting, room * sizeof *grown);
                if (!grown) {
                    Py_DECREF(parents);         /* no memory: by recursion, then */
                    return;
                }
                tape_waiting = grown;
                tape_room = room;
            }
            tape_waiting[tape_waits++] = parents;
            return;
        }
        tape_burying = 1;
        Py_DECREF(parents);
        while (tape_waits) {
            PyObject *next = tape_waiting[--tape_waits];
            Py_DECREF(next);
        }
        free(tape_waiting);
        tape_waiting = NULL;
        tape_room = 0;
        tape_burying = 0;
    }
    """
    void tape_bury(PyObject *parents)

cdef long long clock = 0                        # the last serial number given
cdef long long last_mutation = 0                # when a buffer was last changed in place
cdef long long last_tracked = 0                 # when one was last changed on the tape
cdef tuple nothing = ()
cdef object op_add, op_sub, op_mul, op_div, op_neg, op_pow, op_matmul
cdef operation operate = NULL                   # how an operator runs its op: record.pyx says
local = threading.local()                       # .segments: the checkpoint segments that are open


cdef class Above:
    """What lies above the tape: told once by ``configure``."""

above = Above()


def configure(*, tensor=None, unbroadcast=None, accumulate=None, compose=None, operators=None):
    """Name the Tensor class, how broadcasting is undone, how fused ops are taken apart."""
    global op_add, op_sub, op_mul, op_div, op_neg, op_pow, op_matmul
    above.tensor = tensor or above.tensor
    above.unbroadcast = unbroadcast or above.unbroadcast
    above.accumulate = accumulate or above.accumulate
    above.compose = compose or above.compose
    if operators is not None:
        op_add, op_sub, op_mul = operators["add"], operators["sub"], operators["mul"]
        op_div, op_neg, op_pow = operators["div"], operators["neg"], operators["pow"]
        op_matmul = operators["matmul"]


def is_grad_enabled():
    """Whether this thread records."""
    return tape_recording != 0


def set_grad_enabled(bint on):
    """Switch recording in this thread; returns what it was."""
    return bool(set_recording(on))


cdef int set_recording(int on) noexcept:
    global tape_recording
    cdef int before = tape_recording
    tape_recording = on
    return before


def set_anomaly(watcher):
    """Install (or remove, None) the object that looks at every value; returns the one before."""
    before, above.anomaly = above.anomaly, watcher
    return before


def open_segment(segment):
    """From here on, nodes of this thread belong to a checkpoint segment (see autograd.py)."""
    global tape_segments
    if not hasattr(local, "segments"):
        local.segments = []
    local.segments.append(segment)
    tape_segments += 1


def close_segment():
    """End the innermost open segment."""
    global tape_segments
    local.segments.pop()
    tape_segments -= 1


def mutated(array, Node tracked=None):
    """A buffer was changed in place; `tracked`: the node that stands for its new value."""
    global clock, last_mutation, last_tracked
    clock += 1
    last_mutation = clock
    versions.bump(array, clock, tracked=tracked is not None)
    if tracked is not None:
        last_tracked = tracked.born = clock


cdef long long mutations() noexcept:
    return last_mutation


cdef long long tracked_changes() noexcept:
    return last_tracked


cdef bint recording() noexcept:
    return tape_recording


cdef bint in_segment() noexcept:
    return tape_segments


cdef int join_segment(Node node) except -1:
    local.segments[len(local.segments) - 1].add(node)
    return 0


cdef int set_operation(operation f) noexcept:
    global operate
    operate = f
    return 0


@cython.freelist(1024)
cdef class TensorBase:
    """An array and its node. The operators are here, the rest is in ``tensor.py``."""

    def __init__(self, data, Node node=None):
        if not isinstance(data, np.ndarray):
            raise TypeError("Tensor wraps a NumPy array; use minigrad.tensor(...) for the rest")
        self.data = data
        self.node = node

    def __add__(self, other): return operate(op_add, self, other)
    def __radd__(self, other): return operate(op_add, other, self)
    def __sub__(self, other): return operate(op_sub, self, other)
    def __rsub__(self, other): return operate(op_sub, other, self)
    def __mul__(self, other): return operate(op_mul, self, other)
    def __rmul__(self, other): return operate(op_mul, other, self)
    def __truediv__(self, other): return operate(op_div, self, other)
    def __rtruediv__(self, other): return operate(op_div, other, self)
    def __pow__(self, other, modulo): return operate(op_pow, self, other)
    def __rpow__(self, other, modulo): return operate(op_pow, other, self)
    def __matmul__(self, other): return operate(op_matmul, self, other)
    def __rmatmul__(self, other): return operate(op_matmul, other, self)
    def __neg__(self): return op_neg(self)


cdef TensorBase wrap(object data, Node node):
    cdef TensorBase t = <TensorBase>tape_new(above.tensor, nothing)
    t.data = data
    t.node = node
    return t


@cython.freelist(1024)
cdef class Node:
    """One op on the tape, or a leaf (``rule`` is None)."""

    def __dealloc__(self):
        cdef PyObject *parents = <PyObject *>self.parents
        if self.parents is not None:
            Py_INCREF(self.parents)
            self.parents = None
            tape_bury(parents)

    def __init__(self, rule, out):
        if rule is not None:
            raise TypeError("Node(None, array) makes a leaf; other nodes are made by ops")
        self.stamp(out)
        self.parents = nothing

    cdef int stamp(self, object out) except -1:
        global clock
        cdef int i
        clock += 1
        self.serial = self.born = clock
        self.ndim = cnp.PyArray_NDIM(<cnp.ndarray>out)
        self.typenum = cnp.PyArray_TYPE(<cnp.ndarray>out)
        if self.ndim <= 6:
            for i in range(self.ndim):
                self.dims[i] = cnp.PyArray_DIM(<cnp.ndarray>out, i)
        else:
            self.big = out.shape
        return 0

    @property
    def name(self):
        return "leaf" if self.rule is None else self.rule.__name__

    @property
    def shape(self):
        return self.big if self.ndim > 6 else tuple([self.dims[i] for i in range(self.ndim)])

    @property
    def dtype(self):
        return np.dtype(cnp.PyArray_DescrFromType(self.typenum))

    @property
    def needs(self):
        return nothing if self.plan is None else self.plan.needs

    @property
    def hooks(self):
        """Called with the gradient of the output, before the node is played."""
        if self.before is None:
            self.before = []
        return self.before

    @property
    def after_hooks(self):
        """Called with (gradients of the inputs, gradient of the output), after."""
        if self.after is None:
            self.after = []
        return self.after

    def kept_items(self):
        """(name, array) of every array that this node keeps."""
        items = []
        for source, value in zip(self.plan.sources if self.plan else (), self.kept or ()):
            for v in value if isinstance(value, tuple) else (value,):
                if isinstance(v, np.ndarray):
                    items.append((self.rule.spec.label(source), v))
        return items


cdef class Plan:
    """What a node of one op keeps when a gradient flows to a given subset of its inputs."""


cdef Node new_node(object rule, Plan plan, object out, tuple parents):
    cdef Node node = Node.__new__(Node)
    node.stamp(out)
    node.rule, node.plan, node.parents = rule, plan, parents
    return node
