# How a convolution is cut into tasks (see src/kernels/conv_plan.pyx).
from minigrad._kernels.conv cimport (
    conv_axis, conv_band, conv_depthwise_plan, conv_forward_plan, conv_grad_w_plan)
from minigrad._kernels.conv_geometry cimport geometry

# The tables of one pass: taps of both axes, taps of the weights, offsets of taps in a band.
cdef struct tables:
    Py_ssize_t *h
    Py_ssize_t *w
    Py_ssize_t *weight
    Py_ssize_t *band

cdef Py_ssize_t table_bytes(const geometry *g) noexcept nogil
cdef tables carve(const geometry *g, void *memory) noexcept nogil
cdef void plan_forward_taps(const geometry *g, tables t, conv_forward_plan *p) noexcept nogil
cdef bint plan_phase(const geometry *g, tables t, Py_ssize_t r, Py_ssize_t s,
                     conv_forward_plan *p) noexcept nogil
cdef void plan_forward(conv_forward_plan *p, tables t, int mr, int nr, int item) noexcept nogil
cdef void plan_grad_w(conv_grad_w_plan *p, tables t, int nr, int item) noexcept nogil
cdef void plan_depthwise(conv_depthwise_plan *p, tables t, int lanes, int item) noexcept nogil
cdef Py_ssize_t band_count(const conv_band *b) noexcept nogil
cdef void set_slots(conv_axis *x) noexcept nogil
cdef void choose_bands(conv_band *b, Py_ssize_t pixels) noexcept nogil
cdef double WORTH_SKIPPING
cdef double met(const conv_axis *x) noexcept nogil
cdef double share_met(const conv_band *b) noexcept nogil
