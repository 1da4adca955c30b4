# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The tape, playing: the reverse sweep.

Design.  ``sweep`` collects the nodes under an output, sorts them by serial number, plays them from
the last to the first and forgets each as it goes.  A node's gradient is complete when its turn
comes, because everything that used its output is younger.  No recursion; one C array of nodes.
Gradients of leaves are handed over at the very end, so an error before that changes none of them.
When anything in the graph is large, what NumPy makes for a rule comes from the pool.

``minigrad/reference/tape.py`` is the same in plain Python, and the specification.
Absent on purpose: parallel playing of independent nodes (kernels use the threads).
"""
import numpy as np

from minigrad import versions
from minigrad._tape import mutated
from minigrad.errors import GraphError

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, qsort, realloc

from minigrad._kernels.memory cimport pooled_enter, pooled_leave
from minigrad._record cimport Rule
from minigrad._tape cimport Node, Plan, TensorBase, above, mutations, set_recording, wrap

cnp.import_array()

cdef extern from *:
    """
    typedef struct { long long serial; PyObject *node; } sweep_entry;
    static int sweep_younger(const void *a, const void *b) {
        long long x = ((const sweep_entry *)a)->serial, y = ((const sweep_entry *)b)->serial;
        return (x < y) - (x > y);
    }
    static Py_ssize_t sweep_refs(PyObject *a) { return Py_REFCNT(a); }
    """
    ctypedef struct sweep_entry:
        long long serial
        PyObject *node
    int sweep_younger(const void *, const void *) noexcept nogil
    Py_ssize_t sweep_refs(PyObject *) noexcept

cdef extern from "Python.h":
    object PyObject_Vectorcall(object, PyObject **, size_t, PyObject *)

cdef enum:
    NEEDS = -1                                  # in a rule's argument list: the tuple of needs
    INDEX = -2                                  # the position among variadic inputs
    MAX_ARGS = 32
    LARGE = 16384                               # elements

cdef object np_ndarray = np.ndarray


def sweep(roots, gradients, inputs=None, bint retain=False, bint create_graph=False):
    """Play the tape backward from `roots` (nodes) with their `gradients`.

    Without `inputs`, every leaf gets its gradient added to ``leaf.grad``.  With `inputs` (nodes),
    returns their gradients, None where nothing flows, and touches no leaf.  Gradients are Tensors
    when `create_graph`, else arrays.  Raises GraphError for a graph that was played, is being
    played, or whose kept arrays were changed since.
    """
    cdef Sweep s = Sweep()
    cdef object former = None
    cdef int before
    s.create_graph, s.retain = create_graph, retain or create_graph
    s.leaves, s.captured = {}, None if inputs is None else {}
    s.running = True
    before = set_recording(create_graph)
    try:
        s.collect(roots, min([(<Node>n).serial for n in inputs]) if inputs else 0)
        if s.large:
            former = pooled_enter()
        if inputs is not None:
            s.mark(inputs)
        for node, g in zip(roots, gradients):
            s.deliver(node, g)
        s.play_all(None if inputs is None else set(inputs))
        if inputs is not None:
            return [s.captured.get(node) for node in inputs]
        while s.leaves:
            deposit(s.leaves, create_graph)
    finally:
        s.running = False
        set_recording(before)
        if former is not None:
            pooled_leave(former)
        s.release()


cdef class Sweep:
    """The state of one backward pass."""
    cdef sweep_entry *entries
    cdef Py_ssize_t n, room
    cdef bint create_graph, retain, running, large
    cdef dict leaves, captured

    cdef int push(self, Node node) except -1:
        cdef sweep_entry *grown
        if self.n == self.room:
            self.room = self.room * 2 if self.room else 64
            grown = <sweep_entry *>realloc(self.entries, self.room * sizeof(sweep_entry))
            if grown == NULL:
                raise MemoryError("backward: no memory for the list of nodes")
            self.entries = grown
        Py_INCREF(node)
        self.entries[self.n].serial = node.serial
        self.entries[self.n].node = <PyObject *>node
        self.n += 1
        return 0

    cdef int visit(self, Node node, long long floor) except -1:
        """Claim a node for this sweep, unless it is older than anything that was asked for."""
        self.large = self.large or is_large(node)
        if node.rule is None or node.sweep is self or node.serial < floor:
            return 0                            # leaves are not claimed: sweeps may share them
        if node.played:
            raise GraphError(
                f"{node.name}: this part of the graph was already played and its kept arrays are "
                "gone; call backward(retain_graph=True) the first time"
            )
        if node.sweep is not None and (<Sweep>node.sweep).running:
            raise GraphError(f"{node.name}: another backward is playing this graph")
        node.sweep, node.slot = self, None
        node.leads = self.captured is None
        return self.push(node)

    cdef int collect(self, roots, long long floor) except -1:
        """All nodes under the roots, the youngest first. The array is its own work list."""
        cdef Py_ssize_t done = 0, i
        cdef Node node
        for root in roots:
            self.visit(root, floor)
        while done < self.n:
            node = <Node>self.entries[done].node
            done += 1
            for i in range(len(node.parents)):
                parent = node.parents[i]
                if parent is not None:
                    self.visit(<Node>parent, floor)
        qsort(self.entries, self.n, sizeof(sweep_entry), sweep_younger)
        return 0

    cdef int mark(self, inputs) except -1:
        """Which nodes lead to an input that was asked for: from the oldest to the youngest."""
        cdef Py_ssize_t k
        cdef Node node, p
        cdef set wanted = set(inputs)
        for k in range(self.n - 1, -1, -1):
            node = <Node>self.entries[k].node
            node.leads = node in wanted
            for parent in node.parents:
                if parent is not None:
                    p = parent
                    if p in wanted or (p.sweep is self and p.rule is not None and p.leads):
                        node.leads = True
        self.captured = dict.fromkeys(inputs)
        return 0

    cdef bint wants(self, Node node) except -1:
        if self.captured is None:
            return True
        if node.rule is None:
            return node in self.captured
        return node.sweep is self and node.leads

    cdef int play_all(self, set inputs) except -1:
        cdef Py_ssize_t k
        cdef Node node
        cdef object g
        for k in range(self.n):
            node = <Node>self.entries[k].node
            g, node.slot = node.slot, None
            if g is not None and node.leads:
                if node.before is not None:
                    g = self.run_hooks(node.before, g)
                if inputs is not None and node in inputs:
                    self.captured[node] = g
                self.play(node, g)
                g = None
            node.sweep = None
            self.entries[k].node = NULL
            Py_DECREF(node)                     # forgotten: its arrays go with it
        if self.captured is not None:
            for leaf in list(self.leaves):
                g = self.leaves.pop(leaf)
                if (<Node>leaf).before is not None:
                    g = self.run_hooks((<Node>leaf).before, g)
                self.captured[leaf] = g
        else:
            for leaf in list(self.leaves):
                if (<Node>leaf).before is not None:
                    self.leaves[leaf] = self.run_hooks((<Node>leaf).before, self.leaves[leaf])
        return 0

    cdef object run_hooks(self, list hooks, object g):
        for hook in list(hooks):
            changed = hook(g if self.create_graph else wrap(g, None))
            if changed is not None:
                g = changed if self.create_graph else getattr(changed, "data", changed)
        return g

    cdef int play(self, Node node, object g) except -1:
        """Call the rules of one node and hand their gradients to its parents."""
        cdef Plan plan = node.plan
        cdef Rule rule = node.rule
        cdef Py_ssize_t i, n = len(node.parents)
        cdef object results = None, value
        cdef list collected = None if node.after is None else [None] * n
        if node.kept is None:
            node.segment.refill()
        if mutations() > node.serial:
            check_versions(node)
        try:
            if self.create_graph and rule.composite is not None:
                results = above.compose(rule.spec, self.lifted_inputs(node),
                                        node.kept[1 if rule.variadic else n:], g, plan.needs)
            elif rule.joint is not None:
                results = self.call(plan, node, g, 0)
            for i in range(n):
                if node.parents[i] is None or not self.wants(<Node>node.parents[i]):
                    continue
                if results is not None:
                    value = results[i]
                else:
                    value = self.call(plan, node, g, i)
                if value is not None:
                    value = self.checked(node, <Node>node.parents[i], i, value)
                    if above.anomaly is not None:
                        above.anomaly.backward(node, i, g, value)
                    if collected is not None:
                        collected[i] = value
                    self.deliver(<Node>node.parents[i], value)
                    value = None
        except Exception as error:
            if hasattr(error, "add_note") and not isinstance(error, GraphError):
                error.add_note(f"while playing the gradient of {rule.__name__}")
            raise
        if collected is not None:
            for hook in list(node.after):
                hook(tuple(collected), g)
        if not self.retain:
            node.kept, node.parents, node.played = None, (), True
        return 0

    cdef object call(self, Plan plan, Node node, object g, Py_ssize_t i):
        """One rule: the incoming gradient, then what it named."""
        cdef PyObject *argv[MAX_ARGS]
        cdef tuple places = <tuple>plan.calls[i], kept = node.kept
        cdef Py_ssize_t k, place, n = len(places)
        cdef list hold = [] if self.create_graph else None      # what argv borrows
        cdef object value
        argv[0] = <PyObject *>g
        for k in range(n):
            place = <object>places[k]
            if place == NEEDS:
                value = plan.needs
            elif place == INDEX:
                value = plan.numbers[i]
            else:
                value = kept[place]
                if hold is not None:
                    value = lift(node, <tuple>plan.sources[place], value)
                    hold.append(value)
            argv[k + 1] = <PyObject *>value
        return PyObject_Vectorcall(plan.functions[i], argv, n + 1, NULL)

    cdef list lifted_inputs(self, Node node):
        """The inputs of a fused op as Tensors (it keeps them all, first)."""
        cdef tuple kept = node.kept[0] if (<Rule>node.rule).variadic else node.kept
        return [lift(node, (0, i), kept[i]) for i in range(len(node.parents))]

    cdef object checked(self, Node node, Node parent, Py_ssize_t i, object value):
        """A gradient must have its input's exact shape and dtype; broadcasting is undone here."""
        cdef object array
        if self.create_graph:
            if not isinstance(value, TensorBase):
                value = wrap(np.asarray(value), None)
            array = (<TensorBase>value).data
        else:
            if isinstance(value, TensorBase):
                value = (<TensorBase>value).data
            if type(value) is not np_ndarray:
                value = np.asarray(value)
            array = value
        if not fits(parent, array):
            if (<Rule>node.rule).broadcasts and array.shape != parent.shape:
                value = above.unbroadcast(value, parent.shape)
                array = value.data if self.create_graph else value
            if not fits(parent, array):
                raise GraphError(
                    f"{node.name}: the gradient of input {i} is {array.shape} {array.dtype}, "
                    f"the input {parent.shape} {parent.dtype}"
                )
        return value

    cdef int deliver(self, Node node, object g) except -1:
        """Add a gradient to what a node has so far."""
        cdef object old
        if node.rule is not None:
            if node.slot is None:
                node.slot = g
            else:
                old, node.slot = node.slot, None
                node.slot = self.added(old, g)
        elif self.wants(node):
            old = self.leaves.pop(node, None)
            self.leaves[node] = g if old is None else self.added(old, g)
        return 0

    cdef object added(self, object old, object g):
        """old + g; in place where nobody but this sweep (its caller's name) sees `old`."""
        if self.create_graph or not (sweep_refs(<PyObject *>old) <= 1 and owned(old)):
            return old + g
        above.accumulate(old, g)
        return old

    cdef int release(self) except -1:
        """Let go of what an error left over."""
        cdef Py_ssize_t k
        cdef Node node
        for k in range(self.n):
            if self.entries[k].node != NULL:
                node = <Node>self.entries[k].node
                node.slot, node.sweep = None, None
                self.entries[k].node = NULL
                Py_DECREF(node)
        free(self.entries)
        self.entries, self.n = NULL, 0
        return 0


