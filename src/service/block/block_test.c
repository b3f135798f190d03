// SPDX-License-Identifier: BSD-3-Clause
/* Tests of the block service: objects in a model, on real workers and files on a tmpfs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "operating/uring_needed.h"
#include "service/block/block_rig.h"

enum { MIB = 1 << 20, BLOCK = DPU_BLOCK_BYTES };

/* ---- transactions ---- */

static void document(void **state)
{
	struct block_rig *rig = *state;

	block_rig_apply(
		rig,
		"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'path': '%s/m', 'size': 67108864},"
		" {'name': 'r', 'kind': 'ram', 'size': 33554432}], 'pools': [{'name': 'p', 'media': ['m', 'r']}],"
		" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 16777216},"
		" {'name': 'c', 'tenant': 'blue', 'pool': 'p', 'from_snapshot': 's'},"
		" {'name': 'd', 'tenant': 'blue', 'pool': 'p', 'from_volume': 'c', 'size': 33554432}],"
		" 'snapshots': [{'name': 's', 'tenant': 'blue', 'volume': 'v'}]}",
		rig->dir);
	FIELD_IS(rig, "medium", "m", "state", "ready");
	FIELD_IS(rig, "medium", "m", "used_by", "pool/p");
	FIELD_IS(rig, "pool", "p", "state", "ready");
	FIELD_IS(rig, "pool", "p", "volumes", "3");
	FIELD_IS(rig, "pool", "p", "snapshots", "1");
	FIELD_IS(rig, "volume", "v", "state", "ready");
	FIELD_IS(rig, "volume", "c", "size", "16777216");
	FIELD_IS(rig, "volume", "d", "state", "ready");
	FIELD_IS(rig, "snapshot", "s", "state", "ready");
	FIELD_IS(rig, "snapshot", "s", "bytes", "16777216");
	block_rig_delete(rig, "pool", "p", true, NULL);
	assert_null(block_rig_find(rig, "volume", "v"));
	FIELD_IS(rig, "medium", "m", "used_by", "");
	/* Their place is free again: nothing refuses the next pool. */
	block_rig_change(rig, CHANGE_CREATE, "pool", "q", "{'media': ['m', 'r']}", NULL);
	FIELD_IS(rig, "pool", "q", "state", "ready");
	FIELD_IS(rig, "pool", "q", "unclaimed", "0");
}

static void refusals(void **state)
{
	static const struct {
		enum change_op op;
		const char *class_name, *key, *fields, *path;
	} cases[] = {
		{ CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p'}", "volume/blue/w.size" },
		{ CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 1000}", "volume/blue/w.size" },
		{ CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 140737488355840}", "volume/blue/w.size" },
		{ CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'from_volume': 'v', 'size': 4096}",
		  "volume/blue/w.size" },
		{ CHANGE_CREATE, "volume", "blue/w", "{'pool': 'q', 'from_volume': 'v'}", "volume/blue/w.from_volume" },
		{ CHANGE_UPDATE, "volume", "blue/v", "{'size': 4096}", "volume/blue/v.size" },
		{ CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': '40M'}", "volume/blue/w.size" },
		{ CHANGE_UPDATE, "volume", "blue/v", "{'size': '49M'}", "volume/blue/v.size" },
		{ CHANGE_UPDATE, "volume", "blue/x", "{'from_snapshot': 's'}", "volume/blue/x.from_snapshot" },
		{ CHANGE_CREATE, "pool", "r", "{'media': ['m']}", "pool/r.media" },
		{ CHANGE_UPDATE, "pool", "p", "{'media': ['free']}", "pool/p.media" },
		{ CHANGE_CREATE, "pool", "r", "{'media': ['free'], 'worker': 2}", "pool/r.worker" },
		{ CHANGE_CREATE, "medium", "n", "{}", "medium/n.path" },
		{ CHANGE_CREATE, "medium", "n", "{'path': 'relative'}", "medium/n.path" },
		{ CHANGE_CREATE, "medium", "n", "{'kind': 'ram'}", "medium/n.size" },
		{ CHANGE_CREATE, "medium", "n", "{'kind': 'ram', 'size': 1000}", "medium/n.size" },
		{ CHANGE_CREATE, "medium", "n", "{'kind': 'ram', 'size': 4096, 'path': '/x'}", "medium/n.path" },
		{ CHANGE_CREATE, "medium", "n", "{'kind': 'module', 'module': '../x'}", "medium/n.module" },
	};
	struct block_rig *rig = *state;
	struct dpu_error err;

	block_rig_pool(rig);
	block_rig_change(rig, CHANGE_UPDATE, "tenant", "blue", "{'max_volume_bytes': '48M'}", NULL);
	block_rig_apply(rig,
			"{'media': [{'name': 'free', 'kind': 'ram', 'size': 33554432},"
			" {'name': 'o', 'kind': 'ram', 'size': 33554432}], 'pools': [{'name': 'q', 'media': ['o']}],"
			" 'volumes': [{'name': 'x', 'tenant': 'blue', 'pool': 'p', 'size': 4096}],"
			" 'snapshots': [{'name': 's', 'tenant': 'blue', 'volume': 'v'}]}");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (block_rig_change(rig, cases[i].op, cases[i].class_name, cases[i].key, cases[i].fields, &err) == 0)
			fail_msg("case %u was accepted", i);
		if (strcmp(err.path, cases[i].path) != 0)
			fail_msg("case %u: %s: %s", i, err.path, err.message);
	}
	assert_int_not_equal(block_rig_delete(rig, "pool", "p", false, &err), 0);
	assert_int_not_equal(block_rig_delete(rig, "medium", "m", true, &err), 0);
	assert_int_not_equal(block_rig_delete(rig, "volume", "blue/v", false, &err), 0);
}

