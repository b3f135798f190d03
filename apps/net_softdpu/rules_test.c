/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of rules against a region in memory whose commands a thread, or the test itself, carries out: indices and their
 * reuse, counters, refusals, full rings, a dpud that goes and comes back, several threads at once. */
#include "rules.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RULES = 64, WORKERS = 2, RINGS = 2, COMMANDS = 16, THREADS = 4 };

struct dpud {
	struct link_region region;
	struct eswitch_rule in_force[RULES];
	bool installed[RULES];
	int refuse; /* enum eswitch_refusal, -1 = nothing */
	unsigned installs, destroys, faults;
	pthread_t thread;
	atomic_bool stop;
};

static void dpud_up(struct dpud *dpud)
{
	memset(dpud, 0, sizeof(*dpud));
	dpud->refuse = -1;
	dpud->region = (struct link_region){
		.shared = aligned_alloc(64, sizeof(struct eswitch_region)),
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.max_rules = RULES,
		.workers = WORKERS,
		.command_rings = RINGS,
		.states = calloc(RULES, sizeof(uint32_t)),
		.counters = calloc(RULES * WORKERS, sizeof(struct eswitch_counter)),
	};
	memset(dpud->region.shared, 0, sizeof(struct eswitch_region));
	for (unsigned i = 0; i < RINGS; i++)
		dpud->region.rings[i] =
			(struct link_command_ring){ calloc(COMMANDS, sizeof(struct eswitch_command)), COMMANDS };
}

static void dpud_down(struct dpud *dpud)
{
	for (unsigned i = 0; i < RINGS; i++)
		free(dpud->region.rings[i].commands);
	close(dpud->region.wake_fd);
	free(dpud->region.shared);
	free(dpud->region.states);
	free(dpud->region.counters);
}

static void carry_out(struct dpud *dpud, const struct eswitch_command *command)
{
	uint32_t index = command->rule.index, state = ESWITCH_RULE_FREE;
	bool install = command->code == ESWITCH_INSTALL;

	if (index >= RULES || command->rule.generation == 0 || (install && dpud->installed[index]) ||
	    (!install && dpud->in_force[index].generation != command->rule.generation)) {
		dpud->faults++;
		return;
	}
	if (install) {
		state = dpud->refuse < 0 ? ESWITCH_RULE_ACTIVE : (uint32_t)(ESWITCH_RULE_REFUSED + dpud->refuse);
		dpud->in_force[index] = command->rule;
	}
	dpud->installed[index] = install;
	dpud->installs += install;
	dpud->destroys += !install;
	atomic_store(&dpud->region.states[index], command->rule.generation << 8 | state);
}

static bool dpud_work(struct dpud *dpud)
{
	bool worked = false;

	for (unsigned i = 0; i < RINGS; i++) {
		struct eswitch_command_ring *ring = &dpud->region.shared->rings[i];
		for (; ring->tail != ring->head; atomic_fetch_add(&ring->tail, 1), worked = true)
			carry_out(dpud, &dpud->region.rings[i].commands[ring->tail & (COMMANDS - 1)]);
	}
	return worked;
}

static void *dpud_run(void *arg)
{
	struct dpud *dpud = arg;

	while (!atomic_load(&dpud->stop))
		if (!dpud_work(dpud))
			usleep(10);
	dpud_work(dpud);
	return NULL;
}

static void count(struct dpud *dpud, unsigned worker, uint32_t index, uint64_t packets)
{
	struct eswitch_counter *counter = &dpud->region.counters[worker * RULES + index];

	atomic_fetch_add(&counter->packets, packets);
	atomic_fetch_add(&counter->bytes, packets * 100);
}

static struct eswitch_rule rule_for(uint16_t in_port, uint32_t number)
{
	struct eswitch_rule rule = { .op_count = 1, .encap_bytes = 4 };

	rule.match.in_port = in_port;
	rule.match.ip4_src = number;
	rule.ops[0] = (struct eswitch_op){ .code = ESWITCH_OP_OUTPUT, .port = 9, .value = number };
	memcpy(rule.encap, &number, sizeof(number));
	return rule;
}

static struct rules *rules_at(struct dpud *dpud)
{
	struct rules *rules;

	dpud_up(dpud);
	assert_int_equal(rules_new(&rules), 0);
	rules_attach(rules, &dpud->region);
	return rules;
}

