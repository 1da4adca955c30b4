# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a convolution is cut into bands, chunks and tasks: from shapes alone.

Design. Three questions, answered once per call. Which taps meet which source row: trivial for
forward; for the gradient of x, one plan for every *phase* of the stride, because the pixels
h = h0 + i * stride all meet the same taps, at gy rows i + const. How many channels in a band: all,
or as many as keep the R * S * chunk rows of a weight panel in the second-level cache. How many
pixels: enough to pay for a panel's way there, few enough to leave 16 tasks for any team.

Nothing here knows how many threads there are. `src/simd/conv.h` explains the fields, with a
picture.
"""
from libc.math cimport INFINITY

from minigrad._kernels.conv_geometry cimport outputs_met
from minigrad._kernels.tasks cimport parts

cdef Py_ssize_t DEPTH = 2304           # taps x channels of a panel, read in order out of L2
cdef Py_ssize_t POINTWISE = 1024       # the same for a single tap, whose bands are wide
cdef double WORTH_SKIPPING = 0.93      # of the products left, or fewer
cdef double LEAST_SHARE = 0.3          # of a band's products: its pixels lie in some cache
cdef Py_ssize_t IMAGES = 16            # of a band, at most, so that a tile meets few places
cdef double COPY = 2.4                 # a number into a band; a multiply-add of a vector: 1
cdef Py_ssize_t CHUNK = 3              # channels: what every chunk of them costs beside its own
cdef Py_ssize_t PIXELS = 400           # of a band in the forward pass
cdef Py_ssize_t SUMS = 576             # taps x channels that a task of grad_w sums, and what of
cdef Py_ssize_t SUM_BYTES = 294912     # them, times output channels, may lie in L2
cdef Py_ssize_t SUM_PIXELS = 112       # of a band in grad_w: 7 KiB of gy and as much of x in L1
cdef Py_ssize_t SAME_SETS = 512        # bytes between pixels of which 112 do not fit into L1,
cdef Py_ssize_t ROW_SETS = 2048        # of which the rows of a tile do not,
cdef Py_ssize_t SAME_SET = 4096        # and of which no more than 8 or 12 do
cdef Py_ssize_t FEW_PANELS = 8         # of a single tap: to copy its pixels costs more than sets
cdef Py_ssize_t TASKS = 16             # at least, where the shape has that much to give
cdef double WORTH_TASKS = 3e6          # flop; below, one task


cdef inline Py_ssize_t even(Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    """The size of equal parts, each at most `most`."""
    return parts(size, parts(size, max(1, min(most, size))))


# --- taps --------------------------------------------------------------------------------------

cdef Py_ssize_t table_bytes(const geometry *g) noexcept nogil:
    """R + S + R S + R S chunk offsets; chunk is at most DEPTH / (taps of a phase) + 1 channels."""
    return (g.R + g.S + 2 * g.R * g.S + DEPTH) * <Py_ssize_t>sizeof(Py_ssize_t)


cdef tables carve(const geometry *g, void *memory) noexcept nogil:
    cdef tables t
    t.h = <Py_ssize_t *>memory
    t.w = t.h + g.R
    t.weight = t.w + g.S
    t.band = t.weight + g.R * g.S
    return t


cdef void set_axis(conv_axis *x, const Py_ssize_t *tap, Py_ssize_t taps, Py_ssize_t size,
                   Py_ssize_t count, Py_ssize_t step) noexcept nogil:
    cdef Py_ssize_t r
    x.tap, x.taps, x.size, x.count, x.step = tap, taps, size, count, step
    x.first = tap[0]
    for r in range(1, taps):
        x.first = min(x.first, tap[r])


cdef void plan_forward_taps(const geometry *g, tables t, conv_forward_plan *p) noexcept nogil:
    """Output p meets x row p * stride + r * dilation - top at tap r."""
    cdef Py_ssize_t r, s
    for r in range(g.R):
        t.h[r] = r * g.dilation_h - g.top
        for s in range(g.S):
            t.weight[r * g.S + s] = r * g.S + s
    for s in range(g.S):
        t.w[s] = s * g.dilation_w - g.left
    set_axis(&p.band.h, t.h, g.R, g.H, g.P, g.stride_h)
    set_axis(&p.band.w, t.w, g.S, g.W, g.Q, g.stride_w)
    p.w_tap = t.weight


cdef Py_ssize_t phase_taps(Py_ssize_t tap, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t dilation,
                           Py_ssize_t before, Py_ssize_t size, Py_ssize_t *start,
                           Py_ssize_t *offsets, Py_ssize_t *chosen) noexcept nogil:
    """The taps that share tap's phase: how many, or 0 if an earlier tap speaks for the phase.

    Pixel h meets tap r at output (h + before - r * dilation) / stride where that is whole. The
    pixels of a phase are start, start + stride, ...; pixel i of them meets output i + offsets[r].
    """
    cdef Py_ssize_t phase = tap * dilation % stride, r, count = 0
    for r in range(tap):
        if r * dilation % stride == phase:
            return 0
    start[0] = (phase - before % stride + stride) % stride
    for r in range(tap, taps):
        if r * dilation % stride == phase and start[0] < size:
            offsets[count] = (start[0] + before - r * dilation) // stride
            chosen[count] = r
            count += 1
    return count


cdef bint plan_phase(const geometry *g, tables t, Py_ssize_t r, Py_ssize_t s,
                     conv_forward_plan *p) noexcept nogil:
    """The part of grad_x that tap (r, s) speaks for; False if another tap does, or it is empty."""
    cdef Py_ssize_t rows, cols, i, j
    cdef Py_ssize_t *chosen_r = t.band         # room enough: R + S offsets, not in use yet
    cdef Py_ssize_t *chosen_s = t.band + g.R
    rows = phase_taps(r, g.R, g.stride_h, g.dilation_h, g.top, g.H, &p.out.h0, t.h, chosen_r)
    cols = phase_taps(s, g.S, g.stride_w, g.dilation_w, g.left, g.W, &p.out.w0, t.w, chosen_s)
    if not rows or not cols:
        return False
    for i in range(rows):
        for j in range(cols):
            t.weight[i * cols + j] = chosen_r[i] * g.S + chosen_s[j]
    p.out.h_step, p.out.w_step = g.stride_h, g.stride_w
    set_axis(&p.band.h, t.h, rows, g.P, (g.H - 1 - p.out.h0) // g.stride_h + 1, 1)
    set_axis(&p.band.w, t.w, cols, g.Q, (g.W - 1 - p.out.w0) // g.stride_w + 1, 1)
    p.w_tap = t.weight
    return True


# --- bands -------------------------------------------------------------------------------------

cdef Py_ssize_t choose_chunk(Py_ssize_t channels, Py_ssize_t taps,
                             Py_ssize_t depth) noexcept nogil:
    """Channels in a band: few of them in all chunks, zeros and the start of a chunk counted.

    A chunk costs as much as CHUNK channels: its pixels are found, its sums loaded and stored.
    """
    cdef Py_ssize_t most = max(1, depth // taps), c, best, cost, least
    if channels <= most:
        return channels
    best, least = most, parts(channels, most) * (most + CHUNK)
    for c in range(most, most // 2, -1):
        cost = parts(channels, c) * (c + CHUNK)
        if cost < least or (cost == least and c % 8 == 0 and best % 8):
            best, least = c, cost
    return best


cdef double met(const conv_axis *x) noexcept nogil:
    """The share of the pairs of output and tap that meet a source row, not the padding."""
    cdef Py_ssize_t r, pairs = 0
    for r in range(x.taps):
        pairs += outputs_met(x.tap[r], x.step, x.count, x.size)
    return <double>pairs / (x.taps * x.count)


cdef double share_met(const conv_band *b) noexcept nogil:
    """The share of the products that are by no zero of the padding; 1 if they are nearly all."""
    cdef double share = met(&b.h) * met(&b.w)
    return share if share < WORTH_SKIPPING else 1


cdef void set_slots(conv_axis *x) noexcept nogil:
    """The source rows of a band: all between the first and the last, or those that are met."""
    cdef Py_ssize_t r, last = x.first, dense
    for r in range(x.taps):
        last = max(last, x.tap[r])
    dense = last - x.first + 1 + (x.block - 1) * x.step
    x.blocks = parts(x.count, x.block)
    x.dense = dense <= x.taps * x.block
    x.slots = dense if x.dense else x.taps * x.block
    x.slot_step = x.step if x.dense else 1


cdef void choose_bands(conv_band *b, Py_ssize_t pixels) noexcept nogil:
    """Bands of about `pixels` outputs: part of a row, or rows, or whole images."""
    b.w.block = even(b.w.count, pixels)
    b.h.block = even(b.h.count, max(1, pixels // b.w.count))
    b.image_block = 1
    if b.h.block == b.h.count and b.w.block == b.w.count:
        b.image_block = even(b.images, max(1, pixels // (b.h.count * b.w.count)))
    b.image_blocks = parts(b.images, b.image_block)
    set_slots(&b.h)
    set_slots(&b.w)
    b.band_pixels = b.image_block * b.h.block * b.w.block


cdef void choose_tiles(conv_band *b, Py_ssize_t pixels, int mr) noexcept nogil:
    """Bands of about `pixels` outputs; parts of a single row are whole tiles of mr of them."""
    choose_bands(b, pixels)
    if b.images * b.h.count == 1 and b.w.blocks > 1:
        b.w.block = b.band_pixels = parts(b.w.block, mr) * mr
        set_slots(&b.w)


cdef Py_ssize_t images_beside(const conv_band *b, Py_ssize_t pixels, int mr,
                              double outs) noexcept nogil:
    """Images of a band that leaves out padding: many cost copies of rows, few cost products.

    A tile of mr outputs of n images meets mr / n places of a row, and the taps of all of them; but
    a band of n times as many images has fewer rows, and reads the same ones as its neighbors.
    """
    cdef double high = b.h.taps * met(&b.h), wide = b.w.taps * met(&b.w), cost, least = INFINITY
    cdef Py_ssize_t n, best = 1, rows, copied
    for n in range(1, min(b.images, IMAGES) + 1):
        rows = even(b.h.count, max(1, pixels // (n * b.w.count)))
        copied = min(b.h.size, (rows - 1) * b.h.step + b.h.taps)
        cost = COPY * copied * b.w.size / (rows * b.w.count) + high * min(
            <double>b.w.taps, wide + max(0, <double>mr / n - 1)) * outs
        if cost < least:
            best, least = n, cost
    return best


cdef void choose_places(conv_band *b, Py_ssize_t pixels, int mr, double outs) noexcept nogil:
    """Bands that leave out padding: some images, and as many rows as give about `pixels`."""
    cdef Py_ssize_t whole = pixels // (b.h.count * b.w.count)
    b.image_block = even(b.images, max(whole, images_beside(b, pixels, mr, outs)))
    b.image_blocks = parts(b.images, b.image_block)
    b.w.block = even(b.w.count, PIXELS // b.image_block)
    b.h.block = even(b.h.count, max(1, pixels // (b.image_block * b.w.block)))
    set_slots(&b.h)
    set_slots(&b.w)
    b.band_pixels = b.image_block * b.h.block * b.w.block


cdef bint inside(const conv_axis *x) noexcept nogil:
    """Whether no tap ever meets a zero of the padding."""
    cdef Py_ssize_t r
    for r in range(x.taps):
        if x.tap[r] < 0 or x.tap[r] + (x.count - 1) * x.step >= x.size:
            return False
    return True


cdef void fill_tap_offsets(conv_band *b, Py_ssize_t *at, Py_ssize_t channels) noexcept nogil:
    """at[(r * taps + s) * channels + c]: from a pixel's start to its tap (r, s, c)."""
    cdef Py_ssize_t r, s, c, i, j, k = 0
    for r in range(b.h.taps):
        for s in range(b.w.taps):
            if not b.band_size:
                i = (b.h.tap[r] * b.w.size + b.w.tap[s]) * b.channels
            else:
                i = b.h.tap[r] - b.h.first if b.h.dense else r * b.h.block
                j = b.w.tap[s] - b.w.first if b.w.dense else s * b.w.block
                i = (i * b.w.slots + j) * b.pitch
            for c in range(channels):
                at[k] = i + c
                k += 1
    b.tap_at = at