/* A name of a module that older versions took. */
static void stored_module(void **state)
{
	static const char rename[] = "UPDATE object SET fields = replace(fields, 'nothing-there', '../there')";
	struct block_rig *rig = *state;
	sqlite3 *store;

	block_rig_change(rig, CHANGE_CREATE, "medium", "n", "{'kind': 'module', 'module': 'nothing-there'}", NULL);
	block_rig_down(rig);
	assert_int_equal(sqlite3_open(rig->store, &store), SQLITE_OK);
	assert_int_equal(sqlite3_exec(store, rename, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(store);
	block_rig_up(rig);
	FIELD_IS(rig, "medium", "n", "module", "../there");
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "medium", "n", "state"), "failed") == 0);
	assert_non_null(strstr(block_rig_field(rig, "medium", "n", "why"), "must be a word"));
	block_rig_delete(rig, "medium", "n", false, NULL);
}

/* ---- data ---- */

static void copies(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v, s, c;

	block_rig_pool(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	block_rig_write(&v, 5, 1);
	block_rig_change(rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v'}", NULL);
	block_rig_write(&v, 5, 2);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/c", "{'pool': 'p', 'from_snapshot': 's'}", NULL);
	block_rig_attach(&s, rig, "snapshot", "s", NULL);
	block_rig_attach(&c, rig, "volume", "c", NULL);
	WAIT_FOR(&rig->base, s.device && c.device);
	block_rig_write(&c, 6, 3);
	block_rig_expect(&v, 5, 2);
	block_rig_expect(&v, 6, 0);
	block_rig_expect(&s, 5, 1);
	block_rig_expect(&c, 5, 1);
	block_rig_expect(&c, 6, 3);
	assert_int_equal(block_rig_io(&s, DPU_BLOCK_DISCARD, 0, NULL, BLOCK, 0), DPU_BLOCK_READ_ONLY);
	/* Larger while in use: its user is told. */
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 33554432}", NULL);
	assert_int_equal(atomic_load(&v.changes), 1);
	block_rig_write(&v, 8191, 4);
	block_rig_expect(&v, 8191, 4);
	/* What is cut off is gone. */
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 16777216, 'shrinkable': true}", NULL);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 33554432}", NULL);
	block_rig_expect(&v, 8191, 0);
	block_rig_expect(&v, 5, 2);
	block_rig_detach(&v);
	block_rig_detach(&s);
	block_rig_detach(&c);
	FIELD_IS(rig, "volume", "v", "attachments", "0");
	/* Two that have let go of each other. */
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/c", "{'from_snapshot': null}", NULL);
	block_rig_delete(rig, "volume", "blue/v", true, NULL);
	block_rig_attach(&c, rig, "volume", "c", NULL);
	WAIT_FOR(&rig->base, c.device);
	block_rig_expect(&c, 5, 1);
	block_rig_detach(&c);
}

