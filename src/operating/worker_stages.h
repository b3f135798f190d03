/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a worker's cycles go. */
#pragma once

#include "base/stage.h"
#include "operating/worker.h"

enum { WORKER_STAGE_ROUNDS = 31 };

/* TSC, of one busy round in WORKER_STAGE_ROUNDS: what was measured in the worker's life. The shares are those of
 * worker_stats.busy_cycles. Any thread. */
void worker_stages(const struct worker *worker, uint64_t ret_cycles[STAGES]);
