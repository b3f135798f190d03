/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the store: what comes back after a restart, old and newer layouts, damage, a full disk, sudden death. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "model/store.h"
#include "model/test_classes.h"

static struct test_service service;
static char directory[] = "/tmp/store_test.XXXXXX", path[64], wal[80];

static void remove_files(void)
{
	char journal[80];

	snprintf(journal, sizeof(journal), "%s-journal", path);
	unlink(path);
	unlink(wal);
	unlink(journal);
}

static int clean(void **state)
{
	remove_files();
	return 0;
}

static void sql(const char *text)
{
	sqlite3 *db;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", text, message);
	sqlite3_close(db);
}

/* Loading fails with this code and words about the file. */
static void refused(enum dpu_error_code code, const char *words)
{
	struct dpu_error err = { 0 };
	struct model *model = NULL;

	service = (struct test_service){ 0 };
	assert_true(test_model_try(&service, path, &model, &err) < 0);
	assert_int_equal(err.code, code);
	if (!strstr(err.message, words))
		fail_msg("\"%s: %s\" does not say \"%s\"", err.path, err.message, words);
	assert_int_equal(service.count, 0);
}

static void same_after_restart(struct model **model)
{
	json_t *before = test_dump(*model), *after;

	model_free(*model);
	*model = test_model(&service, path);
	after = test_dump(*model);
	if (!json_equal(before, after))
		fail_msg("%s\n%s", json_dumps(before, JSON_INDENT(1)), json_dumps(after, JSON_INDENT(1)));
	test_check_book(*model, &service);
	json_decref(before);
	json_decref(after);
}

/* ---- restart ---- */

static void everything_comes_back(void **state)
{
	struct model *model = test_model(&service, path);

	test_seed(model);
	test_do(model, CHANGE_CREATE, "group", "red/\"quoted\\\xe2\x82\xac", "{'description': 'a\\\\b \xe2\x82\xac'}");
	test_do(model, CHANGE_CREATE, "vnic", "blue/full",
		"{'subnet': 's', 'mac': '02:00:00:00:00:07', 'mtu': 68, 'groups': ['g2', "
		"'red/\\\"quoted\\\\\xe2\x82\xac'],"
		" 'hostname': 'h', 'password': 'geheim', 'enabled': false, 'mode': 'tap', 'addresses': ['10.0.0.9'],"
		" 'notes': [], 'labels': ['a=b', 'c=']}");
	test_do(model, CHANGE_CREATE, "port", "p", "{'device': 'x', 'speed': 0}");
	test_do(model, CHANGE_UPDATE, "dpu", NULL, "{'contact': 'ops'}");
	test_do(model, CHANGE_UPDATE, "vnic", "blue/full", "{'mtu': 69}");
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'name': 'www'}");
	same_after_restart(&model);
	const struct test_vnic *vnic = (const void *)model_find(model, "vnic", "blue", "full");
	assert_string_equal(vnic->password, "geheim");
	assert_int_equal(vnic->base.generation, 2);
	assert_false(vnic->enabled);
	assert_int_equal(vnic->notes.count, 0);
	same_after_restart(&model);
	model_free(model);
	struct stat info;
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_int_equal(stat(wal, &info), -1);
}

static void slots_across_restarts(void **state)
{
	struct model *model = test_model(&service, path);
	char key[32];

	test_do(model, CHANGE_CREATE, "tenant", "t", NULL);
	for (int i = 1; i <= 10; i++) {
		snprintf(key, sizeof(key), "t/g%d", i);
		test_do(model, CHANGE_CREATE, "group", key, NULL);
		assert_int_equal(model_find(model, "group", "t", key + 2)->slot, i);
	}
	test_do(model, CHANGE_DELETE, "group", "t/g7", NULL);
	test_do(model, CHANGE_DELETE, "group", "t/g3", NULL);
	test_do(model, CHANGE_DELETE, "group", "t/g10", NULL);
	same_after_restart(&model);
	static const int expected[] = { 3, 7, 10, 11 };
	for (int i = 0; i < 4; i++) {
		snprintf(key, sizeof(key), "t/n%d", i);
		test_do(model, CHANGE_CREATE, "group", key, NULL);
		assert_int_equal(model_find(model, "group", "t", key + 2)->slot, expected[i]);
	}
	assert_null(model_slot(model, "group", 0));
	assert_null(model_slot(model, "group", 12));
	assert_null(model_slot(model, "group", UINT32_MAX));
	model_free(model);
}

