/* SPDX-License-Identifier: BSD-3-Clause */
/* Metrics of the eswitch that have labels of their own or are histograms; the others are fields of its objects. */
#include <stdio.h>
#include "service/eswitch/eswitch_priv.h"

static void refusals(FILE *out, const struct eswitch *eswitch, const struct flow_stats *stats)
{
	fprintf(out, "# HELP dpu_eswitch_refusals_total Rules refused, by reason.\n"
		     "# TYPE dpu_eswitch_refusals_total counter\n");
	for (unsigned i = 0; i < ESWITCH_REFUSALS; i++)
		fprintf(out, "dpu_eswitch_refusals_total{reason=\"%s\"} %lu\n", flow_refusal_name(i),
			(unsigned long)stats->refusals[i]);
	fprintf(out, "# HELP dpu_eswitch_driver_refusals_total Flows that clients' drivers refused, by reason.\n"
		     "# TYPE dpu_eswitch_driver_refusals_total counter\n");
	for (unsigned i = 0; i < ESWITCH_REPORTS; i++)
		fprintf(out, "dpu_eswitch_driver_refusals_total{reason=\"%s\"} %lu\n", report_name(i),
			(unsigned long)eswitch->reported[i]);
}

/* Buckets of whole powers of two: every fourth of ours ends there. */
static void insertion(FILE *out, const struct engine *engine)
{
	struct flow_latency latency;
	uint64_t count = 0;

	flow_switch_latency(engine->sw, &latency);
	fprintf(out, "# HELP dpu_eswitch_insertion_seconds Time from a client's command until its rule is in force.\n"
		     "# TYPE dpu_eswitch_insertion_seconds histogram\n");
	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++) {
		count += latency.counts[i];
		if (i % 4 == 0)
			fprintf(out, "dpu_eswitch_insertion_seconds_bucket{le=\"%.9f\"} %lu\n",
				(double)(flow_latency_bound_ns(i) + 1) / 1e9, (unsigned long)count);
	}
	fprintf(out,
		"dpu_eswitch_insertion_seconds_bucket{le=\"+Inf\"} %lu\n"
		"dpu_eswitch_insertion_seconds_sum %.9f\n"
		"dpu_eswitch_insertion_seconds_count %lu\n",
		(unsigned long)count, (double)latency.sum_ns / 1e9, (unsigned long)count);
}

char *eswitch_metrics(void *state)
{
	const struct eswitch *eswitch = state;
	struct flow_stats stats;
	char *text = NULL;
	size_t size;
	FILE *out = eswitch->engine ? open_memstream(&text, &size) : NULL;

	if (!out)
		return NULL;
	flow_switch_stats(eswitch->engine->sw, &stats);
	refusals(out, eswitch, &stats);
	fprintf(out,
		"# HELP dpu_eswitch_subtables_searched_total Masks tried in looking rules up.\n"
		"# TYPE dpu_eswitch_subtables_searched_total counter\n"
		"dpu_eswitch_subtables_searched_total %lu\n",
		(unsigned long)stats.subtables_searched);
	insertion(out, eswitch->engine);
	fclose(out);
	return text;
}
