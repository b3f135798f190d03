/* SPDX-License-Identifier: BSD-3-Clause */
/* Indices, generations and counters of rules; the commands that install and remove them. */
#include "rules.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

enum {
	NO_INDEX = -1,
	GENERATIONS = 0xffffff, /* that fit in a state beside its low byte */
	FULL_TRIES = 1000,
	FULL_WAIT_NS = 100000, /* each: a tenth of a second in all */
};

struct rule {
	LIST_ENTRY(rule) link;
	_Atomic int64_t index; /* in the present region; NO_INDEX = not there */
	uint32_t generation;
	unsigned ring; /* that it was installed by: what is said of it later comes behind that */
	/* What regions of the past, and former indices of this one, have counted; and what was told at the last reset.
	 */
	_Atomic uint64_t carried[2], base[2];
	uint16_t op_count, encap_bytes;
	struct eswitch_fields match, mask;
	struct eswitch_op ops[]; /* behind them the header */
};

struct rules {
	pthread_mutex_t lock;
	LIST_HEAD(rule_list, rule) all;
	struct rule_list zombies;                 /* destroyed, which dpud could not be told yet */
	const struct link_region *_Atomic region; /* the last one, also while dpud is away */
	bool away;
	_Atomic uint32_t moves; /* odd while `carried` and the region do not fit together */
	uint32_t capacity;
	uint32_t *generations; /* of each index: the last one used */
	uint32_t *free;        /* indices: a stack */
	uint32_t free_count;
	uint32_t *leaving; /* indices whose destruction was asked for: a ring, oldest first */
	uint32_t leaving_first, leaving_count;
	pthread_mutex_t producers[ESWITCH_MAX_COMMAND_RINGS];
};

/* ---- commands ---- */

/* Each thread has its ring, as long as there are enough. */
static unsigned ring_of_thread(const struct link_region *region)
{
	static _Atomic unsigned threads;
	static __thread unsigned number;

	if (number == 0)
		number = 1 + atomic_fetch_add(&threads, 1);
	return (number - 1) % region->command_rings;
}

static void wake(const struct link_region *region, struct eswitch_command_ring *ring)
{
	uint64_t one = 1;

	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&ring->wanted, memory_order_relaxed) && write(region->wake_fd, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is readable then */
}

static bool wait_for_room(const struct eswitch_command_ring *ring, uint32_t head, uint32_t slots, unsigned tries)
{
	struct timespec pause = { .tv_nsec = FULL_WAIT_NS };

	for (unsigned i = 0; head - atomic_load_explicit(&ring->tail, memory_order_acquire) >= slots; i++) {
		if (i == tries)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* The next slot of the ring, to be filled and sent; NULL when the ring stays full. */
static struct eswitch_command *next_command(const struct link_region *region, unsigned number, unsigned tries)
{
	struct eswitch_command_ring *ring = &region->shared->rings[number];
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), slots = region->rings[number].slots;

	if (!wait_for_room(ring, head, slots, tries))
		return NULL;
	return &region->rings[number].commands[head & (slots - 1)];
}

static void send_command(const struct link_region *region, unsigned number)
{
	struct eswitch_command_ring *ring = &region->shared->rings[number];
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	wake(region, ring);
}

/* For dpud's statistics of how long a rule takes; 0 would say nothing. */
static uint32_t clock_low_bits(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) | 1;
}

static int send_install(struct rules *rules, const struct link_region *region, struct rule *rule)
{
	unsigned number = rule->ring = ring_of_thread(region);

	pthread_mutex_lock(&rules->producers[number]);
	struct eswitch_command *command = next_command(region, number, FULL_TRIES);
	if (command) {
		command->code = ESWITCH_INSTALL;
		command->sent_ns = clock_low_bits();
		command->rule.index = (uint32_t)rule->index;
		command->rule.generation = rule->generation;
		command->rule.op_count = rule->op_count;
		command->rule.encap_bytes = rule->encap_bytes;
		command->rule.match = rule->match;
		command->rule.mask = rule->mask;
		memcpy(command->rule.encap, rule->ops + rule->op_count, rule->encap_bytes);
		memcpy(command->rule.ops, rule->ops, rule->op_count * sizeof(rule->ops[0]));
		send_command(region, number);
	}
	pthread_mutex_unlock(&rules->producers[number]);
	return command ? 0 : -EAGAIN;
}

