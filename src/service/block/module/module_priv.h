/* SPDX-License-Identifier: BSD-3-Clause */
/* What loading and guarding share. */
#pragma once

#include "service/block/module/module.h"

/* What was loaded. It is never unloaded once its code has run. */
struct block_module {
	void *handle;
	const struct dpu_block_module *table;
	char path[4096];
};

int module_load(const char *folder, const char *word, struct block_module *ret, struct dpu_error *err);
