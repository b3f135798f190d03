/* SPDX-License-Identifier: BSD-3-Clause */
/* Session files that outlive their process: killed at any moment, damaged in any way, on a full file system. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>
#include "device/packet/session_priv.h"
#include "device/packet/session_test_util.h"

enum { FLOWS = 3000 };

static struct random random_source;

static int open_file_table(const char *path, bool v6, struct session_table **ret, uint32_t *ret_adopted)
{
	struct session_table_options options = {
		.path = path, .v6 = v6, .max_sessions = FLOWS, .seed = random64(&random_source), .now = 5000
	};
	return session_table_open(&options, ret, ret_adopted, NULL);
}

/* ---- what a table that was taken over must look like ---- */

struct inspection {
	struct session_table *table;
	bool v6;
	bool damaged; /* actions and marks may be anything; keys must be right all the same */
	uint32_t count;
};

static void inspect(void *arg, struct session *session)
{
	struct inspection *inspection = arg;
	struct flow_key key, expected;
	unsigned direction;

	session_key(inspection->table, session, session->initiator, &key);
	uint32_t hash = flow_key_hash(&key, session_table_seed(inspection->table));
	assert_int_equal(hash, session->hash);
	assert_ptr_equal(session_find(inspection->table, &key, hash, &direction), session);
	assert_int_equal(direction, session->initiator);
	inspection->count++;
	assert_int_equal(session->dir[0].epoch | session->dir[1].epoch, 0);
	if (inspection->damaged)
		return;
	expected = test_key(session->spare[0], inspection->v6, IPPROTO_UDP);
	assert_true(flow_key_equal(&key, &expected));
	assert_int_equal(session->spare[1], ~session->spare[0]);
	for (unsigned i = 0; i < 2; i++)
		assert_true(test_action_is(&session->dir[i], session->spare[0]));
}

static void inspect_all(struct session_table *table, bool v6, bool damaged, uint32_t adopted)
{
	struct inspection inspection = { .table = table, .v6 = v6, .damaged = damaged };
	uint32_t cursor = 0;

	while (session_table_scan(table, &cursor, 1000, inspect, &inspection))
		;
	assert_int_equal(inspection.count, adopted);
	assert_int_equal(session_table_count(table), adopted);
}

/* ---- SIGKILL ---- */

static struct session *insert_marked(struct session_table *table, uint32_t n, bool v6)
{
	struct flow_key key = test_key(n, v6, IPPROTO_UDP);
	struct session_dir action = test_action(n);
	struct session *session = session_new(table, &key, flow_key_hash(&key, session_table_seed(table)), 5000);

	if (!session)
		return NULL;
	for (unsigned i = 0; i < 2; i++)
		session_set_action(session, i, &action);
	session->spare[0] = n;
	session->spare[1] = ~n;
	session_publish(table, session, 1000);
	return session;
}

static void *grow_for_ever(void *table)
{
	for (;;)
		session_table_grow_ahead(table);
	return NULL;
}

/* Child: changes sessions as fast as it can until it is killed. */
static void churn_for_ever(const char *path, bool v6, int ready)
{
	struct session_table *table;
	pthread_t helper;

	if (open_file_table(path, v6, &table, NULL) || pthread_create(&helper, NULL, grow_for_ever, table))
		_exit(1);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;) {
		uint32_t n = random64(&random_source) % FLOWS;
		unsigned direction;
		struct session *session = test_find(table, n, v6, &direction);

		if (session)
			session_remove(table, session);
		else if (!insert_marked(table, n, v6))
			_exit(1);
	}
}

static void kill_round(const char *path, bool v6)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		churn_for_ever(path, v6, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	struct timespec while_it_works = { .tv_nsec = random64(&random_source) % 1500000 };
	nanosleep(&while_it_works, NULL);
	kill(child, SIGKILL);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	random64(&random_source);
}

static void killed_at_any_moment(void **state)
{
	char path[100];
	uint64_t total = 0;

	test_path(path, sizeof(path), "kill");
	for (unsigned v6 = 0; v6 < 2; v6++) {
		for (unsigned round = 0; round < 200; round++) {
			struct session_table *table;
			uint32_t adopted;

			kill_round(path, v6);
			assert_int_equal(open_file_table(path, v6, &table, &adopted), 0);
			inspect_all(table, v6, false, adopted);
			total += adopted;
			session_table_close(table);
		}
		unlink(path);
	}
	assert_true(total > 1000);
}

/* ---- damage ---- */

static void fill_file(const char *path, bool v6)
{
	struct session_table *table;

	unlink(path);
	assert_int_equal(open_file_table(path, v6, &table, NULL), 0);
	for (uint32_t n = 0; n < FLOWS; n++)
		assert_non_null(insert_marked(table, n, v6));
	for (uint32_t n = 0; n < FLOWS; n += 3) {
		unsigned direction;
		session_remove(table, test_find(table, n, v6, &direction));
	}
	session_table_close(table);
}

/* The part of the file that holds anything. */
static size_t used_bytes(bool v6)
{
	return (size_t)(RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK + FLOWS) * (v6 ? 256 : 192);
}

