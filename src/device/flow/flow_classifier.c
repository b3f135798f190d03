/* SPDX-License-Identifier: BSD-3-Clause */
/* Tuple space search: a subtable per mask, all in one index; per in-port a list of the subtables that have rules for
 * it. One writer. Readers look while it writes: what they find is good whatever happens meanwhile, since rules stay
 * readable for a grace period; that they found nothing counts only if the sequence did not move. */
#include "device/flow/flow_priv.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
	ATTEMPTS = 3,
	BATCH = 16,      /* subtables whose buckets are on their way at once, … */
	FIRST_BATCH = 4, /* … but fewer of those at the front of the list: they are found there */
};

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

static const size_t PORT_BYTES = FLOW_PORTS * sizeof(struct flow_port_masks);
static const size_t COUNT_BYTES = FLOW_PORTS * FLOW_MAX_MASKS * sizeof(uint32_t);
static const size_t RANK_BYTES = FLOW_PORTS * FLOW_MAX_MASKS * sizeof(struct flow_rank);

int flow_classifier_init(struct flow_switch *sw, struct dpu_error *err)
{
	struct flow_classifier *c = &sw->classifier;
	uint64_t rules = (uint64_t)FLOW_MAX_CLIENTS << sw->shift;
	bool found = true;

	c->max_masks = sw->options.max_masks ? sw->options.max_masks : FLOW_MAX_MASKS;
	c->ports = reserve(PORT_BYTES);
	c->counts = reserve(COUNT_BYTES);
	c->port_masks = calloc(FLOW_PORTS, sizeof(c->port_masks[0]));
	c->ranks = reserve(RANK_BYTES);
	for (unsigned i = 0; i < sw->options.workers; i++)
		found = (c->found[i] = reserve(COUNT_BYTES)) != NULL && found;
	c->index.max = (uint32_t)rules;
	if (!c->ports || !c->counts || !c->port_masks || !c->ranks || !found ||
	    record_index_init(&c->index, c->index.max, sw->options.huge_pages))
		return error_set(err, DPU_E_LIMIT, "max_rules", "there is no memory for the index of the rules");
	return 0;
}

void flow_classifier_fini(struct flow_switch *sw)
{
	struct flow_classifier *c = &sw->classifier;

	record_index_fini(&c->index);
	unreserve(c->ports, PORT_BYTES);
	unreserve(c->counts, COUNT_BYTES);
	unreserve(c->ranks, RANK_BYTES);
	for (unsigned i = 0; i < sw->options.workers; i++)
		unreserve(c->found[i], COUNT_BYTES);
	free(c->port_masks);
}

/* ---- subtables ---- */

static void set_union(struct flow_classifier *c)
{
	uint64_t all[FLOW_WORDS] = { 0 };

	for (uint32_t i = 0; i < c->top_mask; i++)
		for (unsigned w = 0; w < FLOW_WORDS && c->subtables[i].state == FLOW_SUBTABLE_USED; w++)
			all[w] |= c->subtables[i].mask.w[w];
	for (unsigned w = 0; w < FLOW_WORDS; w++)
		atomic_store_explicit(&c->all[w], all[w], memory_order_release);
}

static bool is_free(struct flow_switch *sw, struct flow_subtable *s)
{
	if (s->state == FLOW_SUBTABLE_DYING && rte_rcu_qsbr_check(sw->qsbr, s->token, false) == 1)
		s->state = FLOW_SUBTABLE_FREE;
	return s->state == FLOW_SUBTABLE_FREE;
}

static uint8_t words_of(const union flow_fields *mask)
{
	for (unsigned w = FLOW_LOW_WORDS; w < FLOW_WORDS; w++)
		if (mask->w[w])
			return FLOW_WORDS;
	return FLOW_LOW_WORDS;
}

int flow_subtable_get(struct flow_switch *sw, const union flow_fields *mask, uint16_t *ret)
{
	struct flow_classifier *c = &sw->classifier;
	uint32_t place = c->max_masks;

	for (uint32_t i = 0; i < c->top_mask; i++) {
		struct flow_subtable *s = &c->subtables[i];
		if (s->state == FLOW_SUBTABLE_USED && memcmp(&s->mask, mask, sizeof(*mask)) == 0) {
			*ret = (uint16_t)i;
			return 0;
		}
		if (place == c->max_masks && is_free(sw, s))
			place = i;
	}
	if (place == c->max_masks)
		place = c->top_mask;
	if (place == c->max_masks)
		return -ENOSPC;
	if (place == c->top_mask)
		c->top_mask++;
	struct flow_subtable *s = &c->subtables[place];
	s->mask = *mask;
	s->words = words_of(mask);
	s->salt = flow_key_fold(place ^ flow_secret(sw, 1), flow_secret(sw, 0));
	s->state = FLOW_SUBTABLE_USED;
	atomic_fetch_add_explicit(&c->masks, 1, memory_order_relaxed);
	set_union(c);
	*ret = (uint16_t)place;
	return 0;
}