/* A reference to what was created later comes back, too. */
static void forward_references(void **state)
{
	struct model *model = test_model(&service, path);

	test_seed(model);
	test_do(model, CHANGE_CREATE, "group", "blue/later", NULL);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'groups': ['later']}");
	test_do(model, CHANGE_UPDATE, "tenant", "blue", "{'name': 'azure'}");
	same_after_restart(&model);
	model_free(model);
}

/* ---- layouts ---- */

#define OLD_LAYOUT                                                                                                     \
	"PRAGMA application_id=1935962229; CREATE TABLE softdpu(version INTEGER NOT NULL);"                            \
	"INSERT INTO softdpu VALUES(1);"                                                                               \
	"CREATE TABLE object(uuid TEXT PRIMARY KEY, class TEXT NOT NULL, tenant TEXT, name TEXT NOT NULL,"             \
	" generation INTEGER NOT NULL, fields TEXT NOT NULL);"

static const char old_store[] = OLD_LAYOUT
	"INSERT INTO object VALUES('00000000-0000-4000-8000-000000000001', 'tenant', NULL, 'blue', 3, '{}');"
	"INSERT INTO object VALUES('00000000-0000-4000-8000-000000000002', 'vpc',"
	" '00000000-0000-4000-8000-000000000001', 'v', 1, '{\"vni\":5,\"encapsulation\":\"vxlan\"}');"
	"INSERT INTO object VALUES('00000000-0000-4000-8000-000000000003', 'subnet',"
	" '00000000-0000-4000-8000-000000000001', 's', 9,"
	" '{\"vpc\":\"00000000-0000-4000-8000-000000000002\",\"prefix\":\"10.0.0.0/8\",\"labels\":[\"a=b\"]}');"
	"INSERT INTO object VALUES('00000000-0000-4000-8000-000000000004', 'vpc',"
	" '00000000-0000-4000-8000-000000000001', 'w', 2, '{\"encapsulation\":\"geneve\"}');";

static void migrates_old_store(void **state)
{
	sql(old_store);
	struct model *model = test_model(&service, path);
	const struct test_subnet *subnet = (const void *)model_find(model, "subnet", "blue", "s");
	assert_non_null(subnet);
	assert_int_equal(subnet->base.generation, 9);
	assert_string_equal(subnet->vpc.object->name, "v");
	assert_string_equal(subnet->base.labels.items[0], "a=b");
	assert_int_equal(((struct test_vpc *)subnet->vpc.object)->vni, 5);
	assert_int_equal(model_find(model, "vpc", "blue", "v")->slot, 1);
	assert_int_equal(model_find(model, "vpc", "blue", "w")->slot, 2);
	test_do(model, CHANGE_UPDATE, "vpc", "blue/w", "{'vni': 6}");
	same_after_restart(&model);
	model_free(model);
}

/* A step that fails leaves the old store as it was. */
static void failed_migration_changes_nothing(void **state)
{
	sql(OLD_LAYOUT "INSERT INTO object VALUES('not a uuid', 'tenant', NULL, 'blue', 3, '{}');");
	refused(DPU_E_IO, "UUID in the store is damaged");
	sql("UPDATE object SET uuid = '00000000-0000-4000-8000-000000000001';");
	struct model *model = test_model(&service, path);
	assert_non_null(model_find(model, "tenant", NULL, "blue"));
	model_free(model);
}

static char *slurp(const char *name, size_t *ret_size)
{
	FILE *file = fopen(name, "r");
	char *bytes = malloc(1 << 20);

	assert_non_null(file);
	*ret_size = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	return bytes;
}

/* Runs action on a file that must not change. */
static void untouched(enum dpu_error_code code, const char *words)
{
	size_t before_size, after_size;
	char *before = slurp(path, &before_size);

	refused(code, words);
	char *after = slurp(path, &after_size);
	assert_int_equal(before_size, after_size);
	assert_memory_equal(before, after, before_size);
	free(before);
	free(after);
}

static void newer_store_is_untouched(void **state)
{
	struct model *model = test_model(&service, path);

	test_seed(model);
	model_free(model);
	sql("UPDATE softdpu SET version = 3");
	untouched(DPU_E_UNSUPPORTED, "version 3, written by a newer dpud; this one knows versions up to 2");
}

