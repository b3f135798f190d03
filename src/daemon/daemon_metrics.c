/* SPDX-License-Identifier: BSD-3-Clause */
/* Collecting metrics. */
#include "daemon/daemon_metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/str.h"

static void add(struct text *text, const char *name, const char *type, const char *doc, uint64_t value)
{
	text_printf(text, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, doc, name, type, name, value);
}

static uint64_t resident_bytes(void)
{
	uint64_t total, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (!file)
		return 0;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &total, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void add_own(struct text *text, const struct daemon_metrics *source)
{
	struct rpc_stats stats;
	rpc_stats(source->rpc, &stats);
	text_printf(
		text,
		"# HELP dpud_info What runs.\n# TYPE dpud_info gauge\ndpud_info{version=\"%s\",instance=\"%s\"} 1\n",
		DPUD_VERSION, source->dpu->instance);
	add(text, "dpud_uptime_seconds", "gauge", "Time since the start.",
	    (clock_ns() - source->started_ns) / CLOCK_NS_PER_S);
	add(text, "dpud_resident_bytes", "gauge", "Memory that the process occupies.", resident_bytes());
	add(text, "dpud_rpc_connections", "gauge", "Connections to the management sockets.", stats.clients);
	add(text, "dpud_rpc_accepted_total", "counter", "Connections that were accepted.", stats.accepted);
	add(text, "dpud_rpc_evicted_total", "counter", "Silent connections that made room for others.", stats.evicted);
	add(text, "dpud_rpc_refused_total", "counter", "Connections that were turned away.", stats.refused);
	add(text, "dpud_rpc_requests_total", "counter", "Requests that were answered.", stats.requests);
	add(text, "dpud_rpc_failures_total", "counter", "Requests that were answered with an error.", stats.failures);
	add(text, "dpud_rpc_events_lost_total", "counter", "Events that subscribers were too slow to take.",
	    stats.events_lost);
}

char *daemon_metrics_text(void *ctx)
{
	const struct daemon_metrics *source = ctx;
	struct text text = { 0 };
	CLEANUP(free_pointer) char *objects = model_prometheus(source->dpu->model);
	CLEANUP(free_pointer) char *services = loader_metrics(source->loader);
	add_own(&text, source);
	text_add(&text, objects ? objects : "");
	text_add(&text, services ? services : "");
	return text_take(&text);
}
