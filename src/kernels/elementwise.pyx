# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Elementwise kernels: the fast road for operands that agree.

Design. Two operands agree when they are plain float32 or float64 arrays of one dtype and one shape
whose elements lie in memory in the same dense order (C, Fortran, channels-last...); one of them may
also be a Python number or an array without dimensions. Then an op is one loop over memory, whatever
the shape. Small arrays: a dozen comparisons, one new array, one C call, which is less than NumPy's
own dispatch. Big arrays: stretches of CHUNK elements in parallel, results from the pool.

Images of which one is a few neighboring channels of another (a gradient on its way back through
concat) agree too, pixel by pixel.

Every kernel answers None to anything else (it is a `Kernel`); the caller then asks NumPy, which
broadcasts and warns. So there is nothing to raise here: wrong operands are the op's to refuse.
Results do not depend on the number of threads: no element sees another.

Next: `src/simd/elementwise.c`, the loops.
"""
from minigrad.errors import DTypeError, ShapeError

import numpy as np

cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact

from minigrad._kernels.dispatch cimport elementwise_kernels, table_for
from minigrad._kernels.memory cimport empty, empty_strided
from minigrad._kernels.tasks cimport parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef extern from "ndarray.h":
    int array_real(object x) noexcept
    bint array_dense(cnp.ndarray x) noexcept
    bint arrays_agree(cnp.ndarray x, cnp.ndarray y) noexcept
    bint array_pixels(cnp.ndarray x, Py_ssize_t *pitch) noexcept
    object array_new(
        int typenum, int nd, const cnp.npy_intp *dims, const cnp.npy_intp *strides, int flags)
    const int NPY_ARRAY_C_CONTIGUOUS

cdef extern from "math.h" nogil:
    bint isfinite(double x)

cdef extern from "Python.h":
    long PyLong_AsLongAndOverflow(object number, int *overflow) except? -1

cdef enum:
    SMALL = 4096                     # bytes: NumPy's own memory and no thought of threads
    CHUNK = 16384                    # elements of one task
    PAUSE = 200                      # flop of an element, to `run_tasks`: fresh memory is slow


# --- running a loop over n elements ------------------------------------------------------------

cdef struct Job:
    # One loop; exactly one of the three kernels is set.
    unary_kernel unary
    binary_kernel binary
    scalar_kernel scalar
    const char *x
    const char *y
    char *z
    double number
    Py_ssize_t item                  # bytes of an element
    Py_ssize_t n


cdef void play(const Job *job, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t at = start * job.item
    if job.binary != NULL:
        job.binary(job.x + at, job.y + at, job.z + at, n)
    elif job.scalar != NULL:
        job.scalar(job.x + at, job.number, job.z + at, n)
    else:
        job.unary(job.x + at, job.z + at, n)


cdef void job_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Job *job = <const Job *>plan
    play(job, task * CHUNK, min(<Py_ssize_t>CHUNK, job.n - task * CHUNK))


cdef int play_all(Job *job, Py_ssize_t n, double cost) except -1:
    """Run the job; big ones in parallel."""
    if n <= CHUNK:
        play(job, 0, n)
        return 0
    job.n = n
    return run_tasks(job_task, job, parts(n, CHUNK), CHUNK * max(cost, PAUSE), NULL, 0,
                     team(n * cost))


cdef struct Pixels:
    # Two images, pixel by pixel; pitches in bytes.
    binary_kernel kernel
    const char *x
    const char *y
    char *z
    Py_ssize_t x_pitch, y_pitch, z_pitch, pixels, channels, step


cdef void pixels_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Pixels *p = <const Pixels *>plan
    cdef Py_ssize_t at
    for at in range(task * p.step, min(p.pixels, (task + 1) * p.step)):
        p.kernel(p.x + at * p.x_pitch, p.y + at * p.y_pitch, p.z + at * p.z_pitch, p.channels)


cdef object pixel_by_pixel(binary_kernel kernel, cnp.ndarray x, cnp.ndarray y, int typenum):
    """Images of one shape, the pixels of which lie in one order, here and there with gaps; or None.

    Runs of pixels are tasks; z is channels-last.
    """
    cdef Pixels p
    cdef Py_ssize_t item = 8 if typenum == cnp.NPY_DOUBLE else 4
    cdef cnp.ndarray z
    if not array_pixels(x, &p.x_pitch) or not array_pixels(y, &p.y_pitch):
        return None
    for i in range(4):
        if cnp.PyArray_DIM(x, i) != cnp.PyArray_DIM(y, i):
            return None
    z = empty(4, <const Py_ssize_t *>cnp.PyArray_DIMS(x), typenum, True)
    p.kernel, p.channels = kernel, cnp.PyArray_DIM(x, 1)
    p.x, p.y = <const char *>cnp.PyArray_DATA(x), <const char *>cnp.PyArray_DATA(y)
    p.z = <char *>cnp.PyArray_DATA(z)
    p.x_pitch, p.y_pitch, p.z_pitch = p.x_pitch * item, p.y_pitch * item, p.channels * item
    p.pixels = cnp.PyArray_SIZE(x) // p.channels
    p.step = max(CHUNK // p.channels, 1)
    run_tasks(pixels_task, &p, parts(p.pixels, p.step), p.step * p.channels * MEMORY, NULL, 0,
              team(p.pixels * p.channels * MEMORY))
    return z


cdef inline object array_like(cnp.ndarray x, int typenum, bint c_order, Py_ssize_t nbytes):
    """A new array of x's shape; in C order, or with x's strides."""
    cdef cnp.npy_intp *strides = NULL if c_order else cnp.PyArray_STRIDES(x)
    if nbytes < SMALL:
        return array_new(typenum, cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), strides, 0)
    return empty_strided(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), strides, typenum, nbytes)


# --- the calls ---------------------------------------------------------------------------------

cdef object call_unary(Kernel kernel, object x):
    cdef Elementwise self = <Elementwise>kernel
    cdef int typenum = array_real(x)
    if typenum < 0:
        return None
    if not array_dense(x):
        if self.cost == MEMORY:
            return None                              # exact: NumPy's bits are the same
        x = cnp.PyArray_NewCopy(x, cnp.NPY_KEEPORDER)    # a value never depends on the layout
    return finish(self, <cnp.ndarray>x, NULL, self.unary[typenum == cnp.NPY_DOUBLE], NULL, NULL, 0,
                  typenum, cnp.PyArray_CHKFLAGS(x, NPY_ARRAY_C_CONTIGUOUS))


cdef object call_binary(Kernel kernel, object x, object y):
    cdef Elementwise self = <Elementwise>kernel
    cdef int typenum = array_real(x), other = array_real(y)
    cdef int wide
    cdef double number
    if typenum < 0 and other < 0 or typenum >= 0 and other >= 0 and typenum != other:
        return None
    wide = max(typenum, other) == cnp.NPY_DOUBLE
    if typenum == other:
        if self.binary[wide] != NULL and arrays_agree(x, y):
            return finish(self, <cnp.ndarray>x, cnp.PyArray_DATA(y), NULL, self.binary[wide], NULL,
                          0, typenum, cnp.PyArray_CHKFLAGS(x, NPY_ARRAY_C_CONTIGUOUS)
                          and cnp.PyArray_CHKFLAGS(y, NPY_ARRAY_C_CONTIGUOUS))
        if self.binary[wide] != NULL and cnp.PyArray_NDIM(x) == 4 and cnp.PyArray_NDIM(y) == 4:
            return pixel_by_pixel(self.binary[wide], x, y, typenum)
        if cnp.PyArray_NDIM(y) == 0:
            other = -1
        elif cnp.PyArray_NDIM(x) == 0:
            typenum = -1
        else:
            return None
    if typenum >= 0:
        if self.scalar[wide] == NULL or not as_number(y, wide, &number) or not array_dense(x):
            return None
        return finish(self, <cnp.ndarray>x, NULL, NULL, NULL, self.scalar[wide], number,
                      typenum, cnp.PyArray_CHKFLAGS(x, NPY_ARRAY_C_CONTIGUOUS))
    if self.swapped[wide] == NULL or not as_number(x, wide, &number) or not array_dense(y):
        return None
    return finish(self, <cnp.ndarray>y, NULL, NULL, NULL, self.swapped[wide], number,
                  other, cnp.PyArray_CHKFLAGS(y, NPY_ARRAY_C_CONTIGUOUS))


cdef bint as_number(object value, bint wide, double *number) except -1:
    """A Python float or int, or an array without dimensions (of the other operand's dtype)."""
    cdef int overflow = 0
    cdef long whole
    if PyFloat_CheckExact(value):
        number[0] = PyFloat_AS_DOUBLE(value)
    elif PyLong_CheckExact(value):
        whole = PyLong_AsLongAndOverflow(value, &overflow)
        if overflow or whole > (1 << 30) or whole < -(1 << 30):
            return False                             # rounding of big integers is NumPy's
        number[0] = whole
    elif array_real(value) == (cnp.NPY_DOUBLE if wide else cnp.NPY_FLOAT):
        if cnp.PyArray_NDIM(value) != 0:
            return False
        number[0] = ((<double *>cnp.PyArray_DATA(value))[0] if wide
                     else (<float *>cnp.PyArray_DATA(value))[0])
    else:
        return False
    # a finite number that float32 cannot hold: NumPy warns
    return wide or not isfinite(number[0]) or isfinite(<float>number[0])


cdef object finish(
        Elementwise self, cnp.ndarray x, const void *y, unary_kernel unary, binary_kernel binary,
        scalar_kernel scalar, double number, int typenum, bint c_order):
    """Make the result and run the loop."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef Py_ssize_t item = 8 if typenum == cnp.NPY_DOUBLE else 4
    cdef object z = array_like(x, typenum, c_order, n * item)
    cdef Job job
    job.unary, job.binary, job.scalar = unary, binary, scalar
    job.x, job.y = <const char *>cnp.PyArray_DATA(x), <const char *>y
    job.z = <char *>cnp.PyArray_DATA(z)
    job.number, job.item = number, item
    if n <= CHUNK:
        play(&job, 0, n)
    else:
        play_all(&job, n, self.cost)
    return z


cdef object call_pow(Kernel kernel, object x, object y):
    """x ** 2 and x ** 0.5, as NumPy computes them; any other power is NumPy's."""
    cdef double number = 0
    if PyLong_CheckExact(y) or PyFloat_CheckExact(y):
        as_number(y, True, &number)
    if number == 2:
        return call_unary(square, x)
    return call_unary(sqrt, x) if number == 0.5 else None


# --- the kernels -------------------------------------------------------------------------------

cdef double MEMORY = 12                # waits for memory: worth a team from 256 Ki elements on
cdef double FUNCTION = 30              # an elementary function: from 100 Ki on
cdef const elementwise_kernels *f32 = table_for(cnp.NPY_FLOAT).elementwise
cdef const elementwise_kernels *f64 = table_for(cnp.NPY_DOUBLE).elementwise


cdef Elementwise make_unary(str name, double cost, unary_kernel narrow, unary_kernel wide):
    cdef Elementwise self = Elementwise()
    self.name, self.cost, self.call1 = name, cost, call_unary
    self.unary[0], self.unary[1] = narrow, wide
    return self


cdef Elementwise make_binary(str name, binary_kernel narrow, binary_kernel wide):
    cdef Elementwise self = Elementwise()
    self.name, self.cost, self.call2 = name, MEMORY, call_binary
    self.binary[0], self.binary[1] = narrow, wide
    return self


cdef Elementwise with_number(
        Elementwise self, scalar_kernel narrow, scalar_kernel wide, scalar_kernel swapped_narrow,
        scalar_kernel swapped_wide):
    self.scalar[0], self.scalar[1] = narrow, wide
    self.swapped[0], self.swapped[1] = swapped_narrow, swapped_wide
    return self


cdef class Elementwise(Kernel):
    """One elementwise function; `kernel(x)` or `kernel(x, y)`, None for operands it is not for."""


neg = make_unary("neg", MEMORY, f32.neg, f64.neg)
abs = make_unary("abs", MEMORY, f32.abs, f64.abs)
square = make_unary("square", MEMORY, f32.square, f64.square)
sqrt = make_unary("sqrt", MEMORY, f32.sqrt, f64.sqrt)
relu = make_unary("relu", MEMORY, f32.relu, f64.relu)
exp = make_unary("exp", FUNCTION, f32.exp, f64.exp)
log = make_unary("log", FUNCTION, f32.log, f64.log)
tanh = make_unary("tanh", FUNCTION, f32.tanh, f64.tanh)
sigmoid = make_unary("sigmoid", FUNCTION, f32.sigmoid, f64.sigmoid)
add = with_number(make_binary("add", f32.add, f64.add),
                  f32.add_scalar, f64.add_scalar, f32.add_scalar, f64.add_scalar)
sub = with_number(make_binary("sub", f32.sub, f64.sub),
                  f32.sub_scalar, f64.sub_scalar, f32.sub_from, f64.sub_from)
mul = with_number(make_binary("mul", f32.mul, f64.mul),
                  f32.mul_scalar, f64.mul_scalar, f32.mul_scalar, f64.mul_scalar)
div = with_number(make_binary("div", f32.div, f64.div),
                  f32.div_scalar, f64.div_scalar, f32.div_into, f64.div_into)
maximum = make_binary("maximum", f32.maximum, f64.maximum)
minimum = make_binary("minimum", f32.minimum, f64.minimum)
relu_grad = make_binary("relu_grad", f32.relu_grad, f64.relu_grad)
tanh_grad = make_binary("tanh_grad", f32.tanh_grad, f64.tanh_grad)
leaky_relu = with_number(make_binary("leaky_relu", NULL, NULL),       # (x, slope)
                         f32.leaky_relu, f64.leaky_relu, NULL, NULL)
pow = make_binary("pow", NULL, NULL)
(<Elementwise>pow).call2 = call_pow


# --- in place, and with a bias -----------------------------------------------------------------

cdef bint accumulate(object total, object term) except -1:
    cdef int typenum = array_real(total)
    cdef Job job
    cdef const char *x
    cdef const char *y
    cdef Py_ssize_t nbytes
    if (typenum < 0 or array_real(term) != typenum or not arrays_agree(total, term)
            or not cnp.PyArray_ISWRITEABLE(total)):
        return False
    x, y = <const char *>cnp.PyArray_DATA(total), <const char *>cnp.PyArray_DATA(term)
    nbytes = cnp.PyArray_NBYTES(total)
    if x != y and x < y + nbytes and y < x + nbytes:
        return False                                 # they overlap: order would matter
    job.unary, job.scalar = NULL, NULL
    job.binary = f64.add if typenum == cnp.NPY_DOUBLE else f32.add
    job.x, job.y, job.z = x, y, <char *>x
    job.item = 8 if typenum == cnp.NPY_DOUBLE else 4
    job.number = 0
    play_all(&job, cnp.PyArray_SIZE(total), MEMORY)
    return True


def add_(total, term):
    """total += term, in place; returns total.

    Shapes  both the same, float32 or float64 both
    Raises  ShapeError, DTypeError when they differ; ValueError when total is read-only
    """
    if not accumulate(total, term):
        if total.dtype != term.dtype:
            raise DTypeError(f"add_: {total.dtype} += {term.dtype}; cast with .astype")
        if total.shape != term.shape:
            raise ShapeError(f"add_: shapes {total.shape} and {term.shape} differ")
        np.add(total, term, out=total)
    return total


def bias_relu(x, b):
    """z = max(x + b, 0), one b for each channel.

    Shapes  x: (N, C), or (N, C, H, W) in any layout; b: (C,); z: as x, channels-last when 4-D
    Raises  ShapeError, DTypeError
    """
    cdef int typenum = array_real(x)
    if typenum < 0 or array_real(b) != typenum:
        raise DTypeError("bias_relu: x and b must be ndarrays, both float32 or both float64")
    if x.ndim not in (2, 4) or b.ndim != 1 or b.shape[0] != x.shape[1]:
        raise ShapeError(f"bias_relu: x {x.shape} must be (N, C) or (N, C, H, W) and b (C,), "
                         f"but b is {b.shape}")
    rows = np.ascontiguousarray(x if x.ndim == 2 else x.transpose(0, 2, 3, 1))
    bias = np.ascontiguousarray(b)                   # rows: (N, C) or (N, H, W, C)
    z = empty(cnp.PyArray_NDIM(x), <const Py_ssize_t *>cnp.PyArray_DIMS(x), typenum, x.ndim == 4)
    bias_rows(rows, bias, z, typenum == cnp.NPY_DOUBLE)
    return z


cdef struct BiasRows:
    const elementwise_kernels *table
    const char *x
    const char *b
    char *z
    Py_ssize_t rows, columns, step, item


cdef void bias_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const BiasRows *p = <const BiasRows *>plan
    cdef Py_ssize_t at = task * p.step * p.columns * p.item
    p.table.bias_relu(p.x + at, p.b, p.z + at, min(p.step, p.rows - task * p.step), p.columns)


cdef int bias_rows(cnp.ndarray x, cnp.ndarray b, cnp.ndarray z, bint wide) except -1:
    """The rows of x in parallel, CHUNK elements or one row to a task."""
    cdef BiasRows p
    p.table = f64 if wide else f32
    p.item = 8 if wide else 4
    p.columns = cnp.PyArray_SIZE(b)
    p.rows = cnp.PyArray_SIZE(x) // max(p.columns, 1)
    p.step = max(CHUNK // max(p.columns, 1), 1)
    p.x, p.b = <const char *>cnp.PyArray_DATA(x), <const char *>cnp.PyArray_DATA(b)
    p.z = <char *>cnp.PyArray_DATA(z)
    return run_tasks(bias_task, &p, parts(p.rows, p.step), p.step * p.columns * MEMORY, NULL, 0,
                     team(p.rows * p.columns * MEMORY))