cdef object lift(Node node, tuple source, object value):
    """A kept array as a Tensor at its place on the tape, for higher derivatives."""
    kind = source[0]
    if kind == 0 and isinstance(value, tuple):
        return tuple([lift(node, (0, i), v) for i, v in enumerate(value)])
    if kind > 1 or type(value) is not np_ndarray:
        return value
    return wrap(value, node if kind == 1 else <Node>node.parents[source[1]])


cdef bint fits(Node node, object array) except -1:
    cdef int i
    if cnp.PyArray_NDIM(<cnp.ndarray>array) != node.ndim:
        return False
    if cnp.PyArray_TYPE(<cnp.ndarray>array) != node.typenum:
        return False
    if node.ndim > 6:
        return array.shape == node.big
    for i in range(node.ndim):
        if cnp.PyArray_DIM(<cnp.ndarray>array, i) != node.dims[i]:
            return False
    return True


cdef bint is_large(Node node) noexcept:
    cdef Py_ssize_t size = LARGE if node.ndim > 6 else 1
    cdef int i
    for i in range(min(node.ndim, 6)):
        size *= node.dims[i]
    return size >= LARGE


cdef bint owned(object array):
    """An array whose memory no other array sees (its own, or a block of the pool)."""
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array):
        return False
    return type(array) is np_ndarray and not isinstance(array.base, np_ndarray)


cdef int check_versions(Node node) except -1:
    for name, array in node.kept_items():
        if versions.changed_since(array, node.serial):
            raise GraphError(
                f"{node.name}: {name} {array.shape} was changed in place after it was recorded; "
                "change a copy (t.clone()), or change it after backward()"
            )
    return 0


cdef int deposit(dict leaves, bint create_graph) except -1:
    """Hand one leaf its gradient. A leaf owns its gradient: no two share memory."""
    leaf, g = leaves.popitem()
    cdef Node node = <Node>leaf
    if create_graph:
        node.grad = g if node.grad is None else node.grad + g
    elif node.grad is None:
        if not (sweep_refs(<PyObject *>g) <= 1 and owned(g)):
            g = np.array(g, order="K")
        node.grad = wrap(g, None)
    else:
        above.accumulate(node.grad.data, g)
        mutated(node.grad.data)
    return 0