static void discard_gives_back(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v;
	uint8_t *data = calloc(1, MIB);

	memset(data, 7, MIB);
	block_rig_pool(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	assert_int_equal(block_rig_io(&v, DPU_BLOCK_WRITE, 0, data, MIB, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	WAIT_FOR(&rig->base, atoll(block_rig_field(rig, "pool", "p", "allocated_bytes")) == MIB);
	assert_int_equal(block_rig_io(&v, DPU_BLOCK_DISCARD, 0, NULL, MIB, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	WAIT_FOR(&rig->base, atoll(block_rig_field(rig, "pool", "p", "allocated_bytes")) == 0);
	FIELD_IS(rig, "volume", "v", "writes", "1");
	block_rig_detach(&v);
	free(data);
}

/* ---- attachments ---- */

/* Who is asked back has all the time it needs, and the volume goes only afterwards. */
static void asked_back(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v, second;
	bool detached = false;

	block_rig_pool(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	block_rig_attach(&second, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device && second.device);
	FIELD_IS(rig, "volume", "v", "attachments", "2");
	v.hold = true;
	block_detach(v.attachment, set_flag, &detached);
	assert_true(v.asked);
	block_rig_write(&v, 1, 1);
	block_rig_expect(&second, 1, 1);
	run_for(&rig->base, 5 * CLOCK_NS_PER_MS);
	assert_false(detached);
	block_rig_release(&v);
	WAIT_FOR(&rig->base, detached);
	block_rig_expect(&second, 1, 1);
	block_rig_detach(&second);
	/* At once, before the device could come. */
	block_rig_attach(&v, rig, "volume", "v", NULL);
	block_rig_detach(&v);
	assert_int_equal(v.given, 0);
}

/* A file that grows, or shrinks, tells who uses it. */
static void medium_resized(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user m;
	char path[128];

	block_rig_apply(rig, "{'media': [{'name': 'm', 'path': '%s/m', 'size': 1048576}]}", rig->dir);
	block_rig_attach(&m, rig, "medium", "m", NULL);
	WAIT_FOR(&rig->base, m.device);
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	assert_int_equal(truncate(path, 2 * MIB), 0);
	WAIT_FOR(&rig->base, atomic_load(&m.changes) == 1);
	assert_int_equal(m.device->bytes, 2 * MIB);
	block_rig_write(&m, 2 * MIB / BLOCK - 1, 1);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "medium", "m", "bytes"), "2097152") == 0);
	assert_int_equal(truncate(path, MIB), 0);
	WAIT_FOR(&rig->base, atomic_load(&m.changes) == 2);
	assert_int_equal(m.device->bytes, MIB);
	block_rig_detach(&m);
}

/* ---- restarts ---- */

static void restart(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v;

	block_rig_pool(rig);
	block_rig_change(rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v'}", NULL);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	block_rig_write(&v, 9, 9);
	block_rig_detach(&v);
	/* A copy of the snapshot, whose volume is larger by now. */
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/c", "{'pool': 'p', 'from_snapshot': 's'}", NULL);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 33554432}", NULL);
	block_rig_down(rig);
	block_rig_up(rig);
	FIELD_IS(rig, "volume", "c", "size", "16777216");
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	block_rig_expect(&v, 9, 9);
	FIELD_IS(rig, "snapshot", "s", "state", "ready");
	FIELD_IS(rig, "pool", "p", "unclaimed", "0");
	FIELD_IS(rig, "pool", "p", "replayed_records", "0");
	block_rig_detach(&v);
}

enum { KEPT = 3 };

/* A pool without a free page; v has a block. */
static void without_pages(struct block_rig *rig, struct block_rig_user *v, struct block_rig_user *filler)
{
	enum { LEAF = 256 };
	static uint8_t data[BLOCK];
	uint64_t offset = 0;

	block_rig_pool(rig);
	block_rig_attach(v, rig, "volume", "v", NULL);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/filler", "{'pool': 'p', 'size': 1099511627776}", NULL);
	block_rig_attach(filler, rig, "volume", "filler", NULL);
	WAIT_FOR(&rig->base, v->device && filler->device);
	block_rig_write(v, KEPT, 7);
	while (block_rig_io(filler, DPU_BLOCK_WRITE, offset, data, BLOCK, 0) == DPU_BLOCK_OK)
		offset += (uint64_t)LEAF * BLOCK;
}

/* A volume that cannot become as large as it is to be is served as large as it is: after a start, too. */
static void too_large_for_the_pool(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v, filler;
	struct dpu_error err;

	without_pages(rig, &v, &filler);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 109951162777600}", &err);
	for (unsigned starts = 0; starts < 2; starts++) {
		FIELD_IS(rig, "volume", "v", "state", "failed");
		FIELD_IS(rig, "volume", "v", "why", "the pool has no room for a larger map");
		block_rig_expect(&v, KEPT, 7);
		assert_int_equal(v.device->bytes, 16 * MIB);
		block_rig_detach(&v);
		block_rig_detach(&filler);
		block_rig_down(rig);
		block_rig_up(rig);
		block_rig_attach(&v, rig, "volume", "v", NULL);
		block_rig_attach(&filler, rig, "volume", "filler", NULL);
		WAIT_FOR(&rig->base, v.device && filler.device);
	}
	assert_int_equal(block_rig_io(&filler, DPU_BLOCK_DISCARD, 0, NULL, filler.device->bytes, 0), DPU_BLOCK_OK);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'labels': ['try=again']}", NULL);
	FIELD_IS(rig, "volume", "v", "state", "ready");
	WAIT_FOR(&rig->base, v.device->bytes == 109951162777600);
	block_rig_expect(&v, KEPT, 7);
	block_rig_detach(&v);
	block_rig_detach(&filler);
}

static void add(struct txn *txn, enum change_op op, const char *class_name, const char *key, const char *fields)
{
	struct dpu_error err = { 0 };
	json_t *json = fields ? json_loads(fields, 0, NULL) : NULL;

	if (txn_add(txn, op, class_name, NULL, key, json, 0, false, &err) != 0)
		fail_msg("%s: %s", err.path, err.message);
	json_decref(json);
}

static void begin(struct block_rig *rig, enum change_op op, const char *key, const char *fields)
{
	struct txn *txn;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	add(txn, op, "volume", key, fields);
	txn_commit(txn, NULL, NULL);
	txn_free(txn);
}

/* What is asked for while something is under way that is going to fail is done all the same. */
static void overtaken(void **state)
{
	static const char too_large[] = "{\"size\": 109951162777600, \"shrinkable\": true}";
	struct block_rig *rig = *state;
	struct block_rig_user v, filler;

	without_pages(rig, &v, &filler);
	begin(rig, CHANGE_UPDATE, "blue/v", too_large);
	begin(rig, CHANGE_UPDATE, "blue/v", "{\"size\": 16777216}");
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	FIELD_IS(rig, "volume", "v", "why", "");
	block_rig_detach(&v);
	FIELD_IS(rig, "pool", "p", "volumes", "2");
	begin(rig, CHANGE_UPDATE, "blue/v", too_large);
	begin(rig, CHANGE_DELETE, "blue/v", NULL);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "volumes"), "1") == 0);
	block_rig_detach(&filler);
}

