/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes start-up from a damaged store: bytes of the file changed, rows that say something else, a file cut short. Such
 * a store is refused with a sentence, as a whole and unchanged, or what it gives is a sound model that a second start
 * finds again. */
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>
#include "model/test_classes.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEMPLATE_MAX = 1 << 16, MAX_DAMAGES = 32 };

static char path[64], wal[80];
static uint8_t template[TEMPLATE_MAX], bytes[TEMPLATE_MAX];
static size_t template_bytes;
static struct test_service service;

static void remove_files(void)
{
	unlink(path);
	unlink(wal);
}

static size_t file_read(uint8_t *to)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, to, TEMPLATE_MAX);

	input_require(got >= 0);
	if (fd >= 0)
		close(fd);
	return (size_t)got;
}

static void file_write(size_t length)
{
	remove_files();
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	input_require(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
	close(fd);
}

static void template_once(void)
{
	if (template_bytes)
		return;
	const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(path, sizeof(path), "%s/store-fuzz-%d", folder, (int)getpid());
	snprintf(wal, sizeof(wal), "%s-wal", path);
	remove_files();
	struct model *model = test_model(&service, path);
	test_seed(model);
	test_do(model, CHANGE_CREATE, "hop", "blue/h1", NULL);
	test_do(model, CHANGE_CREATE, "hop", "blue/h2", "{'next': 'h1'}");
	test_do(model, CHANGE_CREATE, "port", "p", "{'device': 'x', 'speed': 0}");
	test_do(model, CHANGE_CREATE, "vnic", "blue/db",
		"{'subnet': 's', 'mtu': 9000, 'labels': ['a=b'], 'password': 'x'}");
	test_do(model, CHANGE_DELETE, "group", "blue/g2", NULL);
	model_free(model);
	input_require(access(wal, F_OK) != 0);
	template_bytes = file_read(template);
	input_require(template_bytes > 4096 && template_bytes < TEMPLATE_MAX);
	atexit(remove_files);
}

/* ---- rows that say something else ---- */

static void bind_some(struct input *in, sqlite3_stmt *stmt)
{
	static const char *const texts[] = { "{}",
					     "[]",
					     "{",
					     "vnic",
					     "group",
					     "tenant",
					     "dpu",
					     "web",
					     "g1",
					     "",
					     "blue",
					     "{\"subnet\":null}",
					     "{\"mtu\":70000}",
					     "{\"mtu\":1500,\"mtu\":1501}",
					     "{\"next\":\"00000000-0000-0000-0000-000000000001\"}",
					     "a/b",
					     "{\"uuid\":1}" };
	uint8_t kind = input_byte(in);
	char text[256];

	switch (kind & 7) {
	case 0:
		sqlite3_bind_null(stmt, 1);
		break;
	case 1:
		sqlite3_bind_int64(stmt, 1, (int8_t)input_byte(in));
		break;
	case 2:
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)((uint64_t)input_long(in) << (kind >> 3)));
		break;
	case 3: { /* a UUID's length, or another */
		uint8_t blob[16] = { 0 };
		input_bytes(in, blob, 4);
		sqlite3_bind_blob(stmt, 1, blob, kind & 8 ? 16 : kind >> 4, SQLITE_TRANSIENT);
		break;
	}
	case 4: {
		size_t length = input_bytes(in, text, input_byte(in));
		sqlite3_bind_text(stmt, 1, text, (int)length, SQLITE_TRANSIENT);
		break;
	}
	default:
		sqlite3_bind_text(stmt, 1, texts[input_byte(in) % (sizeof(texts) / sizeof(texts[0]))], -1,
				  SQLITE_STATIC);
	}
}

static void damage_rows(struct input *in)
{
	static const char *const statements[] = {
		"UPDATE object SET class = ?1 WHERE id = ?2",
		"UPDATE object SET uuid = ?1 WHERE id = ?2",
		"UPDATE object SET tenant = ?1 WHERE id = ?2",
		"UPDATE object SET name = ?1 WHERE id = ?2",
		"UPDATE object SET slot = ?1 WHERE id = ?2",
		"UPDATE object SET generation = ?1 WHERE id = ?2",
		"UPDATE object SET fields = ?1 WHERE id = ?2",
		"UPDATE object SET uuid = (SELECT uuid FROM object WHERE id = ?1) WHERE id = ?2",
		"UPDATE object SET tenant = (SELECT uuid FROM object WHERE id = ?1) WHERE id = ?2",
		"UPDATE object SET fields = (SELECT fields FROM object WHERE id = ?1) WHERE id = ?2",
		"DELETE FROM object WHERE id = ?2 + 0 * ?1",
		"UPDATE object SET id = 100 + ?1 WHERE id = ?2",
		"INSERT INTO object SELECT NULL, class, ?1, tenant, name, slot, 1, fields FROM object WHERE id = ?2",
		"UPDATE softdpu SET version = ?1 + 0 * ?2",
		"INSERT INTO softdpu VALUES(?1 + 0 * ?2)",
		"ALTER TABLE object ADD COLUMN more",
		"DROP TABLE object",
		"PRAGMA application_id=7",
	};
	sqlite3 *db;

	input_require(sqlite3_open(path, &db) == SQLITE_OK);
	for (unsigned i = 0; i < MAX_DAMAGES && input_left(in); i++) {
		sqlite3_stmt *stmt = NULL;
		uint8_t which = input_byte(in);
		if (sqlite3_prepare_v2(db, statements[which % (sizeof(statements) / sizeof(statements[0]))], -1, &stmt,
				       NULL) != SQLITE_OK)
			continue;
		bind_some(in, stmt);
		sqlite3_bind_int(stmt, 2, input_byte(in) & 15);
		sqlite3_step(stmt);
		sqlite3_finalize(stmt);
	}
	sqlite3_close(db);
}

static size_t damage_bytes(struct input *in)
{
	size_t length = template_bytes;

	for (unsigned i = 0; i < MAX_DAMAGES && input_left(in); i++) {
		uint8_t how = input_byte(in);
		uint16_t offset = input_word(in);
		if (how == 0)
			length = offset < template_bytes ? offset : length;
		else if (how < 64) /* the header */
			bytes[offset % 100] = how;
		else
			input_bytes(in, bytes + offset % (template_bytes - 8), 1 + (how & 7));
	}
	return length;
}

/* ---- what must hold ---- */

static void start(void)
{
	static uint8_t before[TEMPLATE_MAX];
	struct dpu_error err = { 0 };
	struct model *model = NULL;
	size_t length = file_read(before);

	service = (struct test_service){ 0 };
	if (test_model_try(&service, path, &model, &err) < 0) {
		input_require(err.code != DPU_OK && err.code != DPU_E_INTERNAL && err.message[0]);
		input_require(service.count == 0);
		/* The log may be there, but nothing has gone into the file. */
		input_require(file_read(bytes) == length && !memcmp(before, bytes, length));
		return;
	}
	test_check_book(model, &service);
	json_t *first = test_dump(model);
	model_free(model);
	model = test_model(&service, path);
	json_t *second = test_dump(model);
	input_require(json_equal(first, second));
	test_change(model, CHANGE_CREATE, "tenant", "another", NULL, &err);
	test_check_book(model, &service);
	model_free(model);
	json_decref(first);
	json_decref(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	template_once();
	memcpy(bytes, template, template_bytes);
	if (input_byte(&in) & 1) {
		file_write(damage_bytes(&in));
	} else {
		file_write(template_bytes);
		damage_rows(&in);
	}
	start();
	return 0;
}
