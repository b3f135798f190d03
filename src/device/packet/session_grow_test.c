/* SPDX-License-Identifier: BSD-3-Clause */
/* Session tables that grow while a helper thread makes memory ready (run it under ThreadSanitizer, too): nothing is
 * lost, and what the helper did is what the worker finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <unistd.h>
#include <stdatomic.h>
#include <cmocka.h>
#include "device/packet/session_test_util.h"

enum { MANY = 120000 };

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous),
		cmocka_unit_test(anonymous_huge_pages),
		cmocka_unit_test(file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