static struct rule *create(struct rules *rules, uint32_t number)
{
	struct eswitch_rule wanted = rule_for(3, number);
	const char *sentence = "";
	struct rule *rule;

	if (rules_create(rules, &wanted, &rule, &sentence) < 0)
		fail_msg("%s", sentence);
	return rule;
}

/* Indices that dpud has not yet let go of may be all that there are. */
static struct rule *create_in_time(struct rules *rules, uint32_t number)
{
	struct eswitch_rule wanted = rule_for(3, number);
	const char *sentence = "";
	struct rule *rule = NULL;

	for (unsigned i = 0; rules_create(rules, &wanted, &rule, &sentence) == -ENOSPC && i < 100000; i++)
		usleep(10);
	return rule;
}

static void assert_counted(struct rules *rules, struct rule *rule, bool reset, uint64_t packets)
{
	uint64_t seen, bytes;

	rule_query(rules, rule, reset, &seen, &bytes);
	assert_int_equal(seen, packets);
	assert_int_equal(bytes, packets * 100);
}

static uint32_t index_of(const struct dpud *dpud, uint32_t number)
{
	for (uint32_t i = 0; i < RULES; i++)
		if (dpud->installed[i] && dpud->in_force[i].match.ip4_src == number)
			return i;
	fail_msg("rule %u is not in force", number);
	return 0;
}

static void life_of_a_rule(void **state)
{
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	struct rule *rule = create(rules, 42);

	assert_int_equal(rule_state(rules, rule, NULL), RULE_UNDER_WAY);
	assert_true(dpud_work(&dpud));
	assert_int_equal(rule_state(rules, rule, NULL), RULE_ACTIVE);
	uint32_t index = index_of(&dpud, 42);
	assert_int_equal(dpud.in_force[index].ops[0].value, 42);
	assert_memory_equal(dpud.in_force[index].encap, "\x2a\0\0\0", 4);
	count(&dpud, 0, index, 5);
	count(&dpud, 1, index, 7);
	assert_counted(rules, rule, false, 12);
	assert_counted(rules, rule, true, 12);
	assert_counted(rules, rule, true, 0);
	count(&dpud, 1, index, 1);
	assert_counted(rules, rule, true, 1);
	rules_destroy(rules, rule);
	dpud_work(&dpud);
	assert_int_equal(dpud.destroys, 1);
	assert_int_equal(dpud.faults, 0);
	rules_free(rules);
	dpud_down(&dpud);
}

/* An index is used again only when dpud has let go of it, and starts from nothing though its counters do not. */
static void indices_again(void **state)
{
	struct eswitch_rule wanted = rule_for(3, 999);
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	struct rule *all[RULES], *more;
	const char *sentence = "";

	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < RULES; i++) {
			all[i] = create(rules, i);
			dpud_work(&dpud);
			assert_counted(rules, all[i], false, 0);
			count(&dpud, round % WORKERS, index_of(&dpud, i), i + 1);
			assert_counted(rules, all[i], false, i + 1);
		}
		assert_int_equal(rules_create(rules, &wanted, &more, &sentence), -ENOSPC);
		assert_non_null(strstr(sentence, "max_rules"));
		rules_destroy(rules, all[0]);
		assert_int_equal(rules_create(rules, &wanted, &more, &sentence), -ENOSPC);
		dpud_work(&dpud);
		all[0] = create(rules, 0);
		dpud_work(&dpud);
		assert_counted(rules, all[0], false, 0);
		for (unsigned i = 0; i < RULES; i++) {
			rules_destroy(rules, all[i]);
			dpud_work(&dpud);
		}
	}
	assert_int_equal(dpud.faults, 0);
	rules_free(rules);
	dpud_down(&dpud);
}

/* A ring that stays full fails the creation in bounded time; a destruction is made up for later. */
static void full_ring(void **state)
{
	struct eswitch_rule wanted = rule_for(3, 999);
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	struct rule *all[COMMANDS], *more;
	const char *sentence = "";

	for (unsigned i = 0; i < COMMANDS; i++)
		all[i] = create(rules, i);
	assert_int_equal(rules_create(rules, &wanted, &more, &sentence), -EAGAIN);
	assert_non_null(strstr(sentence, "full"));
	rules_destroy(rules, all[3]);
	assert_int_equal(dpud.installs, 0);
	dpud_work(&dpud);
	assert_int_equal(dpud.installs, COMMANDS);
	rules_destroy(rules, all[4]);
	dpud_work(&dpud);
	assert_int_equal(dpud.destroys, 2);
	assert_int_equal(dpud.faults, 0);
	rules_free(rules);
	dpud_down(&dpud);
}

