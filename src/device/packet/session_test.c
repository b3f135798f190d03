/* SPDX-License-Identifier: BSD-3-Clause */
/* Session tables: single operations, limits, and a property test against a naive model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "device/packet/session_priv.h"
#include "device/packet/session_test_util.h"

static struct session_table *open_table(const char *path, bool v6, uint32_t max, session_tick_t now)
{
	struct session_table_options options = { .path = path, .v6 = v6, .max_sessions = max, .now = now };
	struct session_table *table;
	struct dpu_error err = { 0 };

	options.seed = TEST_SEED;
	if (session_table_open(&options, &table, NULL, &err))
		fail_msg("%s: %s", err.path, err.message);
	return table;
}

static void found_in_both_directions(void **state)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct session_table *table = open_table(NULL, v6, 1000, 100);
		struct flow_key key = test_key(7, v6, IPPROTO_UDP), reverse, got;
		uint32_t hash = flow_key_hash(&key, TEST_SEED);
		unsigned direction;

		assert_int_equal(session_table_seed(table), TEST_SEED);
		assert_null(session_find(table, &key, hash, &direction));
		struct session *session = test_insert(table, 7, v6, 100, 30);
		assert_ptr_equal(session_find(table, &key, hash, &direction), session);
		assert_int_equal(direction, flow_key_direction(&key));
		assert_int_equal(direction, session->initiator);
		session_key(table, session, direction, &got);
		assert_true(flow_key_equal(&got, &key));
		flow_key_reverse(&key, &reverse);
		assert_ptr_equal(session_find(table, &reverse, hash, &direction), session);
		assert_int_equal(direction, !session->initiator);
		session_key(table, session, direction, &got);
		assert_true(flow_key_equal(&got, &reverse));
		/* Another VPC, another protocol: other flows. */
		key.vpc++;
		assert_null(session_find(table, &key, hash, &direction));
		key.vpc--;
		key.proto = IPPROTO_TCP;
		assert_null(session_find(table, &key, hash, &direction));
		session_remove(table, session);
		assert_null(session_find(table, &reverse, hash, &direction));
		assert_int_equal(session_table_count(table), 0);
		session_table_close(table);
	}
}

static void flow_to_itself_is_one_session(void **state)
{
	struct session_table *table = open_table(NULL, false, 10, 100);
	struct flow_key key = test_key(1, false, IPPROTO_UDP);
	unsigned direction;

	key.v4.dst = key.v4.src;
	key.dst_port = key.src_port;
	uint32_t hash = flow_key_hash(&key, TEST_SEED);
	struct session *session = session_new(table, &key, hash, 100);
	session_publish(table, session, 10);
	assert_ptr_equal(session_find(table, &key, hash, &direction), session);
	assert_int_equal(direction, 0);
	session_table_close(table);
}

static void families_do_not_mix(void **state)
{
	struct session_table *table = open_table(NULL, false, 10, 100);
	struct flow_key key = test_key(1, true, IPPROTO_UDP);
	unsigned direction;

	assert_null(session_new(table, &key, 5, 100));
	assert_null(session_find(table, &key, 5, &direction));
	assert_int_equal(session_table_count(table), 0);
	session_table_close(table);
}

static void count_removed(void *ctx, struct session *session)
{
	++*(unsigned *)ctx;
	assert_int_equal(session->state, SESSION_LIVE);
}

static void unpublished_record_can_be_given_back(void **state)
{
	unsigned removed = 0;
	struct session_table_options options = {
		.max_sessions = 1, .seed = TEST_SEED, .now = 100, .on_remove = count_removed, .ctx = &removed
	};
	struct session_table *table;
	struct flow_key key = test_key(1, false, IPPROTO_TCP);

	assert_int_equal(session_table_open(&options, &table, NULL, NULL), 0);
	for (unsigned i = 0; i < 1000; i++) {
		struct session *session = session_new(table, &key, flow_key_hash(&key, TEST_SEED), 100);
		assert_non_null(session);
		assert_int_equal(session->state, SESSION_FREE);
		session_remove(table, session);
	}
	assert_int_equal(removed, 0);
	assert_int_equal(session_table_expire(table, 100000, 1000), 0);
	session_table_close(table);
}

