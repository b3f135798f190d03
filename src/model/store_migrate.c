/* SPDX-License-Identifier: BSD-3-Clause */
/* From the layout of an older store to ours, one version after the other.
 *
 * A step is SQL. Steps that were released never change; new ones go at the end. A change of a class that makes stored
 * fields unreadable (a renamed field) is a step, too, by SQLite's JSON functions. */
#include <sqlite3.h>
#include <stdio.h>
#include "model/model_priv.h"
#include "model/store.h"

static const char current_layout[] =
	"CREATE TABLE softdpu(version INTEGER NOT NULL);"
	"CREATE TABLE object("
	" id INTEGER PRIMARY KEY," /* order of creation; rows are appended and found by it */
	" class TEXT NOT NULL, uuid BLOB NOT NULL, tenant BLOB, name TEXT NOT NULL, slot INTEGER NOT NULL,"
	" generation INTEGER NOT NULL, fields TEXT NOT NULL);";

static const char *const steps[STORE_VERSION] = {
	/* UUIDs were text and slots were given anew at each start. */
	[1] = "ALTER TABLE object RENAME TO object_1;"
	      "CREATE TABLE object("
	      " id INTEGER PRIMARY KEY, class TEXT NOT NULL, uuid BLOB NOT NULL, tenant BLOB, name TEXT NOT NULL,"
	      " slot INTEGER NOT NULL, generation INTEGER NOT NULL, fields TEXT NOT NULL);"
	      "INSERT INTO object(class, uuid, tenant, name, slot, generation, fields)"
	      " SELECT class, uuid_blob(uuid), uuid_blob(tenant), name,"
	      "  row_number() OVER (PARTITION BY class ORDER BY rowid), generation, fields"
	      " FROM object_1 ORDER BY rowid;"
	      "DROP TABLE object_1;",
};

/* uuid_blob(text): SQLite has no unhex() before 3.41. */
static void uuid_blob(sqlite3_context *context, int count, sqlite3_value **values)
{
	const char *text = (const char *)sqlite3_value_text(values[0]);
	struct uuid uuid;

	if (!text)
		sqlite3_result_null(context);
	else if (uuid_parse(text, &uuid) < 0)
		sqlite3_result_error(context, "a UUID in the store is damaged", -1);
	else
		sqlite3_result_blob(context, &uuid, sizeof(uuid), SQLITE_TRANSIENT);
}

static int run(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int create(sqlite3 *db)
{
	char sql[80];
	int code = run(db, current_layout);

	if (code != SQLITE_OK)
		return code;
	snprintf(sql, sizeof(sql), "INSERT INTO softdpu VALUES(0); PRAGMA application_id=%d", STORE_APPLICATION_ID);
	return run(db, sql);
}

static int migrate(sqlite3 *db, int version)
{
	char sql[80];
	int code = sqlite3_create_function(db, "uuid_blob", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, uuid_blob,
					   NULL, NULL);

	if (code == SQLITE_OK && version == 0) {
		code = create(db);
		version = STORE_VERSION;
	}
	for (; code == SQLITE_OK && version < STORE_VERSION; version++)
		code = run(db, steps[version]);
	if (code != SQLITE_OK)
		return code;
	snprintf(sql, sizeof(sql), "UPDATE softdpu SET version = %d", STORE_VERSION);
	return run(db, sql);
}

int store_migrate(sqlite3 *db, int version)
{
	int code = run(db, "BEGIN EXCLUSIVE");

	if (code != SQLITE_OK)
		return code;
	code = migrate(db, version);
	if (code == SQLITE_OK)
		code = run(db, "COMMIT");
	return code;
}
