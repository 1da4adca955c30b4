# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Winograd convolution: how a pass is cut into blocks of tiles, and its grids run.

Design. `src/simd/winograd.h` has the algorithm and a picture. This module chooses, from shapes
alone, the arrangement and its blocks. Usually tiles stay and filters pass by: V and M of a task's
tiles must lie in the second-level cache, a panel of U must be used often enough to pay for its way
there, and the output channels must be few enough that there are TASKS tasks, many enough that
transforming the inputs again costs little. In a deep layer, of many channels or of few tiles,
filters stay and tiles pass by (`src/simd/winograd_deep.c`): U is never written.

Not here: when this is worth it (`conv_choice.pyx`), and checking arguments (`conv.pyx`).
"""
cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.kept cimport pack_once
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.tasks cimport (
    MERGED, moments_bytes, padded, parts, pixels_behind, run_tasks)
from minigrad._kernels.threads cimport team

cdef Py_ssize_t DEPTH = 384            # input channels in V: a panel of U for them stays in L1
cdef Py_ssize_t TILES = 48             # of a task: enough uses of each panel of U
cdef Py_ssize_t LEAST_TILES = 12       # the same at least, or U is read for too few
cdef Py_ssize_t OUTPUTS = 128          # output channels of a task
cdef Py_ssize_t TASKS = 16             # at least, where the shape has that much to give
cdef Py_ssize_t MOST = 10 << 20        # bytes of U of all groups that are made at a time
cdef Py_ssize_t FEW_TILES = 256        # a deep layer, if channels are more
cdef Py_ssize_t DEEP_TILES = 132       # of a task: their M lies in L2 beside U for
cdef Py_ssize_t DEEP_DEPTH = 64        # input channels
cdef Py_ssize_t DEEP_BYTES = 16 << 20  # of V in use at a time
cdef Py_ssize_t SUM_TILES = 96         # grad_w: tiles of a product, where they have few channels
cdef Py_ssize_t FEW_TASKS = 4          # fewer only where there are no more output channels
cdef Py_ssize_t SUM_CHANNELS = 96      # channels of a task, inputs and outputs alike
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


cdef bint is_narrow(int lanes, Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil:
    """Whether both are one vector: of 16 lanes, where a point's U is half of the registers."""
    return lanes == 16 and inputs <= lanes and outputs <= lanes