static void refuses_more_than_the_limit(void **state)
{
	struct session_table *table = open_table(NULL, false, 1000, 100);

	for (uint32_t i = 0; i < 1000; i++)
		assert_non_null(test_insert(table, i, false, 100, 30));
	assert_null(test_insert(table, 1000, false, 100, 30));
	assert_int_equal(session_table_count(table), 1000);
	unsigned direction;
	session_remove(table, test_find(table, 500, false, &direction));
	assert_non_null(test_insert(table, 1000, false, 100, 30));
	session_table_close(table);
}

/* As many sessions of one hash as a chain holds, then a clean refusal; the others stay reachable. */
static void long_chains_end_in_full(void **state)
{
	struct session_table *table = open_table(NULL, false, 100000, 100);
	struct session *sessions[200];
	unsigned count = 0, direction;

	for (; count < 200; count++) {
		struct flow_key key = test_key(count, false, IPPROTO_UDP);
		sessions[count] = session_new(table, &key, 77, 100);
		if (!sessions[count])
			break;
		session_publish(table, sessions[count], 30);
	}
	assert_int_equal(count, 16 * 7);
	assert_int_equal(session_table_count(table), count);
	/* Growing splits buckets meanwhile, this one as well; who belongs there finds no room. */
	for (uint32_t i = 1000; i < 20000; i++) {
		struct flow_key key = test_key(i, false, IPPROTO_UDP);
		if (!test_insert(table, i, false, 100, 30))
			assert_int_equal(flow_key_hash(&key, TEST_SEED) % 256, 77);
	}
	for (unsigned i = 0; i < count; i += 2)
		session_remove(table, sessions[i]);
	for (unsigned i = 0; i < count; i++) {
		struct flow_key key = test_key(i, false, IPPROTO_UDP);
		assert_ptr_equal(session_find(table, &key, 77, &direction), i % 2 ? sessions[i] : NULL);
	}
	session_table_close(table);
}

static void open_checks_its_options(void **state)
{
	struct session_table_options options = { .max_sessions = 0 };
	struct session_table *table = NULL;
	struct dpu_error err = { 0 };

	assert_int_equal(session_table_open(&options, &table, NULL, &err), error_errno(DPU_E_INVALID));
	assert_string_equal(err.path, "max_sessions");
	options.max_sessions = (1 << 25) + 1;
	assert_int_equal(session_table_open(&options, &table, NULL, &err), error_errno(DPU_E_INVALID));
	options.max_sessions = 10;
	options.path = "/proc/no/such/folder";
	assert_true(session_table_open(&options, &table, NULL, &err) < 0);
	assert_string_equal(err.path, options.path);
	options.path = "/dev/null";
	assert_true(session_table_open(&options, &table, NULL, &err) < 0);
	assert_null(table);
}

static void a_file_has_one_owner(void **state)
{
	char path[100];
	struct session_table *other;
	struct dpu_error err = { 0 };

	test_path(path, sizeof(path), "owner");
	struct session_table_options options = { .path = path, .max_sessions = 10, .seed = 1 };
	struct session_table *table = open_table(path, false, 10, 100);
	assert_int_equal(session_table_open(&options, &other, NULL, &err), -EBUSY);
	session_table_close(table);
	assert_int_equal(session_table_open(&options, &other, NULL, &err), 0);
	session_table_close(other);
	unlink(path);
}

/* ---- ageing ---- */

/* Years pass: nothing but the session under test is armed, so the wheel may jump to just before the slots of end. */
static void skip_to(struct session_table *table, session_tick_t end)
{
	static const unsigned shifts[] = { 28, 20, 12, 0 };

	for (unsigned i = 0; i < 4; i++) {
		session_tick_t slot = end >> shifts[i] << shifts[i];

		if ((int32_t)(slot - 1 - table->records.view.wheel_now) <= 0)
			continue;
		table->records.view.wheel_now = slot - 1;
		assert_int_equal(session_table_expire(table, i == 3 ? slot - 1 : slot, 100), 0);
		assert_int_equal(session_table_count(table), 1);
	}
}