static int send_destroy(struct rules *rules, const struct link_region *region, const struct rule *rule, unsigned tries)
{
	unsigned number = rule->ring;

	pthread_mutex_lock(&rules->producers[number]);
	struct eswitch_command *command = next_command(region, number, tries);
	if (command) {
		command->code = ESWITCH_DESTROY;
		command->rule.index = (uint32_t)rule->index;
		command->rule.generation = rule->generation;
		send_command(region, number);
	}
	pthread_mutex_unlock(&rules->producers[number]);
	return command ? 0 : -EAGAIN;
}

/* ---- indices; locked ---- */

static uint32_t state_of(const struct link_region *region, uint32_t index)
{
	return atomic_load_explicit(&region->states[index], memory_order_acquire);
}

/* Those that dpud has let go of, in the order of asking. */
static void reclaim(struct rules *rules, const struct link_region *region)
{
	while (rules->leaving_count > 0) {
		uint32_t index = rules->leaving[rules->leaving_first];
		if (state_of(region, index) != (rules->generations[index] << 8 | ESWITCH_RULE_FREE))
			return;
		rules->leaving_first = (rules->leaving_first + 1) % rules->capacity;
		rules->leaving_count--;
		rules->free[rules->free_count++] = index;
	}
}

static bool take_index(struct rules *rules, const struct link_region *region, struct rule *rule)
{
	if (rules->free_count == 0)
		reclaim(rules, region);
	if (rules->free_count == 0)
		return false;
	uint32_t index = rules->free[--rules->free_count];
	rules->generations[index] = rules->generations[index] % GENERATIONS + 1;
	rule->generation = rules->generations[index];
	rule->index = index;
	return true;
}

static void sum(const struct link_region *region, uint32_t index, uint64_t ret[2])
{
	ret[0] = ret[1] = 0;
	for (uint32_t i = 0; i < region->workers; i++) {
		struct eswitch_counter *counter = &region->counters[(uint64_t)i * region->max_rules + index];
		ret[0] += atomic_load_explicit(&counter->packets, memory_order_relaxed);
		ret[1] += atomic_load_explicit(&counter->bytes, memory_order_relaxed);
	}
}

static void carry(struct rule *rule, const uint64_t more[2], int sign)
{
	for (unsigned i = 0; i < 2; i++)
		atomic_store_explicit(&rule->carried[i], rule->carried[i] + (uint64_t)sign * more[i],
				      memory_order_relaxed);
}

/* Counters of an index are never set back: what its former rules have counted is none of this one's. */
static void count_from_now(struct rule *rule, const struct link_region *region)
{
	uint64_t counted[2];

	sum(region, (uint32_t)rule->index, counted);
	carry(rule, counted, -1);
}

static void leave_index(struct rules *rules, const struct link_region *region, struct rule *rule)
{
	uint64_t counted[2];
	uint32_t index = (uint32_t)rule->index;

	sum(region, index, counted);
	carry(rule, counted, 1);
	rule->index = NO_INDEX;
	rules->leaving[(rules->leaving_first + rules->leaving_count++) % rules->capacity] = index;
}

/* ---- the dpud behind them ---- */

static bool resize(struct rules *rules, uint32_t capacity)
{
	uint32_t *generations = calloc(capacity, sizeof(uint32_t));
	uint32_t *unused = calloc(capacity, sizeof(uint32_t)), *leaving = calloc(capacity, sizeof(uint32_t));

	if (!generations || !unused || !leaving) {
		free(generations);
		free(unused);
		free(leaving);
		return false;
	}
	free(rules->generations);
	free(rules->free);
	free(rules->leaving);
	rules->generations = generations;
	rules->free = unused;
	rules->leaving = leaving;
	rules->capacity = capacity;
	rules->free_count = capacity;
	rules->leaving_first = rules->leaving_count = 0;
	for (uint32_t i = 0; i < capacity; i++)
		unused[i] = capacity - 1 - i;
	return true;
}