/* Whatever was found, the table works: age it, fill it up, empty it. */
static void exercise(struct session_table *table, bool v6)
{
	for (session_tick_t now = 5000; now < 5000 + 50000; now += 999)
		session_table_expire(table, now, 500);
	for (uint32_t n = 0; n < FLOWS; n++) {
		unsigned direction;
		if (!test_find(table, n, v6, &direction))
			insert_marked(table, n, v6);
	}
	assert_true(session_table_count(table) <= FLOWS);
	while (session_table_count(table)) {
		static session_tick_t later;
		session_table_expire(table, later += 4096, 100000);
	}
}

static void damage(uint8_t *file, bool v6)
{
	size_t used = used_bytes(v6), where;
	unsigned flips = 1 + random64(&random_source) % 200;
	/* Mostly in the records; else in the header and the chunk states. */
	bool records = random64(&random_source) % 4;

	while (flips--) {
		size_t header = RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK * (v6 ? 256 : 192);
		if (records)
			where = header + random64(&random_source) % (used - header);
		else
			where = random64(&random_source) % (random64(&random_source) % 2 ? 4400 : header);
		uint8_t bit = 1 << random64(&random_source) % 8, byte = random64(&random_source);
		file[where] = random64(&random_source) % 2 ? file[where] ^ bit : byte;
	}
}

static void damaged_files_are_no_danger(void **state)
{
	char path[100];
	unsigned kept = 0;

	test_path(path, sizeof(path), "damage");
	for (unsigned round = 0; round < 300; round++) {
		bool v6 = round & 1;
		struct session_table *table;
		uint32_t adopted;

		fill_file(path, v6);
		int fd = open(path, O_RDWR);
		uint8_t *file = mmap(NULL, used_bytes(v6), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_true(file != MAP_FAILED);
		damage(file, v6);
		munmap(file, used_bytes(v6));
		close(fd);
		assert_int_equal(open_file_table(path, v6, &table, &adopted), 0);
		inspect_all(table, v6, true, adopted);
		kept += adopted > 0;
		if (round % 10 == 0)
			exercise(table, v6);
		session_table_close(table);
	}
	assert_true(kept > 100);
	unlink(path);
}

static void expect_replaced(const char *path, bool v6)
{
	struct session_table *table;
	uint32_t adopted = 77;

	assert_int_equal(open_file_table(path, v6, &table, &adopted), 0);
	assert_int_equal(adopted, 0);
	assert_non_null(insert_marked(table, 1, v6));
	session_table_close(table);
	assert_int_equal(open_file_table(path, v6, &table, &adopted), 0);
	assert_int_equal(adopted, 1);
	session_table_close(table);
}

static void patch(const char *path, size_t where, uint8_t change)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, where), 1);
	byte ^= change;
	assert_int_equal(pwrite(fd, &byte, 1, where), 1);
	close(fd);
}

static void other_files_are_replaced(void **state)
{
	static const off_t sizes[] = { 0, 1, 4095, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 1l << 40 };
	static const size_t fields[] = {
		offsetof(struct session_file_header, magic),        offsetof(struct session_file_header, version),
		offsetof(struct session_file_header, record_bytes), offsetof(struct session_file_header, chunk_bytes),
		offsetof(struct session_file_header, boot_id),      offsetof(struct session_file_header, seed),
		offsetof(struct session_file_header, checksum),
	};
	char path[100];

	test_path(path, sizeof(path), "other");
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* Cut off in the middle, or of zeroes. */
		for (unsigned empty = 0; empty < 2; empty++) {
			if (!empty)
				fill_file(path, false);
			int fd = open(path, O_RDWR | O_CREAT | (empty ? O_TRUNC : 0), 0600);
			/* One whole block, with its header, is a table still: see below. */
			bool whole = !empty && sizes[i] == 2 << 20;
			assert_int_equal(ftruncate(fd, sizes[i]), 0);
			if (!whole)
				expect_replaced(path, false);
			close(fd);
		}
	}
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		fill_file(path, false);
		patch(path, fields[i], 1);
		expect_replaced(path, false);
	}
	fill_file(path, false);
	expect_replaced(path, true); /* of the other family */
	unlink(path);
}

/* A file that is shorter by whole blocks is grown again, and what is gone is gone. */
static void cut_file_keeps_its_head(void **state)
{
	char path[100];
	struct session_table *table;
	struct session_table_options options = { .path = path, .max_sessions = 40000, .seed = 5, .now = 5000 };
	uint32_t adopted;

	test_path(path, sizeof(path), "cut");
	assert_int_equal(session_table_open(&options, &table, NULL, NULL), 0);
	for (uint32_t n = 0; n < 40000; n++)
		assert_non_null(insert_marked(table, n, false));
	session_table_close(table);
	assert_int_equal(truncate(path, 4 << 20), 0);
	assert_int_equal(session_table_open(&options, &table, &adopted, NULL), 0);
	assert_int_equal(adopted, 2 * 10922 - 768);
	inspect_all(table, false, false, adopted);
	session_table_close(table);
	unlink(path);
}

