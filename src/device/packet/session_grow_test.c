/* SPDX-License-Identifier: BSD-3-Clause */
/* Session tables that grow while a helper thread makes memory ready (run it under ThreadSanitizer, too): nothing is
 * lost, and what the helper did is what the worker finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>
#include <stdatomic.h>
#include <cmocka.h>
#include "base/sanitized.h"
#include "device/packet/session_test_util.h"

enum { MANY = 120000 };

/* Sanitizers have page faults of their own. */
enum { RUNS_AS_BUILT = !SANITIZED };

struct helper {
	struct session_table *table;
	_Atomic bool stop;
	unsigned calls;
};

static void *help(void *arg)
{
	struct helper *helper = arg;

	while (!atomic_load(&helper->stop)) {
		assert_int_equal(session_table_grow_ahead(helper->table), 0);
		helper->calls++;
	}
	return NULL;
}

static void grow(const char *path, bool v6, bool huge_pages)
{
	struct session_table_options options = {
		.path = path, .v6 = v6, .huge_pages = huge_pages, .max_sessions = MANY, .seed = TEST_SEED, .now = 100
	};
	struct helper helper = { 0 };
	pthread_t thread;
	unsigned direction;

	assert_int_equal(session_table_open(&options, &helper.table, NULL, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, help, &helper), 0);
	for (uint32_t n = 0; n < MANY; n++) {
		/* Whatever the helper is at work on, up to the last one. */
		assert_non_null(test_insert(helper.table, n, v6, 100, 1000));
		/* One from every stage of growth. */
		assert_non_null(test_find(helper.table, n / 3, v6, &direction));
	}
	assert_null(test_insert(helper.table, MANY, v6, 100, 1000));
	atomic_store(&helper.stop, true);
	pthread_join(thread, NULL);
	assert_true(helper.calls > 0);
	for (uint32_t n = 0; n < MANY; n++) {
		struct session *session = test_find(helper.table, n, v6, &direction);
		assert_non_null(session);
		assert_int_equal(session->spare[0], n);
	}
	size_t bytes = session_table_bytes(helper.table) / MANY;
	assert_in_range(bytes, v6 ? 256 : 192, v6 ? 320 : 256);
	session_table_close(helper.table);
	if (path)
		unlink(path);
}

static void anonymous(void **state)
{
	grow(NULL, false, false);
	grow(NULL, true, false);
}

static void anonymous_huge_pages(void **state)
{
	grow(NULL, false, true);
}

static void file(void **state)
{
	char path[100];

	test_path(path, sizeof(path), "grow");
	grow(path, false, false);
	grow(path, true, true);
}

static long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Inserts flows from *next on; returns the page faults of that. */
static long insert_many(struct session_table *table, uint32_t *next, uint32_t count)
{
	long before = page_faults();

	for (uint32_t end = *next + count; *next < end; ++*next)
		if (!test_insert(table, *next, false, 100, 1000))
			fail_msg("the table is full after %u", *next);
	return page_faults() - before;
}

/* Memory that was made ready leaves nothing to whoever inserts, and as much is ready as the pace asks for. */
static void ready_is_ready(const char *path)
{
	enum { PACE = 20000, OWN_FAULTS = 2 /* of the test itself */ };
	struct session_table_options options = { .path = path, .max_sessions = MANY, .seed = TEST_SEED, .now = 100 };
	struct session_table *table;
	uint32_t next = 0;

	assert_int_equal(session_table_open(&options, &table, NULL, NULL), 0);
	insert_many(table, &next, 1000);
	assert_in_range(session_table_taken(table), 1000 * 192 / 4096, 1000 * 192 / 4096 + 2);
	assert_int_equal(session_table_grow_ahead(table), 0);
	uint64_t taken = session_table_taken(table);
	long faults = insert_many(table, &next, 250);
	/* The rest of the chunk that the worker was at, which nobody else may touch. */
	assert_in_range(session_table_taken(table) - taken, 0, 2);

	insert_many(table, &next, PACE);
	assert_int_equal(session_table_grow_ahead(table), 0);
	insert_many(table, &next, 256);
	taken = session_table_taken(table);
	faults += insert_many(table, &next, 3 * PACE);
	assert_int_equal(session_table_taken(table), taken);
	if (RUNS_AS_BUILT)
		assert_in_range(faults, 0, OWN_FAULTS);
	session_table_close(table);
	if (path)
		unlink(path);
}

static void ready_memory_costs_inserts_nothing(void **state)
{
	char path[100];

	if (!test_populate_works())
		skip();
	ready_is_ready(NULL);
	test_path(path, sizeof(path), "ready");
	ready_is_ready(path);
}

/* Without a helper, a burst gets no more pages than it fills. */
static void unready_memory_comes_page_by_page(void **state)
{
	enum { BURST = 32 };
	struct session_table_options options = { .max_sessions = MANY, .seed = TEST_SEED, .now = 100 };
	struct session_table *table;

	assert_int_equal(session_table_open(&options, &table, NULL, NULL), 0);
	for (uint32_t next = 0; next < MANY / 2;) {
		uint64_t before = session_table_taken(table);

		insert_many(table, &next, BURST);
		assert_in_range(session_table_taken(table) - before, 1, BURST * 192 / 4096 + 1);
	}
	session_table_close(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous),
		cmocka_unit_test(anonymous_huge_pages),
		cmocka_unit_test(file),
		cmocka_unit_test(ready_memory_costs_inserts_nothing),
		cmocka_unit_test(unready_memory_comes_page_by_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
