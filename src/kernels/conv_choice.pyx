# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Which algorithm computes a pass of a convolution, and why.

Design. Winograd's algorithm (`winograd.pyx`) does a quarter of the multiplications, and pays for
them with transforms: of every input pixel, of every product, of every weight. Along the lines of a
narrow layer it does two fifths of them, with fewer transforms (`src/simd/lines.h`). All sides are
estimated in cycles of one core from the shape, and the smallest wins. The constants are those of
measurements (`python -m benchmarks conv`); they need not be exact, only right where two differ
much. The number of threads, the values and the layout play no part: a shape always takes the same
path.

`algorithm` and the environment (MINIGRAD_CONV=direct|winograd|auto, read at import) overrule the
estimate; the environment leaves out what it cannot apply to, `algorithm` raises ArgError there.
"""
import os

from minigrad.errors import ArgError

cimport numpy as cnp
from libc.math cimport INFINITY

from minigrad._kernels.conv_geometry cimport (
    inside_height, inside_width, is_plain, read_geometry)
from minigrad._kernels.conv_images cimport LINE_POINTS, SUM_PIXELS
from minigrad._kernels.conv_plan cimport WORTH_SKIPPING
from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.operands cimport sizes
from minigrad._kernels.tasks cimport parts
from minigrad._kernels.winograd cimport is_deep, is_narrow

cdef tuple NAMES = ("auto", "direct", "winograd")
cdef tuple TITLES = ("direct", "winograd", "winograd")     # of conv_algorithm

# Cycles, measured; "vector": the lanes of one register full of channels.
cdef double MULTIPLY = 0.6             # a multiply-add of a vector, in a tile two vectors wide
cdef double MULTIPLY_NARROW = 0.75     # in one that is one vector wide
cdef double MULTIPLY_KEPT = 0.4        # in a narrow layer, whose filters stay in registers
cdef double BESIDE = 0.12              # of products by padding: what tiles cannot leave out, and
cdef double BESIDE_GRAD_W = 0.6        # what short runs cost, which are those of grad_w
cdef double START = 3.4                # of a tile, for each row and point
cdef double PLACE = 150                # finding a tile's pixels
cdef double MAP = 80                   # transforming a vector of a tile, of inputs or outputs
cdef double FAR = 1.5                  # a number of y or a weight, where no cache holds them all
cdef double LARGE = 4e6                # numbers of such a y; grad_w's 4x4 pixels are ahead in time
cdef double MAP_WEIGHT = 220           # transforming a vector of filters; and back, in grad_w
cdef double DEEP_WEIGHT = 14           # transforming a filter of a deep layer: U is not stored
cdef double PACKED = 1                 # a weight on its way into a panel
cdef double PACKED_BY_PHASE = 1.7      # where each phase of a stride takes its taps
cdef double ROWS_WEIGHT = 0.5          # in a product with the im2row matrix
cdef double ROWS_NUMBER = 0.9          # making a number of that matrix, or adding it up
cdef double SUM = 4                    # a vector of sums on its way into a register, and back
cdef double POINT = 2                  # a vector on its way to a point of a line
cdef double SUM_POINT = 5              # a sum at a point of a line, on its way there and back
cdef double TURN = 0.5                 # a number on its way into a lane of an image, or back
cdef double TURN_SAME_SETS = 2.4       # 16 of them from places a multiple of SETS numbers apart
cdef Py_ssize_t SETS = 1024            # 4 KiB: a first-level cache has at most 12 lines for those

cdef double PIXEL_WEIGHTS = 512        # of 1x1 layers, for each pixel: grad_w as a dense product
cdef double LEAST_WEIGHTS = 16384      # for the im2row matrix: with fewer, any way is short
cdef double MOST_ROWS = 4e6            # numbers of the im2row matrix; grad_x makes it in pieces
cdef Py_ssize_t MOST_TAPS = 576        # channels x taps that the tables of `conv_images` hold
cdef double MOST_NARROW = 65536        # weights that two pixels after two pixels of images meet
cdef double MOST_POINTS = 16384        # vectors at the points of a line, of grad_x: 1 MiB
cdef double MOST_PIXELS = 1 << 20      # of gy, summed at the points of a line: 3e-6 of the 5e-6
cdef double MOST_SUMS = 16384          # of grad_w, a vector each: 1 MiB of a part, on AVX-512
cdef Py_ssize_t MOST_SUMMED = 2048     # error grows with the root: 4.5e-6 of the 5e-6 allowed

wish = os.environ.get("MINIGRAD_CONV") or "auto"
if wish not in NAMES:
    raise ArgError(f"MINIGRAD_CONV={wish!r} is unknown; use one of {', '.join(NAMES)}")


cdef str obstacle(const geometry *g, conv_pass which, int typenum):
    """Why Winograd's algorithm cannot compute this, or None."""
    if typenum != cnp.NPY_FLOAT:
        return "float64 is computed by the definition"
    if g.group_c == 1 and g.groups > 1:
        return "the convolution is depthwise"
    if g.R != g.S or (g.R != 3 and g.R != 5):
        return f"the filter is {g.R}x{g.S}, not 3x3 or 5x5"
    if g.stride_h != 1 or g.stride_w != 1:
        return f"the stride is {g.stride_h}x{g.stride_w}, not 1x1"
    if g.dilation_h != 1 or g.dilation_w != 1:
        return f"the dilation is {g.dilation_h}x{g.dilation_w}, not 1x1"
    if which != GRAD_W and (g.group_k if which == GRAD_X else g.group_c) > MOST_SUMMED:
        return f"more than {MOST_SUMMED} channels are summed, too many for its accuracy"
    return None