cdef void plan_forward(winograd_plan *p, int lanes, int nr, int threads) noexcept nogil:
    """Tiles are set: choose blocks of tiles and of output channels.

    Only the number of tiles looks at the threads, to bound their scratch: every tile is computed
    alone, so it changes no bit.
    """
    cdef winograd_tiles *t = &p.tiles
    cdef Py_ssize_t wanted, room, block = TILES
    p.panels = parts(p.group_outputs, nr)
    p.out_blocks = parts(p.panels, max(1, OUTPUTS // nr))
    while p.out_blocks < p.panels and p.groups * p.out_blocks * max(
            1, t.tiles // LEAST_TILES) < FEW_TASKS:
        p.out_blocks += 1              # V is made again in each
    p.out_block = parts(p.panels, p.out_blocks) * nr
    p.out_blocks = parts(p.group_outputs, p.out_block)
    p.packed_slab = p.panels * nr * t.group_channels + 16
    p.depth = even(t.group_channels, DEPTH)
    p.pitch = up(min(p.out_block, p.group_outputs), lanes)
    wanted = parts(TASKS, p.groups * p.out_blocks)
    room = 4 * POINTS * (up(p.depth, lanes) + p.pitch) * threads
    block = min(block, parts(t.tiles, wanted), (ROOM - MOST) // 2 // room)
    p.narrow = is_narrow(lanes, t.group_channels, p.group_outputs)
    set_block(t, up(max(LEAST_TILES, block), 8 if p.narrow else 6), up(p.depth, lanes))
    p.slab = t.block * p.pitch + 16


cdef void fill(Py_ssize_t *at, Py_ssize_t count, Py_ssize_t step) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        at[i] = i * step


cdef Py_ssize_t sums_bytes(const winograd_plan *p, const void *mean) noexcept nogil:
    """For the moments of all blocks of tiles, if there is a place for their mean."""
    if mean == NULL:
        return 0
    return moments_bytes(parts(p.tiles.tiles, p.tiles.block), p.groups * p.group_outputs)


cdef void place_sums(winograd_plan *p, void *memory, const void *mean) noexcept nogil:
    p.moments, p.moment_pixels = NULL, NULL
    if mean != NULL:
        p.moments = <double *>memory
        p.moment_pixels = pixels_behind(p.moments, parts(p.tiles.tiles, p.tiles.block),
                                        p.groups * p.group_outputs)


cdef void merge_sums(const winograd_plan *p, void *mean, void *var) noexcept nogil:
    if mean != NULL:
        table_for(cnp.NPY_FLOAT).norm.merge_parts(
            p.moments, p.moment_pixels, parts(p.tiles.tiles, p.tiles.block),
            p.groups * p.group_outputs, mean, var)


cdef int run_forward(winograd_plan *p, void *mean, void *var, dict memo,
                     Py_ssize_t group) except -1:
    """Source, weights (from `group` on) and output are set; memo: of all weights, or None."""
    cdef const winograd_kernels *kernels = table_for(cnp.NPY_FLOAT).winograd
    cdef Py_ssize_t packed, tables, room, tasks, packs, sums
    cdef ndarray _filters            # holds the memory of p.packed
    cdef double flop
    cdef int threads
    cdef char *memory
    cdef Py_ssize_t *at
    flop = 2.0 * p.groups * p.group_outputs * p.tiles.group_channels * POINTS * p.tiles.tiles
    threads = team(flop)
    plan_forward(p, table_for(cnp.NPY_FLOAT).lanes, table_for(cnp.NPY_FLOAT).gemm.nr, threads)
    packed = padded(4 * POINTS * p.groups * p.packed_slab)
    tables = padded((2 * p.tiles.block + p.depth) * <Py_ssize_t>sizeof(Py_ssize_t))
    sums = sums_bytes(p, mean)
    room = kernels.scratch(p)
    threads = max(1, min(threads, (ROOM - packed - tables - sums) // room))
    tasks = p.groups * p.out_blocks * p.tiles.blocks
    packs = p.groups * p.panels * parts(p.tiles.group_channels, 16)
    _filters = pack_once(memo, ("winograd", group),
                         (p.groups, p.group_outputs, p.narrow, p.packed_slab), packed, &p.packed,
                         kernels.pack, p, packs, 16 * 500.0, threads)
    memory = <char *>scratch(tables + sums + room * threads)
    try:
        place_sums(p, memory + tables, mean)
        at = <Py_ssize_t *>memory
        p.v_at = at
        p.m_at, p.col_at = p.v_at + p.tiles.block, p.v_at + 2 * p.tiles.block
        fill(<Py_ssize_t *>p.v_at, p.tiles.block, p.tiles.pitch)
        fill(<Py_ssize_t *>p.m_at, p.tiles.block, p.pitch)
        fill(<Py_ssize_t *>p.col_at, p.depth, 1)
        run_tasks(kernels.narrow_task if p.narrow else kernels.task, p, tasks, flop / tasks,
                  memory + tables + sums, room, threads)
        merge_sums(p, mean, var)
    finally:
        scratch_free(memory)
    return 0


cdef bint is_deep(Py_ssize_t tiles, Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil:
    """Whether filters stay and tiles pass by: U would be large, or hardly be used."""
    return 4 * POINTS * inputs * outputs > MOST or (
        tiles <= FEW_TILES and min(inputs, outputs) >= 64)


cdef void plan_deep(winograd_plan *p, int lanes, int nr) noexcept nogil:
    """A group's tiles and outputs are set: choose tiles of a task, and of V."""
    cdef winograd_tiles *t = &p.tiles
    cdef Py_ssize_t room, wanted
    p.panels = parts(p.group_outputs, nr)
    p.depth = even(t.group_channels, DEEP_DEPTH)
    t.pitch, p.pitch = up(p.depth, lanes), nr
    wanted = max(48, parts(t.tiles, parts(TASKS // 4, p.panels)))
    t.block = up(even(t.tiles, min(DEEP_TILES, wanted)), 6)
    room = DEEP_BYTES // (4 * POINTS * parts(t.group_channels, p.depth) * t.pitch)
    t.block = max(6, min(t.block, room // 6 * 6))
    t.blocks = max(1, min(parts(t.tiles, t.block), room // t.block))
    t.slab = t.blocks * t.block * t.pitch + 16
    p.slab = t.block * nr + 16


cdef int run_deep(winograd_plan *p, void *mean, void *var) except -1:
    """One group: V of as many tiles as DEEP_BYTES hold, then all their outputs, and so on."""
    cdef const winograd_kernels *kernels = table_for(cnp.NPY_FLOAT).winograd
    cdef winograd_tiles *t = &p.tiles
    cdef Py_ssize_t shared, tables, room, chunks, tasks, blocks, sums
    cdef double flop = 2.0 * p.group_outputs * t.group_channels * POINTS * t.tiles
    cdef int threads = team(flop)
    cdef char *memory
    cdef char *rooms
    cdef Py_ssize_t *at
    plan_deep(p, table_for(cnp.NPY_FLOAT).lanes, table_for(cnp.NPY_FLOAT).gemm.nr)
    chunks = parts(t.group_channels, p.depth)
    shared = padded(4 * chunks * POINTS * t.slab)
    tables = padded((2 * t.block + p.depth) * <Py_ssize_t>sizeof(Py_ssize_t))
    sums = sums_bytes(p, mean)
    room = kernels.deep_scratch(p)
    threads = max(1, min(threads, (ROOM - shared - tables - sums) // room))
    memory = <char *>scratch(shared + tables + sums + room * threads)
    rooms = memory + shared + tables + sums
    try:
        place_sums(p, memory + shared + tables, mean)
        at = <Py_ssize_t *>(memory + shared)
        p.v, p.v_at, p.m_at, p.col_at = memory, at, at + t.block, at + 2 * t.block
        fill(<Py_ssize_t *>p.v_at, t.block, t.pitch)
        fill(<Py_ssize_t *>p.m_at, t.block, p.pitch)
        fill(<Py_ssize_t *>p.col_at, p.depth, 1)
        p.first_tile = 0
        while p.first_tile < t.tiles:
            p.last_tile = min(t.tiles, p.first_tile + t.blocks * t.block)
            tasks = parts(p.last_tile - p.first_tile, PACK) * chunks
            run_tasks(kernels.deep_inputs, p, tasks, PACK * p.depth * 200.0, rooms, room, threads)
            blocks = parts(p.last_tile - p.first_tile, t.block)
            run_tasks(kernels.deep_task, p, blocks * p.panels,
                      flop * t.block / t.tiles / p.panels, rooms, room, threads)
            p.first_tile = p.last_tile
        merge_sums(p, mean, var)
    finally:
        scratch_free(memory)
    return 0


cdef inline void *from_channel(const void *values, Py_ssize_t channel) noexcept nogil:
    """NULL stays NULL."""
    return NULL if values == NULL else <float *>values + channel


cdef int winograd_forward(const geometry *g, bint adjoint, const void *src, const void *weights,
                          const epilogue *end, void *out, Py_ssize_t pitch, dict memo) except -1:
    cdef winograd_plan p
    cdef Py_ssize_t taps = g.R * g.S, group, outputs, inputs, size
    cdef void *mean
    cdef void *var
    cdef bint deep
    set_tiles(&p.tiles, g, adjoint)
    outputs, inputs, p.w_out, p.w_in = g.group_k, g.group_c, g.group_c * taps, taps
    if adjoint:
        outputs, inputs, p.w_out, p.w_in = inputs, outputs, p.w_in, p.w_out
    p.out_pitch, p.relu, p.turned, p.group_outputs = pitch, end.relu, adjoint, outputs
    p.w_group = g.group_k * g.group_c * taps
    size = 4 * POINTS * outputs * inputs
    deep = is_deep(p.tiles.tiles, inputs, outputs)
    if not deep and g.groups * size <= MOST:
        p.tiles.src, p.weights, p.out, p.groups = src, weights, out, g.groups
        p.bias, p.scale, p.residual = end.bias, end.scale, end.residual
        return run_forward(&p, end.mean, end.var, memo, 0)
    p.groups = 1
    for group in range(g.groups):
        p.tiles.src = <const float *>src + group * inputs
        p.weights = <const float *>weights + group * p.w_group
        p.bias = from_channel(end.bias, group * outputs)
        p.scale = from_channel(end.scale, group * outputs)
        p.residual = from_channel(end.residual, group * outputs)
        p.out = <float *>out + group * outputs
        mean, var = from_channel(end.mean, group * outputs), from_channel(end.var, group * outputs)
        if deep:
            run_deep(&p, mean, var)
        else:
            run_forward(&p, mean, var, memo, group)
    return 0


cdef void plan_grad_w(winograd_grad_w_plan *p, int lanes, int nr) noexcept nogil:
    """Tiles are set: choose chunks, blocks of output channels and of tiles, and parts."""
    cdef winograd_tiles *t = &p.tiles
    cdef Py_ssize_t owners, panels
    p.chunk = even(t.group_channels, SUM_CHANNELS)
    p.chunks = parts(t.group_channels, p.chunk)
    panels = parts(p.group_outputs, nr)
    p.out_blocks = parts(panels, max(1, SUM_CHANNELS // nr))
    while p.out_blocks < panels and p.groups * p.chunks * p.out_blocks * max(
            1, t.tiles // (SUM_TILES // 2)) < FEW_TASKS:
        p.out_blocks += 1              # x is transformed again in each: cheaper than parts
    p.out_block = parts(panels, p.out_blocks) * nr
    p.out_blocks = parts(p.group_outputs, p.out_block)
    p.out_pitch = up(min(p.out_block, p.group_outputs), lanes)
    p.narrow = is_narrow(lanes, t.group_channels, p.group_outputs)
    owners = p.groups * p.chunks * p.out_blocks
    if 1 < owners < TASKS and owners % 2:      # two threads would have unequal shares
        p.chunk = parts(t.group_channels, p.chunks + 1)
        p.chunks = parts(t.group_channels, p.chunk)
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
