/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "vswitch": its start and stop, and what follows a transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/vswitch/vswitch.h"
#include "service/vswitch/vswitch_priv.h"

void *control_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory) {
		log_error("vswitch", "out of memory", "bytes=%zu", bytes);
		abort();
	}
	return memory;
}

char *control_text(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		abort();
	return copy;
}

void retire_with(struct vswitch *vswitch, void (*free_fn)(void *), void *memory)
{
	workers_retire(vswitch->dp.workers, free_fn, memory);
}

void retire(struct vswitch *vswitch, void *memory)
{
	retire_with(vswitch, free, memory);
}

void control_retire(void *ctx, void (*free_fn)(void *), void *memory)
{
	retire_with(ctx, free_fn, memory);
}

struct model *control_model(void *ctx)
{
	return ((struct vswitch *)ctx)->dpu->model;
}

static int mark_if_grouped(void *arg, struct object *object)
{
	struct control_vnic *vnic = object->runtime;

	(void)arg;
	if (vnic && vnic->object->security_groups.count > 0) {
		vnic->dirty = true;
		vpc_mark(vnic->vpc);
	}
	return 0;
}

void control_commit(void *ctx)
{
	struct vswitch *vswitch = ctx;
	struct control_vpc *vpc;

	if (vswitch->groups_dirty)
		model_each(vswitch->dpu->model, "vnic", NULL, mark_if_grouped, NULL);
	vswitch->groups_dirty = false;
	while ((vpc = LIST_FIRST(&vswitch->dirty_vpcs)) != NULL) {
		LIST_REMOVE(vpc, dirty_link);
		vpc_commit(vpc);
	}
	vnics_commit(vswitch);
	vswitch->transaction++;
}

/* Epochs of this run must differ from all that adopted sessions hold, so that policy is asked again for each. Seconds
 * of the boot clock in the upper bits: a run makes fewer than 4,096 changes a second on average. */
static uint32_t first_epoch(void)
{
	return (uint32_t)(clock_ns() / CLOCK_NS_PER_S) << 12 | 1;
}

static int vswitch_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct vswitch *vswitch = control_alloc(sizeof(*vswitch));

	vswitch->dpu = dpu;
	vswitch->next_epoch = first_epoch();
	vswitch->tunnel_next = 1;
	vswitch->transaction = 1;
	vswitch->started_ns = clock_ns();
	vswitch->dp.workers = dpu->workers;
	vswitch->dp.worker_count = workers_count(dpu->workers);
	vswitch->dp.tenants = control_alloc(DP_MAX_TENANTS * sizeof(vswitch->dp.tenants[0]));
	vswitch->dp.ports = control_alloc(PATH_MAX_IFACES * sizeof(vswitch->dp.ports[0]));
	if (path_config_new(&vswitch->dp.config) != 0 ||
	    rcu_map_new(sizeof(uint32_t) * 2 + sizeof(struct ip_addr) + 7, NULL, NULL, &vswitch->tunnels) != 0 ||
	    rcu_map_new(sizeof(uint32_t) + sizeof(struct ip_addr) + 3, NULL, NULL, &vswitch->neighbours) != 0) {
		free(vswitch);
		return error_set(err, DPU_E_INTERNAL, NULL, "out of memory for the switch's tables");
	}
	for (unsigned i = 0; i < PATH_SLOTS; i++)
		atomic_store(&vswitch->dp.config->slot_owner[i], (uint8_t)(i % vswitch->dp.worker_count));
	*ret_state = vswitch;
	return 0;
}

static int workers_begin(struct vswitch *vswitch, struct dpu_error *err)
{
	struct dp_worker_options options = { .pool = vswitch->dpu->pool,
					     .state_dir = vswitch->dpu->state_dir,
					     .huge_pages = vswitch->dpu->huge_pages,
					     .max_sessions = vswitch->dpu->max_sessions / PATH_SLOTS };
	int rc = 0;

	if (getrandom(&options.seed, sizeof(options.seed), 0) != sizeof(options.seed))
		return error_set(err, DPU_E_INTERNAL, NULL, "no random numbers for the session tables");
	for (unsigned i = 0; i < vswitch->dp.worker_count && rc == 0; i++) {
		options.index = i;
		rc = dp_worker_new(&vswitch->dp, &options, &vswitch->workers[i], err);
	}
	if (rc == 0 && vswitch->dp.worker_count > 1)
		rc = dp_handoff_start(&vswitch->dp, err);
	for (unsigned i = 0; i < vswitch->dp.worker_count && rc == 0; i++) {
		log_info("vswitch", "worker ready", "worker=%u adopted_sessions=%u", i,
			 path_adopted(vswitch->dp.paths[i]));
		rc = worker_add_source(workers_get(vswitch->dp.workers, i), dp_worker_source(vswitch->workers[i]));
		if (rc != 0)
			error_set(err, DPU_E_INTERNAL, NULL, "worker %u takes no work: %s", i, strerror(-rc));
	}
	return rc;
}