static void expires_on_the_tick(void **state)
{
	/* Timeouts of every level of the wheel, and its borders. */
	static const uint32_t timeouts[] = { 1,       2,       4095,          4096,
					     4097,    119040,  1 << 20,       (1 << 20) + 1,
					     1 << 24, 1 << 28, (1 << 28) + 1, 1 << 30 };

	for (unsigned i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		session_tick_t start = 0xfffff000 + i * 777; /* across the wrap */
		struct session_table *table = open_table(NULL, false, 10, start);
		session_tick_t end = start + timeouts[i];

		assert_non_null(test_insert(table, 1, false, start, timeouts[i]));
		if (timeouts[i] > 1 << 20)
			skip_to(table, end);
		for (session_tick_t now = table->records.view.wheel_now; (int32_t)(end - now) > 0;
		     now += 1 + (end - now) / 2)
			while (session_table_due(table, now))
				assert_int_equal(session_table_expire(table, now, 100), 0);
		assert_int_equal(session_table_count(table), 1);
		while (session_table_due(table, end))
			session_table_expire(table, end, 100);
		assert_int_equal(session_table_count(table), 0);
		session_table_close(table);
	}
}

static void seen_sessions_live_on(void **state)
{
	struct session_table *table = open_table(NULL, false, 10, 1000);
	struct session *session = test_insert(table, 1, false, 1000, 100);

	session->dir[1].last_seen = 1090;
	assert_int_equal(session_table_expire(table, 1189, 10), 0);
	assert_int_equal(session_table_count(table), 1);
	assert_int_equal(session_table_expire(table, 1190, 10), 1);
	session_table_close(table);
}

static void answered_flows_get_the_stream_timeout(void **state)
{
	struct session_table *table = open_table(NULL, false, 10, 1000);
	struct session *stream = test_insert(table, 1, false, 1000, 30 * 16);
	struct session *question = test_insert(table, 2, false, 1000, 30 * 16);

	stream->dir[0].packets = stream->dir[1].packets = 5;
	stream->dir[0].last_seen = 1000 + 3 * 16;
	question->dir[0].packets = question->dir[1].packets = 1;
	assert_int_equal(session_table_expire(table, 1000 + 30 * 16, 10), 1);
	assert_int_equal(session_table_expire(table, 1000 + 183 * 16 - 1, 10), 0);
	assert_int_equal(session_table_expire(table, 1000 + 183 * 16, 10), 1);
	session_table_close(table);
}

static void shorter_timeouts_are_in_time(void **state)
{
	struct session_table *table = open_table(NULL, false, 10, 1000);
	struct session *a = test_insert(table, 1, false, 1000, 100000);
	struct session *b = test_insert(table, 2, false, 1000, 100000);
	struct session *c = test_insert(table, 3, false, 1000, 100000);

	session_set_timeout(table, b, 160);
	assert_int_equal(session_table_expire(table, 1160 + SESSION_LATE_TICKS, 10), 1);
	assert_int_equal(b->state, SESSION_FREE);
	session_set_timeout(table, a, 200000);
	session_set_timeout(table, c, 99999);
	for (session_tick_t now = 1160; now < 1000 + 100000; now += 4000)
		assert_int_equal(session_table_expire(table, now, 10), 0);
	while (session_table_due(table, 101000))
		session_table_expire(table, 101000, 10);
	assert_int_equal(a->state, SESSION_LIVE);
	assert_int_equal(c->state, SESSION_FREE);
	session_table_close(table);
}

/* Equal expiry of many sessions is worked off in small portions. */
static void budget_is_kept(void **state)
{
	enum { MANY = 50000 };
	unsigned removed = 0, calls = 0;
	struct session_table_options options = {
		.max_sessions = MANY, .seed = TEST_SEED, .now = 100, .on_remove = count_removed, .ctx = &removed
	};
	struct session_table *table;

	assert_int_equal(session_table_open(&options, &table, NULL, NULL), 0);
	for (uint32_t i = 0; i < MANY; i++)
		test_insert(table, i, false, 100, 10);
	for (unsigned total = 0; total < MANY; calls++) {
		unsigned expired = session_table_expire(table, 200, 64);
		assert_in_range(expired, 1, 64);
		total += expired;
		assert_int_equal(total, removed);
		assert_int_equal(session_table_count(table), MANY - total);
	}
	assert_int_equal(calls, (MANY + 63) / 64);
	session_table_expire(table, 200, 64);
	assert_false(session_table_due(table, 200));
	assert_true(session_table_due(table, 201));
	session_table_close(table);
}

