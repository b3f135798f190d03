/* SPDX-License-Identifier: BSD-3-Clause */
/* The switch: memory of rules, ports as control binds and opens them, workers' halves. */
#include "device/flow/flow_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

static void *reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, bytes, MADV_DONTDUMP);
	return memory;
}

static void unreserve(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}

static int check_options(const struct flow_switch_options *o, struct dpu_error *err)
{
	if (o->workers < 1 || o->workers > PATH_MAX_WORKERS)
		return error_set(err, DPU_E_INVALID, "workers", "%u workers: there may be 1 to %d.", o->workers,
				 PATH_MAX_WORKERS);
	if (o->max_rules < 1 || o->max_rules > ESWITCH_MAX_RULES)
		return error_set(err, DPU_E_INVALID, "max_rules", "%u rules: there may be 1 to %d.", o->max_rules,
				 ESWITCH_MAX_RULES);
	if (o->max_masks > FLOW_MAX_MASKS)
		return error_set(err, DPU_E_INVALID, "max_masks", "%u masks: there may be %d at most.", o->max_masks,
				 FLOW_MAX_MASKS);
	return 0;
}

static unsigned shift_for(uint32_t max_rules)
{
	unsigned shift = 0;

	while ((UINT32_C(1) << shift) < max_rules)
		shift++;
	return shift;
}

static int memory_init(struct flow_switch *sw, struct dpu_error *err)
{
	size_t numbers = (size_t)FLOW_SLOTS << sw->shift;
	unsigned readers = sw->options.workers + 1; /* control is the last */
	size_t qsbr_bytes = rte_rcu_qsbr_get_memsize(readers);

	sw->action_bytes = numbers * sizeof(struct flow_action);
	sw->rule_bytes = numbers * sizeof(struct flow_rule);
	sw->actions = reserve(sw->action_bytes);
	sw->rules = reserve(sw->rule_bytes);
	sw->bindings = calloc(FLOW_BINDINGS, sizeof(sw->bindings[0]));
	sw->binding_slot = calloc(FLOW_BINDINGS, 1);
	sw->qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(qsbr_bytes, RTE_CACHE_LINE_SIZE));
	if (!sw->actions || !sw->rules || !sw->bindings || !sw->binding_slot || !sw->qsbr ||
	    rte_rcu_qsbr_init(sw->qsbr, readers))
		return error_set(err, DPU_E_LIMIT, "max_rules", "there is no memory for %u rules",
				 sw->options.max_rules);
	for (unsigned i = 0; i < readers; i++)
		rte_rcu_qsbr_thread_register(sw->qsbr, i);
	for (unsigned i = 0; i < sw->options.workers; i++)
		for (unsigned slot = 0; slot < FLOW_SLOTS; slot++)
			atomic_store(&sw->counters[i][slot], &sw->nobody[i]);
	sw->serial = 1;
	atomic_store(&sw->actions[FLOW_NO_RULE].generation, 1);
	return flow_classifier_init(sw, err);
}

int flow_switch_new(const struct flow_switch_options *options, struct flow_switch **ret, struct dpu_error *err)
{
	int rc = check_options(options, err);

	if (rc)
		return rc;
	struct flow_switch *sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*sw), (size_t)64));
	if (!sw)
		return error_set(err, DPU_E_LIMIT, NULL, "there is no memory for an eswitch");
	memset(sw, 0, sizeof(*sw));
	sw->options = *options;
	sw->shift = shift_for(options->max_rules);
	pthread_mutex_init(&sw->grow_lock, NULL);
	pthread_mutex_init(&sw->refusals_lock, NULL);
	if (getrandom(&sw->seed, sizeof(sw->seed), 0) != sizeof(sw->seed))
		rc = error_set(err, DPU_E_INTERNAL, NULL, "the kernel gives no random numbers");
	if (!rc)
		rc = memory_init(sw, err);
	if (rc) {
		flow_switch_free(sw);
		return rc;
	}
	*ret = sw;
	return 0;
}

void flow_switch_free(struct flow_switch *sw)
{
	if (!sw)
		return;
	for (unsigned i = 0; i < FLOW_PORTS; i++)
		free(atomic_load(&sw->ports[i]));
	flow_classifier_fini(sw);
	unreserve(sw->actions, sw->action_bytes);
	unreserve(sw->rules, sw->rule_bytes);
	free(sw->bindings);
	free(sw->binding_slot);
	free(sw->qsbr);
	pthread_mutex_destroy(&sw->grow_lock);
	pthread_mutex_destroy(&sw->refusals_lock);
	free(sw);
}

