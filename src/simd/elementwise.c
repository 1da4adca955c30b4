/* elementwise.c: arithmetic and elementary functions on dense memory.
 *
 * Design: a kernel is a function of vectors (`relu_v`) and a loop (`map1`, `map2`, `map_scalar`)
 * into which the compiler inlines it. The last, partial vector is computed by the same vector
 * function, so an element's value never depends on where it lies, on `n` or on who cut the array.
 *
 * Arithmetic, abs, sqrt and relu are exact, or rounded once: the same bits as NumPy's. In float32
 * exp and log are within 1.5 units in the last place, sigmoid within 2.5 (range reduction and
 * polynomials from Cephes by S. L. Moshier) and tanh within 1.9; in float64 they are the C
 * library's. Denormals are not flushed here: nothing accumulates.
 *
 * Absent on purpose: threads, shapes, broadcasting (src/kernels/elementwise.pyx). */
#include "elementwise.h"

#include <math.h>
#include <string.h>

#include "vec.h"
#include "vmath.h"

#ifdef REAL64
#define MATH(name) name
#else
#define MATH(name) name##f
#endif

typedef vreal (*vector1)(vreal);
typedef vreal (*vector2)(vreal, vreal);

/* --- loops ------------------------------------------------------------------------------------ *
 *
 * The last whole vector ends at the last element, so it overlaps the one before. It is computed
 * first, because `to` may be `from`; what the loop left there is then written over. */

/* The first `n` < VL lanes from memory, the others 1: harmless for every function here. */
INLINE vreal load_part(const real *p, ptrdiff_t n) {
    real lanes[VL];
    for (int i = 0; i < VL; i++) lanes[i] = i < n ? p[i] : (real)1;
    return vload(lanes);
}

INLINE void map1(vector1 f, const void *from, void *to, ptrdiff_t n) {
    const real *x = from;
    real *z = to;
    ptrdiff_t i = 0;
    if (n < VL) {
        vstore_first(z, f(load_part(x, n)), (int)n);
        return;
    }
    const vreal last = f(vload(x + n - VL));
    for (; i + 4 * VL <= n; i += 4 * VL) {
        vreal a = f(vload(x + i)), b = f(vload(x + i + VL));
        vreal c = f(vload(x + i + 2 * VL)), d = f(vload(x + i + 3 * VL));
        vstore(z + i, a);
        vstore(z + i + VL, b);
        vstore(z + i + 2 * VL, c);
        vstore(z + i + 3 * VL, d);
    }
    for (; i + VL <= n; i += VL) vstore(z + i, f(vload(x + i)));
    vstore(z + n - VL, last);
}

INLINE void map2(vector2 f, const void *from, const void *other, void *to, ptrdiff_t n) {
    const real *x = from, *y = other;
    real *z = to;
    ptrdiff_t i = 0;
    if (n < VL) {
        vstore_first(z, f(load_part(x, n), load_part(y, n)), (int)n);
        return;
    }
    const vreal last = f(vload(x + n - VL), vload(y + n - VL));
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vreal a = f(vload(x + i), vload(y + i));
        vreal b = f(vload(x + i + VL), vload(y + i + VL));
        vstore(z + i, a);
        vstore(z + i + VL, b);
    }
    for (; i + VL <= n; i += VL) vstore(z + i, f(vload(x + i), vload(y + i)));
    vstore(z + n - VL, last);
}

INLINE void map_scalar(vector2 f, const void *from, double number, void *to, ptrdiff_t n) {
    const real *x = from;
    real *z = to;
    const vreal s = vset((real)number);
    ptrdiff_t i = 0;
    if (n < VL) {
        vstore_first(z, f(load_part(x, n), s), (int)n);
        return;
    }
    const vreal last = f(vload(x + n - VL), s);
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vreal a = f(vload(x + i), s), b = f(vload(x + i + VL), s);
        vstore(z + i, a);
        vstore(z + i + VL, b);
    }
    for (; i + VL <= n; i += VL) vstore(z + i, f(vload(x + i), s));
    vstore(z + n - VL, last);
}

