/* SPDX-License-Identifier: BSD-3-Clause */
/* The SQLite file: opened, checked, read and written. */
#include "model/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/str.h"
#include "model/model_priv.h"

enum { LOCK_WAIT_MS = 1000 };

struct store {
	sqlite3 *db;
	char *path;
	sqlite3_stmt *insert, *update, *delete;
	struct text fields; /* of the row being written; its memory is used again */
};

/* ---- errors ---- */

static int store_error(const char *path, int code, const char *detail, struct dpu_error *err)
{
	switch (code & 0xff) {
	case SQLITE_FULL:
		return error_set(err, DPU_E_IO, path, "the disk is full: free some space and repeat the change");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return error_set(err, DPU_E_IO, path, "another process has the store open: stop it first");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return error_set(err, DPU_E_IO, path,
				 "the store is damaged (%s): put a copy in its place, or move it away to start empty",
				 detail);
	case SQLITE_CANTOPEN:
		return error_set(err, DPU_E_IO, path,
				 "the store cannot be opened: check that its directory is writable");
	default:
		return error_set(err, DPU_E_IO, path, "the store failed (%s): check disk and permissions", detail);
	}
}

static int db_error(const struct store *store, struct dpu_error *err)
{
	return store_error(store->path, sqlite3_extended_errcode(store->db), sqlite3_errmsg(store->db), err);
}

/* ---- opening ---- */

static void stmt_finalize(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

/* The first column of the first row as a number; -1 without a row. */
static int query_int(sqlite3 *db, const char *sql, int64_t *ret)
{
	CLEANUP(stmt_finalize) sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (code != SQLITE_OK)
		return code;
	code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	else if (code == SQLITE_DONE)
		*ret = -1;
	return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Closing would write the log into the file, which must not happen to a file that is refused. */
static int db_open(const char *path, sqlite3 **ret)
{
	sqlite3 *db = NULL;
	int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

	if (code == SQLITE_OK) {
		sqlite3_busy_timeout(db, LOCK_WAIT_MS);
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		/* Exclusive: no second dpud on this store, and no shared-memory file beside it. */
		code = sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL);
	}
	if (code != SQLITE_OK)
		sqlite3_close(db);
	else
		*ret = db;
	return code;
}

/* Reads what store this is, before anything could change it. */
static int read_version(const char *path, sqlite3 *db, int64_t *ret_version, struct dpu_error *err)
{
	int64_t application = 0, version = 0;
	int code = query_int(db, "PRAGMA application_id", &application);

	if (code == SQLITE_OK && application != STORE_APPLICATION_ID)
		return error_set(err, DPU_E_IO, path, "this is another program's database: give a path of our own");
	if (code == SQLITE_OK)
		code = query_int(db, "SELECT version FROM softdpu", &version);
	if (code != SQLITE_OK)
		return store_error(path, code, sqlite3_errmsg(db), err);
	if (version > STORE_VERSION)
		return error_set(
			err, DPU_E_UNSUPPORTED, path,
			"the store has version %lld, written by a newer dpud; this one knows versions up to %d: "
			"run the newer dpud or give another path",
			(long long)version, STORE_VERSION);
	if (version < 1)
		return error_set(err, DPU_E_IO, path, "the store is damaged: it says to be of version %lld",
				 (long long)version);
	*ret_version = version;
	return 0;
}

static int check_pages(const char *path, sqlite3 *db, struct dpu_error *err)
{
	CLEANUP(stmt_finalize) sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code != SQLITE_ROW)
		return store_error(path, code, sqlite3_errmsg(db), err);
	const char *answer = (const char *)sqlite3_column_text(stmt, 0);
	if (!answer || strcmp(answer, "ok") != 0)
		return store_error(path, SQLITE_CORRUPT, answer ? answer : "unreadable", err);
	return 0;
}

