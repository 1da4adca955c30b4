# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The tape, writing: an op runs, and a node remembers what its gradient rules asked for.

Design.  A ``Rule`` is an op as a function.  It takes the arrays out of the Tensors, runs the op's
forward (or its compiled twin, where that takes the operands as they are), and writes a node when a
gradient flows to one of the inputs.  Which inputs need one is a bit mask; for each mask a ``Plan``,
made once, lists what is kept.

What this file adds to ``minigrad/reference/tape.py`` is speed: exact type tests, C slots, a
kernel's own function pointer, no dictionary and no shape tuple on the way of a small op.

Absent on purpose: any knowledge of particular ops.  Next: ``sweep.pyx``, playing.
"""

import inspect

import numpy as np

from minigrad import versions
from minigrad.errors import GraphError

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM

from minigrad._kernels.memory cimport pooled_enter, pooled_leave
from minigrad._tape cimport (
    Node,
    Plan,
    TensorBase,
    above,
    in_segment,
    join_segment,
    new_node,
    recording,
    set_operation,
    tracked_changes,
    wrap,
)

cnp.import_array()

cdef extern from "Python.h":
    object PyObject_Vectorcall(object, PyObject **, size_t, PyObject *)

# The kinds of source that a rule may name; op.py counts them in this order.
cdef enum:
    INPUT, OUT, PARAM, SHAPE, DTYPE, BYPRODUCT, NEEDS, INDEX

cdef enum:
    MAX_ARGS = 64                               # inputs and constants of one call, on the stack
    LARGE = 65536                               # bytes: worth asking for memory from the pool

cdef tuple nothing = ()
cdef object np_ndarray = np.ndarray
cdef tuple OPERANDS = (np.ndarray, np.generic, int, float, list, TensorBase)
NO_DEFAULT = inspect.Parameter.empty


cdef class Rule:
    """An op as a function: ``Cls.apply``. On arrays it computes; on Tensors it also records."""

    def __init__(self, spec):
        self.spec, self.__name__, self.__doc__ = spec, spec.name, spec.op.__doc__
        self.forward, self.joint, self.composite = spec.forward, spec.joint, spec.composite
        self.kernel, self.forward_only = spec.kernel, spec.forward_only
        self.params, self.defaults = spec.params, spec.defaults
        self.variadic, self.broadcasts = spec.variadic, spec.broadcasts
        self.byproducts = bool(spec.byproducts)
        self.arity = -1 if spec.variadic else len(spec.inputs)
        self.required = spec.required
        self.differentiable = list(spec.differentiable)
        self.plans = {}

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, *args, **kwargs):
        cdef Py_ssize_t n = len(args)
        if self.arity == 2 and n == 2 and self.kernel is not None and not kwargs:
            return binary(self, args[0], args[1])
        if self.variadic or self.required <= n <= self.arity:
            params = constants(self, kwargs)
            if params is not None:
                if n < self.arity:
                    args += (None,) * (self.arity - n)
                return record(self, args, params, False)
        inputs, params = self.spec.bind(args, kwargs)
        return record(self, inputs, params, False)

    def full(self, *args, **kwargs):
        """Call the op; return (output, by-products...)."""
        inputs, params = self.spec.bind(args, kwargs)
        return record(self, inputs, params, True)

    cdef Plan plan(self, object key, Py_ssize_t n):
        """The plan for a bit mask of inputs that need one (beyond 30, or any number: bools)."""
        cdef Plan plan = self.plans.get(key)
        cdef int i
        if plan is None:
            needs = key if isinstance(key, tuple) else [bool(key >> i & 1) for i in range(n)]
            plan = Plan()
            plan.needs = tuple(needs)
            plan.sources, plan.calls, plan.functions = self.spec.plan(plan.needs)
            plan.numbers = tuple(range(n))
            plan.count = len(plan.sources)
            for i in range(min(8, plan.count)):
                plan.kinds[i], plan.places[i] = plan.sources[i]
            self.plans[key] = plan
        return plan


cdef tuple constants(Rule rule, dict kwargs):
    """A call's constants, by name or default; None if one is missing or a name is unknown."""
    cdef tuple names = rule.params, defaults = rule.defaults
    cdef list values = []
    cdef Py_ssize_t used = 0, i
    cdef object value
    for i in range(len(names)):
        if names[i] in kwargs:
            value = kwargs[names[i]]
            used += 1
        else:
            value = defaults[i]
        if value is NO_DEFAULT:
            return None
        values.append(value)
    return tuple(values) if used == len(kwargs) else None