static int vswitch_start(void *state, struct dpu_error *err)
{
	struct vswitch *vswitch = state;
	struct attachment *attachment;
	int rc = neighbours_start(vswitch, err);

	if (rc == 0)
		rc = workers_begin(vswitch, err);
	if (rc != 0)
		return rc;
	vswitch->running = true;
	LIST_FOREACH(attachment, &vswitch->attachments, link)
	attachment_serve(attachment);
	for (unsigned i = 0; i < 64; i++)
		if (vswitch->underlays[i])
			neighbours_announce(vswitch->underlays[i]);
	return 0;
}

/* ---- the end: queues, hand-off rings, workers' sources, in this order ---- */

static void worker_source_gone(void *arg)
{
	struct vswitch *vswitch = arg;

	if (--vswitch->closing > 0)
		return;
	vswitch->stopped(vswitch->stopped_arg);
}

static void handoff_stopped(void *arg)
{
	struct vswitch *vswitch = arg;
	unsigned count = 0;

	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		count += vswitch->workers[i] != NULL;
	vswitch->closing += count + 1;
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		if (vswitch->workers[i])
			worker_remove_source(workers_get(vswitch->dp.workers, i), dp_worker_source(vswitch->workers[i]),
					     worker_source_gone, vswitch);
	worker_source_gone(vswitch);
}

static void queues_stopped(void *arg)
{
	struct vswitch *vswitch = arg;

	dp_handoff_stop(&vswitch->dp, handoff_stopped, vswitch);
}

static void vswitch_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct vswitch *vswitch = state;

	vswitch->stopping = true;
	vswitch->stopped = done;
	vswitch->stopped_arg = arg;
	captures_end(vswitch);
	neighbours_stop(vswitch);
	attachments_quiesce(vswitch, queues_stopped, vswitch);
}

static void vswitch_fini(void *state)
{
	struct vswitch *vswitch = state;

	/* Ports that are being closed still refer to the switch. */
	for (unsigned i = 0; vswitch->closing > 0 && i < 500; i++)
		loop_once(vswitch->dpu->loop, 10);
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		if (vswitch->workers[i])
			dp_worker_free(vswitch->workers[i]);
	rcu_map_free(vswitch->tunnels);
	rcu_map_free(vswitch->neighbours);
	free(vswitch->tunnel_free);
	for (unsigned i = 0; i < DP_MAX_TENANTS; i++)
		if (vswitch->groups[i]) {
			free(vswitch->groups[i]->rules);
			free(vswitch->groups[i]);
		}
	free(vswitch->dp.tenants);
	free(vswitch->dp.ports);
	path_config_free(vswitch->dp.config);
	free(vswitch);
}

static char *vswitch_metrics(void *state)
{
	const struct vswitch *vswitch = state;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fprintf(out, "# HELP softdpu_drops_total Packets dropped, by reason.\n# TYPE softdpu_drops_total counter\n");
	for (enum drop_reason reason = 1; reason < DROP_REASON_COUNT; reason++) {
		uint64_t packets = 0;

		for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
			packets += vswitch->dp.paths[i] ? path_drops(vswitch->dp.paths[i], reason) : 0;
		fprintf(out, "softdpu_drops_total{reason=\"%s\"} %lu\n", drop_reason_name(reason),
			(unsigned long)packets);
	}
	fprintf(out, "# HELP softdpu_worker_busy_cycles_total Cycles (TSC) spent in rounds with work.\n"
		     "# TYPE softdpu_worker_busy_cycles_total counter\n");
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		struct worker_stats stats;

		worker_stats(workers_get(vswitch->dp.workers, i), &stats);
		fprintf(out, "softdpu_worker_busy_cycles_total{worker=\"%u\"} %lu\n", i,
			(unsigned long)stats.busy_cycles);
	}
	fclose(out);
	return text;
}

static const struct object_class *const classes[] = {
	&dpu_class,  &tenant_class, &port_class,           &underlay_class,
	&vpc_class,  &subnet_class, &security_group_class, &security_group_rule_class,
	&vnic_class, &route_class,  &mapping_class,        NULL
};

const struct service vswitch_service = {
	.name = "vswitch",
	.classes = classes,
	.init = vswitch_init,
	.start = vswitch_start,
	.stop = vswitch_stop,
	.fini = vswitch_fini,
	.metrics = vswitch_metrics,
};
