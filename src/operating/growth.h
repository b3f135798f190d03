/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory ahead of need: a thread of its own calls a function that makes memory ready, often while there is need and now
 * and then otherwise, so that no worker waits for the kernel. Control has no part in it: a large transaction does not
 * stand in the way. */
#pragma once

#include <stdbool.h>
#include "base/loop.h"

struct growth;

/* grow(ctx), in the thread: makes ready what will be needed; true if there was need since the last call. It is called a
 * millisecond later then, else a tenth of a second. Control thread. 0 or a negative errno. */
int growth_start(struct loop *loop, bool (*grow)(void *ctx), void *ctx, struct growth **ret);
/* Waits for a call that runs; none comes afterwards. NULL is fine. */
void growth_stop(struct growth *growth);
