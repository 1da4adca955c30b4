# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Convolution by its definition: bands of pixels times packed weights.

Design. Every pass is a matrix product on channels-last memory whose im2row operand exists only as
offsets (`src/simd/conv.h`). conv2d and conv2d_grad_x are one kernel: the gradient of x is a
convolution of gy, one for every phase of the stride, so nothing is ever multiplied by inserted
zeros. This module fills in a plan, asks `conv_plan.pyx` for blocks (`conv_images.pyx` where vectors
run over images), packs and runs. `lines`: by Winograd's algorithm along lines, which takes the same
plans (`src/simd/lines.h`).

Not here: checking arguments and the other ways (`conv.pyx`).
"""
cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.conv cimport (
    conv_forward_kernels, conv_forward_plan, conv_grad_w_kernels, conv_grad_w_plan)
from minigrad._kernels.conv_choice cimport FORWARD, GRAD_W, GRAD_X, conv_pass, takes_images
from minigrad._kernels.conv_geometry cimport epilogue, flop_of, geometry, is_plain
from minigrad._kernels.conv_images cimport (
    LINE_POINTS, plan_images, plan_images_grad_w, plan_lines, plan_lines_grad_w)
from minigrad._kernels.conv_plan cimport (
    band_count, carve, plan_forward, plan_forward_taps, plan_grad_w, plan_phase, table_bytes,
    tables)
from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.kept cimport memo_of, pack_once
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.operands cimport pixel_pitch
from minigrad._kernels.tasks cimport (
    MERGED, moments_bytes, padded, parts, pixels_behind, run_tasks)
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef epilogue NOTHING = [NULL, NULL, NULL, False, NULL, NULL]

cdef enum conv_way:
    CHANNELS, IMAGES                 # what vectors run over, by the definition
    LINES, LINES_BACK                # images, by Winograd's algorithm; its adjoint, of grad_x


cdef conv_way way_of(const geometry *g, conv_pass which, int typenum) noexcept:
    return IMAGES if takes_images(g, which, typenum) else CHANNELS


# --- running a plan ----------------------------------------------------------------------------

cdef int run_forward(conv_forward_plan *p, tables t, int typenum, double flop, conv_way way,
                     const epilogue *end, dict memo) except -1:
    """Y = A W: taps, weights and output are set; memo: of weights whose taps are all met, in order,
    or None."""
    cdef const conv_forward_kernels *kernels = table_for(typenum).conv_forward
    cdef int nr = table_for(typenum).gemm.nr, item = 4 if typenum == cnp.NPY_FLOAT else 8
    cdef int threads = team(flop)
    cdef Py_ssize_t depth, packs, tasks, room, bands, channels, sums = 0, columns = p.band.w.taps, i
    cdef char *memory
    cdef const Py_ssize_t *finite
    cdef ndarray _packed             # holds the memory of p.packed
    if way == LINES or way == LINES_BACK:
        kernels = table_for(typenum).conv_lines
        if way == LINES_BACK:
            kernels = table_for(typenum).conv_lines_grad_x
        plan_lines(p, t, nr // 2, way == LINES_BACK)
        columns = LINE_POINTS
    elif way == IMAGES:
        kernels = table_for(typenum).conv_images
        plan_images(p, t, nr // 2)
    else:
        plan_forward(p, t, table_for(typenum).gemm.mr, nr, item)
    depth = p.band.h.taps * columns * p.band.chunk
    packs = p.groups * p.band.chunks * p.panels
    bands, channels = band_count(&p.band), p.groups * p.group_outputs
    tasks = p.groups * bands * p.out_blocks
    if end.mean != NULL:
        sums = moments_bytes(bands, channels)
    room = kernels.scratch(p)
    _packed = pack_once(memo, way,
                        (p.groups, p.group_outputs, p.band.chunks, p.band.chunk, depth,
                         p.skips_padding),
                        packs * (depth * nr * item + sizeof(Py_ssize_t)), &p.packed, kernels.pack,
                        p, packs, 4.0 * depth * nr, threads)
    if way == CHANNELS or way == IMAGES:
        finite = <const Py_ssize_t *>(<char *>p.packed + packs * depth * nr * item)
        for i in range(packs if p.skips_padding else 0):
            p.skips_padding &= finite[i]
    memory = <char *>scratch(sums + room * threads)
    try:
        p.moments, p.moment_pixels = NULL, NULL
        if sums:
            p.moments = <double *>memory
            p.moment_pixels = pixels_behind(p.moments, bands, channels)
        run_tasks(kernels.task, p, tasks, flop / tasks, memory + sums, room, threads)
        if sums:
            table_for(typenum).norm.merge_parts(p.moments, p.moment_pixels, bands, channels,
                                                end.mean, end.var)
    finally:
        scratch_free(memory)
    return 0


cdef int run_grad_w(conv_grad_w_plan *p, tables t, int typenum, double flop,
                    conv_way way) except -1:
    """gW = A^T gY: taps and arrays are set."""
    cdef const conv_grad_w_kernels *kernels = table_for(typenum).conv_grad_w
    cdef int nr = table_for(typenum).gemm.nr, item = 4 if typenum == cnp.NPY_FLOAT else 8
    cdef int threads = team(flop)
    cdef Py_ssize_t owners, merges, partial, room, columns = p.band.w.taps
    cdef char *memory
    if way == LINES:
        kernels = table_for(typenum).conv_lines_grad_w
        plan_lines_grad_w(p, t, nr // 2)
        columns = LINE_POINTS
    elif way == IMAGES:
        kernels = table_for(typenum).conv_images_grad_w
        plan_images_grad_w(p, t, nr // 2)
    else:
        plan_grad_w(p, t, nr, item)
    owners = p.groups * p.band.chunks * p.out_blocks
    partial = p.band.h.taps * columns * p.band.chunk * p.out_pitch * item
    room = kernels.scratch(p)
    memory = <char *>scratch(padded(owners * p.parts * partial) + room * threads)
    try:
        p.partial = memory
        run_tasks(kernels.task, p, owners * p.parts, flop / (owners * p.parts),
                  memory + padded(owners * p.parts * partial), room, threads)
        merges = owners * (p.group_outputs if way == LINES else parts(p.band.chunk, MERGED))
        run_tasks(kernels.merge, p, merges, 4.0 * owners * p.parts * partial / merges, NULL, 0,
                  threads)
    finally:
        scratch_free(memory)
    return 0


# --- the three passes --------------------------------------------------------------------------

cdef const geometry *as_one_row(const geometry *g, conv_way way, geometry *row) noexcept:
    """g; where pixels do not meet, all of them as one row, so that bands need not end with rows."""
    if way != CHANNELS or not (is_plain(g) and g.stride_h == 1 and g.stride_w == 1):
        return g
    row[0] = g[0]
    row.W = row.Q = g.N * g.H * g.W
    row.N = row.H = row.P = 1
    return row


cdef int direct(const geometry *g, ndarray x, ndarray w, const epilogue *end, bint lines,
                ndarray y) except -1:
    cdef conv_forward_plan p
    cdef int typenum = cnp.PyArray_TYPE(x)
    cdef conv_way way = LINES if lines else CHANNELS
    cdef void *memory = scratch(table_bytes(g))
    cdef tables t = carve(g, memory)
    cdef geometry row
    try:
        if not lines and end.scale == NULL and end.mean == NULL and takes_images(
                g, FORWARD, typenum):
            way = IMAGES
        g = as_one_row(g, way, &row)
        plan_forward_taps(g, t, &p)
        p.band.src, p.band.images, p.band.channels = cnp.PyArray_DATA(x), g.N, g.C
        p.band.group_channels, p.band.c_mul, p.band.c_div = g.group_c, 1, 1
        p.out.data, p.out.height, p.out.width = cnp.PyArray_DATA(y), g.P, g.Q
        p.out.channels = pixel_pitch(y)
        p.out.h0 = p.out.w0 = 0
        p.out.h_step = p.out.w_step = 1
        p.groups, p.group_outputs = g.groups, g.group_k
        p.weights = cnp.PyArray_DATA(w)
        p.w_in = g.R * g.S
        p.w_out = g.group_c * p.w_in
        p.w_group = g.group_k * p.w_out
        p.bias, p.scale, p.residual, p.relu = end.bias, end.scale, end.residual, end.relu
        run_forward(&p, t, typenum, flop_of(g), way, end, memo_of(w))
    finally:
        scratch_free(memory)
    return 0


cdef int direct_grad_x(const geometry *g, ndarray gy, ndarray w, bint lines,
                       ndarray gx) except -1:
    """One convolution of gy for every phase of the stride; gx is zero where no tap comes."""
    cdef conv_forward_plan p
    cdef Py_ssize_t r, s
    cdef int typenum = cnp.PyArray_TYPE(gy)
    cdef conv_way way = LINES_BACK if lines else way_of(g, GRAD_X, typenum)
    cdef void *memory = scratch(table_bytes(g))
    cdef tables t = carve(g, memory)
    cdef geometry row
    try:
        g = as_one_row(g, way, &row)
        p.band.src, p.band.images, p.band.channels = cnp.PyArray_DATA(gy), g.N, g.K
        p.band.group_channels, p.band.c_mul, p.band.c_div = g.group_k, 1, 1
        p.out.data, p.out.height, p.out.width, p.out.channels = cnp.PyArray_DATA(gx), g.H, g.W, g.C
        p.groups, p.group_outputs = g.groups, g.group_c
        p.weights = cnp.PyArray_DATA(w)
        p.w_out = g.R * g.S
        p.w_in = g.group_c * p.w_out
        p.w_group = g.group_k * p.w_in
        p.bias, p.scale, p.residual, p.relu = NULL, NULL, NULL, False
        for r in range(g.R):
            for s in range(g.S):
                if plan_phase(g, t, r, s, &p):
                    run_forward(&p, t, typenum, 2.0 * g.N * p.band.h.count * p.band.w.count
                                * p.band.h.taps * p.band.w.taps * g.C * g.group_k, way,
                                &NOTHING, None)
    finally:
        scratch_free(memory)
    return 0


cdef int direct_grad_w(const geometry *g, ndarray gy, ndarray x, bint lines,
                       ndarray gw) except -1:
    cdef conv_forward_plan taps
    cdef conv_grad_w_plan p
    cdef int typenum = cnp.PyArray_TYPE(x)
    cdef conv_way way = LINES if lines else way_of(g, GRAD_W, typenum)
    cdef void *memory = scratch(table_bytes(g))
    cdef tables t = carve(g, memory)
    cdef geometry row
    try:
        g = as_one_row(g, way, &row)
        plan_forward_taps(g, t, &taps)
        p.band = taps.band
        p.band.src, p.band.images, p.band.channels = cnp.PyArray_DATA(x), g.N, g.C
        p.band.group_channels, p.band.c_mul, p.band.c_div = g.group_c, 1, 1
        p.gy, p.grad_w = cnp.PyArray_DATA(gy), cnp.PyArray_DATA(gw)
        p.groups, p.group_outputs = g.groups, g.group_k
        run_grad_w(&p, t, typenum, flop_of(g), way)
    finally:
        scratch_free(memory)
    return 0