cdef double multiplied(const geometry *g, conv_pass which, int tile) noexcept:
    """Pairs of pixel and tap that are multiplied: all, or those that a tile cannot leave out.

    A tile of pixels of few images needs the taps of several columns.
    """
    cdef double high = inside_height(g), wide = inside_width(g)
    cdef double all_high = <double>g.P * g.R, all_wide = <double>g.Q * g.S, pairs, left
    if which == GRAD_X:
        all_high = <double>g.H * g.R / g.stride_h
        all_wide = <double>g.W * g.S / g.stride_w
    pairs = all_high * all_wide
    if high * wide >= WORTH_SKIPPING * pairs:
        return pairs
    if which != GRAD_W:
        wide = min(all_wide, wide + all_wide / g.S * max(0, <double>tile / g.N - 1))
    left = min(high, all_high) * wide
    return left + (BESIDE_GRAD_W if which == GRAD_W else BESIDE) * (pairs - left)


cdef double by_channels(const geometry *g, conv_pass which, int lanes) noexcept:
    """Cycles of one core for the definition, vectors running over output channels."""
    cdef double inputs = g.group_c, outs = parts(g.group_k, lanes)
    cdef double weights = <double>g.K * g.group_c * g.R * g.S, packed = PACKED
    if which == GRAD_X:
        inputs, outs = g.group_k, parts(g.group_c, lanes)
        if g.stride_h > 1 or g.stride_w > 1:
            packed = PACKED_BY_PHASE
    if weights >= LARGE:
        packed += FAR
    return g.groups * g.N * multiplied(g, which, 12 if lanes > 8 else 6) * inputs * outs * (
        MULTIPLY if outs > 1 else MULTIPLY_NARROW) + packed * weights


cdef bint too_many(const geometry *g, conv_pass which, Py_ssize_t columns) noexcept:
    """Whether the weights, of `columns` columns, or their sums are too many for images in lanes."""
    return <double>g.K * g.group_c * g.R * columns > (
        MOST_SUMS if which == GRAD_W else MOST_NARROW)


cdef double turning(Py_ssize_t image, int lanes) noexcept:
    """Cycles to turn `image` numbers of as many images as there are lanes."""
    return image * lanes * (TURN_SAME_SETS if lanes == 16 and image % SETS == 0 else TURN)


