"""Design: faults in normalization, softmax, losses, elementwise kernels, copies and optimizers."""

from tests.sabotage.fault import faults_in

NORM = "tests/kernels/test_norm_large.py tests/kernels/test_norm.py tests/registry"
LOSS = "tests/kernels/test_loss.py tests/ops/test_loss.py"
OPTIM = "tests/kernels/test_optim.py tests/optim/test_rules.py"
DROPOUT = "tests/kernels/test_dropout.py tests/ops/test_random.py"
ELEMENTWISE = "tests/kernels/test_elementwise.py tests/ops/test_elementwise.py"
COPYING = "tests/kernels/test_copying.py"
MEMORY = "tests/kernels/test_heap.py tests/kernels/test_memory.py"

FAULTS = [
    *faults_in("src/simd/norm.c", NORM, [
        ("variance-by-n-minus-1",
         "(second - first * first / all) / all;", "(second - first * first / all) / (all - 1);"),
        ("eps-outside-the-root",
         "(real)(g / sqrt(((const real *)var)[c] + eps));",
         "(real)(g / (sqrt(((const real *)var)[c]) + eps));"),
        ("sums-of-the-first-slot-only",
         "for (intptr_t slot = 0; slot < a->slots; slot++) {\n            sum +=",
         "for (intptr_t slot = 0; slot < 1; slot++) {\n            sum +="),
        ("mean-treated-as-constant", "= (real)(share * sum);", "= (real)(0 * sum);"),
        ("variance-treated-as-constant", "(real)(share * slope / v);", "(real)(0 * slope / v);"),
        ("relu-gradient-at-zero",
         "vselect(v->z > vset(0), gy, vset(0))", "vselect(v->z >= vset(0), gy, vset(0))"),
        ("mask-without-the-residual", "if (a.g) a.residual = 0;", "a.residual = 0;"),
        ("pivot-moved-by-half", "d * (2 * s + m * d);", "d * (s + m * d);"),
        ("slot-sums-uninitialized",
         "const int is_first = row == t->row;", "const int is_first = row == 0;"),
        ("eps-missing-in-the-gradient",
         "const double v = ((const real *)var)[c] + eps;",
         "const double v = ((const real *)var)[c];"),
    ]),
    *faults_in("src/simd/lrn.c", NORM, [
        ("lrn-window-not-mirrored",
         "store_lanes(l->terms + a->after + c", "store_lanes(l->terms + a->before + c"),
        ("lrn-factor-two", "(real)(2 * a->scale * a->beta)", "(real)(a->scale * a->beta)"),
    ]),
    *faults_in("src/kernels/norm.pyx", NORM, [
        ("lrn-even-window-shifted",
         "a.before = min(size // 2, a.channels - 1)",
         "a.before = min((size - 1) // 2, a.channels - 1)"),
        ("inference-gradient-of-training",
         "return call.gradient(gy, mean, var, epsilon, False, needs_residual)",
         "return call.gradient(gy, mean, var, epsilon, True, needs_residual)"),
    ]),
    *faults_in("src/simd/loss.c", LOSS, [
        ("log-softmax-overflows",
         "const real m = row_max(x, a->classes);", "const real m = x[0] < 1 ? x[0] : 1;"),
        ("smoothing-missing-in-the-gradient",
         "const vreal total = vset((real)(at_label + uniform * a->weight_sum));",
         "const vreal total = vset((real)at_label);"),
        ("smoothing-adds-to-the-label",
         "const real share = w * (real)(1 - a->smoothing);", "const real share = w;"),
        ("smoothing-forgets-the-weights",
         "vselect(weight == vset(0), vset(0), weight * d)",
         "vselect(weight == vset(0), vset(0), d)"),
        ("log-softmax-gradient-of-ones",
         "load_row(g + c, n, 0) - p * total", "load_row(g + c, n, 0) - p"),
    ]),
    *faults_in("src/simd/optim.c", OPTIM, [
        ("nesterov-ignored", "g = step->nesterov ? g + momentum * b : b;", "g = b;"),
        ("adam-eps-inside-the-correction",
         "(vsqrt(v) / scale + eps)", "((vsqrt(v) + eps) / scale)"),
        ("decay-passes-through-the-moments", "p = p * shrink;", "g = g + decay * p;"),
        ("rmsprop-not-centered", "v = v - m * m;", "v = v - 0 * m;"),
        ("dampening-ignored",
         "vreal b = momentum * load_lanes(bs + i, left) + keep * g;",
         "vreal b = momentum * load_lanes(bs + i, left) + g;"),
    ]),
    *faults_in("src/simd/dropout.c", DROPOUT, [
        ("dropped-by-a-product",
         "return vselect(bit_lanes(bits), x * scale, vset(0));",
         "return x * vselect(bit_lanes(bits), scale, vset(0));"),
        ("words-compared-as-signed",
         "((vmask)vload((const real *)words) ^ INT32_MIN)", "(vmask)vload((const real *)words)"),
        ("pixels-packed-in-the-order-of-words",
         "bits[(p + k) * row + c] = bytes[k];", "bits[c * pixels + p + k] = bytes[k];"),
    ]),
    *faults_in("src/kernels/dropout.pyx", DROPOUT, [
        ("bits-of-every-task-from-the-start",
         "p.bits + at // 8, p.scale, p.z", "p.bits, p.scale, p.z"),
    ]),
    *faults_in("src/simd/vmath.h", ELEMENTWISE, [
        ("tanh-of-half-the-power", "(vreal)((vmask)shifted << 23)",
         "(vreal)(((vmask)shifted - 1) << 23)"),
        ("tanh-of-minus-zero", "| ((vmask)x & sign));", "| ((vmask)(x < vset(0.0f)) & sign));"),
    ]),
    *faults_in("src/simd/elementwise.c", ELEMENTWISE, [
        ("relu-kernel-gradient-at-zero",
         "return vselect((vmask)(z > vset(0)), g, vset(0));",
         "return vselect((vmask)(z >= vset(0)), g, vset(0));"),
        ("maximum-ignores-nan",
         "vselect((vmask)(x >= y) | (vmask)(x != x), x, y)", "vselect((vmask)(x >= y), x, y)"),
        ("number-minus-array-turned",
         "sub_from_v(vreal x, vreal y) { return y - x; }",
         "sub_from_v(vreal x, vreal y) { return x - y; }"),
        ("last-elements-not-computed",
         "vreal a = f(vload(x + i), vload(y + i));",
         "vreal a = f(vload(x + i), vload(y));"),
    ]),
    *faults_in("src/simd/copying.c", COPYING, [
        ("third-channel-turned-wrong",
         "SHUFFLE4(c, ab1, 2, 6, 7, 3)", "SHUFFLE4(c, ab1, 2, 7, 6, 3)"),
        ("last-pixels-not-turned", "pack_lanes(from + p, channel, channels, pixels - p, ",
         "pack_lanes(from + p, channel, channels, (pixels - p) / 4 * 4, "),
        ("fill-closes-gaps", "const int dense = t->pixel == channels;",
         "const int dense = t->pixel >= channels;"),
    ]),
    *faults_in("src/kernels/copying.pyx", COPYING, [
        ("rows-with-gaps-joined", "or in_order(&p.f, p.width) and in_order(&p.t, p.width)",
         "or in_order(&p.f, p.width) or in_order(&p.t, p.width)"),
        ("copied-over-itself", "and not np.may_share_memory(out, x) ", ""),
    ]),
    *faults_in("src/simd/heap.h", MEMORY, [
        ("joined-across-a-hole",
         "above && above->free && heap_end_of(chunk) == (char *)above", "above && above->free"),
        ("header-left-in-fresh-pages",
         "if (chunk->fresh) memset(next, 0, sizeof(heap_chunk));", ""),
        ("rest-of-a-used-chunk-is-fresh", "upper->fresh = chunk->fresh;", "upper->fresh = 1;"),
        ("any-hole-that-fits", "at = at->smaller;", "break;"),
        ("lowest-chunk-is-the-only-one",
         "chunk->above = below ? below->above : heap.first;",
         "chunk->above = below ? below->above : NULL;"),
        ("holes-filled-from-below",
         "const int hole = heap_end_of(chunk) == (char *)chunk->above;", "const int hole = 0;"),
        ("treap-merged-without-the-larger", "*at = smaller ? smaller : larger;", "*at = smaller;"),
    ]),
    *faults_in("src/simd/pool.h", MEMORY, [
        ("used-chunk-is-fresh", "chunk->fresh = 0;", ""),
    ]),
]  # fmt: skip
