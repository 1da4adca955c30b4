/* task.h: the one form in which a grid of work is dealt out (src/kernels/tasks.pyx). */
#ifndef MINIGRAD_TASK_H
#define MINIGRAD_TASK_H

#include <stdint.h>

/* Compute task number `task` of the grid that `plan` describes; any thread may run it, with
 * scratch of its own.  Every element of the result has one owner. */
typedef void task_kernel(const void *plan, intptr_t task, void *scratch);

/* Neighboring input channels whose weight gradients one task writes: whole cache lines, so that no
 * two threads write to the same one. */
enum { MERGED = 16 };

#endif
