# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Matrix products: matmul, bmm, linear.

Design. `multiply` is all of it: C = A B + bias for a batch of matrices of any strides. It chooses
the blocks from the shapes alone, packs B by panels (in parallel), then deals out blocks of C. When
packing B^T's side is dearer (a wide weight, a small batch), it computes C^T = B^T A^T instead: only
strides change places. What a block does is in `src/simd/gemm.c`; the picture is in `gemm.h`.

Results are the same bits for any number of threads, any layout of A and B, and either side packed:
an element of C is one chain of multiply-adds in the order of k.

Not here: vectors and broadcasting (`minigrad/ops/linear.py`), gradients (they are products again).
"""
from minigrad.errors import ShapeError

cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.memory cimport empty, scratch, scratch_free
from minigrad._kernels.operands cimport c_order, floats, times
from minigrad._kernels.tasks cimport padded, parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef Py_ssize_t DEPTH = 384            # rows of a packed panel: 24 KiB, in L1 beside 6 rows of A
cdef Py_ssize_t ROWS = 144             # rows of C in a task: its A, 216 KiB, in L2
cdef Py_ssize_t TURNED = 256 * 1024    # bytes of a block of C^T that is turned: in L2
cdef double PACKED = 64e6              # bytes of a batch's B that are packed at a time
cdef Py_ssize_t PAGE = 4096            # bytes between rows that compete for 8 to 12 lines of L1
cdef Py_ssize_t TASKS = 16             # blocks wanted, so that any number of threads has work
cdef double SHARED = 8e5               # flop from which threads may share it: see threads.pyx
cdef double BIG = 1e6                  # elements of a matrix that no cache of a core holds
cdef Py_ssize_t STREAM_DEPTH = 128     # then: rows of B in a block, and bytes of each of them, so
cdef Py_ssize_t STREAM_BYTES = 2048    # that memory is read in long runs


cdef inline Py_ssize_t even(Py_ssize_t size, Py_ssize_t most, Py_ssize_t unit) noexcept nogil:
    """A part of about equal size to its siblings, at most `most`, a multiple of unit."""
    cdef Py_ssize_t count = max(1, parts(size, most))
    return max(unit, parts(parts(size, count), unit) * unit)


# --- blocks ------------------------------------------------------------------------------------

cdef void transpose(gemm_plan *p) noexcept nogil:
    """C = A B  ->  C^T = B^T A^T."""
    p.a, p.b = p.b, p.a
    p.m, p.n = p.n, p.m
    p.a_batch, p.b_batch = p.b_batch, p.a_batch
    p.a_row, p.b_col = p.b_col, p.a_row
    p.a_col, p.b_row = p.b_row, p.a_col
    p.c_row, p.c_col = p.c_col, p.c_row
    p.bias_by_rows = True


cdef double cost(double m, double n, double k, bint a_by_rows, bint b_by_rows, bint c_by_rows,
                 int lanes) noexcept nogil:
    """Cycles, roughly: tiles, packing B (a copy, or a transposition), storing or turning C,
    columns of A."""
    cdef double vectors = (n + lanes - 1) // lanes, rows = (m + 5) // 6 * 6
    cdef double columns = 0 if a_by_rows or m * k < BIG else 2.0
    return k * rows * vectors * 0.5 + k * n * (0.25 if b_by_rows else 1.0) + m * n * (
        0.1 if c_by_rows else 0.5) + m * k * columns


cdef void choose_blocks(gemm_plan *p, const gemm_kernels *kernels, Py_ssize_t item) noexcept nogil:
    """Block sizes and how A and B are read, from the shapes alone."""
    cdef int mr = kernels.mr, nr = kernels.nr
    cdef double flop = 2.0 * p.m * p.n * p.k
    cdef Py_ssize_t columns
    cdef bint stream
    if cost(p.n, p.m, p.k, 0 <= p.b_row <= 1, p.a_row == 1, p.c_row == 1, nr // 2) < cost(
            p.m, p.n, p.k, 0 <= p.a_col <= 1, p.b_col == 1, p.c_col == 1, nr // 2):
        transpose(p)
    stream = p.c_col == 1 and p.b_col == 1 and p.m <= ROWS and <double>p.k * p.n > BIG
    p.k_block = even(p.k, STREAM_DEPTH if stream else DEPTH, 1)
    p.k_blocks = parts(p.k, p.k_block)
    p.m_block = even(p.m, ROWS, mr)
    p.panels = parts(p.n, nr)
    columns = min(p.panels, max(4, STREAM_BYTES // (nr * item))) if stream else p.panels
    if p.c_col != 1:
        columns = min(columns, max(4, TURNED // (p.m_block * nr * item)))
    if flop * p.batch > SHARED:
        while columns > 4 and parts(p.m, p.m_block) * parts(p.panels, columns) * p.batch < TASKS:
            columns = parts(columns, 2)
        while p.m_block > mr and not stream and (
                parts(p.m, p.m_block) * parts(p.panels, columns) * p.batch < TASKS):
            p.m_block = parts(parts(p.m_block, 2), mr) * mr
    p.m_blocks = parts(p.m, p.m_block)
    p.n_block = columns * nr
    p.n_blocks = parts(p.n, p.n_block)
    p.pack_b = stream and p.m_blocks == 1
    p.turn_c = p.c_col != 1
    p.c_pitch = p.n_block + nr
    p.pack_a = A_AS_IT_IS
    if p.m >= mr and (columns >= 8 or (
            columns >= 4 and mr > 8 and p.a_row * item % PAGE == 0)):
        p.pack_a = A_BY_ROWS if p.a_col == 1 else A_BY_COLUMNS
    p.a_pitch = nr + (p.k_block * mr if p.pack_a == A_BY_COLUMNS else p.k_block)


cdef void fill_offsets(gemm_plan *p, int mr, Py_ssize_t *row_at) noexcept nogil:
    """Where rows and columns of A, and rows of C, lie from the start of their block."""
    cdef Py_ssize_t *c_at = row_at + p.m_block
    cdef Py_ssize_t *col_at = c_at + p.m_block
    cdef Py_ssize_t i, k
    p.row_at, p.c_at, p.col_at = row_at, c_at, col_at
    for i in range(p.m_block):
        c_at[i] = i * (p.c_pitch if p.turn_c else p.c_row)
        if p.pack_a == A_AS_IT_IS:
            row_at[i] = i * p.a_row
        elif p.pack_a == A_BY_ROWS:
            row_at[i] = i * p.a_pitch
        else:
            row_at[i] = i // mr * p.a_pitch + i % mr
    for k in range(p.k_block):
        col_at[k] = k * (p.a_col if p.pack_a == A_AS_IT_IS else 1 if p.pack_a == A_BY_ROWS else mr)


# --- running -----------------------------------------------------------------------------------

cdef int multiply(const gemm_plan *whole, int typenum) except -1:
    """C = A B + bias, as many matrices of the batch at a time as PACKED bytes hold."""
    cdef Py_ssize_t item = 4 if typenum == cnp.NPY_FLOAT else 8, first = 0
    cdef double bytes_each = <double>item * whole.k * (max(whole.m, whole.n) + 16)
    cdef Py_ssize_t most = max(1, <Py_ssize_t>(PACKED / bytes_each))
    cdef gemm_plan p
    while first < whole.batch:
        p = whole[0]
        p.batch = min(most, whole.batch - first)
        p.a = <const char *>whole.a + first * whole.a_batch * item
        p.b = <const char *>whole.b + first * whole.b_batch * item
        p.c = <char *>whole.c + first * whole.c_batch * item
        multiply_some(&p, typenum)
        first += p.batch
    return 0


cdef int multiply_some(gemm_plan *p, int typenum) except -1:
    """C = A B + bias. All fields up to c_col, bias and relu are set; no size is 0."""
    cdef const gemm_kernels *kernels = table_for(typenum).gemm
    cdef Py_ssize_t item = 4 if typenum == cnp.NPY_FLOAT else 8
    cdef Py_ssize_t offsets, packed, room = 0, packs, tasks
    cdef double flop = 2.0 * p.batch * p.m * p.n * p.k
    cdef char *memory
    cdef int threads = team(flop)
    choose_blocks(p, kernels, item)
    p.packed_batch = p.k_blocks * p.panels * p.k_block * kernels.nr if not p.pack_b else 0
    packed = times("matmul", p.packed_batch, item)
    if p.b_batch:
        packed = times("matmul", packed, p.batch)
    else:
        p.packed_batch = 0
    packed = padded(packed)
    p.a_room = 0
    if p.pack_a == A_BY_ROWS:
        p.a_room = padded((p.m_block + kernels.mr) * p.a_pitch * item)
    elif p.pack_a == A_BY_COLUMNS:
        p.a_room = padded(parts(p.m_block, kernels.mr) * p.a_pitch * item)
    p.c_room = padded(p.m_block * p.c_pitch * item) if p.turn_c else 0
    room = p.a_room + p.c_room
    if p.pack_b:
        room += padded(p.k_block * p.n_block * item)
    offsets = padded((2 * p.m_block + p.k_block) * sizeof(Py_ssize_t))
    memory = <char *>scratch(packed + offsets + room * threads)
    try:
        p.packed = memory
        fill_offsets(p, kernels.mr, <Py_ssize_t *>(memory + packed))
        packs = 0 if p.pack_b else p.panels * p.k_blocks * (p.batch if p.packed_batch else 1)
        tasks = p.m_blocks * p.n_blocks * p.batch
        run_tasks(kernels.pack, p, packs, 4.0 * p.k_block * kernels.nr, NULL, 0, threads)
        run_tasks(kernels.task, p, tasks, flop / tasks, memory + packed + offsets, room, threads)
    finally:
        scratch_free(memory)
    return 0


# --- from Python -------------------------------------------------------------------------------

cdef object product(str op, ndarray a, ndarray b, ndarray bias, bint relu, int nd):
    """a (.., M, K) b (.., K, N) + bias (N,) as a new array in C order; ranks are checked."""
    cdef gemm_plan p
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(a)
    cdef Py_ssize_t dims[3]
    cdef int i = nd - 2, typenum = cnp.PyArray_TYPE(a)
    cdef ndarray c
    p.batch = dims[0] = cnp.PyArray_DIM(a, 0) if nd == 3 else 1
    p.m, p.k, p.n = cnp.PyArray_DIM(a, i), cnp.PyArray_DIM(a, i + 1), cnp.PyArray_DIM(b, i + 1)
    dims[i], dims[i + 1] = p.m, p.n
    c = empty(nd, dims, typenum, False)
    if not p.batch or not p.m or not p.n:
        return c
    if not p.k:
        (<object>c)[...] = 0 if bias is None else bias
        return (<object>c).clip(0, None) if relu else c
    p.a_batch = cnp.PyArray_STRIDE(a, 0) // item if nd == 3 else 0
    p.b_batch = cnp.PyArray_STRIDE(b, 0) // item if nd == 3 else 0
    p.a_row, p.a_col = cnp.PyArray_STRIDE(a, i) // item, cnp.PyArray_STRIDE(a, i + 1) // item
    p.b_row, p.b_col = cnp.PyArray_STRIDE(b, i) // item, cnp.PyArray_STRIDE(b, i + 1) // item
    p.c_batch, p.c_row, p.c_col = p.m * p.n, p.n, 1
    p.a, p.b, p.c = cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), cnp.PyArray_DATA(c)
    p.bias = NULL if bias is None else cnp.PyArray_DATA(bias)
    p.relu = relu
    p.bias_by_rows = False
    multiply(&p, typenum)
    return c


def matmul(a, b):
    """c = a b.

    Shapes  a: (M, K); b: (K, N); c: (M, N), C order. Any strides
    Raises  ShapeError, DTypeError (float32 or float64, both the same)
    Source  Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008
    """
    cdef ndarray left = floats("matmul", "a", a, 2, -1)
    cdef ndarray right = floats("matmul", "b", b, 2, cnp.PyArray_TYPE(left))
    if cnp.PyArray_DIM(left, 1) != cnp.PyArray_DIM(right, 0):
        raise ShapeError(f"matmul: a has {left.shape[1]} columns, b has {right.shape[0]} rows "
                         f"(a {(<object>left).shape}, b {(<object>right).shape})")
    return product("matmul", left, right, None, False, 2)


def bmm(a, b):
    """c_i = a_i b_i for every i of a batch.

    Shapes  a: (B, M, K); b: (B, K, N); c: (B, M, N), C order. Any strides; a stride of 0 along B
            is one matrix for all, and is packed once
    Raises  ShapeError, DTypeError
    """
    cdef ndarray left = floats("bmm", "a", a, 3, -1)
    cdef ndarray right = floats("bmm", "b", b, 3, cnp.PyArray_TYPE(left))
    if (cnp.PyArray_DIM(left, 0) != cnp.PyArray_DIM(right, 0)
            or cnp.PyArray_DIM(left, 2) != cnp.PyArray_DIM(right, 1)):
        raise ShapeError(f"bmm: shapes {(<object>left).shape} and {(<object>right).shape} do not "
                         f"fit; expected (B, M, K) and (B, K, N)")
    return product("bmm", left, right, None, False, 3)


def linear(x, w, b=None, *, relu=False):
    """y = x w^T + b, then max(0, y) if `relu`.

    Shapes  x: (N, I); w: (O, I); b: (O,) or None; y: (N, O), C order. Any strides
    Raises  ShapeError, DTypeError
    """
    cdef ndarray rows = floats("linear", "x", x, 2, -1)
    cdef ndarray weight = floats("linear", "w", w, 2, cnp.PyArray_TYPE(rows))
    cdef ndarray bias = None
    if cnp.PyArray_DIM(rows, 1) != cnp.PyArray_DIM(weight, 1):
        raise ShapeError(f"linear: x has {rows.shape[1]} features, w expects {weight.shape[1]} "
                         f"(x {(<object>rows).shape}, w {(<object>weight).shape})")
    if b is not None:
        bias = c_order(floats("linear", "b", b, 1, cnp.PyArray_TYPE(rows)))
        if cnp.PyArray_DIM(bias, 0) != cnp.PyArray_DIM(weight, 0):
            raise ShapeError(f"linear: b has shape {(<object>bias).shape}, expected "
                             f"({weight.shape[0]},)")
    return product("linear", rows, cnp.PyArray_Transpose(weight, NULL), bias, relu, 2)
