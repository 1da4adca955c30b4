# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a convolution of a narrow layer is cut into tasks whose vectors run over images.

Design. Vectors over channels are mostly empty where there are 1, 6 or 10 of them;
`src/simd/images.h` puts an image in every lane instead. The plans are those of the other kernels:
a band is some rows of `lanes` images, with all channels of a group. `lines` is Winograd's algorithm
on them (`src/simd/lines.h`), whose bands are cut so that their values at all points fit in L2.

Not here: when this is done (`conv_choice.pyx`), the taps of a pass (`conv_plan.pyx`), running it
(`conv.pyx`).
"""
from minigrad._kernels.conv cimport conv_band
from minigrad._kernels.conv_plan cimport (
    WORTH_SKIPPING, band_count, choose_bands, met, set_slots, share_met)
from minigrad._kernels.tasks cimport parts

cdef Py_ssize_t VECTORS = 4096         # of a band's inputs and outputs: 256 KiB, on AVX-512
cdef Py_ssize_t SUM_PIXELS = 128       # of a band in grad_w: three of their planes are in L1
cdef Py_ssize_t POINT_VECTORS = 6144   # inputs and outputs of a band by lines, at all points
cdef Py_ssize_t LINE_PARTS = 4         # of the sums of grad_w by lines, which are large: at least,
cdef Py_ssize_t LINE_BANDS = 8         # and one for so many bands, for its accuracy
cdef Py_ssize_t LINE = 4               # columns of a tile, as in lines.h
cdef Py_ssize_t TASKS = 16             # at least, where the shape has that much to give


cdef void set_bands(conv_band *b, tables t, Py_ssize_t pixels, int lanes,
                    Py_ssize_t run) noexcept nogil:
    """Bands of about `pixels` outputs of `lanes` images; taps of `run` channels side by side."""
    cdef Py_ssize_t chunk, c, r, s, i, j, k = 0
    b.pitch = 1
    choose_bands(b, pixels)
    b.image_block, b.image_blocks = lanes, parts(b.images, lanes)
    b.band_pixels = b.h.block * b.w.block
    b.band_size = b.group_channels * b.h.slots * b.w.slots * lanes
    for chunk in range(parts(b.group_channels, run)):
        for r in range(b.h.taps):
            for s in range(b.w.taps):
                i = b.h.tap[r] - b.h.first if b.h.dense else r * b.h.block
                j = b.w.tap[s] - b.w.first if b.w.dense else s * b.w.block
                for c in range(chunk * run, min((chunk + 1) * run, b.group_channels)):
                    t.band[k] = ((c * b.h.slots + i) * b.w.slots + j) * lanes
                    k += 1
    b.tap_at = t.band


cdef void plan_images(conv_forward_plan *p, tables t, int lanes) noexcept nogil:
    cdef conv_band *b = &p.band
    b.chunk, b.chunks = b.group_channels, 1
    set_bands(b, t, max(1, VECTORS // (b.group_channels + p.group_outputs)), lanes, b.chunk)
    p.panels = parts(p.group_outputs, 2 * lanes)
    p.out_block, p.out_blocks = p.group_outputs, 1
    p.skips_padding = share_met(b) < 1


cdef void plan_images_grad_w(conv_grad_w_plan *p, tables t, int lanes) noexcept nogil:
    p.band.chunk, p.band.chunks = p.band.group_channels, 1
    set_bands(&p.band, t, SUM_PIXELS, lanes, 1)
    p.out_block, p.out_blocks, p.out_pitch = p.group_outputs, 1, p.group_outputs * lanes
    p.parts = min(parts(TASKS, p.groups), band_count(&p.band))


cdef void set_lines(conv_band *b, tables t, int lanes, bint by_channel) noexcept nogil:
    """Blocks of lines and slots are set; taps at a point in the order (r, c) or (c, r)."""
    cdef Py_ssize_t c, r, k, tiles = b.w.block // LINE
    b.pitch, b.chunk, b.chunks = 1, b.group_channels, 1
    b.image_block, b.image_blocks = lanes, parts(b.images, lanes)
    b.band_pixels = b.h.block * b.w.block
    b.band_size = b.group_channels * b.h.slots * b.w.slots * lanes
    for c in range(b.group_channels):
        for r in range(b.h.taps):
            k = r * b.group_channels + c if by_channel else c * b.h.taps + r
            t.band[k] = (c * b.h.slots + b.h.tap[r] - b.h.first) * tiles * lanes
    b.tap_at = t.band


cdef void tile_outputs(conv_band *b, Py_ssize_t outputs) noexcept nogil:
    """Blocks of whole tiles of output columns."""
    choose_bands(b, max(1, POINT_VECTORS // (2 * (b.group_channels + outputs))))
    b.w.block = parts(b.w.block, LINE) * LINE
    set_slots(&b.w)


cdef void tile_sources(conv_band *b, Py_ssize_t outputs) noexcept nogil:
    """Whole lines of tiles of source columns, without padding: of grad_x, what tiles give adds up
    along the line."""
    b.w.count = parts(b.w.size, LINE) * LINE
    choose_bands(b, max(b.w.count, POINT_VECTORS // (2 * (b.group_channels + outputs))))
    b.w.first, b.w.slots, b.w.dense = 0, b.w.count, True


cdef void plan_lines(conv_forward_plan *p, tables t, int lanes, bint adjoint) noexcept nogil:
    if adjoint:
        tile_sources(&p.band, p.group_outputs)
    else:
        tile_outputs(&p.band, p.group_outputs)
    set_lines(&p.band, t, lanes, True)
    p.panels = parts(p.group_outputs, 2 * lanes)
    p.out_block, p.out_blocks = p.group_outputs, 1
    p.skips_padding = adjoint and met(&p.band.h) < WORTH_SKIPPING


cdef void plan_lines_grad_w(conv_grad_w_plan *p, tables t, int lanes) noexcept nogil:
    tile_outputs(&p.band, p.group_outputs)
    set_lines(&p.band, t, lanes, False)
    p.out_block, p.out_blocks, p.out_pitch = p.group_outputs, 1, p.group_outputs * lanes
    p.parts = min(parts(min(TASKS, max(LINE_PARTS, band_count(&p.band) // LINE_BANDS)), p.groups),
                  band_count(&p.band))
