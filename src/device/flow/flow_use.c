/* SPDX-License-Identifier: BSD-3-Clause */
/* When rules were last used, as control sees it: it looks at their counters now and then. Workers write nothing for
 * it. */
#include "device/flow/flow_priv.h"

#include <errno.h>
#include <sys/mman.h>

static const uint64_t TENTH_NS = 100000000;

static size_t bytes_of(const struct flow_client *client)
{
	return client->max_rules * sizeof(client->uses[0]);
}

int flow_uses_init(struct flow_client *client)
{
	void *memory = mmap(NULL, bytes_of(client), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	madvise(memory, bytes_of(client), MADV_DONTDUMP);
	client->uses = memory;
	return 0;
}

void flow_uses_fini(struct flow_client *client)
{
	if (client->uses)
		munmap(client->uses, bytes_of(client));
}

static uint64_t packets_of(const struct flow_client *client, uint32_t index)
{
	const struct flow_switch *sw = client->sw;
	uint64_t packets = 0;

	for (unsigned i = 0; i < sw->options.workers; i++) {
		struct eswitch_counter *counter = atomic_load(&sw->counters[i][client->slot]) + index;
		packets += atomic_load_explicit(&counter->packets, memory_order_relaxed);
	}
	return packets;
}

/* What the former rules of the index have counted; anything when it is just being removed. In a critical section. */
static uint64_t base_of(const struct flow_client *client, uint32_t index, uint64_t packets)
{
	const struct flow_switch *sw = client->sw;
	uint32_t number = flow_number(client, index);

	if (!atomic_load_explicit(&sw->actions[number].generation, memory_order_acquire))
		return packets;
	return sw->rules[number].base[0];
}

static void look(struct flow_client *client, uint32_t index, uint32_t now)
{
	uint32_t state = atomic_load_explicit(&client->states[index], memory_order_acquire);
	struct flow_use *use = &client->uses[index];

	if ((state & 0xff) != ESWITCH_RULE_ACTIVE)
		return;
	uint64_t packets = packets_of(client, index);
	if (use->state != state)
		*use = (struct flow_use){ .state = state, .packets = base_of(client, index, packets) };
	if (use->packets == packets)
		return;
	use->packets = packets;
	use->last = now;
}

bool flow_uses_look(struct flow_switch *sw, unsigned budget, uint64_t now_ns)
{
	const unsigned reader = sw->options.workers;
	uint32_t now = (uint32_t)(now_ns / TENTH_NS);
	bool more = false;

	rte_rcu_qsbr_thread_online(sw->qsbr, reader);
	for (unsigned slot = 1; slot < FLOW_SLOTS; slot++) {
		struct flow_client *client = atomic_load(&sw->clients[slot]);
		if (!client)
			continue;
		uint32_t top = atomic_load_explicit(&client->top_index, memory_order_relaxed);
		for (; budget && client->use_cursor < top; client->use_cursor++, budget--)
			look(client, client->use_cursor, now);
		more |= client->use_cursor < top;
	}
	rte_rcu_qsbr_thread_offline(sw->qsbr, reader);
	for (unsigned slot = 1; slot < FLOW_SLOTS && !more; slot++) {
		struct flow_client *client = atomic_load(&sw->clients[slot]);
		if (client)
			client->use_cursor = 0;
	}
	return more;
}

uint64_t flow_used_ns(const struct flow_client *client, uint32_t index)
{
	const struct flow_use *use = &client->uses[index];

	if (use->state != atomic_load_explicit(&client->states[index], memory_order_relaxed))
		return 0;
	return use->last * TENTH_NS;
}
