# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Depthwise convolution: every group has one input channel and m = K / C output channels.

Design. The same bands, phases and tables as `conv.pyx`, with kernels that run over channels instead
of multiplying matrices (`src/simd/conv_depthwise.c`). Forward and grad_w read x channel k // m for
output channel k; grad_x is a sum of m passes, pass i over gy channels i, m + i, 2 m + i, ...

Arguments are checked by `conv.pyx`, the only caller.
"""
cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.conv cimport (
    conv_depthwise_kernels, conv_depthwise_plan, conv_forward_plan)
from minigrad._kernels.conv_geometry cimport geometry
from minigrad._kernels.conv_plan cimport (
    band_count, carve, plan_depthwise, plan_forward_taps, plan_phase, table_bytes, tables)
from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.operands cimport pixel_pitch
from minigrad._kernels.tasks cimport padded, run_tasks
from minigrad._kernels.threads cimport team


cdef double flop_of(const conv_depthwise_plan *p) noexcept nogil:
    """Twice the arithmetic, for every multiply-add waits for two loads."""
    cdef double pixels = 4.0 * p.band.images * p.band.h.count * p.band.w.count
    return pixels * p.band.group_channels * p.passes * p.band.h.taps * p.band.w.taps


cdef int run(conv_depthwise_plan *p, tables t, int typenum) except -1:
    """One phase of outputs."""
    cdef const conv_depthwise_kernels *kernels = table_for(typenum).conv_depthwise
    cdef double flop = flop_of(p)
    cdef int threads = team(flop)
    cdef Py_ssize_t tasks, room
    cdef char *memory
    p.gy = NULL
    plan_depthwise(p, t, kernels.lanes, 4 if typenum == cnp.NPY_FLOAT else 8)
    tasks = p.band.chunks * band_count(&p.band)
    room = kernels.scratch(p)
    memory = <char *>scratch(room * threads)
    try:
        run_tasks(kernels.task, p, tasks, flop / tasks, memory, room, threads)
    finally:
        scratch_free(memory)
    return 0


cdef int depthwise(const geometry *g, ndarray x, ndarray w, ndarray bias, bint relu,
                   ndarray y) except -1:
    cdef conv_forward_plan taps
    cdef conv_depthwise_plan p
    cdef void *memory = scratch(table_bytes(g))
    cdef tables t = carve(g, memory)
    try:
        plan_forward_taps(g, t, &taps)
        p.band, p.w_tap = taps.band, taps.w_tap
        p.band.src, p.band.images, p.band.channels = cnp.PyArray_DATA(x), g.N, g.C
        p.band.group_channels, p.band.c_mul, p.band.c_div = g.K, 1, g.group_k
        p.out.data, p.out.height, p.out.width = cnp.PyArray_DATA(y), g.P, g.Q
        p.out.channels = pixel_pitch(y)
        p.out.h0 = p.out.w0 = 0
        p.out.h_step = p.out.w_step = 1
        p.weights, p.passes = cnp.PyArray_DATA(w), 1
        p.w_channel, p.w_pass = g.R * g.S, 0
        p.bias = NULL if bias is None else cnp.PyArray_DATA(bias)
        p.relu = relu
        run(&p, t, cnp.PyArray_TYPE(x))
    finally:
        scratch_free(memory)
    return 0


cdef int depthwise_grad_x(const geometry *g, ndarray gy, ndarray w, ndarray gx) except -1:
    cdef conv_forward_plan phase
    cdef conv_depthwise_plan p
    cdef Py_ssize_t r, s
    cdef void *memory = scratch(table_bytes(g))
    cdef tables t = carve(g, memory)
    try:
        p.weights, p.passes = cnp.PyArray_DATA(w), g.group_k
        p.w_channel, p.w_pass = g.group_k * g.R * g.S, g.R * g.S
        p.bias, p.relu = NULL, False
        for r in range(g.R):
            for s in range(g.S):
                if not plan_phase(g, t, r, s, &phase):
                    continue
                p.band, p.out, p.w_tap = phase.band, phase.out, phase.w_tap
                p.band.src, p.band.images, p.band.channels = cnp.PyArray_DATA(gy), g.N, g.K
                p.band.group_channels, p.band.c_mul, p.band.c_div = g.C, g.group_k, 1
                p.out.data, p.out.channels = cnp.PyArray_DATA(gx), g.C
                p.out.height, p.out.width = g.H, g.W
                run(&p, t, cnp.PyArray_TYPE(gy))
    finally:
        scratch_free(memory)
    return 0


cdef int depthwise_grad_w(const geometry *g, ndarray gy, ndarray x, ndarray gw) except -1:
    cdef conv_forward_plan taps
    cdef conv_depthwise_plan p
    cdef int typenum = cnp.PyArray_TYPE(x), item = cnp.PyArray_ITEMSIZE(x), threads
    cdef const conv_depthwise_kernels *kernels = table_for(typenum).conv_depthwise
    cdef Py_ssize_t room, tasks, partial
    cdef char *sums = NULL
    cdef double flop
    cdef void *memory = scratch(table_bytes(g))
    cdef tables t = carve(g, memory)
    try:
        plan_forward_taps(g, t, &taps)
        p.band, p.passes = taps.band, 1
        p.band.src, p.band.images, p.band.channels = cnp.PyArray_DATA(x), g.N, g.C
        p.band.group_channels, p.band.c_mul, p.band.c_div = g.K, 1, g.group_k
        p.gy, p.grad_w = cnp.PyArray_DATA(gy), cnp.PyArray_DATA(gw)
        plan_depthwise(&p, t, kernels.lanes, item)
        flop = flop_of(&p)
        threads = team(flop)
        tasks, room = p.band.chunks * p.parts, kernels.scratch(&p)
        partial = padded(tasks * g.R * g.S * p.band.chunk * item)
        sums = <char *>scratch(partial + room * threads)
        p.partial = sums
        run_tasks(kernels.grad_w, &p, tasks, flop / tasks, sums + partial, room, threads)
        run_tasks(kernels.merge, &p, p.band.chunks, 0.0, NULL, 0, 1)
    finally:
        if sums != NULL:
            scratch_free(sums)
        scratch_free(memory)
    return 0