void flow_subtable_put(struct flow_switch *sw, uint16_t subtable)
{
	struct flow_classifier *c = &sw->classifier;
	struct flow_subtable *s = &c->subtables[subtable];

	if (atomic_load_explicit(&s->rules, memory_order_relaxed))
		return;
	s->state = FLOW_SUBTABLE_DYING;
	s->token = rte_rcu_qsbr_start(sw->qsbr);
	atomic_fetch_sub_explicit(&c->masks, 1, memory_order_relaxed);
	while (c->top_mask && is_free(sw, &c->subtables[c->top_mask - 1]))
		c->top_mask--;
	set_union(c);
}

/* ---- search ---- */

/* Of the fields that the subtable's mask leaves. */
static inline uint32_t hash_masked(const struct flow_subtable *s, const union flow_fields *fields, uint64_t s0,
				   uint64_t s1)
{
	const uint64_t *f = fields->w, *m = s->mask.w;
	uint64_t mix = flow_key_fold((f[0] & m[0]) ^ s->salt, (f[1] & m[1]) ^ s1);

	mix ^= flow_key_fold((f[2] & m[2]) ^ s->salt ^ s0, (f[3] & m[3]) ^ s1);
	if (s->words > FLOW_LOW_WORDS) {
		mix = flow_key_fold((f[5] & m[5]) ^ s0 ^ mix, (f[6] & m[6]) ^ s1);
		mix ^= flow_key_fold((f[7] & m[7]) ^ s0, mix ^ s1);
	}
	mix = flow_key_fold((f[4] & m[4]) ^ s1 ^ mix, s0);
	return (uint32_t)(mix ^ mix >> 32);
}

static inline struct record_bucket *bucket_of(const struct record_view *view, uint32_t hash)
{
	uint32_t mask = __atomic_load_n(&view->bucket_mask, __ATOMIC_ACQUIRE);
	uint32_t count = __atomic_load_n(&view->bucket_count, __ATOMIC_ACQUIRE);
	uint32_t bucket = hash & mask;

	/* Both may be of different times: then of any bucket that there is, and the sequence tells. */
	if (bucket >= count)
		bucket &= mask >> 1;
	return &view->buckets[bucket < count ? bucket : 0];
}

static inline bool is_rule(const struct flow_switch *sw, uint32_t number, uint16_t subtable,
			   const union flow_fields *fields)
{
	const struct flow_rule *rule = &sw->rules[number];
	const uint64_t *mask = sw->classifier.subtables[subtable].mask.w;
	uint64_t difference = rule->subtable ^ subtable;

	for (unsigned w = 0; w < FLOW_WORDS; w++)
		difference |= rule->key.w[w] ^ (fields->w[w] & mask[w]);
	return difference == 0;
}

static uint32_t probe(const struct flow_switch *sw, const struct record_bucket *bucket, uint32_t hash,
		      uint16_t subtable, const union flow_fields *fields)
{
	for (unsigned length = 0; length < RECORD_MAX_CHAIN; length++) {
		for (unsigned i = 0; i < RECORD_BUCKET_ENTRIES; i++) {
			if (__atomic_load_n(&bucket->hashes[i], __ATOMIC_ACQUIRE) != hash)
				continue;
			uint32_t number = __atomic_load_n(&bucket->numbers[i], __ATOMIC_ACQUIRE);
			if (number && is_rule(sw, number, subtable, fields))
				return number;
		}
		uint32_t next = __atomic_load_n(&bucket->hashes[RECORD_BUCKET_ENTRIES], __ATOMIC_ACQUIRE);
		if (!next)
			break;
		bucket = &sw->classifier.index.index.overflow[next];
	}
	return FLOW_NO_RULE;
}

uint32_t flow_classifier_find(const struct flow_switch *sw, uint16_t subtable, const union flow_fields *key,
			      uint32_t *ret_hash)
{
	const struct flow_classifier *c = &sw->classifier;

	*ret_hash = hash_masked(&c->subtables[subtable], key, flow_secret(sw, 0), flow_secret(sw, 1));
	return probe(sw, bucket_of(&c->index.view, *ret_hash), *ret_hash, subtable, key);
}

/* Subtables of a port, some at a time. */
struct batch {
	uint16_t subtable[BATCH];
	uint32_t hash[BATCH];
	const struct record_bucket *bucket[BATCH];
	unsigned count;
};

static uint32_t probe_all(const struct flow_switch *sw, struct batch *b, const union flow_fields *fields)
{
	for (unsigned i = 0; i < b->count; i++) {
		uint32_t number = probe(sw, b->bucket[i], b->hash[i], b->subtable[i], fields);
		if (number)
			return number;
	}
	b->count = 0;
	return FLOW_NO_RULE;
}