cdef void finish_bands(conv_band *b, tables t, bint may_view, Py_ssize_t channels) noexcept nogil:
    """The rest once chunk and bands are chosen; tap offsets for `channels` of each pixel."""
    b.band_size = b.image_block * b.h.slots * b.w.slots * b.pitch
    if (may_view and b.chunk * b.chunks == b.group_channels and b.c_mul == 1 and b.c_div == 1
            and inside(&b.h) and inside(&b.w)):
        b.band_size = 0
    fill_tap_offsets(b, t.band, channels)


cdef Py_ssize_t band_count(const conv_band *b) noexcept nogil:
    return b.image_blocks * b.h.blocks * b.w.blocks


cdef Py_ssize_t fewer(const conv_band *b, Py_ssize_t pixels, Py_ssize_t others,
                      double flop) noexcept nogil:
    """`pixels`, or fewer where bands times `others` would be less than TASKS; never below 48."""
    cdef Py_ssize_t share = b.images * b.h.count * b.w.count // parts(TASKS, others)
    if flop < WORTH_TASKS:
        return pixels
    return min(pixels, max(share, 48))


# --- the two grids -----------------------------------------------------------------------------

cdef Py_ssize_t odd_lines(Py_ssize_t chunk, int item) noexcept nogil:
    """`chunk` elements, or the next odd number of 64-byte cache lines.

    A tile of grad_w reads one line of each of its pixels. An even number of lines apart, they would
    share half of the sets of the first-level cache, and push out the panel of gy.
    """
    cdef Py_ssize_t line = 64 // item, lines = parts(chunk, line)
    return chunk if lines == 1 or chunk % line else (lines | 1) * line


