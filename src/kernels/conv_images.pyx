# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a convolution of a narrow layer is cut into tasks whose vectors run over images.

Design. Vectors over channels are mostly empty where there are 1, 6 or 10 of them;
`src/simd/images.h` puts an image in every lane instead. The plans are those of the other kernels:
a band is some rows of `lanes` images, with all channels of a group.

Not here: when this is done (`conv_choice.pyx`), the taps of a pass (`conv_plan.pyx`), running it
(`conv.pyx`).
"""
from minigrad._kernels.conv cimport conv_band
from minigrad._kernels.conv_plan cimport band_count, choose_bands, forward_chunk, share_met
from minigrad._kernels.tasks cimport parts

cdef Py_ssize_t VECTORS = 4096         # of a band's inputs and outputs: 256 KiB, on AVX-512
cdef Py_ssize_t SUM_PIXELS = 128       # of a band in grad_w: three of their planes are in L1
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
    b.chunk = forward_chunk(b)
    b.chunks = parts(b.group_channels, b.chunk)
    set_bands(b, t, max(1, VECTORS // (b.group_channels + p.group_outputs)), lanes, b.chunk)
    p.panels = parts(p.group_outputs, 2 * lanes)
    p.out_block, p.out_blocks = p.group_outputs, 1
    p.skips_padding = share_met(b) < 1


cdef void plan_images_grad_w(conv_grad_w_plan *p, tables t, int lanes) noexcept nogil:
    p.band.chunk, p.band.chunks = p.band.group_channels, 1
    set_bands(&p.band, t, SUM_PIXELS, lanes, 1)
    p.out_block, p.out_blocks, p.out_pitch = p.group_outputs, 1, p.group_outputs * lanes
    p.parts = min(parts(TASKS, p.groups), band_count(&p.band))