/* --- functions of vectors: exact ones --------------------------------------------------------- */

INLINE vreal add_v(vreal x, vreal y) { return x + y; }
INLINE vreal sub_v(vreal x, vreal y) { return x - y; }
INLINE vreal sub_from_v(vreal x, vreal y) { return y - x; }
INLINE vreal mul_v(vreal x, vreal y) { return x * y; }
INLINE vreal div_v(vreal x, vreal y) { return x / y; }
INLINE vreal div_into_v(vreal x, vreal y) { return y / x; }
INLINE vreal neg_v(vreal x) { return -x; }
INLINE vreal square_v(vreal x) { return x * x; }

/* NaN fails every comparison: the first operand wins where it is NaN. */
INLINE vreal maximum_v(vreal x, vreal y) {
    return vselect((vmask)(x >= y) | (vmask)(x != x), x, y);
}
INLINE vreal minimum_v(vreal x, vreal y) {
    return vselect((vmask)(x <= y) | (vmask)(x != x), x, y);
}
INLINE vreal relu_v(vreal x) { return vselect((vmask)(x <= vset(0)), vset(0), x); }
INLINE vreal relu_grad_v(vreal g, vreal z) { return vselect((vmask)(z > vset(0)), g, vset(0)); }
INLINE vreal tanh_grad_v(vreal g, vreal z) { return g * (vset(1) - z * z); }
INLINE vreal leaky_relu_v(vreal x, vreal s) { return vselect((vmask)(x > vset(0)), x, x * s); }

/* --- functions of vectors: elementary ones ---------------------------------------------------- */

#if HAVE_VECTORS && !defined(REAL64)

/* ln x = e ln 2 + ln m with m in [1/sqrt 2, sqrt 2). */
INLINE vreal log_v(vreal x) {
    vmask tiny = (vmask)(x < vset(1.17549435e-38f));
    vreal scaled = vselect(tiny, x * vset(8388608.0f), x);       /* denormals times 2^23 */
    vmask bits = (vmask)scaled - 0x3f3504f3;                     /* the bits of 1/sqrt 2 */
    vmask e = bits >> 23;
    vreal f = (vreal)((vmask)scaled - (e << 23)) - vset(1.0f);
    vreal exponent = __builtin_convertvector(e - (tiny & 23), vreal);
    vreal p = vset(7.0376836292e-2f);
    p = p * f + vset(-1.1514610310e-1f);
    p = p * f + vset(1.1676998740e-1f);
    p = p * f + vset(-1.2420140846e-1f);
    p = p * f + vset(1.4249322787e-1f);
    p = p * f + vset(-1.6668057665e-1f);
    p = p * f + vset(2.0000714765e-1f);
    p = p * f + vset(-2.4999993993e-1f);
    p = p * f + vset(3.3333331174e-1f);
    vreal square = f * f;
    vreal y = p * f * square + exponent * vset(-2.12194440e-4f) - vset(0.5f) * square;
    y = f + y + exponent * vset(0.693359375f);
    const vreal infinity = vset(INFINITY);
    y = vselect((vmask)(x == infinity), x, y);
    y = vselect((vmask)(x == vset(0.0f)), -infinity, y);
    return vselect((vmask)(x >= vset(0.0f)), y, vset(NAN));      /* negative or NaN */
}

#else

INLINE vreal each(real (*f)(real), vreal x) {
    real lanes[VL];
    vstore(lanes, x);
    for (int i = 0; i < VL; i++) lanes[i] = f(lanes[i]);
    return vload(lanes);
}
INLINE vreal log_v(vreal x) { return each(MATH(log), x); }

#endif

/* 1 / (1 + e^-x) from e^-|x|, which cannot overflow. */
INLINE vreal sigmoid_v(vreal x) {
    vreal e = vexp(-vabs(x)), one = vset(1);
    return vselect((vmask)(x < vset(0)), e, one) / (one + e);
}