cdef double by_images(const geometry *g, conv_pass which, int lanes) noexcept:
    """Cycles of one core for the definition, vectors running over images."""
    cdef double products = multiplied(g, which, 1) * g.group_c * g.K, inputs = g.group_c, sums = 0
    cdef double turned = turning(g.C * g.H * g.W, lanes) + turning(g.K * g.P * g.Q, lanes)
    if which == GRAD_X:
        inputs = g.group_k
    if inputs * g.R * g.S > MOST_TAPS or too_many(g, which, g.S):
        return INFINITY
    if which == GRAD_W:                # each has a vector of its own, met again in every band
        sums = <double>g.K * g.group_c * g.R * g.S * parts(g.P * g.Q, SUM_PIXELS)
    return parts(g.N, lanes) * (products * MULTIPLY + turned + sums * SUM)


cdef double by_lines(const geometry *g, conv_pass which, int lanes) noexcept:
    """Cycles of one core for Winograd's algorithm along lines, vectors running over images."""
    cdef double h = g.P, inputs = g.C, outputs = g.K, products, points, tiles
    cdef double turned = turning(g.C * g.H * g.W, lanes) + turning(g.K * g.P * g.Q, lanes)
    if g.R != 5 or (g.group_k if which == GRAD_X else g.group_c) * g.R > MOST_TAPS or (
            too_many(g, which, LINE_POINTS)):
        return INFINITY
    if which == GRAD_W and <double>g.N * g.P * g.Q > MOST_PIXELS:
        return INFINITY
    tiles = parts(g.Q, 4) * 8.0
    if which == GRAD_X:
        h, inputs, outputs = g.H, outputs, inputs
        if tiles * (g.group_k * g.R + g.group_c) > MOST_POINTS:
            return INFINITY
    products = min(h, <double>g.P) * g.R * tiles * g.group_c * g.K
    points = inputs * (g.P if which == GRAD_X else g.H) * POINT
    points += outputs * h * (POINT if which == GRAD_W else SUM_POINT)
    return parts(g.N, lanes) * (products * MULTIPLY + points * tiles + turned)


cdef double by_rows(const geometry *g, conv_pass which, int lanes) noexcept:
    """Cycles of one core for the definition, as a dense product of the im2row matrix."""
    cdef double weights = <double>g.K * g.group_c * g.R * g.S, pixels = <double>g.N * g.P * g.Q
    cdef double numbers = pixels * g.C * g.R * g.S
    if (g.R == 1 and g.S == 1) or weights < LEAST_WEIGHTS or (
            numbers > MOST_ROWS and which != GRAD_X):
        return INFINITY
    return pixels * weights / lanes * MULTIPLY + weights * ROWS_WEIGHT + numbers * ROWS_NUMBER


cdef bint takes_rows(const geometry *g, conv_pass which, int typenum) noexcept:
    cdef int lanes = table_for(typenum).lanes
    if g.R == 1 and g.S == 1:
        return which == GRAD_W and is_plain(g) and (
            PIXEL_WEIGHTS * g.N * g.P * g.Q <= <double>g.group_c * g.group_k)
    return by_rows(g, which, lanes) < min(by_channels(g, which, lanes), by_images(g, which, lanes))


cdef bint takes_images(const geometry *g, conv_pass which, int typenum) noexcept:
    cdef int lanes = table_for(typenum).lanes
    return by_images(g, which, lanes) < by_channels(g, which, lanes)


cdef struct costs:
    double direct, winograd, lines


