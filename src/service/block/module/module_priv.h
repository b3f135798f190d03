/* SPDX-License-Identifier: BSD-3-Clause */
/* What loading and guarding share. */
#pragma once

#include "device/block/block_queue.h"
#include "service/block/module/module.h"

/* What was loaded. It is never unloaded once its code has run. */
struct block_module {
	void *handle;
	const struct dpu_block_module *table;
	char path[4096];
};

int module_load(const char *folder, const char *word, struct block_module *ret, struct dpu_error *err);

/* ---- lower.c: what a filter sits on ---- */

enum { LOWER_BURST = 64 };

struct lower {
	struct dpu_block_device device; /* first: the module's */
	struct dpu_block_device *real;
	struct block_queue refused;
	bool started, complained;
	void (*complain)(void *ctx, const char *what);
	void *ctx;
};

/* In any thread; nobody else uses `real` as long as it is not ended. */
void lower_init(struct lower *lower, struct dpu_block_device *real, const struct dpu_block_device *seen,
		void (*complain)(void *ctx, const char *what), void *ctx);
/* In the worker, as all that follows: before it, nothing goes down. */
void lower_start(struct lower *lower);
void lower_end(struct lower *lower);
unsigned lower_poll(struct lower *lower);
