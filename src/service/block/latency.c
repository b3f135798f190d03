// SPDX-License-Identifier: BSD-3-Clause
/* Where the time of requests goes, as people and Prometheus see it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "service/block/block_priv.h"

static const char *const op_names[DPU_BLOCK_OPS] = { "read", "write", "flush", "discard", "write-zeroes", "compare" };

static double us(uint64_t ns)
{
	return (double)(ns / 10) / 100;
}

/* ---- the action "latency" ---- */

static json_t *stage_json(const char *class, const char *stage, const struct histogram *histogram, uint64_t count)
{
	uint64_t sum = atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed);

	return json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f}", "requests", class, "stage", stage, "count",
			 (json_int_t)count, "mean_us", us(sum / count), "p50_us",
			 us(histogram_quantile(histogram, 500000)), "p99_us", us(histogram_quantile(histogram, 990000)),
			 "p999_us", us(histogram_quantile(histogram, 999000)), "max_us",
			 us(histogram_quantile(histogram, 1000000)));
}

json_t *latency_json(const struct block_qos *qos)
{
	json_t *rows = json_array();
	struct histogram histogram;

	for (unsigned i = 0; qos->filter && i < QOS_CLASSES; i++) {
		for (unsigned j = 0; j < QOS_STAGES; j++) {
			qos_latency(qos->filter, i, j, &histogram);
			uint64_t count = histogram_count(&histogram);
			if (count > 0)
				json_array_append_new(
					rows, stage_json(qos_class_names[i], qos_stage_names[j], &histogram, count));
		}
	}
	return rows;
}

/* ---- the action "slowest" ---- */

struct slowest {
	struct action_reply *reply;
	struct dpu_block_device *filter;
	uint64_t now_ns;
	struct qos_slow slow[QOS_SLOWEST];
	unsigned count;
	struct qos_stats stats;
};

static void slowest_look(void *arg, struct worker *worker)
{
	struct slowest *slowest = arg;

	slowest->now_ns = worker_now_ns(worker);
	slowest->count = qos_slowest(slowest->filter, slowest->slow);
	qos_stats(slowest->filter, &slowest->stats);
}

static json_t *slow_json(const struct qos_slow *slow, uint64_t now_ns)
{
	uint64_t age = now_ns > slow->ended_ns ? now_ns - slow->ended_ns : 0;

	return json_pack("{s:s, s:I, s:I, s:f, s:b, s:f, s:f, s:f, s:f}", "request", op_names[slow->op], "offset",
			 (json_int_t)slow->offset, "length", (json_int_t)slow->length, "ended_s_ago",
			 (double)(age / CLOCK_NS_PER_MS) / 1000, "failed", slow->status != DPU_BLOCK_OK, "whole_us",
			 us(slow->ns[QOS_STAGE_WHOLE]), "wait_us", us(slow->ns[QOS_STAGE_WAIT]), "map_us",
			 us(slow->ns[QOS_STAGE_MAP]), "medium_us", us(slow->ns[QOS_STAGE_MEDIUM]));
}

static void slowest_answer(void *arg)
{
	struct slowest *slowest = arg;
	json_t *rows = json_array();

	for (unsigned i = 0; i < slowest->count; i++)
		json_array_append_new(rows, slow_json(&slowest->slow[i], slowest->now_ns));
	action_answer(slowest->reply, 0, rows, NULL);
	free(slowest);
}

void slowest_start(const struct block_qos *qos, struct action_reply *reply)
{
	struct slowest *slowest = block_alloc(sizeof(*slowest));

	slowest->reply = reply;
	slowest->filter = qos->filter;
	block_call(qos->worker, slowest_look, slowest, slowest_answer);
}

/* ---- Prometheus ---- */

/* Whole powers of two, from 2 us to 8 s. */
static void histogram_text(FILE *out, const struct histogram *histogram, const char *labels)
{
	for (unsigned bit = 11; bit <= 33; bit += 2)
		fprintf(out, "dpu_volume_latency_seconds_bucket{%s,le=\"%.9f\"} %llu\n", labels,
			(double)(UINT64_C(1) << bit) / 1e9,
			(unsigned long long)histogram_below(histogram, UINT64_C(1) << bit));
	unsigned long long count = histogram_count(histogram);
	fprintf(out,
		"dpu_volume_latency_seconds_bucket{%s,le=\"+Inf\"} %llu\n"
		"dpu_volume_latency_seconds_sum{%s} %.9f\n"
		"dpu_volume_latency_seconds_count{%s} %llu\n",
		labels, count, labels, (double)atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed) / 1e9,
		labels, count);
}

static void qos_text(FILE *out, const struct block_qos *qos, const struct object *object)
{
	char labels[2 * OBJECT_PATH_TEXT + 64];
	struct histogram histogram;
	char *whose = qos->filter && object ? model_prometheus_labels(object) : NULL;

	for (unsigned i = 0; whose && i < QOS_CLASSES; i++) {
		for (unsigned j = 0; j < QOS_STAGES; j++) {
			snprintf(labels, sizeof(labels), "%s,requests=\"%s\",stage=\"%s\"", whose, qos_class_names[i],
				 qos_stage_names[j]);
			qos_latency(qos->filter, i, j, &histogram);
			histogram_text(out, &histogram, labels);
		}
	}
	free(whose);
}

char *block_metrics(void *state)
{
	const struct block *block = state;
	const struct block_limit *limit;
	const struct volume *volume;
	const struct pool *pool;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fprintf(out, "# HELP dpu_volume_latency_seconds Time of requests of volumes and snapshots, and of disks and "
		     "namespaces on media and remotes, by stage: waiting for their turn, in the volume's own code, at "
		     "the medium, and whole.\n"
		     "# TYPE dpu_volume_latency_seconds histogram\n");
	TAILQ_FOREACH(pool, &block->pools, link)
	{
		TAILQ_FOREACH(volume, &pool->volumes, link)
		qos_text(out, &volume->qos, volume->subject.object);
	}
	LIST_FOREACH(limit, &block->limits, link)
	qos_text(out, &limit->qos, model_find_uuid(block->dpu->model, &limit->user));
	fclose(out);
	return text;
}