cdef object binary(object op, object x, object y):
    """Two operands: the short way when a kernel takes them as they are, else the general one."""
    cdef Rule rule = <Rule>op
    cdef object xa, ya, out = None
    cdef Node xn = None, yn = None, node
    cdef Plan plan
    cdef long long changed
    cdef bint short = rule.kernel is not None and above.anomaly is None and not in_segment()
    if isinstance(x, TensorBase):
        xa, xn = (<TensorBase>x).data, (<TensorBase>x).node
    elif type(x) is float or type(x) is int:
        xa = x
    else:
        short, xa = False, x
    if isinstance(y, TensorBase):
        ya, yn = (<TensorBase>y).data, (<TensorBase>y).node
    elif type(y) is float or type(y) is int:
        ya = y
    else:
        short, ya = False, y
    if short and (type(xa) is np_ndarray or type(ya) is np_ndarray):
        changed = tracked_changes()
        if (xn is None or changed <= xn.born) and (yn is None or changed <= yn.born):
            out = rule.kernel.call2(rule.kernel, xa, ya)
    if out is None:
        if not (isinstance(xa, OPERANDS) and isinstance(ya, OPERANDS)):
            return NotImplemented
        return record(rule, (x, y), rule.defaults, False)
    if not recording() or (xn is None and yn is None):
        return wrap(out, None)
    if yn is None:
        plan = rule.plan_x
    else:
        plan = rule.plan_y if xn is None else rule.plan_xy
    if plan is None:
        plan = rule.plan((xn is not None) | (yn is not None) << 1, 2)
        if xn is None:
            rule.plan_y = plan
        elif yn is None:
            rule.plan_x = plan
        else:
            rule.plan_xy = plan
    node = new_node(rule, plan, out, (xn, yn))
    node.kept = gather2(plan, xa, ya, out)
    return wrap(out, node)


cdef tuple gather2(Plan plan, object x, object y, object out):
    """What a binary op without constants keeps."""
    cdef tuple kept
    cdef object value
    cdef int k
    if plan.count == 0:
        return nothing
    kept = PyTuple_New(plan.count)
    for k in range(plan.count):
        if plan.kinds[k] == OUT:
            value = out
        else:
            value = x if plan.places[k] == 0 else y
            if plan.kinds[k] != INPUT:
                value = view_of(plan.kinds[k], value)
        Py_INCREF(value)
        PyTuple_SET_ITEM(kept, k, value)
    return kept


cdef object record(Rule rule, tuple inputs, tuple params, bint full):
    """Run an op; write a node when a gradient flows to one of its inputs."""
    cdef Py_ssize_t n = len(inputs), i
    cdef list arrays = [], nodes = []
    cdef bint tensors = False, needed = False, records = recording()
    cdef Node node = None, parent
    cdef Plan plan
    cdef object x, made, out
    cdef long long mask = 0
    for i in range(n):
        x = inputs[i]
        parent = None
        if isinstance(x, TensorBase):
            tensors = True
            if records and rule.differentiable[0 if rule.variadic else i]:
                parent = (<TensorBase>x).node
            if parent is not None:
                needed = True
                mask |= (<long long>1) << (i & 31)
                if tracked_changes() > parent.born:
                    check_view((<TensorBase>x).data, parent, rule)
            x = (<TensorBase>x).data
        arrays.append(x)
        nodes.append(parent)
    if not simple(arrays, rule.broadcasts):
        arrays = rule.spec.admit(arrays)
    try:
        if rule.forward_only is None or needed or full:
            made = run_forward(rule, rule.forward, arrays, params)
        else:
            made = run_forward(rule, rule.forward_only, arrays, params),
    except ValueError as why:
        better = rule.spec.misfit(why, arrays)
        if better is None:
            raise
        raise better from None
    out = (<tuple>made)[0] if rule.byproducts else made
    if not tensors:
        return made if full and rule.byproducts else (out,) if full else out
    if type(out) is not np_ndarray:
        out = np.asarray(out)
    if needed:
        key = mask if n <= 30 and not rule.variadic else tuple([p is not None for p in nodes])
        plan = rule.plan(key, n)
        own_copies(inputs, arrays, plan)
        node = new_node(rule, plan, out, tuple(nodes))
        node.kept = gather(plan, rule, arrays, params, out, made)
        if in_segment():
            join_segment(node)
    if above.anomaly is not None:
        above.anomaly.forward(rule, arrays, out, node)
    t = wrap(out, node)
    if full:
        return (t, *made[1:]) if rule.byproducts else (t,)
    return t