/* Refused because a port was not there: tried again when it is, and forgotten by dpud in between. */
static void refused_and_tried_again(void **state)
{
	enum eswitch_refusal refusal = 0;
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	struct rule *good = create(rules, 1), *bad;

	dpud_work(&dpud);
	dpud.refuse = ESWITCH_REFUSED_PORT;
	bad = create(rules, 2);
	dpud_work(&dpud);
	assert_int_equal(rule_state(rules, bad, &refusal), RULE_REFUSED);
	assert_int_equal(refusal, ESWITCH_REFUSED_PORT);
	rules_retry(rules);
	dpud.refuse = -1;
	dpud_work(&dpud);
	assert_int_equal(rule_state(rules, bad, NULL), RULE_ACTIVE);
	assert_int_equal(rule_state(rules, good, NULL), RULE_ACTIVE);
	assert_int_equal(dpud.installs, 3);
	assert_int_equal(dpud.destroys, 1);
	assert_int_equal(dpud.faults, 0);
	rules_free(rules);
	dpud_down(&dpud);
}

/* While dpud is away creating fails and counters stay; another one gets the rules that are left, and counting goes on.
 */
static void another_dpud(void **state)
{
	struct eswitch_rule wanted = rule_for(3, 999);
	struct dpud first, second;
	struct rules *rules = rules_at(&first);
	struct rule *kept = create(rules, 1), *dropped = create(rules, 2), *more;
	const char *sentence = "";

	dpud_work(&first);
	count(&first, 0, index_of(&first, 1), 10);
	assert_counted(rules, kept, true, 10);
	count(&first, 1, index_of(&first, 1), 3);
	rules_attach(rules, NULL);
	assert_int_equal(rules_create(rules, &wanted, &more, &sentence), -ENODEV);
	assert_int_equal(rule_state(rules, kept, NULL), RULE_AWAY);
	assert_counted(rules, kept, false, 3);
	rules_destroy(rules, dropped);
	dpud_up(&second);
	rules_attach(rules, &second.region);
	assert_counted(rules, kept, false, 3);
	assert_int_equal(rule_state(rules, kept, NULL), RULE_AWAY);
	rules_retry(rules);
	dpud_work(&second);
	assert_int_equal(rule_state(rules, kept, NULL), RULE_ACTIVE);
	assert_int_equal(second.installs, 1);
	count(&second, 0, index_of(&second, 1), 4);
	assert_counted(rules, kept, true, 7);
	assert_counted(rules, kept, true, 0);
	rules_retry(rules); /* nothing is left to do */
	assert_false(dpud_work(&second));
	rules_free(rules);
	dpud_down(&first);
	dpud_down(&second);
}

/* A port that is stopped and started: its rules come back, another port's never go, and counting goes on. */
static void a_port_is_closed_for_a_while(void **state)
{
	struct eswitch_rule wanted = rule_for(4, 7);
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	struct rule *rule = create(rules, 1), *other;
	const char *sentence;

	assert_int_equal(rules_create(rules, &wanted, &other, &sentence), 0);
	dpud_work(&dpud);
	count(&dpud, 0, index_of(&dpud, 1), 5);
	rules_suspend(rules, 3);
	assert_int_equal(rule_state(rules, rule, NULL), RULE_AWAY);
	assert_counted(rules, rule, false, 5);
	rules_retry(rules);
	dpud_work(&dpud);
	assert_int_equal(rule_state(rules, rule, NULL), RULE_ACTIVE);
	assert_int_equal(rule_state(rules, other, NULL), RULE_ACTIVE);
	count(&dpud, 1, index_of(&dpud, 1), 2);
	assert_counted(rules, rule, false, 7);
	assert_int_equal(dpud.installs, 3);
	assert_int_equal(dpud.destroys, 1);
	/* dpud has removed it of its own accord. */
	uint32_t index = index_of(&dpud, 1);
	dpud.installed[index] = false;
	atomic_store(&dpud.region.states[index], dpud.in_force[index].generation << 8 | ESWITCH_RULE_FREE);
	rules_retry(rules);
	dpud_work(&dpud);
	assert_int_equal(rule_state(rules, rule, NULL), RULE_ACTIVE);
	assert_counted(rules, rule, false, 7);
	assert_int_equal(dpud.faults, 0);
	rules_free(rules);
	dpud_down(&dpud);
}

