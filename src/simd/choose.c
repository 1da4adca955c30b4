/* choose.c: which table of kernels runs on this CPU.
 *
 * Design: compiled once, for the baseline.  BUILD_TABLES(X) (written by setup.py) lists the
 * instruction sets that were built, the best first.
 */
#include <string.h>

#include "build_info.h"
#include "table.h"

#define DECLARE(isa) extern const kernel_table kernel_table_##isa##_f32, kernel_table_##isa##_f64;
BUILD_TABLES(DECLARE)

static int cpu_runs(const char *isa) {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    if (!strcmp(isa, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512cd");
    if (!strcmp(isa, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    (void)isa;
#endif
    return 1;                                /* the baseline of the platform */
}

static const kernel_table *const TABLES[][2] = {
#define ROW(isa) {&kernel_table_##isa##_f32, &kernel_table_##isa##_f64},
    BUILD_TABLES(ROW)
};
static const int ROWS = (int)(sizeof TABLES / sizeof TABLES[0]);
static const kernel_table *const *chosen;

int choose_isa(const char *name) {
    for (int i = 0; i < ROWS; i++) {
        if (name && strcmp(name, TABLES[i][0]->isa)) continue;
        if (cpu_runs(TABLES[i][0]->isa)) {
            chosen = TABLES[i];
            return 0;
        }
        if (name) return -2;
    }
    return -1;
}

const kernel_table *choose_table(int real64) { return chosen ? chosen[real64 != 0] : 0; }

#define COMMA(isa) #isa ","
const char *list_isas(void) { return BUILD_TABLES(COMMA); }
