/* SPDX-License-Identifier: BSD-3-Clause */
/* A burst's way through the engine, stage by stage so that the memory of one arrives while another works: fields and
 * hash, candidates, entries, actions; then the frames without an entry. No entry is made or removed between the lookup
 * of a burst and the last use of it. */
#include "device/flow/flow_edit.h"
#include "device/flow/flow_fields.h"

enum { PREFETCH_AHEAD = 8 };

/* Stands for "no entry": rule 0 never has this generation. */
static struct flow_entry nobody;

/* ---- what a rule does ---- */

static inline void set_fields(const struct flow_action *a, const struct rte_mbuf *m, uint8_t *frame,
			      const struct flow_layout *layout)
{
	unsigned sets = a->sets;

	if (sets & FLOW_SET_ETH_DST)
		memcpy(frame, a->eth_dst, 6);
	if (sets & FLOW_SET_ETH_SRC)
		memcpy(frame + 6, a->eth_src, 6);
	if (sets & FLOW_DEC_TTL)
		flow_set_ttl(frame, layout, (uint8_t)(flow_ttl(frame, layout) - 1));
	if (sets & FLOW_SET_TTL)
		flow_set_ttl(frame, layout, a->ttl);
	if (likely(!(sets & ~(FLOW_SET_ETH_DST | FLOW_SET_ETH_SRC | FLOW_DEC_TTL | FLOW_SET_TTL))))
		return;
	if (sets & FLOW_SET_IP4_SRC)
		flow_set_ip4(m, frame, layout, 12, a->ip4_src);
	if (sets & FLOW_SET_IP4_DST)
		flow_set_ip4(m, frame, layout, 16, a->ip4_dst);
	if (sets & FLOW_SET_DSCP)
		flow_set_dscp(frame, layout, a->dscp);
	if (sets & FLOW_SET_TP_SRC)
		flow_set_tp(m, frame, layout, 0, a->tp_src);
	if (sets & FLOW_SET_TP_DST)
		flow_set_tp(m, frame, layout, 2, a->tp_dst);
}

static inline struct eswitch_counter *counter_of(const struct flow *flow, uint32_t rule)
{
	const struct flow_switch *sw = flow->sw;
	uint32_t slot = rule >> sw->shift, index = rule & ((UINT32_C(1) << sw->shift) - 1);

	return atomic_load_explicit(&sw->counters[flow->worker][slot], memory_order_relaxed) + index;
}

