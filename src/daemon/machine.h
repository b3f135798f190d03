/* SPDX-License-Identifier: BSD-3-Clause */
/* What dpud runs on: limits of the process, DPDK's memory, packet buffers and workers. */
#pragma once

#include "base/error.h"
#include "daemon/instance.h"
#include "daemon/options.h"
#include "operating/service.h"

/* Raises the number of descriptors, sets whether a crash leaves a core file. */
int machine_limits(const struct options *options, struct dpu_error *err);
/* Fills pool, workers, huge_pages, max_sessions and zero_copy_bytes of dpu, whose loop is there. */
int machine_start(const struct options *options, const struct instance *instance, struct dpu *dpu,
		  struct dpu_error *err);
void machine_stop(struct dpu *dpu);
