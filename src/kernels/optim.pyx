# cython: language_level=3, boundscheck=False, wraparound=False
"""One step of an optimizer on all parameters at once, in place.

Design. A call first checks everything, so that nothing is half-changed; then it cuts the parameters
into stretches of CHUNK elements, a list that depends on sizes alone, and plays the list in one
parallel region. Each element is read once and written once. Parameters may lie in memory in any
dense order (K order); a gradient or a state that lies otherwise is worked on as a copy.

No look at Ctrl-C inside: a step is done whole or not at all. Equations: `src/simd/optim.c`, and in
NumPy `minigrad/reference/optim.py`. Groups, schedules and state: `minigrad/optim`.
"""
from minigrad.errors import ArgError, DTypeError, ShapeError

import numpy as np

cimport numpy as cnp

from minigrad._kernels.dispatch cimport (
    adam_step,
    optim_kernels,
    rmsprop_step,
    sgd_step,
    table_for,
)
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.tasks cimport run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef extern from "ndarray.h":
    int array_real(object x) noexcept
    bint array_dense(cnp.ndarray x) noexcept
    bint arrays_agree(cnp.ndarray x, cnp.ndarray y) noexcept

cdef enum:
    CHUNK = 16384                        # elements of one task
    ROLES = 5                            # param, grad and at most three states

cdef enum Rule:
    SGD, ADAM, RMSPROP

cdef struct Step:
    # The rule, and the numbers of that rule.
    Rule rule
    sgd_step sgd
    adam_step adam
    rmsprop_step rmsprop

cdef struct Task:
    char *at[ROLES]                      # where its stretch begins in each array; NULL: no such
    Py_ssize_t n
    bint wide

cdef const optim_kernels *f32 = table_for(cnp.NPY_FLOAT).optim
cdef const optim_kernels *f64 = table_for(cnp.NPY_DOUBLE).optim
cdef double WORK = 16                    # flop-equivalents per element: it waits for memory


# --- checking ----------------------------------------------------------------------------------

cdef bint same_shape(cnp.ndarray x, cnp.ndarray y) noexcept:
    cdef int i
    if cnp.PyArray_NDIM(x) != cnp.PyArray_NDIM(y):
        return False
    for i in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(x, i) != cnp.PyArray_DIM(y, i):
            return False
    return True


cdef list checked(str op, str role, object arrays, list params, bint changed):
    """`arrays` as a list, one for each parameter: same shape, same dtype, writable if changed."""
    cdef list given = list(arrays)
    cdef set seen = set()
    if len(given) != len(params):
        raise ArgError(f"{op}: {len(params)} params but {len(given)} {role}")
    for i in range(len(given)):
        x, p = given[i], params[i]
        if array_real(x) < 0:
            raise DTypeError(f"{op}: {role}[{i}] must be a float32 or float64 ndarray, got "
                             f"{getattr(x, 'dtype', type(x).__name__)}")
        if cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(p):
            raise DTypeError(f"{op}: {role}[{i}] is {x.dtype} but params[{i}] is {p.dtype}; "
                             "cast with .astype")
        if not same_shape(x, p):
            raise ShapeError(f"{op}: {role}[{i}] has shape {x.shape} but params[{i}] {p.shape}")
        if changed and not cnp.PyArray_ISWRITEABLE(x):
            raise ArgError(f"{op}: {role}[{i}] is read-only, but a step changes it")
        if changed and cnp.PyArray_SIZE(x):
            where = <size_t>cnp.PyArray_DATA(x)
            if where in seen:
                raise ArgError(f"{op}: {role}[{i}] comes twice, and would be changed twice")
            seen.add(where)
    return given


cdef object dense_like(cnp.ndarray x, cnp.ndarray p, bint changed, list late):
    """x if it lies in memory as p does, else a copy that does; `late`: what to write back."""
    if arrays_agree(x, p):
        return x
    copy = np.empty_like(p)
    copy[...] = x
    if changed:
        late.append((x, copy))
    return copy


# --- one sweep ---------------------------------------------------------------------------------

cdef void play(const Step *step, const Task *task) noexcept nogil:
    cdef const optim_kernels *table = f64 if task.wide else f32
    if step.rule == SGD:
        table.sgd(&step.sgd, task.at[0], task.at[1], task.at[2], task.n)
    elif step.rule == ADAM:
        table.adam(&step.adam, task.at[0], task.at[1], task.at[2], task.at[3], task.n)
    else:
        table.rmsprop(&step.rmsprop, task.at[0], task.at[1], task.at[2], task.at[3], task.at[4],
                      task.n)


cdef Py_ssize_t cut(list rows, Task *tasks) except -1:
    """Write the tasks of all rows (params first, then the other roles; None: no such array)."""
    cdef Py_ssize_t count = 0, i, start, size, item
    cdef int role
    cdef cnp.ndarray x
    for i in range(len(<list>rows[0])):
        x = rows[0][i]
        size, item = cnp.PyArray_SIZE(x), cnp.PyArray_ITEMSIZE(x)
        for start in range(0, size, CHUNK):
            tasks[count].n = min(<Py_ssize_t>CHUNK, size - start)
            tasks[count].wide = item == 8
            for role in range(ROLES):
                tasks[count].at[role] = NULL
                if role < len(rows) and rows[role] is not None:
                    x = rows[role][i]
                    tasks[count].at[role] = cnp.PyArray_BYTES(x) + start * item
            count += 1
    return count