static inline void count(struct eswitch_counter *counter, uint32_t bytes)
{
	atomic_store_explicit(&counter->packets, atomic_load_explicit(&counter->packets, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&counter->bytes, atomic_load_explicit(&counter->bytes, memory_order_relaxed) + bytes,
			      memory_order_relaxed);
}

static __rte_noinline void act_seldom(struct flow *flow, const struct flow_action *a, struct rte_mbuf *m,
				      const struct flow_layout *layout)
{
	switch (a->kind) {
	case FLOW_DROP:
		path_drop(flow->path, m, DROP_RULE_DROP, flow->up->member ? flow->up->member : flow->up->representor,
			  0);
		break;
	case FLOW_PROGRAM:
		flow_program_run(flow, a, m, *layout);
		break;
	default:
		if (a->marked) {
			m->ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
			m->hash.fdir.hi = a->mark;
		}
		flow_send_up(flow, m);
	}
}

static inline void act(struct flow *flow, uint32_t rule, const struct flow_action *a, struct rte_mbuf *m,
		       const struct flow_layout *layout)
{
	if (unlikely(a->needs && !flow_has_needs(a, m, layout))) {
		flow_send_up(flow, m);
		return;
	}
	count(counter_of(flow, rule), m->pkt_len);
	if (unlikely(a->kind != FLOW_FAST)) {
		act_seldom(flow, a, m, layout);
		return;
	}
	if (a->sets)
		set_fields(a, m, packet_at(m, 0), layout);
	flow_send(flow, a->port, m);
}

/* ---- stages ---- */

static void read_union(struct flow *flow)
{
	struct flow_burst *b = &flow->burst;
	union flow_fields always = { .f = { .in_port = UINT16_MAX, .spare = UINT16_MAX } };

	for (unsigned w = 0; w < FLOW_WORDS; w++)
		b->all[w] = atomic_load_explicit(&flow->sw->classifier.all[w], memory_order_acquire) | always.w[w];
}

/* A frame that is not common; false when there is none any more. */
static __rte_noinline bool read_odd(struct flow *flow, struct rte_mbuf *m, union flow_fields *ret,
				    struct flow_layout *layout)
{
	if (flow_fields_read(m, ret, layout))
		return true;
	path_drop(flow->path, m, DROP_TRUNCATED, flow->up->member, 0);
	return false;
}

static void read_all(struct flow *flow, struct rte_mbuf **packets, unsigned count)
{
	struct flow_burst *b = &flow->burst;
	const struct record_view *view = &flow->table.view;
	const uint64_t s0 = flow_secret(flow->sw, 0), s1 = flow_secret(flow->sw, 1);
	const union flow_fields in_port = { .f.in_port = flow->key_port };
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = packets[i];
		uint64_t *w = b->key[n].w;
		rte_prefetch0(rte_pktmbuf_mtod(packets[RTE_MIN(i + PREFETCH_AHEAD, count - 1)], void *));
		if (unlikely(!flow_fields_hot(m, rte_pktmbuf_mtod(m, uint8_t *), w, &b->layout[n])) &&
		    !read_odd(flow, m, &b->key[n], &b->layout[n]))
			continue;
		w[0] |= in_port.w[0];
		m->hash.rss = flow_tuple_hash(w, s0, s1);
		for (unsigned k = 0; k < FLOW_WORDS; k++)
			w[k] &= b->all[k];
		uint32_t hash = flow_hash(w, s0, s1);
		b->bucket[n] = record_bucket_of(view, hash);
		__builtin_prefetch(b->bucket[n]);
		b->hash[n] = hash;
		b->m[n++] = m;
	}
	b->count = n;
}

static void find_candidates(struct flow *flow)
{
	struct flow_burst *b = &flow->burst;
	const struct record_view *view = &flow->table.view;

	for (unsigned i = 0; i < b->count; i++) {
		unsigned hits = record_bucket_hits(b->bucket[i], b->hash[i]);
		/* Number 0 is in the header's memory, which is no key. */
		uint32_t number = hits ? b->bucket[i]->numbers[__builtin_ctz(hits)] : 0;
		struct flow_entry *entry = record_at(view, number);
		__builtin_prefetch(entry, 1);
		if (b->layout[i].family == FLOW_IPV6)
			__builtin_prefetch(entry->high);
		b->entry[i] = entry;
	}
}

static inline bool matches(const struct flow_entry *entry, const uint64_t *w, bool high)
{
	uint64_t difference = 0;

	for (unsigned i = 0; i < FLOW_LOW_WORDS; i++)
		difference |= entry->key[i] ^ w[i];
	if (high)
		for (unsigned i = FLOW_LOW_WORDS; i < FLOW_WORDS; i++)
			difference |= load64(entry->high + 8 * (i - FLOW_LOW_WORDS)) ^ w[i];
	return difference == 0;
}

static void find_entries(struct flow *flow)
{
	struct flow_burst *b = &flow->burst;

	for (unsigned i = 0; i < b->count; i++) {
		struct flow_entry *entry = b->entry[i];
		if (unlikely(!matches(entry, b->key[i].w, b->layout[i].family == FLOW_IPV6))) {
			entry = flow_entry_find(flow, &b->key[i], b->hash[i]);
			if (!entry)
				entry = &nobody;
			b->entry[i] = entry;
		}
		__builtin_prefetch(&flow->sw->actions[entry->rule]);
		__builtin_prefetch(counter_of(flow, entry->rule), 1);
	}
}

