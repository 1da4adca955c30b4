# Which algorithm computes a pass of a convolution (see src/kernels/conv_choice.pyx).
from minigrad._kernels.conv_geometry cimport geometry

cdef enum conv_pass:
    FORWARD, GRAD_X, GRAD_W

# Whether Winograd's algorithm is taken; ArgError when `algorithm` asks for what cannot be.
cdef bint takes_winograd(str op, const geometry *g, conv_pass which, int typenum,
                         object algorithm) except -1

# Whether vectors run over images instead of channels, where the definition is computed.
cdef bint takes_images(const geometry *g, conv_pass which, int typenum) noexcept

# Whether a pass is a dense product of the im2row matrix, where the definition is computed.
cdef bint takes_rows(const geometry *g, conv_pass which, int typenum) noexcept