static int prepare(struct store *store, int64_t version)
{
	static const char settings[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-4000;"
				       "PRAGMA journal_size_limit=4194304";
	int code = sqlite3_exec(store->db, settings, NULL, NULL, NULL);

	sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);

	if (code == SQLITE_OK && version < STORE_VERSION)
		code = store_migrate(store->db, (int)version);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(store->db,
					  "INSERT INTO object(class, uuid, tenant, name, slot, generation, fields)"
					  " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
					  -1, SQLITE_PREPARE_PERSISTENT, &store->insert, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(store->db,
					  "UPDATE object SET class = ?1, uuid = ?2, tenant = ?3, name = ?4, slot = ?5,"
					  " generation = ?6, fields = ?7 WHERE id = ?8",
					  -1, SQLITE_PREPARE_PERSISTENT, &store->update, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(store->db, "DELETE FROM object WHERE id = ?1", -1, SQLITE_PREPARE_PERSISTENT,
					  &store->delete, NULL);
	return code;
}

static int open_db(struct store *store, bool empty, struct dpu_error *err)
{
	int64_t version = 0;
	int code = db_open(store->path, &store->db);
	int status = 0;

	if (code != SQLITE_OK)
		return store_error(store->path, code, sqlite3_errstr(code), err);
	if (!empty)
		status = read_version(store->path, store->db, &version, err);
	if (!empty && status == 0)
		status = check_pages(store->path, store->db, err);
	if (status == 0 && prepare(store, version) != SQLITE_OK)
		status = db_error(store, err);
	return status;
}

int store_open(const char *path, struct store **ret, struct dpu_error *err)
{
	struct stat info = { 0 };
	/* SQLite would make it readable for all; it may hold secrets. Its other files take over the mode. */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || fstat(fd, &info) < 0) {
		int error = errno;
		if (fd >= 0)
			close(fd);
		return error_set(err, DPU_E_IO, path, "cannot open the store: %s", strerror(error));
	}
	close(fd);
	struct store *store = calloc(1, sizeof(*store));
	if (!store || !(store->path = strdup(path))) {
		free(store);
		return error_set(err, DPU_E_LIMIT, path, "out of memory");
	}
	int status = open_db(store, info.st_size == 0, err);
	if (status < 0)
		store_close(store);
	else
		*ret = store;
	return status;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	sqlite3_finalize(store->insert);
	sqlite3_finalize(store->update);
	sqlite3_finalize(store->delete);
	sqlite3_close(store->db);
	text_free(&store->fields);
	free(store->path);
	free(store);
}

/* ---- reading ---- */

static bool column_uuid(sqlite3_stmt *stmt, int column, struct uuid *ret)
{
	const void *blob = sqlite3_column_blob(stmt, column);

	*ret = (struct uuid){ 0 };
	if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
		return true;
	if (sqlite3_column_bytes(stmt, column) != sizeof(*ret))
		return false;
	memcpy(ret, blob, sizeof(*ret));
	return true;
}

static bool read_row(sqlite3_stmt *stmt, struct store_row *row)
{
	int64_t slot = sqlite3_column_int64(stmt, 5), generation = sqlite3_column_int64(stmt, 6);

	row->id = sqlite3_column_int64(stmt, 0);
	row->class = (const char *)sqlite3_column_text(stmt, 1);
	row->name = (const char *)sqlite3_column_text(stmt, 4);
	row->fields = (const char *)sqlite3_column_text(stmt, 7);
	row->slot = (uint32_t)slot;
	row->generation = (uint64_t)generation;
	return column_uuid(stmt, 2, &row->uuid) && column_uuid(stmt, 3, &row->tenant) && row->class && row->name &&
	       row->fields && !uuid_is_zero(&row->uuid) && slot > 0 && slot <= UINT32_MAX && generation > 0;
}

int store_each(struct store *store, int (*fn)(void *arg, const struct store_row *row), void *arg, struct dpu_error *err)
{
	CLEANUP(stmt_finalize) sqlite3_stmt *stmt = NULL;
	struct store_row row;
	int code, status = 0;

	code = sqlite3_prepare_v2(
		store->db, "SELECT id, class, uuid, tenant, name, slot, generation, fields FROM object ORDER BY id", -1,
		&stmt, NULL);
	while (code == SQLITE_OK && status == 0) {
		int step = sqlite3_step(stmt);
		if (step == SQLITE_DONE)
			return 0;
		if (step != SQLITE_ROW)
			code = step;
		else if (!read_row(stmt, &row))
			return error_set(err, DPU_E_IO, store->path,
					 "the store is damaged: the row %lld makes no sense", (long long)row.id);
		else
			status = fn(arg, &row);
	}
	return code == SQLITE_OK ? status : db_error(store, err);
}

/* ---- writing ---- */

static int run_stmt(sqlite3_stmt *stmt)
{
	int code = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int put_object(struct store *store, struct node *node, const struct object *object)
{
	sqlite3_stmt *stmt = node->store_id ? store->update : store->insert;

	store->fields.length = 0;
	store_fields_write(node->class, object, &store->fields);
	if (store->fields.failed)
		return SQLITE_NOMEM;
	sqlite3_bind_text(stmt, 1, node->class->class->name, -1, SQLITE_STATIC);
	sqlite3_bind_blob(stmt, 2, &object->uuid, sizeof(object->uuid), SQLITE_STATIC);
	if (object->tenant)
		sqlite3_bind_blob(stmt, 3, &object->tenant->uuid, sizeof(struct uuid), SQLITE_STATIC);
	else
		sqlite3_bind_null(stmt, 3);
	sqlite3_bind_text(stmt, 4, object->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 5, object->slot);
	sqlite3_bind_int64(stmt, 6, (sqlite3_int64)object->generation);
	sqlite3_bind_text(stmt, 7, store->fields.data, (int)store->fields.length, SQLITE_STATIC);
	if (node->store_id)
		sqlite3_bind_int64(stmt, 8, node->store_id);
	int code = run_stmt(stmt);
	sqlite3_clear_bindings(stmt);
	if (code == SQLITE_OK && !node->store_id)
		node->store_id = sqlite3_last_insert_rowid(store->db);
	return code;
}

static int put_member(struct store *store, const struct member *member)
{
	if (member->new)
		return put_object(store, member->node, member->new);
	sqlite3_bind_int64(store->delete, 1, member->node->store_id);
	return run_stmt(store->delete);
}

int store_write(struct store *store, struct stage *stage, struct dpu_error *err)
{
	int code = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	struct member *member;

	TAILQ_FOREACH(member, &stage->members, link)
	{
		if (code == SQLITE_OK)
			code = put_member(store, member);
	}
	if (code == SQLITE_OK)
		return 0;
	int status = db_error(store, err);
	store_rollback(store);
	return status;
}

int store_commit(struct store *store, struct dpu_error *err)
{
	if (sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	int status = db_error(store, err);
	store_rollback(store);
	return status;
}

void store_rollback(struct store *store)
{
	/* After some errors SQLite has rolled back by itself. */
	if (!sqlite3_get_autocommit(store->db))
		sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}
