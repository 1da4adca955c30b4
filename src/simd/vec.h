/* vec.h: the one place that names an instruction set.
 *
 * Design: a kernel is written once, on the type `vreal` (VL lanes of `real`), with the vector
 * extensions of gcc and clang.  It is compiled once per instruction set and dtype; the macros below
 * turn the compiler's own predefined names into VL and a suffix for exported names.
 * Compilers without vector extensions get VL = 1: the same source, scalar.
 *
 * Absent on purpose: intrinsics for arithmetic (the compiler does that better than we would), and
 * runtime detection (choose.c).
 */
#ifndef MINIGRAD_VEC_H
#define MINIGRAD_VEC_H

#include <stddef.h>
#include <stdint.h>

#ifdef REAL64
typedef double real;
typedef int64_t ireal;                       /* an integer as wide as a real: comparison masks */
#define DTYPE f64
#else
typedef float real;
typedef int32_t ireal;
#define DTYPE f32
#endif

#if defined(__AVX512F__)
#define ISA avx512
#define VBYTES 64
#elif defined(__AVX2__)
#define ISA avx2
#define VBYTES 32
#elif defined(__ARM_NEON) || defined(__ARM_NEON__)
#define ISA neon
#define VBYTES 16
#elif defined(__SSE2__)
#define ISA sse2
#define VBYTES 16
#else
#define ISA scalar
#define VBYTES ((int)sizeof(real))
#endif

#define VL (VBYTES / (int)sizeof(real))      /* lanes of a vector */

/* NAME(gemm_kernels) -> gemm_kernels_avx2_f32 */
#define PASTE3(a, b, c) a##_##b##_##c
#define EXPAND3(a, b, c) PASTE3(a, b, c)
#define NAME(x) EXPAND3(x, ISA, DTYPE)

