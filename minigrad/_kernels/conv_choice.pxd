# Which algorithm computes a pass of a convolution (see src/kernels/conv_choice.pyx).
from minigrad._kernels.conv_geometry cimport geometry

cdef enum conv_pass:
    FORWARD, GRAD_X, GRAD_W

cdef enum conv_algorithm:
    BROKEN = -1
    DIRECT, WINOGRAD, LINES_WINOGRAD     # by definition; Winograd's, in two dimensions or in one

# What is taken; ArgError when `algorithm` asks for what cannot be. plain: no scale and no residual
# is applied to the outputs, else lines do not apply.
cdef conv_algorithm choose(str op, const geometry *g, conv_pass which, int typenum,
                           object algorithm, bint plain) except BROKEN

# Whether vectors run over images instead of channels, where the definition is computed.
cdef bint takes_images(const geometry *g, conv_pass which, int typenum) noexcept

# Whether a pass is a dense product of the im2row matrix, where the definition is computed.
cdef bint takes_rows(const geometry *g, conv_pass which, int typenum) noexcept
