/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "vswitch": its start and stop, and what follows a transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/random.h>
#include <unistd.h>
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

static int refresh_limits(void *arg, struct object *object)
{
	const struct tenant *tenant = (const struct tenant *)object;

	if (tenant->max_memory_mb > 0)
		tenant_limits(arg, tenant);
	return 0;
}

void control_commit(void *ctx)
{
	struct vswitch *vswitch = ctx;
	struct control_vpc *vpc;

	rules_commit(vswitch);
	while ((vpc = LIST_FIRST(&vswitch->dirty_vpcs)) != NULL) {
		LIST_REMOVE(vpc, dirty_link);
		vpc_commit(vpc);
	}
	vnics_commit(vswitch);
	ports_commit(vswitch);
	model_each(vswitch->dpu->model, "tenant", NULL, refresh_limits, vswitch);
	claims_settle(vswitch->claims);
}

void control_forget(void *ctx)
{
	claims_settle(((struct vswitch *)ctx)->claims);
}

static int vswitch_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct vswitch *vswitch = control_alloc(sizeof(*vswitch));

	vswitch->dpu = dpu;
	vswitch->tunnel_next = 1;
	vswitch->started_ns = clock_ns();
	vswitch->dp.workers = dpu->workers;
	vswitch->dp.worker_count = workers_count(dpu->workers);
	vswitch->dp.tenants = control_alloc(DP_MAX_TENANTS * sizeof(vswitch->dp.tenants[0]));
	vswitch->dp.ports = control_alloc(PATH_MAX_IFACES * sizeof(vswitch->dp.ports[0]));
	if (path_config_new(&vswitch->dp.config) != 0 || claims_new(&vswitch->claims) != 0 ||
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

/* The key of the session tables' hash: sessions of a former process are found by its own only. */
static int session_seed(struct vswitch *vswitch, uint64_t *ret)
{
	const char *folder = vswitch->dpu->state_dir;
	char path[PATH_MAX];
	uint64_t seed;
	int fd = -1;

	if (folder && snprintf(path, sizeof(path), "%s/sessions.seed", folder) < (int)sizeof(path))
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && read(fd, &seed, sizeof(seed)) == sizeof(seed)) {
		close(fd);
		*ret = seed;
		return 0;
	}
	int rc = getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? 0 : -EIO;
	/* A seed that cannot be kept costs the sessions at the next start, and nothing else. */
	if (rc == 0 && fd >= 0 && pwrite(fd, &seed, sizeof(seed), 0) != sizeof(seed))
		log_warn("vswitch", "sessions will not survive a restart: the state directory cannot be written",
			 "path=\"%s\" error=\"%s\"", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	*ret = seed;
	return rc;
}

/* Flows spread evenly over the slots, but not exactly. */
static uint32_t sessions_per_table(uint32_t max_sessions)
{
	uint32_t share = max_sessions / PATH_SLOTS;

	return RTE_MAX(share + share / 8, 1024u);
}

static int workers_begin(struct vswitch *vswitch, struct dpu_error *err)
{
	struct dp_worker_options options = { .pool = vswitch->dpu->pool,
					     .state_dir = vswitch->dpu->state_dir,
					     .huge_pages = vswitch->dpu->huge_pages,
					     .max_sessions = sessions_per_table(vswitch->dpu->max_sessions) };
	int rc = 0;

	if (session_seed(vswitch, &options.seed) != 0)
		return error_set(err, DPU_E_INTERNAL, NULL, "no random numbers for the session tables");
	for (unsigned i = 0; i < vswitch->dp.worker_count && rc == 0; i++) {
		options.index = i;
		rc = dp_worker_new(&vswitch->dp, &options, &vswitch->workers[i], err);
	}
	if (rc == 0)
		rc = dp_handoff_start(&vswitch->dp, err);
	for (unsigned i = 0; i < vswitch->dp.worker_count && rc == 0; i++) {
		log_info("vswitch", "worker ready", "worker=%u adopted_sessions=%u", i,
			 path_adopted(vswitch->dp.paths[i]));
		rc = worker_add_source(workers_get(vswitch->dp.workers, i), dp_worker_source(vswitch->workers[i]));
		if (rc != 0)
			error_set(err, DPU_E_INTERNAL, NULL, "worker %u takes no work: %s", i, strerror(-rc));
		vswitch->sources += rc == 0;
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
	if (rc == 0)
		rc = tables_growth_start(vswitch, err);
	if (rc != 0)
		return rc;
	vswitch->running = true;
	LIST_FOREACH(attachment, &vswitch->attachments, link)
	{
		attachment_serve(attachment);
	}
	for (unsigned i = 0; i < 64; i++)
		if (vswitch->underlays[i])
			neighbours_announce(vswitch->underlays[i]);
	return 0;
}

/* ---- the end: receive queues, what is under way, the workers' own sources, the rings between them ---- */

static void rings_stopped(void *arg)
{
	struct vswitch *vswitch = arg;

	vswitch->stopped(vswitch->stopped_arg);
}

static void source_gone(void *arg)
{
	struct vswitch *vswitch = arg;

	if (--vswitch->sources_left == 0)
		dp_handoff_stop(&vswitch->dp, rings_stopped, vswitch);
}

static void sources_stop(struct vswitch *vswitch)
{
	vswitch->sources_left = vswitch->sources + 1;
	for (unsigned i = 0; i < vswitch->sources; i++)
		worker_remove_source(workers_get(vswitch->dp.workers, i), dp_worker_source(vswitch->workers[i]),
				     source_gone, vswitch);
	vswitch->sources = 0;
	source_gone(vswitch);
}

/* Ports that were being closed still have queues with the workers, and questions are still to be answered. */
static void wait_for_others(void *arg)
{
	struct vswitch *vswitch = arg;

	if (vswitch->closing > 0 || vswitch->questions > 0) {
		loop_timer_rearm(vswitch->stop_timer, CLOCK_NS_PER_MS);
		return;
	}
	loop_timer_remove(vswitch->stop_timer);
	vswitch->stop_timer = NULL;
	sources_stop(vswitch);
}

static void queues_stopped(void *arg)
{
	struct vswitch *vswitch = arg;

	if (loop_timer_add(vswitch->dpu->loop, 0, 0, wait_for_others, vswitch, &vswitch->stop_timer) != 0)
		abort();
}

static void vswitch_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct vswitch *vswitch = state;

	vswitch->stopping = true;
	vswitch->stopped = done;
	vswitch->stopped_arg = arg;
	captures_end(vswitch);
	neighbours_stop(vswitch);
	tables_growth_stop(vswitch);
	attachments_quiesce(vswitch, queues_stopped, vswitch);
}

static void set_true(void *arg)
{
	*(bool *)arg = true;
}

static void vswitch_fini(void *state)
{
	enum { FINI_TURNS = 1000 };
	struct vswitch *vswitch = state;
	bool stopped = false;

	if (vswitch->sources > 0 || vswitch->dp.handoff) { /* the start has failed half-way */
		vswitch->stopped = set_true;
		vswitch->stopped_arg = &stopped;
		sources_stop(vswitch);
	} else {
		stopped = true;
	}
	/* Ports that are being closed still refer to the switch. */
	for (unsigned i = 0; (vswitch->closing > 0 || !stopped) && i < FINI_TURNS; i++)
		loop_once(vswitch->dpu->loop, 10);
	neighbours_free(vswitch);
	tables_growth_stop(vswitch);
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		if (vswitch->workers[i])
			dp_worker_free(vswitch->workers[i]);
	rcu_map_free(vswitch->tunnels);
	rcu_map_free(vswitch->neighbours);
	claims_free(vswitch->claims);
	purge_free(vswitch);
	captures_free(vswitch);
	free(vswitch->tunnel_free);
	for (unsigned i = 0; i < CONTROL_MAX_GROUPS; i++)
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
	fprintf(out, "# HELP dpu_drops_total Packets dropped, by reason.\n# TYPE dpu_drops_total counter\n");
	for (enum drop_reason reason = 1; reason < DROP_REASON_COUNT; reason++) {
		uint64_t packets = 0;

		for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
			packets += vswitch->dp.paths[i] ? path_drops(vswitch->dp.paths[i], reason) : 0;
		fprintf(out, "dpu_drops_total{reason=\"%s\"} %lu\n", drop_reason_name(reason), (unsigned long)packets);
	}
	fprintf(out, "# HELP dpu_worker_busy_cycles_total Cycles (TSC) spent in rounds with work.\n"
		     "# TYPE dpu_worker_busy_cycles_total counter\n");
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++) {
		struct worker_stats stats;

		worker_stats(workers_get(vswitch->dp.workers, i), &stats);
		fprintf(out, "dpu_worker_busy_cycles_total{worker=\"%u\"} %lu\n", i, (unsigned long)stats.busy_cycles);
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