#if defined(__GNUC__) && (defined(__AVX2__) || defined(__SSE2__) || defined(__ARM_NEON))
#define HAVE_VECTORS 1
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <xmmintrin.h>
#endif
typedef real vreal __attribute__((vector_size(VBYTES)));
typedef real vreal_u __attribute__((vector_size(VBYTES), aligned(sizeof(real)), may_alias));
typedef ireal vmask __attribute__((vector_size(VBYTES)));
#define INLINE static inline __attribute__((always_inline))
#define RESTRICT __restrict__
INLINE vreal vload(const real *p) { return *(const vreal_u *)p; }
INLINE void vstore(real *p, vreal v) { *(vreal_u *)p = v; }
INLINE vreal vset(real s) { return s - (vreal){0}; }    /* folds to a broadcast */
/* m ? a : b, lane by lane; m comes from comparisons */
#if defined(__AVX2__) && !defined(__AVX512F__) && defined(REAL64)
INLINE vreal vselect(vmask m, vreal a, vreal b) {
    return (vreal)_mm256_blendv_pd((__m256d)b, (__m256d)a, (__m256d)m);
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
INLINE vreal vselect(vmask m, vreal a, vreal b) {
    return (vreal)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
}
#else
INLINE vreal vselect(vmask m, vreal a, vreal b) {
    return (vreal)((m & (vmask)a) | (~m & (vmask)b));
}
#endif
#else
#define HAVE_VECTORS 0
typedef real vreal;
typedef ireal vmask;
#ifdef _MSC_VER
#define INLINE static __forceinline
#define RESTRICT __restrict
#else
#define INLINE static inline
#define RESTRICT restrict
#endif
INLINE vreal vload(const real *p) { return *p; }
INLINE void vstore(real *p, vreal v) { *p = v; }
INLINE vreal vset(real s) { return s; }
INLINE vreal vselect(vmask m, vreal a, vreal b) { return m ? a : b; }
#endif

/* t where it is greater than `best` or NaN, else `best`: a NaN stays, and of two zeros `best` */
#if HAVE_VECTORS && defined(__AVX512F__) && defined(REAL64)
INLINE vreal vgreatest(vreal best, vreal t) {
    const __mmask8 number = _mm512_cmp_pd_mask((__m512d)t, (__m512d)t, _CMP_ORD_Q);
    return (vreal)_mm512_mask_max_pd((__m512d)t, number, (__m512d)t, (__m512d)best);
}
#elif HAVE_VECTORS && defined(__AVX512F__)
INLINE vreal vgreatest(vreal best, vreal t) {
    const __mmask16 number = _mm512_cmp_ps_mask((__m512)t, (__m512)t, _CMP_ORD_Q);
    return (vreal)_mm512_mask_max_ps((__m512)t, number, (__m512)t, (__m512)best);
}
#elif HAVE_VECTORS && defined(__AVX2__) && defined(REAL64)
INLINE vreal vgreatest(vreal best, vreal t) {
    return vselect(t != t, t, (vreal)_mm256_max_pd((__m256d)t, (__m256d)best));
}
#elif HAVE_VECTORS && defined(__AVX2__)
INLINE vreal vgreatest(vreal best, vreal t) {
    return vselect(t != t, t, (vreal)_mm256_max_ps((__m256)t, (__m256)best));
}
#else
INLINE vreal vgreatest(vreal best, vreal t) { return vselect((t > best) | (t != t), t, best); }
#endif

/* The first n lanes of a vector, n <= VL: zeros in the others, whose memory is not touched. */
#if HAVE_VECTORS && defined(__AVX512F__) && defined(REAL64)
INLINE vreal vload_first(const real *p, int n) {
    return (vreal)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
INLINE void vstore_first(real *p, vreal v, int n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}
#elif HAVE_VECTORS && defined(__AVX512F__)
INLINE vreal vload_first(const real *p, int n) {
    return (vreal)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void vstore_first(real *p, vreal v, int n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif HAVE_VECTORS && defined(__AVX2__) && !defined(REAL64)
static const int32_t lane_flags[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
INLINE __m256i lane_mask(int n) {
    return _mm256_loadu_si256((const __m256i *)(lane_flags + 8 - n));
}
INLINE vreal vload_first(const real *p, int n) {
    return (vreal)_mm256_maskload_ps(p, lane_mask(n));
}
INLINE void vstore_first(real *p, vreal v, int n) {
    _mm256_maskstore_ps(p, lane_mask(n), (__m256)v);
}
#else
INLINE vreal vload_first(const real *p, int n) {
    real lanes[VL] = {0};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return vload(lanes);
}
INLINE void vstore_first(real *p, vreal v, int n) {
    real lanes[VL];
    vstore(lanes, v);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}
#endif

/* The bytes of max-pooling's indices <-> lanes: a compiler left alone moves them one at a time.
 * `byte_lanes` gives masks' integers, to be compared; `store_bytes` takes whole numbers 0..255. */
#if HAVE_VECTORS && defined(__AVX512F__) && defined(REAL64)
INLINE vmask byte_lanes(const uint8_t *p) {
    return (vmask)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p));
}
INLINE void store_bytes(uint8_t *p, vreal v) {
    _mm_storel_epi64((__m128i *)p, _mm512_cvtepi64_epi8((__m512i)(v + vset(0x1p52))));
}
#elif HAVE_VECTORS && defined(__AVX512F__)
INLINE vmask byte_lanes(const uint8_t *p) {
    return (vmask)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE void store_bytes(uint8_t *p, vreal v) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)(v + vset(0x1p23f))));
}
#elif HAVE_VECTORS && defined(__AVX2__) && defined(REAL64)
INLINE vmask byte_lanes(const uint8_t *p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return (vmask)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
}
INLINE void store_bytes(uint8_t *p, vreal v) {
    const __m128i words = _mm256_cvtpd_epi32((__m256d)v);
    const __m128i bytes = _mm_packus_epi16(_mm_packus_epi32(words, words), words);
    const int32_t four = _mm_cvtsi128_si32(bytes);
    __builtin_memcpy(p, &four, 4);
}
#elif HAVE_VECTORS && defined(__AVX2__)
INLINE vmask byte_lanes(const uint8_t *p) {
    return (vmask)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
INLINE void store_bytes(uint8_t *p, vreal v) {
    const __m256i words = _mm256_cvtps_epi32((__m256)v);
    const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(words),
                                            _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(halves, halves));
}
#elif HAVE_VECTORS
INLINE vmask byte_lanes(const uint8_t *p) {
    vmask lanes;
    for (int i = 0; i < VL; i++) lanes[i] = p[i];
    return lanes;
}
INLINE void store_bytes(uint8_t *p, vreal v) {
    for (int i = 0; i < VL; i++) p[i] = (uint8_t)v[i];
}
#else
INLINE vmask byte_lanes(const uint8_t *p) { return *p; }
INLINE void store_bytes(uint8_t *p, vreal v) { *p = (uint8_t)v; }
#endif

/* Bits <-> lanes, bit i for lane i. `bit_lanes` looks at the lowest VL bits only. */
#if HAVE_VECTORS
INLINE vmask bit_lanes(uint32_t bits) {
    static const ireal lane_bit[16] = {
        1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 9, 1 << 10,
        1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15,
    };
    const vmask own = (vmask)vload((const real *)lane_bit);
    return (vmask)((((vmask){0} + (ireal)bits) & own) != 0);
}
#else
INLINE vmask bit_lanes(uint32_t bits) { return bits & 1; }
#endif
#if HAVE_VECTORS && defined(__AVX512F__) && !defined(REAL64)
INLINE uint32_t lane_bits(vmask m) { return _mm512_movepi32_mask((__m512i)m); }
#elif HAVE_VECTORS && defined(__AVX2__) && !defined(REAL64)
INLINE uint32_t lane_bits(vmask m) { return (uint32_t)_mm256_movemask_ps((__m256)m); }
#elif HAVE_VECTORS && defined(__SSE2__) && !defined(REAL64)
INLINE uint32_t lane_bits(vmask m) { return (uint32_t)_mm_movemask_ps((__m128)m); }
#elif HAVE_VECTORS
INLINE uint32_t lane_bits(vmask m) {
    uint32_t bits = 0;
    for (int i = 0; i < VL; i++) bits |= (uint32_t)(m[i] & 1) << i;
    return bits;
}
#else
INLINE uint32_t lane_bits(vmask m) { return m != 0; }
#endif