static uint32_t search(const struct flow_switch *sw, const union flow_fields *fields, uint16_t port,
		       uint64_t *ret_searched)
{
	const struct flow_classifier *c = &sw->classifier;
	const struct flow_port_masks *masks = &c->ports[port];
	uint32_t count = atomic_load_explicit(&masks->count, memory_order_acquire), number = FLOW_NO_RULE;
	const uint64_t s0 = flow_secret(sw, 0), s1 = flow_secret(sw, 1);
	unsigned at_once = FIRST_BATCH;
	struct batch b;

	b.count = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint16_t subtable = atomic_load_explicit(&masks->order[i], memory_order_acquire);
		unsigned n = b.count++;
		b.subtable[n] = subtable;
		b.hash[n] = hash_masked(&c->subtables[subtable], fields, s0, s1);
		b.bucket[n] = bucket_of(&c->index.view, b.hash[n]);
		__builtin_prefetch(b.bucket[n]);
		++*ret_searched;
		if (b.count < at_once)
			continue;
		number = probe_all(sw, &b, fields);
		if (number)
			return number;
		at_once = BATCH;
	}
	return probe_all(sw, &b, fields);
}

uint32_t flow_classify(const struct flow_switch *sw, const union flow_fields *fields, uint16_t port, bool *ret_certain,
		       uint64_t *ret_searched)
{
	const struct flow_classifier *c = &sw->classifier;

	*ret_certain = true;
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		uint32_t before = atomic_load_explicit(&c->sequence, memory_order_acquire);
		uint32_t number = search(sw, fields, port, ret_searched);
		/* Every load of the search acquires, so this one comes after them. */
		if (number || (!(before & 1) && atomic_load_explicit(&c->sequence, memory_order_acquire) == before))
			return number;
	}
	*ret_certain = false;
	return FLOW_NO_RULE;
}

/* ---- writing ---- */

static void write_begin(struct flow_classifier *c)
{
	uint32_t sequence = atomic_load_explicit(&c->sequence, memory_order_relaxed);

	/* Every store of the index releases, so this one comes before them. */
	atomic_store_explicit(&c->sequence, sequence + 1, memory_order_release);
}

static void write_end(struct flow_classifier *c)
{
	uint32_t sequence = atomic_load_explicit(&c->sequence, memory_order_relaxed);

	atomic_store_explicit(&c->sequence, sequence + 1, memory_order_release);
}

/* The list changes place by place: who reads meanwhile may meet a subtable twice or never, and the sequence tells. */
static void list_put(struct flow_port_masks *masks, uint32_t place, uint16_t subtable)
{
	atomic_store_explicit(&masks->order[place], subtable, memory_order_release);
}

static void list_add(struct flow_classifier *c, uint16_t port, uint16_t subtable)
{
	uint16_t count = c->port_masks[port]++;

	list_put(&c->ports[port], count, subtable);
	atomic_store_explicit(&c->ports[port].count, count + 1u, memory_order_release);
}

static void list_remove(struct flow_classifier *c, uint16_t port, uint16_t subtable)
{
	struct flow_port_masks *masks = &c->ports[port];
	uint16_t count = --c->port_masks[port], i = 0;

	while (i < count && atomic_load_explicit(&masks->order[i], memory_order_relaxed) != subtable)
		i++;
	for (; i < count; i++)
		list_put(masks, i, atomic_load_explicit(&masks->order[i + 1], memory_order_relaxed));
	atomic_store_explicit(&masks->count, count, memory_order_release);
}

void flow_classifier_reorder(struct flow_switch *sw, unsigned port, const uint16_t *order)
{
	struct flow_classifier *c = &sw->classifier;

	write_begin(c);
	for (uint32_t i = 0; i < c->port_masks[port]; i++)
		list_put(&c->ports[port], i, order[i]);
	write_end(c);
}

bool flow_classifier_insert(struct flow_switch *sw, uint32_t number)
{
	struct flow_classifier *c = &sw->classifier;
	const struct flow_rule *rule = &sw->rules[number];

	write_begin(c);
	record_count_add(&c->index, 1);
	bool inserted = record_index_insert(&c->index, rule->hash, number);
	if (!inserted)
		record_count_add(&c->index, -1);
	else if (c->counts[rule->port][rule->subtable]++ == 0)
		list_add(c, rule->port, rule->subtable);
	write_end(c);
	if (inserted)
		atomic_fetch_add_explicit(&c->subtables[rule->subtable].rules, 1, memory_order_relaxed);
	return inserted;
}

void flow_classifier_remove(struct flow_switch *sw, uint32_t number)
{
	struct flow_classifier *c = &sw->classifier;
	const struct flow_rule *rule = &sw->rules[number];

	write_begin(c);
	record_index_remove(&c->index, rule->hash, number);
	record_count_add(&c->index, -1);
	if (--c->counts[rule->port][rule->subtable] == 0)
		list_remove(c, rule->port, rule->subtable);
	write_end(c);
	atomic_fetch_sub_explicit(&c->subtables[rule->subtable].rules, 1, memory_order_relaxed);
	flow_subtable_put(sw, rule->subtable);
}