cdef void plan_forward(conv_forward_plan *p, tables t, int mr, int nr, int item) noexcept nogil:
    """Taps, weights and output are set: choose chunks, bands and blocks of output channels."""
    cdef conv_band *b = &p.band
    cdef Py_ssize_t taps = b.h.taps * b.w.taps, pixels, wanted
    cdef double flop = 2.0 * p.groups * p.group_outputs * b.group_channels
    flop *= taps * b.images * b.h.count * b.w.count
    b.chunk = choose_chunk(b.group_channels, taps, POINTWISE if taps == 1 else DEPTH)
    b.chunks = parts(b.group_channels, b.chunk)
    b.pitch = odd_lines(b.chunk, item) if b.chunk * item % ROW_SETS == 0 else b.chunk
    p.skips_padding = share_met(b) < 1
    p.panels = parts(p.group_outputs, nr)
    pixels = max(96, min(PIXELS, 65536 // (b.chunk * item)))
    pixels = fewer(b, pixels, p.groups * parts(p.panels, 4), flop)
    if p.skips_padding:
        choose_places(b, pixels, mr, 2.0 * p.group_outputs / nr)
    else:
        choose_tiles(b, pixels, mr)
    # x is read where it lies, but by many panels where its pixels compete for cache sets
    finish_bands(b, t, b.channels * item <= SAME_SETS or b.channels * item % SAME_SETS != 0 or (
        p.panels <= (FEW_PANELS if taps == 1 else 2)), b.chunk)
    wanted = 1 if flop < WORTH_TASKS else parts(TASKS, band_count(b) * p.groups)
    p.out_block = even(p.panels, parts(p.panels, wanted)) * nr
    p.out_blocks = parts(p.group_outputs, p.out_block)


cdef Py_ssize_t summed_parts(const conv_band *b, Py_ssize_t owners) noexcept nogil:
    """Parts of a sum over pixels: TASKS in all, but fewer where one would have less than a band.

    Every part writes its sums, and they are read again. Four tasks are worth that in any case.
    """
    cdef Py_ssize_t bands = b.images * b.h.count * b.w.count // SUM_PIXELS
    return min(parts(TASKS, owners), max(parts(4, owners), parts(bands, 4) * 4))


cdef Py_ssize_t summed_depth(const conv_band *b, Py_ssize_t outputs, int item) noexcept nogil:
    """Taps x channels that a task sums: more where outputs are few, and pixels make enough tasks.

    So pixels are copied as a whole, where their channels would be copied in pieces.
    """
    if b.images * b.h.count * b.w.count < TASKS * SUM_PIXELS:
        return SUMS
    return min(DEPTH, max(SUMS, SUM_BYTES // (outputs * item)))


cdef void plan_grad_w(conv_grad_w_plan *p, tables t, int nr, int item) noexcept nogil:
    """Taps and arrays are set: choose chunks, bands, blocks of output channels, and parts."""
    cdef conv_band *b = &p.band
    cdef Py_ssize_t taps = b.h.taps * b.w.taps, owners, panels, pixels
    cdef bint competes                 # a tile reads a line of every pixel: they lie in few sets
    cdef double share = share_met(b)
    cdef double flop = 2.0 * p.groups * p.group_outputs * b.group_channels * taps
    flop *= b.images * b.h.count * b.w.count
    panels = parts(p.group_outputs, nr)
    b.chunk = choose_chunk(b.group_channels, taps, summed_depth(b, panels * nr, item))
    b.chunks = parts(b.group_channels, b.chunk)
    b.pitch = odd_lines(b.chunk, item)
    panels = max(4, min(16, SUM_BYTES // (taps * b.chunk * nr * item)))
    p.out_block = even(parts(p.group_outputs, nr), panels) * nr
    p.out_blocks = parts(p.group_outputs, p.out_block)
    p.out_pitch = min(p.out_block, parts(p.group_outputs, nr) * nr)
    owners = p.groups * b.chunks * p.out_blocks
    p.parts = 1 if flop < WORTH_TASKS else summed_parts(b, owners)
    pixels = b.images * b.h.count * b.w.count // p.parts
    p.skips_padding = share < 1
    choose_bands(b, max(48, min(<Py_ssize_t>(SUM_PIXELS / max(share, LEAST_SHARE)), pixels)))
    competes = b.channels * item > 256 and (taps > 1 or b.channels * item % SAME_SET == 0)
    finish_bands(b, t, not competes, b.chunk)
    p.parts = min(p.parts, band_count(b))


cdef void plan_depthwise(conv_depthwise_plan *p, tables t, int lanes, int item) noexcept nogil:
    """Taps and arrays are set: 64 channels and some rows of pixels in a task."""
    cdef conv_band *b = &p.band
    cdef Py_ssize_t taps = b.h.taps * b.w.taps
    cdef double flop = 2.0 * p.passes * b.group_channels * taps
    flop *= b.images * b.h.count * b.w.count
    b.chunk = parts(even(b.group_channels, 64), lanes) * lanes
    b.chunks = parts(b.group_channels, b.chunk)
    b.pitch = b.chunk
    choose_bands(b, fewer(b, 512, b.chunks, flop))
    finish_bands(b, t, True, 1)
    p.parts = 1 if flop < WORTH_TASKS else min(parts(TASKS, b.chunks), band_count(b))
