/* SPDX-License-Identifier: BSD-3-Clause */
/* All metrics of one dpud: the objects', the services', and the daemon's own. */
#pragma once

#include <stdint.h>
#include "daemon/loader.h"
#include "daemon/rpc.h"

struct daemon_metrics {
	struct dpu *dpu;
	struct loader *loader;
	struct rpc *rpc;
	uint64_t started_ns;
};

/* Prometheus text exposition format; malloc'd, NULL when memory is short. ctx: struct daemon_metrics. */
char *daemon_metrics_text(void *ctx);