/* A file that is gone when its medium moves to the worker of a pool: who makes that is answered. */
static void lost_in_a_move(void **state)
{
	struct block_rig *rig = *state;
	char fields[160];

	snprintf(fields, sizeof(fields), "{'path': '%s/m', 'size': 67108864}", rig->dir);
	block_rig_change(rig, CHANGE_CREATE, "medium", "m", fields, NULL);
	FIELD_IS(rig, "medium", "m", "state", "ready");
	snprintf(fields, sizeof(fields), "%s/m", rig->dir);
	assert_int_equal(unlink(fields), 0);
	block_rig_change(rig, CHANGE_CREATE, "pool", "p", "{'media': ['m'], 'worker': 0}", NULL);
	FIELD_IS(rig, "medium", "m", "state", "failed");
	FIELD_IS(rig, "pool", "p", "state", "waiting");
	assert_non_null(strstr(block_rig_field(rig, "pool", "p", "why"), "there is no such file"));
}

/* A file that is missing at the start: everything waits for it, and comes when it is there. */
static void late_medium(void **state)
{
	struct block_rig *rig = *state;
	char path[128], away[128];
	struct block_rig_user v;
	struct dpu_error err;

	block_rig_pool(rig);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	snprintf(away, sizeof(away), "%s/away", rig->dir);
	assert_int_equal(rename(path, away), 0);
	block_rig_up(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "medium", "m", "state"), "failed") == 0);
	assert_non_null(strstr(block_rig_field(rig, "medium", "m", "why"), "there is no such file"));
	FIELD_IS(rig, "pool", "p", "state", "waiting");
	assert_non_null(strstr(block_rig_field(rig, "pool", "p", "why"), "there is no such file"));
	FIELD_IS(rig, "volume", "v", "state", "waiting");
	assert_non_null(block_why_not(block_rig_find(rig, "volume", "v")));
	assert_int_not_equal(
		block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 4096}", &err), 0);
	assert_string_equal(err.path, "volume/blue/w.pool");
	assert_int_equal(access(path, F_OK), -1); /* it is not made anew */
	assert_int_equal(rename(away, path), 0);
	WAIT_FOR(&rig->base, v.device);
	FIELD_IS(rig, "volume", "v", "state", "ready");
	block_rig_detach(&v);
}