void flow_switch_set_bypass(struct flow_switch *sw, bool on)
{
	atomic_store(&sw->bypass, on);
	for (unsigned slot = 1; slot < FLOW_SLOTS; slot++) {
		struct flow_client *client = atomic_load(&sw->clients[slot]);
		if (client)
			atomic_store(&client->region->bypass, on);
	}
}

/* ---- ports ---- */

static void retire(struct flow_switch *sw, void *memory)
{
	if (!memory)
		return;
	if (sw->options.retire)
		sw->options.retire(sw->options.retire_ctx, free, memory);
	else
		free(memory);
}

int flow_port_set(struct flow_switch *sw, const struct flow_port *port)
{
	bool one_way = port->number ? (port->member != 0) != port->tunnelled : !port->member && !port->tunnelled;

	if (port->number >= FLOW_PORTS || !one_way || !port->representor)
		return -EINVAL;
	struct flow_port *copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *port;
	retire(sw, atomic_exchange(&sw->ports[port->number], copy));
	return 0;
}

void flow_port_clear(struct flow_switch *sw, uint16_t number)
{
	if (number >= FLOW_PORTS)
		return;
	flow_port_close(sw, number);
	retire(sw, atomic_exchange(&sw->ports[number], NULL));
}

/* A number that no rule in force or being purged has; 0 = none. */
static uint16_t take_binding(struct flow_switch *sw)
{
	for (unsigned i = 0; i < FLOW_BINDINGS; i++) {
		uint16_t binding = ++sw->last_binding;
		if (binding && atomic_load_explicit(&sw->bindings[binding], memory_order_acquire) == BINDING_FREE)
			return binding;
	}
	return 0;
}

int flow_port_open(struct flow_switch *sw, uint16_t number, struct flow_client *client)
{
	if (number >= FLOW_PORTS || !atomic_load(&sw->ports[number]))
		return -ENOENT;
	uint16_t binding = atomic_load(&sw->open[number]) ? 0 : take_binding(sw);
	if (!binding)
		return -EBUSY;
	atomic_store(&sw->bindings[binding], BINDING_USED);
	atomic_store(&sw->port_slot[number], client->slot);
	atomic_store_explicit(&sw->open[number], binding, memory_order_release);
	return 0;
}

void flow_port_close(struct flow_switch *sw, uint16_t number)
{
	uint16_t binding = number < FLOW_PORTS ? atomic_exchange(&sw->open[number], 0) : 0;
	struct flow_client *client = binding ? atomic_load(&sw->clients[atomic_load(&sw->port_slot[number])]) : NULL;

	if (!client)
		return;
	uint32_t purge = atomic_load(&client->purge_wanted) + 1;
	if (purge == BINDING_FREE || purge == BINDING_USED)
		purge = 1;
	sw->binding_slot[binding] = client->slot;
	atomic_store(&sw->bindings[binding], purge);
	atomic_store_explicit(&client->purge_wanted, purge, memory_order_release);
	flow_client_wake(client);
}

/* ---- workers ---- */

int flow_new(struct flow_switch *sw, struct path *path, struct rte_mempool *pool, unsigned worker, struct flow **ret,
	     struct dpu_error *err)
{
	if (worker >= sw->options.workers)
		return error_set(err, DPU_E_INVALID, "worker", "the eswitch was made for %u workers",
				 sw->options.workers);
	struct flow *flow = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*flow), (size_t)64));
	if (!flow)
		return error_set(err, DPU_E_LIMIT, NULL, "there is no memory for a worker's half of an eswitch");
	memset(flow, 0, sizeof(*flow));
	flow->sw = sw;
	flow->path = path;
	flow->pool = pool;
	flow->worker = worker;
	flow->stats = &sw->stats[worker];
	flow_idents_init(flow);
	int rc = flow_entries_init(flow, err);
	if (rc) {
		free(flow);
		return rc;
	}
	*ret = flow;
	return 0;
}

void flow_free(struct flow *flow)
{
	if (!flow)
		return;
	__atomic_store_n(&flow->stats->entries, 0, __ATOMIC_RELAXED);
	flow_entries_fini(flow);
	free(flow);
}
