/* SPDX-License-Identifier: BSD-3-Clause */
/* The store: one SQLite file with a row per object. Fields are JSON text in which references are UUIDs.
 *
 * Durable when store_commit() returns 0 (WAL, synchronous=FULL). One process has the file at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/netaddr.h"

struct store;
struct stage;
struct sqlite3;

enum { STORE_VERSION = 2, STORE_APPLICATION_ID = 0x73647075 /* "sdpu" */ };

struct store_row {
	int64_t id;               /* 0: not stored yet */
	struct uuid uuid, tenant; /* tenant is zero where there is none */
	const char *class, *name;
	uint32_t slot;
	uint64_t generation;
	const char *fields;
};

/* Creates, or checks and migrates. A store of a newer version, of another program or damaged is refused and the file
 * left untouched. */
int store_open(const char *path, struct store **ret, struct dpu_error *err);
void store_close(struct store *store);
/* In order of creation, until fn returns non-zero, which is returned. The row is valid during the call. */
int store_each(struct store *store, int (*fn)(void *arg, const struct store_row *row), void *arg,
	       struct dpu_error *err);
/* One transaction: begin, what the stage changes, and then commit or rollback. A failed store_write() or
 * store_commit() has rolled back. */
int store_write(struct store *store, struct stage *stage, struct dpu_error *err);
int store_commit(struct store *store, struct dpu_error *err);
void store_rollback(struct store *store);

/* store_fields.c: appends the JSON text of a row's fields. */
struct class_state;
struct object;
struct text;
void store_fields_write(const struct class_state *state, const struct object *object, struct text *text);

/* store_migrate.c: from version to STORE_VERSION, in one SQLite transaction. Version 0 is an empty file.
 * After a failure db keeps its message and must be closed, which rolls back. */
int store_migrate(struct sqlite3 *db, int version);