static void move_begin(struct rules *rules)
{
	atomic_store_explicit(&rules->moves, rules->moves + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

static void move_end(struct rules *rules)
{
	atomic_thread_fence(memory_order_seq_cst);
	atomic_store_explicit(&rules->moves, rules->moves + 1, memory_order_relaxed);
}

static void list_free(struct rule_list *list)
{
	struct rule *rule;

	while ((rule = LIST_FIRST(list)) != NULL) {
		LIST_REMOVE(rule, link);
		free(rule);
	}
}

void rules_attach(struct rules *rules, const struct link_region *region)
{
	const struct link_region *old;
	struct rule *rule;
	uint64_t counted[2];

	pthread_mutex_lock(&rules->lock);
	old = rules->region;
	rules->away = !region || !resize(rules, region->max_rules);
	if (!rules->away) {
		move_begin(rules);
		LIST_FOREACH(rule, &rules->all, link)
		{
			if (rule->index == NO_INDEX)
				continue;
			sum(old, (uint32_t)rule->index, counted);
			carry(rule, counted, 1);
			rule->index = NO_INDEX;
		}
		atomic_store_explicit(&rules->region, region, memory_order_release);
		move_end(rules);
		list_free(&rules->zombies);
	}
	pthread_mutex_unlock(&rules->lock);
}

/* known: somebody may be asking for its counters. */
static int install(struct rules *rules, const struct link_region *region, struct rule *rule, bool known)
{
	if (known)
		move_begin(rules);
	bool taken = take_index(rules, region, rule);
	if (taken)
		count_from_now(rule, region);
	if (known)
		move_end(rules);
	if (!taken)
		return -ENOSPC;
	int status = send_install(rules, region, rule);
	if (status < 0) {
		rules->free[rules->free_count++] = (uint32_t)rule->index;
		rule->index = NO_INDEX;
	}
	return status;
}

void rules_suspend(struct rules *rules, uint16_t in_port)
{
	struct rule *rule;

	pthread_mutex_lock(&rules->lock);
	LIST_FOREACH(rule, &rules->all, link)
	{
		if (rules->away || rule->match.in_port != in_port || rule->index == NO_INDEX)
			continue;
		if (send_destroy(rules, rules->region, rule, FULL_TRIES) < 0)
			break;
		move_begin(rules);
		leave_index(rules, rules->region, rule);
		move_end(rules);
	}
	pthread_mutex_unlock(&rules->lock);
}

void rules_retry(struct rules *rules)
{
	const struct link_region *region;
	struct rule *rule;

	pthread_mutex_lock(&rules->lock);
	region = rules->region;
	LIST_FOREACH(rule, &rules->all, link)
	{
		if (rules->away)
			break;
		if (rule->index != NO_INDEX) {
			uint32_t state = state_of(region, (uint32_t)rule->index);
			if (state >> 8 != rule->generation || (state & 0xff) == ESWITCH_RULE_ACTIVE)
				continue;
			/* Free: dpud has removed it with its port. */
			if ((state & 0xff) != ESWITCH_RULE_FREE && send_destroy(rules, region, rule, FULL_TRIES) < 0)
				break;
			move_begin(rules);
			leave_index(rules, region, rule);
			move_end(rules);
		}
		if (install(rules, region, rule, true) < 0)
			break;
	}
	pthread_mutex_unlock(&rules->lock);
}

/* ---- rules ---- */

int rules_new(struct rules **ret)
{
	struct rules *rules = calloc(1, sizeof(*rules));

	if (!rules)
		return -ENOMEM;
	pthread_mutex_init(&rules->lock, NULL);
	for (unsigned i = 0; i < ESWITCH_MAX_COMMAND_RINGS; i++)
		pthread_mutex_init(&rules->producers[i], NULL);
	rules->away = true;
	*ret = rules;
	return 0;
}

void rules_free(struct rules *rules)
{
	list_free(&rules->all);
	list_free(&rules->zombies);
	for (unsigned i = 0; i < ESWITCH_MAX_COMMAND_RINGS; i++)
		pthread_mutex_destroy(&rules->producers[i]);
	pthread_mutex_destroy(&rules->lock);
	free(rules->generations);
	free(rules->free);
	free(rules->leaving);
	free(rules);
}

static struct rule *copy_of(const struct eswitch_rule *wanted)
{
	struct rule *rule = calloc(1, sizeof(*rule) + wanted->op_count * sizeof(wanted->ops[0]) + wanted->encap_bytes);

	if (!rule)
		return NULL;
	rule->index = NO_INDEX;
	rule->op_count = wanted->op_count;
	rule->encap_bytes = wanted->encap_bytes;
	rule->match = wanted->match;
	rule->mask = wanted->mask;
	memcpy(rule->ops, wanted->ops, wanted->op_count * sizeof(wanted->ops[0]));
	memcpy(rule->ops + wanted->op_count, wanted->encap, wanted->encap_bytes);
	return rule;
}

/* Locked. Out of its list, and freed as soon as dpud could be told. */
static void remove_rule(struct rules *rules, struct rule *rule, unsigned tries)
{
	LIST_REMOVE(rule, link);
	if (!rules->away && rule->index != NO_INDEX) {
		if (send_destroy(rules, rules->region, rule, tries) < 0) {
			LIST_INSERT_HEAD(&rules->zombies, rule, link);
			return;
		}
		leave_index(rules, rules->region, rule);
	}
	free(rule);
}

static void bury_zombies(struct rules *rules)
{
	struct rule *rule, *next;

	for (rule = LIST_FIRST(&rules->zombies); rule; rule = next) {
		next = LIST_NEXT(rule, link);
		remove_rule(rules, rule, 0);
		if (LIST_FIRST(&rules->zombies) == rule) /* the ring is full still */
			return;
	}
}

int rules_create(struct rules *rules, const struct eswitch_rule *wanted, struct rule **ret, const char **ret_sentence)
{
	struct rule *rule = copy_of(wanted);
	int status = -ENODEV;

	if (!rule) {
		*ret_sentence = "out of memory";
		return -ENOMEM;
	}
	pthread_mutex_lock(&rules->lock);
	bury_zombies(rules);
	if (!rules->away)
		status = install(rules, rules->region, rule, false);
	if (status == 0) {
		LIST_INSERT_HEAD(&rules->all, rule, link);
		*ret = rule;
	}
	pthread_mutex_unlock(&rules->lock);
	if (status == 0)
		return 0;
	free(rule);
	*ret_sentence = status == -ENODEV   ? "dpud is away: its flows are installed again when it is back"
			: status == -ENOSPC ? "the eswitch has as many rules as it can (max_rules)"
					    : "dpud does not take commands: its ring is full";
	return status;
}

void rules_destroy(struct rules *rules, struct rule *rule)
{
	pthread_mutex_lock(&rules->lock);
	bury_zombies(rules);
	remove_rule(rules, rule, FULL_TRIES);
	pthread_mutex_unlock(&rules->lock);
}

void rules_destroy_port(struct rules *rules, uint16_t in_port, void (*gone)(void *ctx, struct rule *rule), void *ctx)
{
	struct rule *rule, *next;

	pthread_mutex_lock(&rules->lock);
	for (rule = LIST_FIRST(&rules->all); rule; rule = next) {
		next = LIST_NEXT(rule, link);
		if (rule->match.in_port != in_port)
			continue;
		gone(ctx, rule);
		remove_rule(rules, rule, FULL_TRIES);
	}
	pthread_mutex_unlock(&rules->lock);
}

enum rule_state rule_state(struct rules *rules, const struct rule *rule, enum eswitch_refusal *ret_refusal)
{
	enum rule_state state = RULE_AWAY;

	pthread_mutex_lock(&rules->lock);
	if (!rules->away && rule->index != NO_INDEX) {
		uint32_t word = state_of(rules->region, (uint32_t)rule->index);
		if (word >> 8 != rule->generation || (word & 0xff) == ESWITCH_RULE_FREE)
			state = RULE_UNDER_WAY;
		else if ((word & 0xff) == ESWITCH_RULE_ACTIVE)
			state = RULE_ACTIVE;
		else
			state = RULE_REFUSED;
		if (state == RULE_REFUSED && ret_refusal)
			*ret_refusal = (enum eswitch_refusal)((word & 0xff) - ESWITCH_RULE_REFUSED);
	}
	pthread_mutex_unlock(&rules->lock);
	return state;
}

void rule_query(struct rules *rules, struct rule *rule, bool reset, uint64_t *ret_packets, uint64_t *ret_bytes)
{
	uint64_t total[2], base[2];
	uint32_t moves;

	do {
		moves = atomic_load_explicit(&rules->moves, memory_order_acquire);
		const struct link_region *region = atomic_load_explicit(&rules->region, memory_order_acquire);
		int64_t index = atomic_load_explicit(&rule->index, memory_order_relaxed);
		total[0] = total[1] = 0;
		if (region && index != NO_INDEX)
			sum(region, (uint32_t)index, total);
		for (unsigned i = 0; i < 2; i++)
			total[i] += atomic_load_explicit(&rule->carried[i], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (moves & 1 || moves != atomic_load_explicit(&rules->moves, memory_order_relaxed));
	for (unsigned i = 0; i < 2; i++)
		base[i] = reset ? atomic_exchange_explicit(&rule->base[i], total[i], memory_order_relaxed)
				: atomic_load_explicit(&rule->base[i], memory_order_relaxed);
	*ret_packets = total[0] - base[0];
	*ret_bytes = total[1] - base[1];
}