/* The file is held by somebody else for a while. */
static void locked_medium(void **state)
{
	struct block_rig *rig = *state;
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[128];

	block_rig_pool(rig);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	int fd = open(path, O_RDWR);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	block_rig_up(rig);
	run_for(&rig->base, 200 * CLOCK_NS_PER_MS);
	FIELD_IS(rig, "medium", "m", "state", "opening");
	close(fd);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
}

/* ---- transactions that come to nothing ---- */

struct bomb {
	struct object base;
	struct ref volume;
};

static const struct field bomb_fields[] = {
	FIELD(struct bomb, volume, .target = "volume", .doc = "What it is applied after."),
	{ 0 },
};

static int bomb_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	return error_set(err, DPU_E_IO, "volume", "bang");
}

static const struct object_class bomb_class = {
	.name = "bomb",
	.plural = "bombs",
	.doc = "Fails when it is applied.",
	.size = sizeof(struct bomb),
	.fields = bomb_fields,
	.apply = bomb_apply,
};

static void fails(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	assert_string_equal(err->message, "bang");
	*(bool *)arg = true;
}

static void undone(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v;
	char medium[128];
	struct txn *txn;
	bool failed = false;

	block_rig_down(rig);
	rig->extra = &bomb_class;
	block_rig_up(rig);
	block_rig_pool(rig);
	block_rig_change(rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v'}", NULL);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	snprintf(medium, sizeof(medium), "{\"path\": \"%s/new\", \"size\": 67108864}", rig->dir);
	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	add(txn, CHANGE_DELETE, "snapshot", "blue/s", NULL);
	add(txn, CHANGE_UPDATE, "volume", "blue/v", "{\"size\": 33554432, \"name\": \"u\"}");
	add(txn, CHANGE_CREATE, "medium", "n", medium);
	add(txn, CHANGE_CREATE, "pool", "q", "{\"media\": [\"n\"]}");
	add(txn, CHANGE_CREATE, "volume", "blue/w", "{\"pool\": \"q\", \"size\": 4096}");
	add(txn, CHANGE_CREATE, "bomb", "blue/b", "{\"volume\": \"w\"}");
	txn_commit(txn, fails, &failed);
	txn_free(txn);
	assert_true(failed);
	run_for(&rig->base, 10 * CLOCK_NS_PER_MS);
	snprintf(medium, sizeof(medium), "%s/new", rig->dir);
	assert_int_equal(access(medium, F_OK), -1);
	FIELD_IS(rig, "snapshot", "s", "state", "ready");
	FIELD_IS(rig, "pool", "p", "snapshots", "1");
	FIELD_IS(rig, "volume", "v", "size", "16777216");
	assert_int_equal(atomic_load(&v.changes), 0);
	/* What comes next is not disturbed by it. */
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 33554432}", NULL);
	assert_int_equal(v.device->bytes, 33554432);
	block_rig_delete(rig, "snapshot", "blue/s", false, NULL);
	FIELD_IS(rig, "pool", "p", "snapshots", "0");
	block_rig_detach(&v);
}

/* ---- damage ---- */