struct elsewhere {
	struct rules *rules;
	struct rule *rule;
};

static void *destroy_elsewhere(void *arg)
{
	struct elsewhere *elsewhere = arg;

	rules_destroy(elsewhere->rules, elsewhere->rule);
	return NULL;
}

/* What one thread has installed another one destroys: behind it, by the same ring. */
static void destroyed_by_another_thread(void **state)
{
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	pthread_t thread;

	for (unsigned i = 0; i < 4; i++) {
		struct elsewhere elsewhere = { rules, create(rules, i) };
		assert_int_equal(pthread_create(&thread, NULL, destroy_elsewhere, &elsewhere), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	uint32_t heads[] = { dpud.region.shared->rings[0].head, dpud.region.shared->rings[1].head };
	assert_true((heads[0] == 8 && heads[1] == 0) || (heads[0] == 0 && heads[1] == 8));
	dpud_work(&dpud);
	assert_int_equal(dpud.destroys, 4);
	assert_int_equal(dpud.faults, 0);
	rules_free(rules);
	dpud_down(&dpud);
}

static void count_gone(void *ctx, struct rule *rule)
{
	(*(unsigned *)ctx)++;
}

static void a_port_is_closed(void **state)
{
	struct eswitch_rule wanted = rule_for(4, 7);
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	struct rule *other;
	const char *sentence;
	unsigned gone = 0;

	for (unsigned i = 0; i < 5; i++)
		create(rules, i);
	assert_int_equal(rules_create(rules, &wanted, &other, &sentence), 0);
	dpud_work(&dpud);
	rules_destroy_port(rules, 3, count_gone, &gone);
	dpud_work(&dpud);
	assert_int_equal(gone, 5);
	assert_int_equal(dpud.destroys, 5);
	assert_int_equal(rule_state(rules, other, NULL), RULE_ACTIVE);
	rules_free(rules);
	dpud_down(&dpud);
}

static void sleeping_dpud_is_woken(void **state)
{
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	eventfd_t value;

	create(rules, 1);
	assert_int_equal(eventfd_read(dpud.region.wake_fd, &value), -1);
	for (unsigned i = 0; i < RINGS; i++)
		atomic_store(&dpud.region.shared->rings[i].wanted, 1);
	create(rules, 2);
	assert_int_equal(eventfd_read(dpud.region.wake_fd, &value), 0);
	rules_free(rules);
	dpud_down(&dpud);
}

static void *churn(void *arg)
{
	struct rules *rules = arg;
	struct rule *mine[8] = { 0 };

	for (unsigned i = 0; i < 4000; i++) {
		struct rule **slot = &mine[i % 8];
		uint64_t packets, bytes;
		if (*slot)
			rules_destroy(rules, *slot);
		*slot = create_in_time(rules, i);
		if (!*slot)
			return rules;
		rule_query(rules, *slot, true, &packets, &bytes);
		if (packets)
			return rules;
		if (i % 512 == 0)
			rules_retry(rules);
	}
	for (unsigned i = 0; i < 8; i++)
		rules_destroy(rules, mine[i]);
	return NULL;
}

static void several_threads(void **state)
{
	struct dpud dpud;
	struct rules *rules = rules_at(&dpud);
	pthread_t threads[THREADS];
	void *fault;

	assert_int_equal(pthread_create(&dpud.thread, NULL, dpud_run, &dpud), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, rules), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &fault), 0);
		assert_null(fault);
	}
	atomic_store(&dpud.stop, true);
	pthread_join(dpud.thread, NULL);
	assert_int_equal(dpud.faults, 0);
	assert_int_equal(dpud.installs, dpud.destroys);
	rules_free(rules);
	dpud_down(&dpud);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life_of_a_rule),
		cmocka_unit_test(indices_again),
		cmocka_unit_test(full_ring),
		cmocka_unit_test(refused_and_tried_again),
		cmocka_unit_test(another_dpud),
		cmocka_unit_test(a_port_is_closed),
		cmocka_unit_test(a_port_is_closed_for_a_while),
		cmocka_unit_test(destroyed_by_another_thread),
		cmocka_unit_test(sleeping_dpud_is_woken),
		cmocka_unit_test(several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