/* The newer dpud died and left its log behind: not even that is merged. */
static void newer_store_with_log(void **state)
{
	pid_t child = fork();

	if (child == 0) {
		sqlite3 *db;
		sqlite3_open(path, &db);
		sqlite3_exec(db, OLD_LAYOUT "PRAGMA journal_mode=WAL; UPDATE softdpu SET version = 9;", NULL, NULL,
			     NULL);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	struct stat info;
	assert_int_equal(stat(wal, &info), 0);
	assert_true(info.st_size > 0);
	untouched(DPU_E_UNSUPPORTED, "version 9");
	assert_int_equal(stat(wal, &info), 0);
	assert_true(info.st_size > 0);
	char shm[80];
	snprintf(shm, sizeof(shm), "%s-shm", path);
	unlink(shm);
}

static void foreign_files(void **state)
{
	sql("CREATE TABLE something(x)");
	untouched(DPU_E_IO, "another program's database");
	remove_files();
	FILE *file = fopen(path, "w");
	for (int i = 0; i < 5000; i++)
		fputs("not a database at all ", file);
	fclose(file);
	untouched(DPU_E_IO, "damaged");
	remove_files();
	file = fopen(path, "w"); /* an empty file is a fresh store */
	fclose(file);
	struct model *model = test_model(&service, path);
	test_seed(model);
	same_after_restart(&model);
	model_free(model);
}

static void bad_places(void **state)
{
	struct dpu_error err = { 0 };
	struct model *model;

	assert_true(test_model_try(&service, "/nonexistent/dir/store.db", &model, &err) < 0);
	assert_int_equal(err.code, DPU_E_IO);
	assert_non_null(strstr(err.message, "No such file"));
	assert_true(test_model_try(&service, directory, &model, &err) < 0);
	assert_int_equal(err.code, DPU_E_IO);
}

/* ---- damage ---- */

static void damaged_rows(void **state)
{
	static const struct {
		const char *sql, *words;
	} cases[] = {
		{ "UPDATE object SET fields = '{' WHERE name = 'web'", "not JSON" },
		{ "UPDATE object SET fields = '[]' WHERE name = 'web'", "not JSON" },
		{ "UPDATE object SET fields = '{\"mtu\": 5}' WHERE name = 'web'", "out of range" },
		{ "UPDATE object SET fields = '{\"mtu\": 1500}' WHERE name = 'web'", "required" },
		{ "UPDATE object SET fields = '{\"colour\": 5}' WHERE name = 'web'", "no such field" },
		{ "UPDATE object SET uuid = x'00' WHERE name = 'web'", "makes no sense" },
		{ "UPDATE object SET uuid = NULL WHERE name = 'web'", "NOT NULL" },
		{ "UPDATE object SET slot = 0 WHERE name = 'web'", "makes no sense" },
		{ "UPDATE object SET slot = 4000000000 WHERE name = 'web'", "too many" },
		{ "UPDATE object SET slot = 1 WHERE name = 'g2'", "slot 1" },
		{ "UPDATE object SET name = 'g1' WHERE name = 'g2'", "exists" },
		{ "UPDATE object SET name = '' WHERE name = 'g2'", "name" },
		{ "UPDATE object SET tenant = NULL WHERE name = 'g2'", "tenant" },
		{ "UPDATE object SET tenant = zeroblob(16) WHERE name = 'g2'", "tenant" },
		{ "UPDATE object SET tenant = randomblob(16) WHERE name = 'g2'", "tenant" },
		{ "UPDATE object SET class = 'ghost' WHERE name = 'g2'", "does not have" },
		{ "UPDATE object SET class = 'vpc' WHERE name = 'g1'", "slot 1" },
		{ "UPDATE object SET uuid = (SELECT uuid FROM object WHERE name = 'g1') WHERE name = 'g2'", "UUID" },
		{ "DELETE FROM object WHERE name = 's'", "no subnet with the UUID" },
		{ "DELETE FROM softdpu", "version -1" },
		{ "DROP TABLE object", "no such table" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		remove_files();
		struct model *model = test_model(&service, path);
		test_seed(model);
		model_free(model);
		sqlite3 *db;
		assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
		int code = sqlite3_exec(db, cases[i].sql, NULL, NULL, NULL);
		sqlite3_close(db);
		if (code == SQLITE_CONSTRAINT) /* SQLite itself keeps it out */
			continue;
		assert_int_equal(code, SQLITE_OK);
		struct dpu_error err = { 0 };
		service = (struct test_service){ 0 };
		if (test_model_try(&service, path, &model, &err) == 0)
			fail_msg("accepted: %s", cases[i].sql);
		if (!strstr(err.message, cases[i].words) && !strstr(err.path, cases[i].words))
			fail_msg("%s: \"%s: %s\" does not say \"%s\"", cases[i].sql, err.path, err.message,
				 cases[i].words);
	}
}

/* ---- what was allowed once ---- */

static void a_value_of_a_laxer_check(void **state)
{
	struct model *model = test_model(&service, path);
	struct dpu_error err = { 0 };

	test_seed(model);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'hostname': 'web-1'}");
	model_free(model);
	sql("UPDATE object SET fields = replace(fields, 'web-1', 'web 1')");
	refused(DPU_E_INVALID, "must be letters, digits and hyphens; this is in the store: change it with the dpud");
	sql("UPDATE object SET fields = replace(fields, 'web 1', 'web_1')");
	model = test_model(&service, path);
	assert_int_equal(service.outdated, 1);
	assert_string_equal(service.outdated_last.path, "vnic/blue/web.hostname");
	assert_non_null(
		strstr(service.outdated_last.message, "must be letters, digits and hyphens; it is in force until"));
	/* It may stay through changes, nobody else may have it, and it has gone when it was changed. */
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'hostname': 'web_1', 'mtu': 1400}");
	assert_true(test_change(model, CHANGE_UPDATE, "vnic", "blue/web", "{'hostname': 'web_2'}", &err) < 0);
	assert_string_equal(err.path, "vnic/blue/web.hostname");
	same_after_restart(&model);
	assert_int_equal(service.outdated, 1);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'hostname': 'web-2'}");
	same_after_restart(&model);
	assert_int_equal(service.outdated, 0);
	model_free(model);
}

