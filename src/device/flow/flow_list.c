/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine as control sees it: statistics, rules, masks, refusals. Rules are read in a critical section, as a worker
 * reads them. */
#include "device/flow/flow_priv.h"

static uint64_t relaxed(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* A rule's memory: what hits read, the rest, its state, counters, and when it was used. */
static uint64_t rule_bytes(const struct flow_switch *sw)
{
	return sizeof(struct flow_action) + sizeof(struct flow_rule) + sizeof(uint32_t) +
	       sw->options.workers * sizeof(struct eswitch_counter) + sizeof(struct flow_use);
}

static void sum_clients(const struct flow_switch *sw, struct flow_stats *ret)
{
	const struct record_view *view = &sw->classifier.index.view;

	ret->rule_bytes =
		(uint64_t)__atomic_load_n(&view->bucket_count, __ATOMIC_RELAXED) * sizeof(struct record_bucket);
	for (unsigned slot = 1; slot < FLOW_SLOTS; slot++) {
		const struct flow_client *client = atomic_load(&sw->clients[slot]);
		if (!client)
			continue;
		ret->clients++;
		ret->refused_now += atomic_load_explicit(&client->refused, memory_order_relaxed);
		ret->leaving += atomic_load_explicit(&client->leaving, memory_order_relaxed);
		ret->rule_bytes += atomic_load_explicit(&client->top_index, memory_order_relaxed) * rule_bytes(sw);
	}
}

void flow_switch_stats(const struct flow_switch *sw, struct flow_stats *ret)
{
	*ret = (struct flow_stats){
		.rules = atomic_load(&sw->rule_count),
		.masks = atomic_load(&sw->classifier.masks),
		.installed = atomic_load(&sw->installed),
		.destroyed = atomic_load(&sw->destroyed),
		.max_masks = sw->classifier.max_masks,
		.max_entries = (uint64_t)flow_entries_max(&sw->options) * sw->options.workers,
	};
	for (unsigned i = 0; i < ESWITCH_REFUSALS; i++)
		ret->refused += ret->refusals[i] = atomic_load(&sw->refused[i]);
	sum_clients(sw, ret);
	for (unsigned i = 0; i < sw->options.workers; i++) {
		const struct flow_worker_stats *stats = &sw->stats[i];
		ret->hits += relaxed(&stats->hits);
		ret->lookups += relaxed(&stats->lookups);
		ret->upcalls += relaxed(&stats->upcalls);
		ret->bypassed += relaxed(&stats->bypassed);
		ret->misses += relaxed(&stats->misses);
		ret->entries += relaxed(&stats->entries);
		ret->entry_bytes += relaxed(&stats->entry_bytes);
		ret->subtables_searched += relaxed(&stats->searched);
	}
}

static void fill(const struct flow_client *client, uint32_t index, struct flow_rule_info *ret)
{
	const struct flow_switch *sw = client->sw;
	uint32_t number = flow_number(client, index);
	const struct flow_rule *rule = &sw->rules[number];
	const struct flow_action *action = &sw->actions[number];

	*ret = (struct flow_rule_info){
		.client = client,
		.index = index,
		.generation = rule->generation,
		.state = FLOW_LIST_ACTIVE,
		.installed_ns = rule->installed_ns,
		.used_ns = flow_used_ns(client, index),
		.match = rule->key.f,
		.mask = sw->classifier.subtables[rule->subtable].mask.f,
	};
	ret->match.in_port = rule->port;
	ret->op_count = flow_decompile(action, ret->ops);
	if (action->kind == FLOW_PROGRAM && action->program->encap) {
		ret->encap_bytes = action->program->encap->length;
		memcpy(ret->encap, action->program->encap->bytes, ret->encap_bytes);
	}
	for (unsigned i = 0; i < sw->options.workers; i++) {
		struct eswitch_counter *counter = atomic_load(&sw->counters[i][client->slot]) + index;
		ret->packets += atomic_load_explicit(&counter->packets, memory_order_relaxed);
		ret->bytes += atomic_load_explicit(&counter->bytes, memory_order_relaxed);
	}
	ret->packets -= rule->base[0];
	ret->bytes -= rule->base[1];
	/* Between the looks of flow_uses_look() a counter tells more than they do. */
	if (ret->packets && !ret->used_ns)
		ret->used_ns = ret->installed_ns;
}

bool flow_rule_describe(const struct flow_switch *sw, uint32_t number, struct flow_rule_info *ret)
{
	const struct flow_client *client = atomic_load(&sw->clients[number >> sw->shift]);

	if (!client || !atomic_load_explicit(&sw->actions[number].generation, memory_order_acquire))
		return false;
	fill(client, number & ((UINT32_C(1) << sw->shift) - 1), ret);
	return true;
}

/* A rule in one of the wanted states; what it is not in force for is told by the state that the client sees, too. */
static bool look_at(const struct flow_client *client, uint32_t index, unsigned states, struct flow_rule_info *ret)
{
	const struct flow_switch *sw = client->sw;

	if (atomic_load_explicit(&sw->actions[flow_number(client, index)].generation, memory_order_acquire)) {
		if (states & FLOW_LIST_ACTIVE)
			fill(client, index, ret);
		return states & FLOW_LIST_ACTIVE;
	}
	if (!(states & (FLOW_LIST_REFUSED | FLOW_LIST_LEAVING)))
		return false;
	uint32_t word = atomic_load_explicit(&client->states[index], memory_order_relaxed), state = word & 0xff;
	if (state == ESWITCH_RULE_FREE)
		return false;
	*ret = (struct flow_rule_info){
		.client = client,
		.index = index,
		.generation = word >> 8,
		.state = state == ESWITCH_RULE_ACTIVE ? FLOW_LIST_LEAVING : FLOW_LIST_REFUSED,
	};
	if (state != ESWITCH_RULE_ACTIVE)
		ret->refusal = (enum eswitch_refusal)(state - ESWITCH_RULE_REFUSED);
	return states & ret->state;
}

/* Those of a client from *index on; false when it has no more. */
static bool list_client(const struct flow_client *client, unsigned states, uint32_t *index, unsigned *budget,
			void (*fn)(void *arg, const struct flow_rule_info *rule), void *arg)
{
	const struct flow_switch *sw = client->sw;
	const unsigned reader = sw->options.workers;
	uint32_t top = atomic_load_explicit(&client->top_index, memory_order_relaxed);
	bool more = true;

	rte_rcu_qsbr_thread_online(sw->qsbr, reader);
	for (; *budget; ++*index, --*budget) {
		struct flow_rule_info info;
		if (*index >= top) {
			more = false;
			break;
		}
		if (look_at(client, *index, states, &info))
			fn(arg, &info);
	}
	rte_rcu_qsbr_thread_offline(sw->qsbr, reader);
	return more;
}

bool flow_rules_list(const struct flow_switch *sw, unsigned states, uint64_t *cursor, unsigned budget,
		     void (*fn)(void *arg, const struct flow_rule_info *rule), void *arg)
{
	unsigned slot = (unsigned)(*cursor >> 32);
	uint32_t index = (uint32_t)*cursor;

	for (; slot < FLOW_SLOTS; slot++, index = 0) {
		const struct flow_client *client = slot ? atomic_load(&sw->clients[slot]) : NULL;
		if (client && list_client(client, states, &index, &budget, fn, arg)) {
			*cursor = (uint64_t)slot << 32 | index;
			return true;
		}
	}
	*cursor = (uint64_t)slot << 32;
	return false;
}

unsigned flow_masks_list(const struct flow_switch *sw, struct flow_mask_info *ret, unsigned max)
{
	const struct flow_classifier *c = &sw->classifier;
	const unsigned reader = sw->options.workers;
	unsigned count = 0;

	rte_rcu_qsbr_thread_online(sw->qsbr, reader);
	for (unsigned i = 0; i < c->max_masks; i++) {
		uint32_t rules = atomic_load_explicit(&c->subtables[i].rules, memory_order_acquire);
		if (!rules)
			continue;
		if (count < max)
			ret[count] = (struct flow_mask_info){ c->subtables[i].mask.f, rules };
		count++;
	}
	rte_rcu_qsbr_thread_offline(sw->qsbr, reader);
	return count;
}

unsigned flow_refusals_list(struct flow_switch *sw, struct flow_refusal *ret, unsigned max)
{
	pthread_mutex_lock(&sw->refusals_lock);
	unsigned count = RTE_MIN(RTE_MIN(sw->refusals_count, (uint32_t)FLOW_REFUSALS_KEPT), max);
	for (unsigned i = 0; i < count; i++)
		ret[i] = sw->refusals[(sw->refusals_count - 1 - i) % FLOW_REFUSALS_KEPT];
	pthread_mutex_unlock(&sw->refusals_lock);
	return count;
}

const char *flow_refusal_name(enum eswitch_refusal refusal)
{
	static const char *const names[ESWITCH_REFUSALS] = {
		[ESWITCH_REFUSED_PORT] = "port",           [ESWITCH_REFUSED_INDEX] = "index",
		[ESWITCH_REFUSED_MATCH] = "match",         [ESWITCH_REFUSED_ACTION] = "action",
		[ESWITCH_REFUSED_DUPLICATE] = "duplicate", [ESWITCH_REFUSED_MASKS] = "masks",
		[ESWITCH_REFUSED_MEMORY] = "memory",
	};

	return (unsigned)refusal < ESWITCH_REFUSALS ? names[refusal] : "unknown";
}