cdef struct Swept:
    const Step *step
    const Task *tasks


cdef void sweep_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Swept *swept = <const Swept *>plan
    play(swept.step, &swept.tasks[task])


cdef int sweep(const Step *step, list rows) except -1:
    """Lay every row out like the params, cut, and play all tasks in one parallel region."""
    cdef list params = [p if array_dense(p) else np.empty_like(p) for p in rows[0]]
    cdef list late = [(p, q) for p, q in zip(rows[0], params) if p is not q]
    cdef list laid = [params]
    cdef Py_ssize_t total = 0, most = 0, count
    cdef Task *tasks
    cdef Swept swept
    for p, copy in late:
        copy[...] = p
    for role in range(1, len(rows)):
        laid.append(None if rows[role] is None else [
            dense_like(x, p, role > 1, late) for x, p in zip(rows[role], params)])
    for p in params:
        total += p.size
        most += p.size // CHUNK + 1
    if total == 0:
        return 0
    tasks = <Task *>scratch(most * sizeof(Task))
    try:
        count = cut(laid, tasks)
        swept.step, swept.tasks = step, tasks
        # 0 flop: one slice, so that Ctrl-C finds all parameters changed or none
        run_tasks(sweep_task, &swept, count, 0, NULL, 0, team(total * WORK))
    finally:
        scratch_free(tasks)
    for original, copy in late:
        original[...] = copy
    return 0


# --- the rules ---------------------------------------------------------------------------------

def sgd(params, grads, buffers, *, double lr, double momentum=0.0, double dampening=0.0,
        bint nesterov=False, double weight_decay=0.0):
    """p -= lr d with d = g + weight_decay p; with momentum, b = momentum b + (1 - dampening) d.

    Then d becomes b, or d + momentum b for Nesterov. Changes params and buffers in place.

    Shapes  lists of arrays, one for each parameter, of its shape and dtype; buffers may be None
            when momentum is 0
    Raises  ShapeError, DTypeError, ArgError (lists of different lengths, a read-only array, an
            array given twice) before anything is changed
    Source  Sutskever et al. 2013, in PyTorch's form
    """
    cdef Step step
    cdef list ps = list(params)
    checked("sgd", "params", ps, ps, True)
    rows = [ps, checked("sgd", "grads", grads, ps, False)]
    if momentum != 0:
        if buffers is None:
            raise ArgError("sgd: momentum needs buffers")
        rows.append(checked("sgd", "buffers", buffers, ps, True))
    step.rule = SGD
    step.sgd.lr, step.sgd.momentum, step.sgd.dampening = lr, momentum, dampening
    step.sgd.nesterov, step.sgd.weight_decay = nesterov, weight_decay
    sweep(&step, rows)


def adam(params, grads, m, v, *, double lr, double beta1, double beta2, double eps,
         double weight_decay=0.0, bint decoupled=False, long step):
    """p -= lr mhat / (sqrt(vhat) + eps), mhat = m / (1 - beta1^step), vhat likewise; in place.

    weight_decay joins the gradient (Adam), or shrinks p by 1 - lr weight_decay first (AdamW). step
    counts from 1.

    Shapes  lists of arrays, one for each parameter, of its shape and dtype
    Raises  ShapeError, DTypeError, ArgError before anything is changed
    Source  Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019
    """
    cdef Step work
    cdef list ps = list(params)
    if step < 1:
        raise ArgError(f"adam: step counts from 1, got {step}")
    checked("adam", "params", ps, ps, True)
    rows = [ps, checked("adam", "grads", grads, ps, False), checked("adam", "m", m, ps, True),
            checked("adam", "v", v, ps, True)]
    work.rule = ADAM
    work.adam.lr, work.adam.beta1, work.adam.beta2, work.adam.eps = lr, beta1, beta2, eps
    work.adam.weight_decay, work.adam.decoupled = weight_decay, decoupled
    work.adam.correction1 = 1 - beta1**step
    work.adam.correction2 = 1 - beta2**step
    sweep(&work, rows)


def rmsprop(params, grads, squares, *, double lr, double alpha, double eps, momenta=None,
            means=None, double weight_decay=0.0, double momentum=0.0):
    """p -= lr b with b = momentum b + g / (sqrt(v) + eps) and v = alpha v + (1 - alpha) g^2.

    With means (centered), v - a^2 stands for v, a being the running mean of g. momenta may be None
    when momentum is 0.

    Shapes  lists of arrays, one for each parameter, of its shape and dtype
    Raises  ShapeError, DTypeError, ArgError before anything is changed
    Source  Tieleman and Hinton 2012; Graves 2013, equations 38 to 45
    """
    cdef Step step
    cdef list ps = list(params)
    if momentum != 0 and momenta is None:
        raise ArgError("rmsprop: momentum needs momenta")
    checked("rmsprop", "params", ps, ps, True)
    rows = [
        ps,
        checked("rmsprop", "grads", grads, ps, False),
        checked("rmsprop", "squares", squares, ps, True),
        checked("rmsprop", "momenta", momenta, ps, True) if momentum != 0 else None,
        checked("rmsprop", "means", means, ps, True) if means is not None else None,
    ]
    step.rule = RMSPROP
    step.rmsprop.lr, step.rmsprop.alpha, step.rmsprop.eps = lr, alpha, eps
    step.rmsprop.weight_decay, step.rmsprop.momentum = weight_decay, momentum
    sweep(&step, rows)
