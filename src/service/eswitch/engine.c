/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow engine in the switch's workers: made with the eswitch object, fed with the bursts of members, taken down
 * when no client and no worker uses it any more. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "operating/growth.h"
#include "service/eswitch/eswitch_priv.h"

void *eswitch_alloc(size_t bytes)
{
	void *memory = aligned_alloc(64, RTE_ALIGN_CEIL(bytes, 64));

	if (!memory) {
		log_error("eswitch", "out of memory", "bytes=%zu", bytes);
		abort();
	}
	return memset(memory, 0, bytes);
}

/* ---- in the workers ---- */

static struct flow *flow_of(struct eswitch *eswitch, unsigned worker)
{
	return atomic_load_explicit(&eswitch->flows[worker], memory_order_acquire);
}

static void input(void *ctx, unsigned worker, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	struct eswitch *eswitch = ctx;
	struct flow *flow = flow_of(eswitch, worker);

	if (likely(flow)) {
		flow_input(flow, iface, packets, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		path_drop(vswitch_path(eswitch->vswitch, worker), packets[i], DROP_UNBOUND_INTERFACE, iface->id, 0);
}

static uint16_t tunnel_number(const struct eswitch *eswitch, uint16_t slot, uint32_t tag)
{
	const struct tunnel_key key = { .slot = slot, .tag = tag };

	return (uint16_t)(uintptr_t)rcu_map_find(eswitch->tunnels, &key);
}

/* Runs of frames of one tunnel go together. */
static void tunnel_input(void *ctx, unsigned worker, uint16_t in_iface, struct rte_mbuf **packets,
			 const uint16_t *slots, const uint32_t *tags, unsigned count)
{
	struct eswitch *eswitch = ctx;
	struct flow *flow = flow_of(eswitch, worker);

	for (unsigned i = 0, n; i < count; i += n) {
		uint16_t number = flow ? tunnel_number(eswitch, slots[i], tags[i]) : 0;

		for (n = 1; i + n < count && slots[i + n] == slots[i] && tags[i + n] == tags[i]; n++)
			;
		if (number != 0) {
			flow_input_tunnel(flow, number, packets + i, n);
			continue;
		}
		for (unsigned j = i; j < i + n; j++)
			path_drop(vswitch_path(eswitch->vswitch, worker), packets[j], DROP_UNKNOWN_VNI, in_iface, 0);
	}
}

const struct dp_members engine_members = { .input = input, .tunnel_input = tunnel_input };

static uint64_t tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct tick *tick = (struct tick *)source;

	(void)worker;
	atomic_store_explicit(&tick->runs, atomic_load_explicit(&tick->runs, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return flow_tick(tick->flow, now_ns);
}

/* ---- life ---- */

static int worker_begin(struct eswitch *eswitch, unsigned worker, struct dpu_error *err)
{
	struct engine *engine = eswitch->engine;
	struct tick *own = &engine->ticks[worker];
	int rc = flow_new(engine->sw, vswitch_path(eswitch->vswitch, worker), eswitch->dpu->pool, worker, &own->flow,
			  err);

	if (rc != 0)
		return rc;
	own->source = (struct worker_source){ .tick = tick, .fd = -1, .name = "eswitch" };
	rc = worker_add_source(workers_get(eswitch->dpu->workers, worker), &own->source);
	if (rc != 0)
		return error_set(err, DPU_E_INTERNAL, NULL, "worker %u takes no work: %s", worker, strerror(-rc));
	engine->sources++;
	atomic_store_explicit(&eswitch->flows[worker], own->flow, memory_order_release);
	return 0;
}

/* In a thread of its own. */
static bool grow(void *ctx)
{
	struct engine *engine = ctx;
	bool again = flow_switch_grow_ahead(engine->sw);

	for (unsigned i = 0; i < engine->eswitch->workers; i++)
		again |= flow_grow_ahead(engine->ticks[i].flow);
	return again;
}

int engine_start(struct eswitch *eswitch, struct dpu_error *err)
{
	struct engine *engine = eswitch->engine;
	int rc = 0;

	for (unsigned i = 0; i < eswitch->workers && rc == 0; i++)
		rc = worker_begin(eswitch, i, err);
	if (rc != 0)
		return rc;
	rc = growth_start(eswitch->dpu->loop, grow, engine, &engine->growth);
	if (rc != 0)
		return error_set(err, DPU_E_LIMIT, NULL, "no helper thread for the eswitch's memory: %s",
				 strerror(-rc));
	sampler_start(engine);
	return 0;
}

static void engine_free(void *arg)
{
	struct engine *engine = arg;
	struct eswitch *eswitch = engine->eswitch;

	growth_stop(engine->growth);
	for (unsigned i = 0; i < eswitch->workers; i++)
		if (engine->ticks[i].flow)
			flow_free(engine->ticks[i].flow);
	flow_switch_free(engine->sw);
	free(engine);
	eswitch->engines--;
}

/* The last of clients and ticks has gone; packets that were under way pass first. */
static void engine_settle(struct engine *engine)
{
	if (engine->ending && engine->clients == 0 && engine->sources == 0)
		workers_barrier(engine->eswitch->dpu->workers, engine_free, engine);
}

static void tick_gone(void *arg)
{
	struct engine *engine = arg;

	engine->sources--;
	engine_settle(engine);
}

/* Clients' rules are removed by a worker with its flow: the flows stay until all have gone. */
static void ticks_end(struct engine *engine)
{
	struct eswitch *eswitch = engine->eswitch;
	unsigned started = engine->sources;

	if (started == 0)
		engine_settle(engine);
	for (unsigned i = 0; i < started; i++)
		worker_remove_source(workers_get(eswitch->dpu->workers, i), &engine->ticks[i].source, tick_gone,
				     engine);
}

void engine_end(struct eswitch *eswitch)
{
	struct engine *engine = eswitch->engine;

	sampler_stop(engine);
	flows_end(eswitch);
	eswitch->engine = NULL;
	for (unsigned i = 0; i < eswitch->workers; i++)
		atomic_store_explicit(&eswitch->flows[i], NULL, memory_order_release);
	engine->ending = true;
	if (engine->clients == 0)
		ticks_end(engine);
}

void engine_release(struct engine *engine)
{
	if (--engine->clients == 0 && engine->ending)
		ticks_end(engine);
}