/* Any bytes of the file may be wrong: it is refused or read, never a crash. */
static void damaged_bytes(void **state)
{
	struct model *model = test_model(&service, path);
	unsigned refusals = 0;
	size_t size;

	test_seed(model);
	model_free(model);
	char *bytes = slurp(path, &size);
	srand(7);
	for (int round = 0; round < 60; round++) {
		FILE *file = fopen(path, "w");
		fwrite(bytes, 1, size, file);
		for (int i = 0; i < 8; i++) {
			fseek(file, rand() % (long)size, SEEK_SET);
			fputc(rand(), file);
		}
		fclose(file);
		if (round % 10 == 0)
			assert_int_equal(truncate(path, rand() % (long)size), 0);
		struct dpu_error err = { 0 };
		service = (struct test_service){ 0 };
		if (test_model_try(&service, path, &model, &err) == 0)
			model_free(model);
		else
			refusals += err.code != DPU_OK && err.message[0];
	}
	assert_true(refusals > 0);
	free(bytes);
}

/* ---- a second owner ---- */

static void second_owner_is_refused(void **state)
{
	struct model *model = test_model(&service, path);
	pid_t child = fork();

	if (child == 0) {
		static struct test_service other;
		struct dpu_error err = { 0 };
		struct model *second;
		int status = test_model_try(&other, path, &second, &err);
		_exit(status < 0 && strstr(err.message, "another process has the store open") ? 7 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	test_seed(model);
	model_free(model);
}

/* ---- a full disk ---- */

static void fill_up(struct model *model, int *ret_created)
{
	struct dpu_error err = { 0 };
	char key[32], fields[300];
	int status = 0;

	snprintf(fields, sizeof(fields), "{'description': '%090d'}", 7);
	for (int i = 0; status == 0 && i < 2000; i++) {
		json_t *before = test_dump(model);
		struct txn *txn;
		txn_new(model, &txn);
		for (int j = 0; j < 10; j++) {
			snprintf(key, sizeof(key), "blue/f%d-%d", i, j);
			test_add(txn, CHANGE_CREATE, "group", key, fields);
		}
		test_add(txn, CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 1400}");
		status = test_commit(txn, &err, NULL);
		json_t *after = test_dump(model);
		assert_int_equal(json_equal(before, after), status < 0);
		json_decref(before);
		json_decref(after);
		*ret_created += status == 0;
	}
	assert_int_equal(status, -EIO);
	if (!strstr(err.message, "full") && !strstr(err.message, "failed"))
		fail_msg("%s", err.message);
}

/* More than SQLite's cache holds: it fails while rows are written, before anything is applied. */
static void overflow(struct model *model)
{
	struct dpu_error err = { 0 };
	unsigned applies = service.applies;
	char key[32], fields[800];
	struct txn *txn;

	snprintf(fields, sizeof(fields), "{'labels': ['a=%0700d']}", 7);
	json_t *json = test_json(fields);
	txn_new(model, &txn);
	for (int i = 0; i < 8000; i++) {
		snprintf(key, sizeof(key), "big%d", i);
		txn_add(txn, CHANGE_CREATE, "hop", "blue", key, json, 0, false, &err);
	}
	assert_int_equal(test_commit(txn, &err, NULL), -EIO);
	assert_int_equal(service.applies, applies);
	assert_int_equal(model_count(model, "hop", NULL), 0);
	json_decref(json);
}

static void full_disk(void **state)
{
	struct model *model = test_model(&service, path);
	struct rlimit old, small = { .rlim_cur = 150000, .rlim_max = RLIM_INFINITY };
	int created = 0;

	test_seed(model);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	fill_up(model, &created);
	assert_true(created > 0);
	overflow(model);
	test_check_book(model, &service);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_DFL);
	/* There is room again: the same model goes on, and everything is stored. */
	test_do(model, CHANGE_CREATE, "group", "blue/after", NULL);
	same_after_restart(&model);
	assert_int_equal(model_count(model, "group", NULL), (size_t)created * 10 + 3);
	model_free(model);
}

/* ---- sudden death ---- */

enum { BATCH = 20 };

/* Creates a batch of groups and deletes the one before, for ever; tells each that was answered. */
static void work_until_killed(int progress)
{
	static struct test_service own;
	struct model *model = test_model(&own, path);
	char key[32];

	for (int i = 0;; i++) {
		struct txn *txn;
		txn_new(model, &txn);
		for (int j = 0; j < BATCH; j++) {
			snprintf(key, sizeof(key), "blue/b%d-%d", i, j);
			test_add(txn, CHANGE_CREATE, "group", key, NULL);
			snprintf(key, sizeof(key), "blue/b%d-%d", i - 1, j);
			if (i > 0)
				test_add(txn, CHANGE_DELETE, "group", key, NULL);
		}
		if (test_commit(txn, NULL, NULL) < 0 || write(progress, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
}

/* The store holds exactly one batch: the last that was answered, or the one after it. */
static void check_batches(int answered)
{
	struct model *model = test_model(&service, path);
	int batch = -1, first = -1;
	char key[32];

	test_check_book(model, &service);
	for (int i = answered < 0 ? 0 : answered; i <= answered + 1; i++) {
		snprintf(key, sizeof(key), "b%d-0", i);
		if (model_find(model, "group", "blue", key))
			batch = i;
		first = first < 0 ? i : first;
	}
	size_t count = model_count(model, "group", NULL);
	if (batch < 0)
		assert_int_equal(answered, -1);
	assert_int_equal(count, batch < 0 ? 0 : BATCH);
	for (int j = 0; j < BATCH && batch >= 0; j++) {
		snprintf(key, sizeof(key), "b%d-%d", batch, j);
		assert_non_null(model_find(model, "group", "blue", key));
	}
	model_free(model);
}

static void killed_in_the_middle(void **state)
{
	struct timespec delay = { 0 };

	srand(3);
	for (int round = 0; round < 12; round++) {
		int progress[2], answered = -1, value;
		remove_files();
		struct model *model = test_model(&service, path);
		test_do(model, CHANGE_CREATE, "tenant", "blue", NULL);
		model_free(model);
		assert_int_equal(pipe2(progress, O_CLOEXEC), 0);
		pid_t child = fork();
		if (child == 0)
			work_until_killed(progress[1]);
		close(progress[1]);
		assert_int_equal(read(progress[0], &answered, sizeof(answered)), sizeof(answered));
		delay.tv_nsec = rand() % 8000000;
		nanosleep(&delay, NULL);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		while (read(progress[0], &value, sizeof(value)) == sizeof(value))
			answered = value;
		close(progress[0]);
		check_batches(answered);
	}
}

static int set_up(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/store.db", directory);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	return 0;
}

static int tear_down(void **state)
{
	remove_files();
	return rmdir(directory);
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_teardown(name_, clean)
	const struct CMUnitTest tests[] = {
		TEST(everything_comes_back),
		TEST(slots_across_restarts),
		TEST(forward_references),
		TEST(migrates_old_store),
		TEST(failed_migration_changes_nothing),
		TEST(newer_store_is_untouched),
		TEST(newer_store_with_log),
		TEST(foreign_files),
		TEST(bad_places),
		TEST(damaged_rows),
		TEST(a_value_of_a_laxer_check),
		TEST(damaged_bytes),
		TEST(second_owner_is_refused),
		TEST(full_disk),
		TEST(killed_in_the_middle),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