static void scrub(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v;
	uint8_t data[BLOCK], found[BLOCK];
	char path[128];
	json_t *result;

	block_rig_pool(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	block_rig_write(&v, 3, 7);
	block_rig_write(&v, 4, 8);
	block_rig_detach(&v);
	result = block_rig_action(rig, "pool", "scrub", "p", json_pack("{s:b}", "wait", 1), NULL);
	assert_int_equal(json_integer_value(json_object_get(result, "damaged")), 0);
	json_decref(result);
	FIELD_IS(rig, "pool", "p", "scrub_state", "done");
	FIELD_IS(rig, "pool", "p", "scrub_progress", "100");
	result = block_rig_action(rig, "pool", "repair", "p", json_pack("{s:b}", "wait", 1), NULL);
	assert_int_equal(json_integer_value(json_object_get(result, "damaged")), 0);
	json_decref(result);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	/* One bit of one block on the medium. */
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	int fd = open(path, O_RDWR);
	off_t at = 0;
	block_rig_fill(data, 7);
	while (pread(fd, found, BLOCK, at) == BLOCK && memcmp(found, data, BLOCK) != 0)
		at += BLOCK;
	found[100] ^= 1;
	assert_int_equal(pwrite(fd, found, BLOCK, at), BLOCK);
	close(fd);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "ready") == 0);
	result = block_rig_action(rig, "pool", "scrub", "p", json_pack("{s:b}", "wait", 1), NULL);
	assert_int_equal(json_integer_value(json_object_get(result, "damaged")), 1);
	json_decref(result);
	FIELD_IS(rig, "pool", "p", "scrub_damaged", "1");
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	assert_int_equal(block_rig_io(&v, DPU_BLOCK_READ, 3 * BLOCK, data, BLOCK, 0), DPU_BLOCK_INTEGRITY);
	block_rig_expect(&v, 4, 8);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "integrity_errors"), "1") == 0);
	block_rig_detach(&v);
}

/* A medium that takes no writes any more (here: a limit of file sizes): the pool is read-only, and well after
 * it was opened again. */
static void failing_medium(void **state)
{
	struct block_rig *rig = *state;
	struct rlimit before, low;
	struct block_rig_user v;
	uint8_t data[BLOCK] = { 1 };

	block_rig_pool(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	block_rig_write(&v, 3, 7);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = (struct rlimit){ 4096, before.rlim_max };
	assert_int_equal(block_rig_io(&v, DPU_BLOCK_WRITE, 0, data, BLOCK, 0), DPU_BLOCK_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(block_rig_io(&v, DPU_BLOCK_FLUSH, 0, NULL, 0, 0), DPU_BLOCK_IO_ERROR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "read-only") == 0);
	assert_non_null(strstr(block_rig_field(rig, "pool", "p", "why"), "medium m"));
	block_rig_expect(&v, 3, 7);
	assert_int_not_equal(block_rig_io(&v, DPU_BLOCK_WRITE, 0, data, BLOCK, 0), DPU_BLOCK_OK);
	json_decref(block_rig_action(rig, "pool", "open", "p", NULL, NULL));
	WAIT_FOR(&rig->base, v.device);
	block_rig_expect(&v, 3, 7);
	block_rig_write(&v, 3, 8);
	FIELD_IS(rig, "pool", "p", "state", "ready");
	block_rig_detach(&v);
}

/* A kernel without io_uring, or one that forbids it: that is said, of no file. */
static bool no_uring;

int __real_uring_new(unsigned entries, struct uring **ret, struct dpu_error *err);
int __wrap_uring_new(unsigned entries, struct uring **ret, struct dpu_error *err);

int __wrap_uring_new(unsigned entries, struct uring **ret, struct dpu_error *err)
{
	return no_uring ? error_set(err, DPU_E_UNSUPPORTED, NULL, "there is no io_uring")
			: __real_uring_new(entries, ret, err);
}

static void without_uring(void **state)
{
	struct block_rig *rig = *state;

	no_uring = true;
	block_rig_apply(rig,
			"{'media': [{'name': 'm', 'path': '%s/m', 'size': 67108864}],"
			" 'pools': [{'name': 'p', 'media': ['m']}]}",
			rig->dir);
	no_uring = false;
	FIELD_IS(rig, "medium", "m", "state", "failed");
	FIELD_IS(rig, "medium", "m", "why", "there is no io_uring");
	FIELD_IS(rig, "pool", "p", "why", "medium m: there is no io_uring");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(document, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(refusals, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(copies, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(discard_gives_back, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(asked_back, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(stored_module, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(medium_resized, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(restart, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(too_large_for_the_pool, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(overtaken, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(late_medium, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(lost_in_a_move, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(locked_medium, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(undone, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(scrub, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(failing_medium, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(without_uring, block_rig_setup, block_rig_teardown),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
