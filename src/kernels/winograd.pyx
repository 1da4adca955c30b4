# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Winograd convolution: how a pass is cut into blocks of tiles, and its grids run.

Design. `src/simd/winograd.h` has the algorithm and a picture. This module chooses, from shapes
alone, how many tiles a task takes (V and M of one point must lie in the second-level cache, and a
panel of U must be used often enough to pay for its way there) and how many output channels (few
enough that there are TASKS tasks, many enough that transforming the inputs again costs little).
Weights that would need more than SLICE bytes when transformed are taken in slices.

Not here: when this is worth it (`conv_choice.pyx`), and checking arguments (`conv.pyx`).
"""
cimport numpy as cnp

from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.tasks cimport MERGED, padded, parts, run_tasks
from minigrad._kernels.threads cimport team

cdef Py_ssize_t DEPTH = 384            # input channels in V: a panel of U for them stays in L1
cdef Py_ssize_t TILES = 48             # of a task: enough uses of each panel of U
cdef Py_ssize_t OUTPUTS = 128          # output channels of a task
cdef Py_ssize_t TASKS = 16             # at least, where the shape has that much to give
cdef Py_ssize_t SLICE = 10 << 20       # bytes of U in use at a time: made and used in L3
cdef Py_ssize_t SUM_TILES = 96         # grad_w: tiles of a product, where they have few channels
cdef Py_ssize_t SUM_CHANNELS = 128     # channels of a task, inputs and outputs alike
cdef Py_ssize_t SUM_BYTES = 4 << 20    # of all parts of the sums, unless that makes few tasks
cdef Py_ssize_t ROOM = 64 << 20        # scratch of a call, of all threads together


cdef inline Py_ssize_t even(Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    """The size of equal parts, each at most `most`."""
    return parts(size, parts(size, max(1, min(most, size))))


cdef inline Py_ssize_t up(Py_ssize_t size, Py_ssize_t unit) noexcept nogil:
    return parts(size, unit) * unit


cdef void set_tiles(winograd_tiles *t, const geometry *g, bint adjoint) noexcept nogil:
    """The source, and the tiles of its outputs: of y from x, or (adjoint) of x from gy."""
    cdef Py_ssize_t m = TILE + 1 - g.R
    t.taps = g.R
    if adjoint:
        t.height, t.width, t.channels, t.group_channels = g.P, g.Q, g.K, g.group_k
        t.rows, t.cols = g.H, g.W
        t.top, t.left = g.R - 1 - g.top, g.S - 1 - g.left
    else:
        t.height, t.width, t.channels, t.group_channels = g.H, g.W, g.C, g.group_c
        t.rows, t.cols = g.P, g.Q
        t.top, t.left = g.top, g.left
    t.tile_rows, t.tile_cols = parts(t.rows, m), parts(t.cols, m)
    t.tiles = g.N * t.tile_rows * t.tile_cols


cdef void set_block(winograd_tiles *t, Py_ssize_t block, Py_ssize_t pitch) noexcept nogil:
    """Tiles of a task; slabs of V that do not all start in the same cache sets."""
    t.block = block
    t.blocks = parts(t.tiles, t.block)
    t.pitch = pitch
    t.slab = t.block * pitch + 16


cdef void plan_forward(winograd_plan *p, int lanes, int nr, int threads) noexcept nogil:
    """Tiles are set: choose blocks of tiles and of output channels.

    Only the number of tiles looks at the threads, to bound their scratch: every tile is computed
    alone, so it changes no bit.
    """
    cdef winograd_tiles *t = &p.tiles
    cdef Py_ssize_t wanted, room, block = TILES
    p.out_block = even(parts(p.group_outputs, nr), max(1, OUTPUTS // nr)) * nr
    p.out_blocks = parts(p.group_outputs, p.out_block)
    p.panels = parts(p.group_outputs, nr)
    p.packed_slab = p.panels * nr * t.group_channels + 16
    p.depth = even(t.group_channels, DEPTH)
    p.pitch = up(min(p.out_block, p.group_outputs), lanes)
    wanted = parts(TASKS, p.groups * p.out_blocks)
    room = 4 * POINTS * (up(p.depth, lanes) + p.pitch) * threads
    block = min(block, parts(t.tiles, wanted), (ROOM - SLICE) // 2 // room)
    set_block(t, up(max(12, block), 6), up(p.depth, lanes))
    p.slab = t.block * p.pitch + 16


cdef void fill(Py_ssize_t *at, Py_ssize_t count, Py_ssize_t step) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        at[i] = i * step


cdef int run_forward(winograd_plan *p) except -1:
    """Source, weights and output of a slice are set."""
    cdef const winograd_kernels *kernels = table_for(cnp.NPY_FLOAT).winograd
    cdef Py_ssize_t packed, tables, room, tasks, packs
    cdef double flop
    cdef int threads
    cdef char *memory
    cdef Py_ssize_t *at
    flop = 2.0 * p.groups * p.group_outputs * p.tiles.group_channels * POINTS * p.tiles.tiles
    threads = team(flop)
    plan_forward(p, table_for(cnp.NPY_FLOAT).lanes, table_for(cnp.NPY_FLOAT).gemm.nr, threads)
    packed = padded(4 * POINTS * p.groups * p.packed_slab)
    tables = padded((2 * p.tiles.block + p.depth) * <Py_ssize_t>sizeof(Py_ssize_t))
    room = kernels.scratch(p)
    threads = max(1, min(threads, (ROOM - packed - tables) // room))
    tasks = p.groups * p.out_blocks * p.tiles.blocks
    packs = p.groups * p.panels * parts(p.tiles.group_channels, 16)
    memory = <char *>scratch(packed + tables + room * threads)
    try:
        at = <Py_ssize_t *>(memory + packed)
        p.packed, p.v_at = memory, at
        p.m_at, p.col_at = p.v_at + p.tiles.block, p.v_at + 2 * p.tiles.block
        fill(<Py_ssize_t *>p.v_at, p.tiles.block, p.tiles.pitch)
        fill(<Py_ssize_t *>p.m_at, p.tiles.block, p.pitch)
        fill(<Py_ssize_t *>p.col_at, p.depth, 1)
        run_tasks(kernels.pack, p, packs, 16 * 500.0, NULL, 0, threads)
        run_tasks(kernels.task, p, tasks, flop / tasks, memory + packed + tables, room, threads)
    finally:
        scratch_free(memory)
    return 0


cdef int winograd_forward(const geometry *g, bint adjoint, const void *src, const void *weights,
                          const void *bias, bint relu, void *out) except -1:
    cdef winograd_plan p
    cdef Py_ssize_t taps = g.R * g.S, group, k, outputs, inputs, slice
    set_tiles(&p.tiles, g, adjoint)
    outputs, inputs, p.w_out, p.w_in = g.group_k, g.group_c, g.group_c * taps, taps
    if adjoint:
        outputs, inputs, p.w_out, p.w_in = inputs, outputs, p.w_in, p.w_out
    p.outputs, p.relu, p.turned = outputs * g.groups, relu, adjoint
    p.w_group = g.group_k * g.group_c * taps
    if 4 * POINTS * g.groups * outputs * inputs <= SLICE:
        p.tiles.src, p.weights, p.bias, p.out = src, weights, bias, out
        p.groups, p.group_outputs = g.groups, outputs
        return run_forward(&p)
    slice = up(even(outputs, max(32, SLICE // (4 * POINTS * inputs) // 32 * 32)), 32)
    for group in range(g.groups):
        for k in range(0, outputs, slice):
            p.groups, p.group_outputs = 1, min(slice, outputs - k)
            p.tiles.src = <const float *>src + group * inputs
            p.weights = <const float *>weights + group * p.w_group + k * p.w_out
            p.bias = NULL if bias == NULL else <const float *>bias + group * outputs + k
            p.out = <float *>out + group * outputs + k
            run_forward(&p)
    return 0


cdef void plan_grad_w(winograd_grad_w_plan *p, int lanes, int nr) noexcept nogil:
    """Tiles are set: choose chunks, blocks of output channels and of tiles, and parts."""
    cdef winograd_tiles *t = &p.tiles
    cdef Py_ssize_t owners
    p.chunk = even(t.group_channels, SUM_CHANNELS)
    p.chunks = parts(t.group_channels, p.chunk)
    p.out_block = even(parts(p.group_outputs, nr), max(1, SUM_CHANNELS // nr)) * nr
    p.out_blocks = parts(p.group_outputs, p.out_block)
    p.out_pitch = up(min(p.out_block, p.group_outputs), lanes)
    owners = p.groups * p.chunks * p.out_blocks
    p.parts = max(parts(TASKS // 2, owners), min(parts(TASKS, owners), SUM_BYTES // (
        4 * POINTS * owners * p.chunk * p.out_pitch)))
    p.parts = max(1, min(p.parts, t.tiles // (SUM_TILES // 2)))
    # equal blocks, as many for every part; a tile's line of V is read with every other: an odd
    # number of cache lines apart, they do not compete for the same sets
    set_block(t, even(parts(t.tiles, p.parts), SUM_TILES if p.chunk + p.out_pitch <= 128 else
                      SUM_TILES // 2),
              (parts(p.chunk, 16) | 1) * 16 if p.chunk > 16 else up(p.chunk, lanes))
    p.parts = min(p.parts, t.blocks)


cdef int winograd_grad_w(const geometry *g, const void *gy, const void *x, void *gw) except -1:
    cdef const winograd_kernels *kernels = table_for(cnp.NPY_FLOAT).winograd
    cdef int lanes = table_for(cnp.NPY_FLOAT).lanes, nr = table_for(cnp.NPY_FLOAT).gemm.nr
    cdef double flop = 2.0 * g.N * g.P * g.Q * g.K * g.group_c * g.R * g.S
    cdef int threads = team(flop)
    cdef Py_ssize_t owners, partial, tables, room
    cdef winograd_grad_w_plan p
    cdef char *memory
    set_tiles(&p.tiles, g, False)
    p.tiles.src, p.gy, p.grad_w = x, gy, gw
    p.groups, p.group_outputs = g.groups, g.group_k
    plan_grad_w(&p, lanes, nr)
    owners = p.groups * p.chunks * p.out_blocks
    partial = 0
    if p.parts > 1:
        partial = padded(4 * POINTS * owners * p.parts * p.chunk * p.out_pitch)
    tables = padded((2 * p.chunk + p.tiles.block) * <Py_ssize_t>sizeof(Py_ssize_t))
    room = kernels.grad_w_scratch(&p)
    threads = max(1, min(threads, (ROOM - partial - tables) // room))
    memory = <char *>scratch(partial + tables + room * threads)
    try:
        p.partial, p.row_at = memory, <Py_ssize_t *>(memory + partial)
        p.sum_at, p.tile_at = p.row_at + p.chunk, p.row_at + 2 * p.chunk
        fill(<Py_ssize_t *>p.row_at, p.chunk, 1)
        fill(<Py_ssize_t *>p.sum_at, p.chunk, p.out_pitch)
        fill(<Py_ssize_t *>p.tile_at, p.tiles.block, p.tiles.pitch)
        run_tasks(kernels.grad_w, &p, owners * p.parts, flop / (owners * p.parts),
                  memory + partial + tables, room, threads)
        if p.parts > 1:
            run_tasks(kernels.merge, &p, owners * parts(p.chunk, MERGED),
                      36.0 * MERGED * p.parts * p.out_pitch, NULL, 0, threads)
    finally:
        scratch_free(memory)
    return 0
