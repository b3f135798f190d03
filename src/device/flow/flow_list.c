/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine as control sees it: statistics, rules, masks, refusals. Rules are read in a critical section, as a worker
 * reads them. */
#include "device/flow/flow_priv.h"

static uint64_t relaxed(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void flow_switch_stats(const struct flow_switch *sw, struct flow_stats *ret)
{
	*ret = (struct flow_stats){
		.rules = atomic_load(&sw->rule_count),
		.masks = atomic_load(&sw->classifier.masks),
		.installed = atomic_load(&sw->installed),
		.destroyed = atomic_load(&sw->destroyed),
	};
	for (unsigned i = 0; i < ESWITCH_REFUSALS; i++)
		ret->refused += ret->refusals[i] = atomic_load(&sw->refused[i]);
	for (unsigned slot = 1; slot < FLOW_SLOTS; slot++)
		ret->clients += atomic_load(&sw->clients[slot]) != NULL;
	for (unsigned i = 0; i < sw->options.workers; i++) {
		const struct flow_worker_stats *stats = &sw->stats[i];
		ret->hits += relaxed(&stats->hits);
		ret->lookups += relaxed(&stats->lookups);
		ret->upcalls += relaxed(&stats->upcalls);
		ret->bypassed += relaxed(&stats->bypassed);
		ret->entries += relaxed(&stats->entries);
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
}

/* Those of a client from *index on; false when it has no more. */
static bool list_client(const struct flow_client *client, uint32_t *index, unsigned *budget,
			void (*fn)(void *arg, const struct flow_rule_info *rule), void *arg)
{
	const struct flow_switch *sw = client->sw;
	const unsigned reader = sw->options.workers;
	bool more = true;

	rte_rcu_qsbr_thread_online(sw->qsbr, reader);
	for (; *budget; ++*index, --*budget) {
		struct flow_rule_info info;
		if (*index >= client->max_rules) {
			more = false;
			break;
		}
		if (!atomic_load_explicit(&sw->actions[flow_number(client, *index)].generation, memory_order_acquire))
			continue;
		fill(client, *index, &info);
		fn(arg, &info);
	}
	rte_rcu_qsbr_thread_offline(sw->qsbr, reader);
	return more;
}

bool flow_rules_list(const struct flow_switch *sw, uint64_t *cursor, unsigned budget,
		     void (*fn)(void *arg, const struct flow_rule_info *rule), void *arg)
{
	unsigned slot = (unsigned)(*cursor >> 32);
	uint32_t index = (uint32_t)*cursor;

	for (; slot < FLOW_SLOTS; slot++, index = 0) {
		const struct flow_client *client = slot ? atomic_load(&sw->clients[slot]) : NULL;
		if (client && list_client(client, &index, &budget, fn, arg)) {
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
