/* rows.h: the one signature of kernels that work on independent rows.
 *
 * Design: `args` is the family's own struct.  Rows first..last-1 are computed, each by itself, so
 * that whoever calls may cut them as he likes (src/kernels/grid.pyx).
 */
#ifndef MINIGRAD_ROWS_H
#define MINIGRAD_ROWS_H

#include <stdint.h>

typedef void (*rows_kernel)(const void *args, intptr_t first, intptr_t last);

#endif