/* Four by four, of reals: out_i[k] = in[k * row + i]. */
#if HAVE_VECTORS
typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef real quad_u
    __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
#ifdef __clang__
#define SHUFFLE4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef ireal quad_index __attribute__((vector_size(4 * sizeof(real))));
#define SHUFFLE4(a, b, i, j, k, l) __builtin_shuffle(a, b, (quad_index){i, j, k, l})
#endif
INLINE void transpose4_to(const real *in, intptr_t row, real *out0, real *out1, real *out2,
                          real *out3) {
    const quad a = *(const quad_u *)in, b = *(const quad_u *)(in + row);
    const quad c = *(const quad_u *)(in + 2 * row), d = *(const quad_u *)(in + 3 * row);
    const quad ab0 = SHUFFLE4(a, b, 0, 4, 1, 5), ab1 = SHUFFLE4(a, b, 2, 6, 3, 7);
    const quad cd0 = SHUFFLE4(c, d, 0, 4, 1, 5), cd1 = SHUFFLE4(c, d, 2, 6, 3, 7);
    *(quad_u *)out0 = SHUFFLE4(ab0, cd0, 0, 1, 4, 5);
    *(quad_u *)out1 = SHUFFLE4(ab0, cd0, 2, 3, 6, 7);
    *(quad_u *)out2 = SHUFFLE4(ab1, cd1, 0, 1, 4, 5);
    *(quad_u *)out3 = SHUFFLE4(ab1, cd1, 2, 3, 6, 7);
}
#else
INLINE void transpose4_to(const real *in, intptr_t row, real *out0, real *out1, real *out2,
                          real *out3) {
    for (int k = 0; k < 4; k++) {
        out0[k] = in[k * row];
        out1[k] = in[k * row + 1];
        out2[k] = in[k * row + 2];
        out3[k] = in[k * row + 3];
    }
}
#endif

/* out[i * step + k] = in[k * row + i] */
INLINE void transpose4(const real *in, intptr_t row, real *out, intptr_t step) {
    transpose4_to(in, row, out, out + step, out + 2 * step, out + 3 * step);
}

INLINE intptr_t least(intptr_t a, intptr_t b) { return a < b ? a : b; }

/* out[i * step + k] = src[k * lane + i], i < n, k < lanes */
INLINE void pack_lanes(const real *src, intptr_t lane, intptr_t lanes, intptr_t n, real *out,
                       intptr_t step) {
    intptr_t k = 0;
    for (; k + 4 <= lanes; k += 4) {
        const real *from = src + k * lane;
        intptr_t i = 0;
        for (; i + 4 <= n; i += 4) transpose4(from + i, lane, out + i * step + k, step);
        for (; i < n; i++)
            for (intptr_t j = 0; j < 4; j++) out[i * step + k + j] = from[j * lane + i];
    }
    for (; k < lanes; k++)
        for (intptr_t i = 0; i < n; i++) out[i * step + k] = src[k * lane + i];
}

/* UNROLL(n) before a loop of constant length: arrays of vectors stay in registers. */
#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define UNROLL(n) PRAGMA(clang loop unroll(full))
#elif defined(__GNUC__)
#define UNROLL(n) PRAGMA(GCC unroll n)
#else
#define UNROLL(n)
#endif

#define LINE (64 / (int)sizeof(real)) /* numbers in a cache line */

/* Ask for a cache line that will be read soon, or read or stored to later on (L2); any address will
 * do. */
#if defined(__GNUC__)
#define PREFETCH(p) __builtin_prefetch(p)
#define PREFETCH_L2(p) __builtin_prefetch(p, 0, 2)
#define PREFETCH_STORE(p) __builtin_prefetch(p, 1, 2)
#else
#define PREFETCH(p) ((void)(p))
#define PREFETCH_L2(p) ((void)(p))
#define PREFETCH_STORE(p) ((void)(p))
#endif

/* Denormals are flushed inside float32 kernels only; the caller's mode comes back. */
#if !defined(REAL64) && (defined(__SSE2__) || defined(_M_X64))
#include <xmmintrin.h>
INLINE unsigned fp_enter(void) {
    unsigned old = _mm_getcsr();
    _mm_setcsr(old | 0x8040u);               /* FTZ | DAZ */
    return old;
}
INLINE void fp_leave(unsigned old) { _mm_setcsr(old); }
#elif !defined(REAL64) && defined(__aarch64__) && defined(__GNUC__)
INLINE unsigned fp_enter(void) {
    uint64_t old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(old | (1u << 24)));   /* FZ */
    return (unsigned)old;
}
INLINE void fp_leave(unsigned old) {
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)old));
}
#else
INLINE unsigned fp_enter(void) { return 0; }
INLINE void fp_leave(unsigned old) { (void)old; }
#endif

#endif