/* ---- listing ---- */

struct visitor {
	struct session_table *table;
	uint8_t *seen;
	unsigned visits;
};

static void visit(void *arg, struct session *session)
{
	struct visitor *visitor = arg;

	visitor->seen[session->spare[0]]++;
	visitor->visits++;
	if (session->spare[0] % 2)
		session_remove(visitor->table, session);
}

static void scan_visits_each_once(void **state)
{
	enum { MANY = 30000 };

	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct visitor visitor = { .table = open_table(NULL, v6, MANY, 100), .seen = calloc(MANY, 1) };
		uint32_t cursor = 0;
		unsigned calls = 1;

		for (uint32_t i = 0; i < MANY; i++)
			assert_non_null(test_insert(visitor.table, i, v6, 100, 10));
		for (; session_table_scan(visitor.table, &cursor, 100, visit, &visitor); calls++)
			assert_in_range(visitor.visits, 0, calls * 100);
		assert_int_equal(visitor.visits, MANY);
		for (uint32_t i = 0; i < MANY; i++)
			assert_int_equal(visitor.seen[i], 1);
		assert_int_equal(session_table_count(visitor.table), MANY / 2);
		session_table_close(visitor.table);
		free(visitor.seen);
	}
}

static void scan_of_an_empty_table_ends_at_once(void **state)
{
	struct session_table *table = open_table(NULL, false, 1 << 25, 100);
	uint32_t cursor = 0;

	assert_false(session_table_scan(table, &cursor, 1, visit, NULL));
	session_table_close(table);
}

/* ---- bursts ---- */

static void bursts_find_what_single_lookups_find(void **state)
{
	struct session_table *tables[2] = { open_table(NULL, false, 5000, 100), open_table(NULL, true, 5000, 100) };
	struct random random = { 1 };

	for (uint32_t i = 0; i < 5000; i++)
		for (unsigned v6 = 0; v6 < 2; v6++)
			assert_non_null(test_insert(tables[v6], i, v6, 100, 10));
	for (unsigned round = 0; round < 2000; round++) {
		struct flow_key keys[32];
		const struct flow_key *key_of[32];
		struct session_table *table_of[32];
		struct session *sessions[32];
		uint32_t hashes[32];
		unsigned directions[32], count = 1 + random64(&random) % 32;

		for (unsigned i = 0; i < count; i++) {
			uint64_t dice = random64(&random);
			keys[i] = test_key(dice % 6000, dice >> 40 & 1, IPPROTO_UDP); /* a sixth is absent */
			if (dice >> 41 & 1)
				flow_key_reverse(&keys[i], &keys[i]);
			key_of[i] = &keys[i];
			table_of[i] = tables[dice >> 40 & 1];
			hashes[i] = flow_key_hash_direction(&keys[i], TEST_SEED, &directions[i]);
		}
		session_lookup_burst(table_of, key_of, hashes, directions, sessions, count);
		for (unsigned i = 0; i < count; i++) {
			unsigned direction;
			assert_ptr_equal(sessions[i], session_find(table_of[i], &keys[i], hashes[i], &direction));
			if (sessions[i])
				assert_int_equal(directions[i], direction);
		}
	}
	session_table_close(tables[0]);
	session_table_close(tables[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_in_both_directions),
		cmocka_unit_test(flow_to_itself_is_one_session),
		cmocka_unit_test(families_do_not_mix),
		cmocka_unit_test(unpublished_record_can_be_given_back),
		cmocka_unit_test(refuses_more_than_the_limit),
		cmocka_unit_test(long_chains_end_in_full),
		cmocka_unit_test(open_checks_its_options),
		cmocka_unit_test(a_file_has_one_owner),
		cmocka_unit_test(expires_on_the_tick),
		cmocka_unit_test(seen_sessions_live_on),
		cmocka_unit_test(answered_flows_get_the_stream_timeout),
		cmocka_unit_test(shorter_timeouts_are_in_time),
		cmocka_unit_test(budget_is_kept),
		cmocka_unit_test(scan_visits_each_once),
		cmocka_unit_test(scan_of_an_empty_table_ends_at_once),
		cmocka_unit_test(bursts_find_what_single_lookups_find),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