static inline bool is_good(const struct flow_entry *entry, const struct flow_action *a)
{
	return atomic_load_explicit(&a->generation, memory_order_acquire) == entry->generation;
}

static void act_all(struct flow *flow)
{
	struct flow_burst *b = &flow->burst;
	const uint32_t now = path_now(flow->path);

	b->missed_count = 0;
	for (unsigned i = 0; i < b->count; i++) {
		struct flow_entry *entry = b->entry[i];
		const struct flow_action *a = &flow->sw->actions[entry->rule];
		if (unlikely(!is_good(entry, a))) {
			b->missed[b->missed_count++] = i;
			continue;
		}
		entry->last_seen = now;
		act(flow, entry->rule, a, b->m[i], &b->layout[i]);
	}
	flow_count(&flow->stats->hits, b->count - b->missed_count);
}

/* ---- frames without an entry ---- */

/* May frames of this key be taken for the one that was looked up? Not if the rule reads more than the key has, as one
 * that came after the burst had begun may; where none was found, if any rule does. */
static bool covers(const struct flow *flow, uint32_t rule)
{
	const struct flow_classifier *c = &flow->sw->classifier;
	const union flow_fields *mask = &c->subtables[flow->sw->rules[rule].subtable].mask;
	uint64_t more = 0;

	for (unsigned w = 0; w < FLOW_WORDS; w++) {
		uint64_t read =
			rule == FLOW_NO_RULE ? atomic_load_explicit(&c->all[w], memory_order_acquire) : mask->w[w];
		more |= read & ~flow->burst.all[w];
	}
	return more == 0;
}

