/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "dpu": the DPU as a whole, its state, and the questions that are put to all of it. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "operating/worker_stages.h"
#include "service/vswitch/actions.h"
#include "service/vswitch/vswitch_priv.h"

struct dpu_object {
	struct object base;
	char *instance;
	uint32_t workers;
	uint64_t uptime_seconds, sessions, session_memory_bytes, adopted_sessions;
	uint64_t drops, busy_cycles, packet_buffers_free;
};

static const struct field dpu_fields[] = {
	FIELD(struct dpu_object, instance, .flags = FIELD_F_STATE,
	      .doc = "Name of this dpud among those of the machine."),
	FIELD(struct dpu_object, workers, .flags = FIELD_F_STATE, .unit = "workers",
	      .doc = "Threads that forward packets."),
	FIELD(struct dpu_object, uptime_seconds, .flags = FIELD_F_GAUGE, .unit = "seconds",
	      .doc = "Time since this dpud was started."),
	FIELD(struct dpu_object, sessions, .flags = FIELD_F_GAUGE, .unit = "sessions", .doc = "Sessions in force."),
	FIELD(struct dpu_object, session_memory_bytes, .flags = FIELD_F_GAUGE, .unit = "bytes",
	      .doc = "Memory of the session tables."),
	FIELD(struct dpu_object, adopted_sessions, .flags = FIELD_F_GAUGE, .unit = "sessions",
	      .doc = "Sessions that were taken over from the former process at start."),
	FIELD(struct dpu_object, drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets dropped for any reason; see the action drops."),
	FIELD(struct dpu_object, busy_cycles, .flags = FIELD_F_COUNTER, .unit = "cycles",
	      .doc = "TSC cycles that workers spent in rounds with work."),
	FIELD(struct dpu_object, packet_buffers_free, .flags = FIELD_F_GAUGE, .unit = "buffers",
	      .doc = "Packet buffers that are not in use."),
	{ 0 },
};

static void add_tables(const struct vswitch *vswitch, struct dpu_object *out)
{
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		struct path *path = vswitch->dp.paths[i];

		if (!path)
			continue;
		out->adopted_sessions += path_adopted(path);
		for (unsigned j = 0; j < 2 * PATH_SLOTS; j++) {
			const struct session_table *table = path_table_at(path, j);

			out->sessions += table ? session_table_count(table) : 0;
			out->session_memory_bytes += table ? session_table_bytes(table) : 0;
		}
		for (enum drop_reason reason = 1; reason < DROP_REASON_COUNT; reason++)
			out->drops += path_drops(path, reason);
	}
}

static void dpu_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct vswitch *vswitch = ctx;
	struct dpu_object *out = (struct dpu_object *)copy;

	(void)object;
	out->instance = control_text(vswitch->dpu->instance);
	out->workers = vswitch->dp.worker_count;
	out->uptime_seconds = (clock_ns() - vswitch->started_ns) / CLOCK_NS_PER_S;
	add_tables(vswitch, out);
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		struct worker_stats stats;

		worker_stats(workers_get(vswitch->dp.workers, i), &stats);
		out->busy_cycles += stats.busy_cycles;
	}
	out->packet_buffers_free = rte_mempool_avail_count(vswitch->dpu->pool);
}

static int drops_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct vswitch *vswitch = ctx;
	json_t *list = json_array();

	(void)object, (void)args, (void)err;
	for (enum drop_reason reason = 1; reason < DROP_REASON_COUNT; reason++) {
		uint64_t packets = 0;

		for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
			packets += vswitch->dp.paths[i] ? path_drops(vswitch->dp.paths[i], reason) : 0;
		json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "reason", drop_reason_name(reason), "packets",
						      (json_int_t)packets, "doc", drop_reason_doc(reason)));
	}
	*ret_result = json_pack("{s:o}", "drops", list);
	return 0;
}

/* Of the rounds that were measured: shares, not sums. */
static json_t *stages_json(const struct worker *worker)
{
	json_t *stages = json_object();
	uint64_t cycles[STAGES];

	worker_stages(worker, cycles);
	for (unsigned i = 0; i < STAGES; i++)
		json_object_set_new(stages, stage_clock_names[i], json_integer((json_int_t)cycles[i]));
	return stages;
}

static int workers_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct vswitch *vswitch = ctx;
	json_t *list = json_array();

	(void)object, (void)args, (void)err;
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		struct worker_stats stats;

		worker_stats(workers_get(vswitch->dp.workers, i), &stats);
		json_array_append_new(
			list, json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "worker", (int)i,
					"busy_cycles", (json_int_t)stats.busy_cycles, "idle_cycles",
					(json_int_t)stats.idle_cycles, "rounds", (json_int_t)stats.rounds, "sleeps",
					(json_int_t)stats.sleeps, "wakeups", (json_int_t)stats.wakeups, "work",
					(json_int_t)stats.work, "longest_round_ns", (json_int_t)stats.longest_round_ns,
					"stage_cycles", stages_json(workers_get(vswitch->dp.workers, i))));
	}
	*ret_result = json_pack("{s:o}", "workers", list);
	return 0;
}

static const struct action dpu_actions[] = {
	{ .name = "session-list",
	  .doc = "Lists sessions, with filters; what is more than limit, in pages.",
	  .args = session_list_fields,
	  .args_size = sizeof(struct session_filter),
	  .read_only = true,
	  .start = session_list_start },
	{ .name = "session-clear",
	  .doc = "Removes the sessions that the filters choose.",
	  .args = session_filter_fields,
	  .args_size = sizeof(struct session_filter),
	  .start = session_clear_start },
	{ .name = "why",
	  .doc = "Says what would happen to a packet, each decision, and the rule that made it.",
	  .args = why_fields,
	  .args_size = sizeof(struct why_args),
	  .read_only = true,
	  .start = why_start },
	{ .name = "capture-start",
	  .doc = "Begins to write packets of any stage to a pcapng file.",
	  .args = capture_start_fields,
	  .args_size = sizeof(struct capture_args),
	  .run = capture_start },
	{ .name = "capture-stop",
	  .doc = "Ends a capture.",
	  .args = capture_stop_fields,
	  .args_size = sizeof(struct capture_stop_args),
	  .run = capture_stop },
	{ .name = "capture-list", .doc = "Lists captures, running and ended.", .read_only = true, .run = capture_list },
	{ .name = "drops", .doc = "Counts dropped packets by reason.", .read_only = true, .run = drops_run },
	{ .name = "workers", .doc = "Shows what the workers do.", .read_only = true, .run = workers_run },
	{ 0 },
};

const struct object_class dpu_class = {
	.name = "dpu",
	.plural = "dpus",
	.doc = "The DPU as a whole.",
	.flags = CLASS_F_GLOBAL | CLASS_F_SINGLETON,
	.size = sizeof(struct dpu_object),
	.fields = dpu_fields,
	.actions = dpu_actions,
	.observe = dpu_observe,
};