static void smaller_limit_keeps_as_many(void **state)
{
	char path[100];
	struct session_table *table;
	struct session_table_options options = { .path = path, .max_sessions = 1000, .seed = 5, .now = 5000 };
	uint32_t adopted;

	test_path(path, sizeof(path), "limit");
	fill_file(path, false);
	assert_int_equal(session_table_open(&options, &table, &adopted, NULL), 0);
	assert_int_equal(adopted, 1000);
	inspect_all(table, false, false, adopted);
	assert_null(insert_marked(table, FLOWS, false));
	session_table_close(table);
	unlink(path);
}

static void times_of_the_future_are_set_right(void **state)
{
	char path[100];
	struct session_table *table;
	unsigned direction;

	test_path(path, sizeof(path), "future");
	unlink(path);
	assert_int_equal(open_file_table(path, false, &table, NULL), 0);
	struct session *session = insert_marked(table, 1, false);
	session->dir[1].last_seen = 5000 + 1000000;
	session->created = 5000 + 2000000;
	session_table_close(table);
	assert_int_equal(open_file_table(path, false, &table, NULL), 0);
	session = test_find(table, 1, false, &direction);
	assert_int_equal(session->dir[1].last_seen, 5000);
	assert_int_equal(session->created, 5000);
	assert_int_equal(session_table_expire(table, 5999, 10), 0);
	assert_int_equal(session_table_expire(table, 6000, 10), 1);
	session_table_close(table);
	unlink(path);
}

/* ---- a full file system ---- */

static void count_one(void *arg, struct session *session)
{
	++*(uint32_t *)arg;
}

static uint32_t scan_count(struct session_table *table)
{
	uint32_t cursor = 0, count = 0;

	while (session_table_scan(table, &cursor, 100, count_one, &count))
		;
	return count;
}

/* In a mount namespace of its own: a tmpfs of one MiB. Exit status 0: all well, 2: namespaces are not to be had. */
static int fill_small_tmpfs(const char *folder)
{
	struct session_table_options options = { .max_sessions = 1 << 20, .seed = 5, .now = 5000 };
	struct session_table *table;
	char path[200], other[200];
	uint32_t count = 0, adopted;
	unsigned direction;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", folder, "tmpfs", 0, "size=1m"))
		return 2;
	snprintf(path, sizeof(path), "%s/sessions", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	options.path = path;
	int fd = open(other, O_RDWR | O_CREAT, 0600);
	if (fallocate(fd, 0, 0, 1 << 20) || session_table_open(&options, &table, NULL, NULL) == 0)
		return 3; /* not even a header: refused */
	if (ftruncate(fd, 252 << 10) || session_table_open(&options, &table, NULL, NULL))
		return 4;
	while (insert_marked(table, count, false))
		count++;
	if (count < 1000 || count > 6000 || session_table_grow_ahead(table) != -ENOSPC)
		return 5;
	for (uint32_t n = 0; n < count; n++)
		if (!test_find(table, n, false, &direction))
			return 6;
	/* The pages that the last chunk got are worth as much as whole chunks to who takes the file over. */
	session_table_close(table);
	if (session_table_open(&options, &table, &adopted, NULL) || adopted != count)
		return 10;
	if (insert_marked(table, count, false) || scan_count(table) != count)
		return 11;
	unlink(other);
	close(fd);
	/* Room again, first found by the helper. */
	if (session_table_grow_ahead(table) || !insert_marked(table, count++, false))
		return 7;
	session_table_close(table);
	if (session_table_open(&options, &table, &adopted, NULL) || adopted != count)
		return 8;
	session_table_close(table);
	/* Chunks said to be in use that have no memory, and none to be had. */
	for (unsigned chunk = 1000; chunk < 1100; chunk++)
		patch(path, RECORD_CHUNK_STATES_OFFSET + chunk, CHUNK_IN_USE);
	fd = open(other, O_RDWR | O_CREAT, 0600);
	for (off_t size = 4096; fallocate(fd, 0, 0, size) == 0; size += 4096)
		;
	close(fd);
	if (session_table_open(&options, &table, &adopted, NULL) || adopted != count)
		return 9;
	session_table_close(table);
	return 0;
}

static void full_file_system_is_an_error(void **state)
{
	char folder[100];
	int status;

	if (!test_populate_works())
		skip();
	test_path(folder, sizeof(folder), "mount");
	assert_int_equal(mkdir(folder, 0700), 0);
	pid_t child = fork();
	if (child == 0)
		_exit(fill_small_tmpfs(folder));
	assert_int_equal(waitpid(child, &status, 0), child);
	rmdir(folder);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 2)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_moment),         cmocka_unit_test(damaged_files_are_no_danger),
		cmocka_unit_test(other_files_are_replaced),     cmocka_unit_test(cut_file_keeps_its_head),
		cmocka_unit_test(smaller_limit_keeps_as_many),  cmocka_unit_test(times_of_the_future_are_set_right),
		cmocka_unit_test(full_file_system_is_an_error),
	};
	random_source.state = (uint64_t)time(NULL) * 1000 + getpid() % 1000;
	print_message("seed %llu\n", (unsigned long long)random_source.state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