cdef costs estimate(const geometry *g, conv_pass which, int lanes) noexcept:
    """Cycles of one core for each algorithm; `lines`: Winograd's in one dimension."""
    cdef Py_ssize_t m = 7 - g.R, inputs = g.group_c, outputs = g.group_k, h = g.P, w = g.Q
    cdef double ins, outs, tiles, products, maps, weights, multiply, start = START
    cdef costs c
    if which == GRAD_X:
        inputs, outputs, h, w = outputs, inputs, g.H, g.W
    ins, outs = parts(inputs, lanes), parts(outputs, lanes)
    multiply = MULTIPLY if outs > 1 else MULTIPLY_NARROW
    if is_narrow(lanes, inputs, outputs):
        multiply, start = MULTIPLY_KEPT * lanes / inputs, 0
    c.direct = min(by_channels(g, which, lanes), by_images(g, which, lanes),
                   by_rows(g, which, lanes))
    tiles = <double>parts(g.N * parts(h, m) * parts(w, m), 6) * 6
    weights = inputs * outs * MAP_WEIGHT
    if which == GRAD_W:                # the tiles run along the products' inner dimension
        products = 36 * inputs * outs * (multiply * tiles + start * (1 + tiles / 96))
        maps = PLACE + MAP * (ins * parts(outputs, 128) + outs * parts(inputs, 128))
    else:
        products = 36 * tiles * (multiply * inputs * outs + start * parts(outputs, 2 * lanes))
        maps = PLACE + MAP * (ins * parts(outputs, 128) + outs)
        if is_deep(<Py_ssize_t>tiles, inputs, outputs):
            weights = inputs * outs * lanes * DEEP_WEIGHT
    c.winograd = g.groups * (products + tiles * maps + weights)
    if <double>g.N * g.K * g.P * g.Q >= LARGE and (which != GRAD_W or m == 2):
        c.winograd += FAR * g.N * g.K * g.P * g.Q
    c.lines = by_lines(g, which, lanes)
    return c


cdef conv_algorithm choose(str op, const geometry *g, conv_pass which, int typenum,
                           object algorithm, bint plain) except BROKEN:
    cdef object wanted = wish if algorithm is None else algorithm
    cdef str why_not
    cdef costs c
    if wanted not in NAMES:
        raise ArgError(f"{op}: algorithm {wanted!r} is unknown; use one of {', '.join(NAMES)}")
    if wanted == "direct":
        return DIRECT
    why_not = obstacle(g, which, typenum)
    if why_not is not None:
        if algorithm == "winograd":
            raise ArgError(f"{op}: algorithm='winograd' does not apply: {why_not}; use 'auto'")
        return DIRECT
    c = estimate(g, which, table_for(typenum).lanes)
    if not plain:
        c.lines = INFINITY
    if wanted != "winograd" and c.direct <= min(c.winograd, c.lines):
        return DIRECT
    return LINES_WINOGRAD if c.lines < c.winograd else WINOGRAD


def plan(x_shape, w_shape, *, stride, padding, dilation, groups, real64=False, algorithm=None):
    """What would run: for each pass (algorithm, reason, estimated cycles direct, Winograd).

    The cycles are None where only one algorithm applies. Raises what conv2d would raise.
    """
    cdef geometry g
    cdef Py_ssize_t x[4]
    cdef Py_ssize_t w[4]
    cdef int typenum = cnp.NPY_DOUBLE if real64 else cnp.NPY_FLOAT
    cdef costs c
    cdef str why_not
    sizes("explain", "x_shape", x_shape, 4, 0, x)
    sizes("explain", "w_shape", w_shape, 4, 0, w)
    read_geometry("explain", &g, x, w, stride, padding, dilation, groups)
    asked = wish if algorithm is None else algorithm
    passes = {}
    for name, which in (("forward", FORWARD), ("grad_x", GRAD_X), ("grad_w", GRAD_W)):
        taken = choose("explain", &g, which, typenum, algorithm, True)
        why_not = obstacle(&g, which, typenum)
        if why_not is not None:
            passes[name] = TITLES[taken], why_not, None, None
            continue
        c = estimate(&g, which, table_for(typenum).lanes)
        least = min(c.winograd, c.lines)
        reason = f"{asked!r} was asked for"
        if asked == "auto":
            ratio = c.direct / least
            reason = (f"winograd is estimated {ratio:.1f} times as fast" if ratio > 1 else
                      f"direct is estimated {1 / ratio:.1f} times as fast")
            reason += ", along lines" if taken == LINES_WINOGRAD else ""
        passes[name] = TITLES[taken], reason, c.direct, least
    return passes
