/* SPDX-License-Identifier: BSD-3-Clause */
/* Property test: random operations on a session table and on a plain array give the same answers, over growth, ageing
 * and reopening. The seed of a failing run is printed; give it as the argument to repeat it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>
#include "device/packet/session_table_inline.h"
#include "device/packet/session_test_util.h"

enum { FLOWS = 6000, STEPS = 60000 };

struct flow {
	bool live;
	session_tick_t last_seen;
	uint32_t timeout;
	uint64_t packets[2];
};

struct model {
	struct flow flows[FLOWS];
	uint32_t count;
	session_tick_t now;
};

struct run {
	struct model model;
	struct session_table *table;
	struct session_table_options options;
	struct random random;
	unsigned removed; /* by on_remove */
};

static uint64_t first_seed;

static void on_remove(void *ctx, struct session *session)
{
	struct run *run = ctx;

	assert_true(run->model.flows[session->spare[0]].live);
	run->removed++;
}

static void open_run(struct run *run)
{
	uint32_t adopted;
	struct dpu_error err = { 0 };

	run->options.now = run->model.now;
	if (session_table_open(&run->options, &run->table, &adopted, &err))
		fail_msg("%s: %s", err.path, err.message);
	assert_int_equal(adopted, run->model.count);
}

/* The table's answer for flow n, asked from a random end, by both ways of looking it up. */
static struct session *find_checked(struct run *run, uint32_t n)
{
	const struct flow *flow = &run->model.flows[n];
	struct flow_key key = test_key(n, run->options.v6, IPPROTO_UDP);
	unsigned backwards = random64(&run->random) & 1, direction, canonical;

	if (backwards)
		flow_key_reverse(&key, &key);
	uint32_t hash = flow_key_hash_direction(&key, session_table_seed(run->table), &canonical);
	struct session *session = session_lookup_candidate(run->table, hash, &canonical);
	session = session_lookup_finish(run->table, session, &key, hash, &canonical);
	assert_ptr_equal(session, session_find(run->table, &key, hash, &direction));
	assert_int_equal(session != NULL, flow->live);
	if (!session)
		return NULL;
	assert_int_equal(direction, canonical);
	assert_int_equal(direction, session->initiator ^ backwards);
	assert_int_equal(session->spare[0], n);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(test_action_is(&session->dir[i], n));
		assert_int_equal(session->dir[i].packets, flow->packets[i]);
	}
	return session;
}

static void insert(struct run *run, uint32_t n)
{
	struct flow *flow = &run->model.flows[n];

	if (find_checked(run, n))
		return;
	uint32_t timeout = random64(&run->random) % 3 ? 200 : 1 + random64(&run->random) % 20000;
	struct session *session = test_insert(run->table, n, run->options.v6, run->model.now, timeout);
	if (run->model.count == run->options.max_sessions) {
		assert_null(session);
		return;
	}
	assert_non_null(session);
	*flow = (struct flow){ true, run->model.now, timeout, { 0 } };
	run->model.count++;
}

static void remove_flow(struct run *run, uint32_t n)
{
	struct session *session = find_checked(run, n);
	unsigned removed = run->removed;

	if (!session)
		return;
	session_remove(run->table, session);
	assert_int_equal(run->removed, removed + 1);
	run->model.flows[n].live = false;
	run->model.count--;
}

static void touch(struct run *run, uint32_t n)
{
	struct session *session = find_checked(run, n);
	unsigned direction = random64(&run->random) & 1;

	if (!session)
		return;
	session->dir[direction].last_seen = run->model.flows[n].last_seen = run->model.now;
	/* One direction only: answered flows live longer, which is tested elsewhere. */
	session->dir[session->initiator].packets++;
	run->model.flows[n].packets[session->initiator]++;
}

static void pass_time(struct run *run)
{
	unsigned expired = 0, expected = 0;

	run->model.now += random64(&run->random) % 8 ? random64(&run->random) % 20 : random64(&run->random) % 6000;
	for (uint32_t n = 0; n < FLOWS; n++) {
		struct flow *flow = &run->model.flows[n];
		if (flow->live && (int32_t)(flow->last_seen + flow->timeout - run->model.now) <= 0)
			expected++;
	}
	while (session_table_due(run->table, run->model.now))
		expired += session_table_expire(run->table, run->model.now, 1 + random64(&run->random) % 100);
	assert_int_equal(expired, expected);
	for (uint32_t n = 0; n < FLOWS; n++) {
		struct flow *flow = &run->model.flows[n];
		if (flow->live && (int32_t)(flow->last_seen + flow->timeout - run->model.now) <= 0)
			flow->live = false;
	}
	run->model.count -= expired;
}

static void reopen(struct run *run)
{
	if (!run->options.path)
		return;
	session_table_close(run->table);
	open_run(run);
	for (uint32_t n = 0; n < FLOWS; n++)
		find_checked(run, n);
}

static void count_session(void *arg, struct session *session)
{
	++*(uint32_t *)arg;
}

static void check_all(struct run *run)
{
	uint32_t cursor = 0, visits = 0;

	for (uint32_t n = 0; n < FLOWS; n++)
		find_checked(run, n);
	assert_int_equal(session_table_count(run->table), run->model.count);
	while (session_table_scan(run->table, &cursor, 1 + random64(&run->random) % 1000, count_session, &visits))
		;
	assert_int_equal(visits, run->model.count);
}

static void step(struct run *run, bool growing)
{
	uint32_t n = random64(&run->random) % FLOWS;
	unsigned dice = random64(&run->random) % 100;

	if (dice < (growing ? 60 : 20))
		insert(run, n);
	else if (dice < 70)
		remove_flow(run, n);
	else
		touch(run, n);
	if (random64(&run->random) % 200 == 0)
		pass_time(run);
	if (random64(&run->random) % 8000 == 0)
		reopen(run);
	if (random64(&run->random) % 500 == 0)
		assert_int_equal(session_table_grow_ahead(run->table), 0);
	if (random64(&run->random) % 5000 == 0)
		check_all(run);
}

static void run_model(bool v6, bool file, uint32_t max)
{
	struct run *run = calloc(1, sizeof(*run));
	char path[100];

	run->random.state = first_seed + v6 * 2 + file;
	print_message("seed %llu\n", (unsigned long long)first_seed);
	run->model.now = random64(&run->random) | 1;
	test_path(path, sizeof(path), "model");
	run->options = (struct session_table_options){
		.path = file ? path : NULL,
		.v6 = v6,
		.max_sessions = max,
		.seed = first_seed,
		.on_remove = on_remove,
		.ctx = run,
	};
	open_run(run);
	for (unsigned i = 0; i < STEPS; i++)
		step(run, i / (STEPS / 4) % 2 == 0);
	check_all(run);
	session_table_close(run->table);
	if (file)
		unlink(path);
	free(run);
}

static void anonymous_v4(void **state)
{
	run_model(false, false, FLOWS);
}

static void anonymous_v6(void **state)
{
	run_model(true, false, FLOWS);
}

static void file_v4(void **state)
{
	run_model(false, true, FLOWS);
}

static void file_v6(void **state)
{
	run_model(true, true, FLOWS);
}

static void small_table_is_often_full(void **state)
{
	run_model(false, true, 700);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_v4),
		cmocka_unit_test(anonymous_v6),
		cmocka_unit_test(file_v4),
		cmocka_unit_test(file_v6),
		cmocka_unit_test(small_table_is_often_full),
	};
	first_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 1000 + getpid() % 1000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