static void count_found(const struct flow *flow, uint16_t subtable)
{
	_Atomic uint32_t *found = &flow->sw->classifier.found[flow->worker][flow->port][subtable];

	atomic_store_explicit(found, atomic_load_explicit(found, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* The rule of a frame and its generation, and whether that may be remembered. */
static uint32_t look_up(struct flow *flow, struct rte_mbuf *m, uint32_t *ret_generation, bool *ret_certain)
{
	const struct flow_switch *sw = flow->sw;
	union flow_fields fields;
	struct flow_layout layout;
	uint64_t searched = 0;
	/* Before the search: a rule that comes later makes this out of date. */
	uint32_t none = atomic_load_explicit(&sw->actions[FLOW_NO_RULE].generation, memory_order_acquire);

	*ret_generation = none;
	*ret_certain = false;
	/* The burst has them masked. */
	if (!flow_fields_hot(m, packet_at(m, 0), fields.w, &layout) &&
	    (!flow_fields_read(m, &fields, &layout) || layout.unread))
		return FLOW_NO_RULE;
	fields.f.in_port = flow->key_port;
	uint32_t rule = flow_classify(sw, &fields, flow->port, ret_certain, &searched);
	flow_count(&flow->stats->lookups, 1);
	flow_count(&flow->stats->searched, searched);
	if (rule == FLOW_NO_RULE) {
		flow_count(&flow->stats->misses, 1);
		return rule;
	}
	count_found(flow, sw->rules[rule].subtable);
	*ret_generation = atomic_load_explicit(&sw->actions[rule].generation, memory_order_acquire);
	if (*ret_generation)
		return rule;
	*ret_certain = false; /* it is just being removed */
	return FLOW_NO_RULE;
}

static void miss(struct flow *flow, unsigned i)
{
	struct flow_burst *b = &flow->burst;
	struct flow_entry *entry = flow_entry_find(flow, &b->key[i], b->hash[i]);
	const struct flow_action *actions = flow->sw->actions;
	uint32_t generation;
	bool certain;

	/* An earlier frame of the burst may have made the entry. */
	if (entry && is_good(entry, &actions[entry->rule])) {
		act(flow, entry->rule, &actions[entry->rule], b->m[i], &b->layout[i]);
		return;
	}
	uint32_t rule = look_up(flow, b->m[i], &generation, &certain);
	if (certain && covers(flow, rule)) {
		if (!entry)
			entry = flow_entry_new(flow, &b->key[i], b->hash[i]);
		if (entry) {
			entry->rule = rule;
			entry->generation = generation;
			entry->last_seen = path_now(flow->path);
		}
	}
	act(flow, rule, &actions[rule], b->m[i], &b->layout[i]);
}

static void run(struct flow *flow, struct rte_mbuf **packets, unsigned count)
{
	struct flow_burst *b = &flow->burst;
	bool bypass = atomic_load_explicit(&flow->sw->bypass, memory_order_relaxed);

	read_union(flow);
	read_all(flow, packets, count);
	if (unlikely(bypass || !flow->key_port)) {
		for (unsigned i = 0; i < b->count; i++)
			flow_send_up(flow, b->m[i]);
		flow_count(&flow->stats->bypassed, b->count);
		return;
	}
	find_candidates(flow);
	find_entries(flow);
	act_all(flow);
	for (unsigned i = 0; i < b->missed_count; i++)
		miss(flow, b->missed[i]);
}

/* ---- entry ---- */

static void from_representor(struct flow *flow, uint16_t number, struct rte_mbuf **packets, unsigned count)
{
	flow->up = NULL;
	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = packets[i];
		if (m->pkt_len < ETHER_BYTES || packet_pull(m, ETHER_BYTES) != DROP_NONE)
			path_drop(flow->path, m, DROP_TRUNCATED, (uint16_t)(PATH_FIRST_REPRESENTOR + number), 0);
		else if (number)
			flow_send(flow, number, m);
		else
			flow_send_trunk(flow, m);
	}
}

/* Nobody has the member's representor open: its frames go the trunk's way, if that is open. */
static void by_trunk(struct flow *flow, uint16_t number, struct rte_mbuf **packets, unsigned count)
{
	struct flow_switch *sw = flow->sw;
	const struct flow_port *trunk = atomic_load_explicit(&sw->ports[0], memory_order_acquire);
	unsigned n = 0;

	if (!trunk || !flow->key_port) {
		flow->key_port = 0;
		run(flow, packets, count);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *m = flow_tag(flow, packets[i], number);
		if (m)
			packets[n++] = m;
	}
	flow->up = trunk;
	run(flow, packets, n);
}

static void from_member(struct flow *flow, uint16_t iface, uint16_t number, struct rte_mbuf **packets, unsigned count)
{
	struct flow_switch *sw = flow->sw;

	flow->up =
		number && number < FLOW_PORTS ? atomic_load_explicit(&sw->ports[number], memory_order_acquire) : NULL;
	if (unlikely(!flow->up)) {
		for (unsigned i = 0; i < count; i++)
			path_drop(flow->path, packets[i], DROP_UNBOUND_INTERFACE, iface, 0);
		return;
	}
	flow->port = number;
	flow->key_port = atomic_load_explicit(&sw->open[number], memory_order_acquire);
	if (likely(flow->key_port)) {
		run(flow, packets, count);
		return;
	}
	flow->port = 0;
	flow->key_port = atomic_load_explicit(&sw->open[0], memory_order_acquire);
	by_trunk(flow, number, packets, count);
}

void flow_input(struct flow *flow, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	rte_rcu_qsbr_thread_online(flow->sw->qsbr, flow->worker);
	if (iface->kind == PATH_IFACE_REPRESENTOR)
		from_representor(flow, iface->representor, packets, count);
	else
		from_member(flow, iface->id, iface->representor, packets, count);
	rte_rcu_qsbr_thread_offline(flow->sw->qsbr, flow->worker);
}

void flow_input_tunnel(struct flow *flow, uint16_t number, struct rte_mbuf **packets, unsigned count)
{
	rte_rcu_qsbr_thread_online(flow->sw->qsbr, flow->worker);
	from_member(flow, 0, number, packets, count);
	rte_rcu_qsbr_thread_offline(flow->sw->qsbr, flow->worker);
}