cdef int check_view(object data, Node node, Rule rule) except -1:
    if node.rule is not None and versions.tracked_since(data, node.born):
        raise GraphError(
            f"{rule.__name__}: this input shares memory with a Tensor that was changed in place "
            f"after the input was made by {node.name}; make it again, or change a clone()"
        )
    return 0


cdef bint simple(list arrays, bint broadcasts):
    """Exact arrays of one floating dtype (and numbers, where the op broadcasts): the usual case."""
    cdef int typenum = -1, t
    for a in arrays:
        if type(a) is np_ndarray:
            t = cnp.PyArray_TYPE(<cnp.ndarray>a)
            if t == cnp.NPY_FLOAT or t == cnp.NPY_DOUBLE:
                if (typenum != -1 and t != typenum) or not cnp.PyArray_ISBEHAVED_RO(a):
                    return False
                typenum = t
            elif t != cnp.NPY_BOOL and (broadcasts or t != cnp.NPY_INT64 and t != cnp.NPY_UINT8):
                return False
        elif a is not None and not (broadcasts and (type(a) is float or type(a) is int)):
            return False
    return True


cdef object run_forward(Rule rule, object forward, list arrays, tuple params):
    cdef Py_ssize_t n = len(arrays), k = len(params)
    cdef object out, x, former
    if rule.kernel is not None and k == 0:
        if n == 1 and rule.kernel.call1 != NULL and type(arrays[0]) is np_ndarray:
            out = rule.kernel.call1(rule.kernel, arrays[0])
            if out is not None:
                return out
        elif n == 2 and rule.kernel.call2 != NULL:
            if type(arrays[0]) is np_ndarray or type(arrays[1]) is np_ndarray:
                out = rule.kernel.call2(rule.kernel, arrays[0], arrays[1])
                if out is not None:
                    return out
    for x in arrays:
        if type(x) is np_ndarray and cnp.PyArray_NBYTES(<cnp.ndarray>x) >= LARGE:
            former = pooled_enter()             # what NumPy makes comes from the pool
            try:
                return call_forward(rule, forward, arrays, params)
            finally:
                pooled_leave(former)
    return call_forward(rule, forward, arrays, params)


cdef object call_forward(Rule rule, object forward, list arrays, tuple params):
    cdef Py_ssize_t n = len(arrays), k = len(params), i
    cdef PyObject *argv[MAX_ARGS]
    if n + k > MAX_ARGS:
        return forward(*arrays, **dict(zip(rule.params, params)))
    for i in range(n):
        argv[i] = <PyObject *>arrays[i]
    for i in range(k):
        argv[n + i] = <PyObject *>params[i]
    return PyObject_Vectorcall(forward, argv, n, <PyObject *>rule.params if k else NULL)


cdef int own_copies(tuple inputs, list arrays, Plan plan) except -1:
    """A user's own array may change before backward: keep a copy of it, not the array."""
    cdef Py_ssize_t i
    for i in range(len(arrays)):
        x = arrays[i]
        if x is inputs[i] and type(x) is np_ndarray and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>x):
            if (INPUT, i) in plan.sources or (INPUT, 0) in plan.sources:
                arrays[i] = x.copy("K")
    return 0


cdef tuple gather(Plan plan, Rule rule, list arrays, tuple params, object out, object made):
    """Just what the plan's sources name."""
    cdef list kept = []
    for kind, index in plan.sources:
        if kind == OUT:
            kept.append(out)
        elif kind == PARAM:
            kept.append(params[index])
        elif kind == BYPRODUCT:
            kept.append(made[1 + index])
        elif rule.variadic:
            kept.append(tuple([view_of(kind, a) for a in arrays]))
        else:
            kept.append(view_of(kind, arrays[index]))
    return tuple(kept)


cdef object view_of(int kind, object a):
    if kind == INPUT:
        return a
    return np.shape(a) if kind == SHAPE else getattr(a, "dtype", None)


set_operation(binary)