/* --- kernels ---------------------------------------------------------------------------------- */

static void neg(const void *x, void *z, ptrdiff_t n) { map1(neg_v, x, z, n); }
static void absolute(const void *x, void *z, ptrdiff_t n) { map1(vabs, x, z, n); }
static void square(const void *x, void *z, ptrdiff_t n) { map1(square_v, x, z, n); }
static void root(const void *x, void *z, ptrdiff_t n) { map1(vsqrt, x, z, n); }
static void relu(const void *x, void *z, ptrdiff_t n) { map1(relu_v, x, z, n); }
static void exponential(const void *x, void *z, ptrdiff_t n) { map1(vexp, x, z, n); }
static void logarithm(const void *x, void *z, ptrdiff_t n) { map1(log_v, x, z, n); }
static void tangent(const void *x, void *z, ptrdiff_t n) { map1(vtanh, x, z, n); }
static void sigmoid(const void *x, void *z, ptrdiff_t n) { map1(sigmoid_v, x, z, n); }

static void add(const void *x, const void *y, void *z, ptrdiff_t n) { map2(add_v, x, y, z, n); }
static void sub(const void *x, const void *y, void *z, ptrdiff_t n) { map2(sub_v, x, y, z, n); }
static void mul(const void *x, const void *y, void *z, ptrdiff_t n) { map2(mul_v, x, y, z, n); }
static void division(const void *x, const void *y, void *z, ptrdiff_t n) {
    map2(div_v, x, y, z, n);
}
static void maximum(const void *x, const void *y, void *z, ptrdiff_t n) {
    map2(maximum_v, x, y, z, n);
}
static void minimum(const void *x, const void *y, void *z, ptrdiff_t n) {
    map2(minimum_v, x, y, z, n);
}
static void relu_grad(const void *g, const void *y, void *z, ptrdiff_t n) {
    map2(relu_grad_v, g, y, z, n);
}
static void tanh_grad(const void *g, const void *y, void *z, ptrdiff_t n) {
    map2(tanh_grad_v, g, y, z, n);
}

static void add_scalar(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(add_v, x, s, z, n);
}
static void mul_scalar(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(mul_v, x, s, z, n);
}
static void sub_scalar(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(sub_v, x, s, z, n);
}
static void sub_from(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(sub_from_v, x, s, z, n);
}
static void div_scalar(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(div_v, x, s, z, n);
}
static void div_into(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(div_into_v, x, s, z, n);
}
static void leaky_relu(const void *x, double s, void *z, ptrdiff_t n) {
    map_scalar(leaky_relu_v, x, s, z, n);
}

INLINE vreal add_relu_v(vreal x, vreal b) { return relu_v(x + b); }

static void bias_relu(const void *from, const void *b, void *to, ptrdiff_t rows,
                      ptrdiff_t columns) {
    const real *x = from;
    real *z = to;
    for (ptrdiff_t row = 0; row < rows; row++)
        map2(add_relu_v, x + row * columns, b, z + row * columns, columns);
}

extern const elementwise_kernels NAME(elementwise_kernels);
const elementwise_kernels NAME(elementwise_kernels) = {
    .neg = neg, .abs = absolute, .square = square, .sqrt = root, .relu = relu,
    .exp = exponential, .log = logarithm, .tanh = tangent, .sigmoid = sigmoid,
    .add = add, .sub = sub, .mul = mul, .div = division,
    .maximum = maximum, .minimum = minimum, .relu_grad = relu_grad,
    .tanh_grad = tanh_grad,
    .add_scalar = add_scalar, .mul_scalar = mul_scalar,
    .sub_scalar = sub_scalar, .sub_from = sub_from,
    .div_scalar = div_scalar, .div_into = div_into,
    .leaky_relu = leaky_relu, .bias_relu = bias_relu,
};
