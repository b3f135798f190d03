// SPDX-License-Identifier: BSD-3-Clause
/* Tests of pools: what their media hold, damage, room, growth, deletion; on real workers and files on a tmpfs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <stdatomic.h>
#include "operating/uring_needed.h"
#include "service/block/block_priv.h"
#include "service/block/block_rig.h"
#include "service/block/store/store_format.h"

enum { MIB = 1 << 20, BLOCK = DPU_BLOCK_BYTES };

/* The model's objects are lost: the pool is not formatted over, but taken over, and its volumes copied or purged. */
static void foreign_pool(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v;
	char fields[128], uuid[64];
	struct dpu_error err;

	block_rig_pool(rig);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 4096}", NULL);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	block_rig_write(&v, 3, 7);
	block_rig_detach(&v);
	snprintf(uuid, sizeof(uuid), "%s", block_rig_field(rig, "volume", "v", "uuid"));
	block_rig_down(rig);
	assert_int_equal(unlink(rig->store), 0);
	block_rig_up(rig);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'path': '%s/m'}],"
			" 'pools': [{'name': 'p', 'media': ['m']}]}",
			rig->dir);
	FIELD_IS(rig, "pool", "p", "state", "failed");
	assert_non_null(strstr(block_rig_field(rig, "pool", "p", "why"), "holds a pool already"));
	json_decref(block_rig_action(rig, "pool", "adopt", "p", NULL, NULL));
	FIELD_IS(rig, "pool", "p", "state", "ready");
	FIELD_IS(rig, "pool", "p", "unclaimed", "2");
	snprintf(fields, sizeof(fields), "{'pool': 'p', 'from_unclaimed': '%s'}", uuid);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/n", fields, NULL);
	FIELD_IS(rig, "volume", "n", "size", "16777216");
	block_rig_attach(&v, rig, "volume", "n", NULL);
	WAIT_FOR(&rig->base, v.device);
	json_decref(block_rig_action(rig, "pool", "purge", "p", json_pack("{s:s}", "uuid", uuid), NULL));
	FIELD_IS(rig, "pool", "p", "unclaimed", "1");
	assert_null(block_rig_action(rig, "pool", "purge", "p", json_pack("{s:s}", "uuid", uuid), &err));
	assert_int_equal(err.code, DPU_E_NOT_FOUND);
	json_decref(block_rig_action(rig, "pool", "purge", "p", NULL, NULL));
	FIELD_IS(rig, "pool", "p", "unclaimed", "0");
	block_rig_expect(&v, 3, 7);
	/* Closed and opened again under its user. */
	json_decref(block_rig_action(rig, "pool", "open", "p", json_pack("{s:b}", "force", 1), NULL));
	WAIT_FOR(&rig->base, v.device);
	assert_int_equal(v.given, 2);
	block_rig_expect(&v, 3, 7);
	block_rig_detach(&v);
	assert_null(block_rig_action(rig, "pool", "format", "p", NULL, &err));
	assert_int_equal(err.code, DPU_E_IN_USE);
	block_rig_delete(rig, "volume", "blue/n", false, NULL);
	json_decref(block_rig_action(rig, "pool", "format", "p", NULL, NULL));
	FIELD_IS(rig, "pool", "p", "checkpoint", "1");
}

/* ---- damage ---- */

/* One bit of every block of the medium that the test says so of. */
static unsigned damage(const struct block_rig *rig, bool (*is_it)(const void *block))
{
	uint64_t data[BLOCK / 8];
	unsigned found = 0;
	char path[128];

	snprintf(path, sizeof(path), "%s/m", rig->dir);
	int fd = open(path, O_RDWR);
	for (off_t at = 0; pread(fd, data, BLOCK, at) == BLOCK; at += BLOCK) {
		if (!is_it(data))
			continue;
		data[100] ^= 1;
		assert_int_equal(pwrite(fd, data, BLOCK, at), BLOCK);
		found++;
	}
	close(fd);
	return found;
}

static bool is_version_7(const void *block)
{
	uint8_t expected[BLOCK];

	block_rig_fill(expected, 7);
	return memcmp(block, expected, BLOCK) == 0;
}

static bool is_leaf_of_second(const void *block)
{
	const struct page_header *header = block;

	return header->kind == PAGE_LEAF && header->owner == 2 && header->level == 0 && header->generation &&
	       header->generation < 1000;
}

struct read {
	struct dpu_block_request request;
	struct iovec iov;
	uint8_t data[BLOCK];
	struct dpu_block_device *device;
};

static atomic_uint reads_left;

static void read_done(struct dpu_block_request *request)
{
	atomic_fetch_sub(&reads_left, 1);
}

static void read_submit(void *arg, struct worker *worker)
{
	struct read *read = arg;

	read->device->ops->submit(read->device, &read->request);
}

/* Control does nothing meanwhile. */
static void read_unseen(struct block_rig_user *user, struct read *reads, unsigned count)
{
	atomic_store(&reads_left, count);
	for (unsigned i = 0; i < count; i++) {
		reads[i].device = user->device;
		reads[i].iov = (struct iovec){ reads[i].data, BLOCK };
		reads[i].request = (struct dpu_block_request){ .op = DPU_BLOCK_READ,
							       .segments = 1,
							       .offset = (uint64_t)i * BLOCK,
							       .length = BLOCK,
							       .iov = &reads[i].iov,
							       .done = read_done };
		assert_int_equal(worker_call(user->worker, read_submit, &reads[i], NULL), 0);
	}
	while (atomic_load(&reads_left))
		usleep(100);
}

/* So many damaged blocks that not all of them can be told: a quarantine is known all the same. */
static void quarantine_among_much_damage(void **state)
{
	enum { BLOCKS = 60 };
	struct block_rig *rig = *state;
	struct block_rig_user v, w;
	struct read *reads = calloc(BLOCKS, sizeof(*reads));

	block_rig_pool(rig);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 8192}", NULL);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	block_rig_attach(&w, rig, "volume", "w", NULL);
	WAIT_FOR(&rig->base, v.device && w.device);
	for (unsigned i = 0; i < BLOCKS; i++)
		block_rig_write(&v, i, 7);
	block_rig_write(&w, 0, 8);
	block_rig_detach(&v);
	block_rig_detach(&w);
	block_rig_down(rig);
	assert_int_equal(damage(rig, is_version_7), BLOCKS);
	assert_int_equal(damage(rig, is_leaf_of_second), 1);
	block_rig_up(rig);
	block_rig_attach(&v, rig, "volume", "v", NULL);
	block_rig_attach(&w, rig, "volume", "w", NULL);
	WAIT_FOR(&rig->base, v.device && w.device);
	read_unseen(&v, reads, BLOCKS);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(reads[i].request.status, DPU_BLOCK_INTEGRITY);
	read_unseen(&w, reads, 1);
	assert_int_equal(reads[0].request.status, DPU_BLOCK_GONE);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "w", "state"), "quarantined") == 0);
	assert_null(w.device);
	FIELD_IS(rig, "volume", "v", "state", "ready");
	/* Deleted and counted again, its space is there. */
	block_rig_detach(&v);
	block_rig_detach(&w);
	block_rig_delete(rig, "volume", "blue/w", false, NULL);
	json_decref(block_rig_action(rig, "pool", "repair", "p", json_pack("{s:b}", "wait", 1), NULL));
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	free(reads);
}

/* ---- room ---- */

/* A pool says when it is short of room, and when that is over. */
static void full_pool(void **state)
{
	struct block_rig *rig = *state;
	struct block_rig_user v;
	uint8_t *data = calloc(1, MIB);
	unsigned written = 0;

	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'r', 'kind': 'ram', 'size': 33554432}],"
			" 'pools': [{'name': 'p', 'media': ['r']}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 67108864}]}");
	FIELD_IS(rig, "pool", "p", "fill", "has-room");
	block_rig_attach(&v, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, v.device);
	uint64_t room = strtoull(block_rig_field(rig, "pool", "p", "free_bytes"), NULL, 10) / MIB;
	for (; written < room * 93 / 100; written++)
		assert_int_equal(block_rig_io(&v, DPU_BLOCK_WRITE, (uint64_t)written * MIB, data, MIB, 0),
				 DPU_BLOCK_OK);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "fill"), "nearly-full") == 0);
	while (block_rig_io(&v, DPU_BLOCK_WRITE, (uint64_t)written * MIB, data, MIB, 0) == DPU_BLOCK_OK)
		written++;
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "fill"), "full") == 0);
	FIELD_IS(rig, "volume", "v", "state", "ready");
	assert_int_equal(block_rig_io(&v, DPU_BLOCK_DISCARD, 0, NULL, (uint64_t)room * MIB / 2, 0), DPU_BLOCK_OK);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "fill"), "has-room") == 0);
	block_rig_detach(&v);
	free(data);
}

/* Around a border it is told once. */
static void fill_levels(void **state)
{
	static const struct {
		uint64_t free_blocks;
		bool full;
		enum pool_fill fill;
	} steps[] = {
		{ 101, false, POOL_HAS_ROOM },    { 100, false, POOL_NEARLY_FULL }, { 101, false, POOL_NEARLY_FULL },
		{ 150, false, POOL_NEARLY_FULL }, { 151, false, POOL_HAS_ROOM },    { 0, true, POOL_FULL },
		{ 5, false, POOL_FULL },          { 21, false, POOL_NEARLY_FULL },  { 0, true, POOL_FULL },
		{ 900, false, POOL_HAS_ROOM },
	};
	enum pool_fill fill = POOL_HAS_ROOM;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct store_stats stats = { .blocks = 1000,
					     .free_blocks = steps[i].free_blocks,
					     .full = steps[i].full };
		fill = pool_fill_of(fill, &stats);
		assert_int_equal(fill, steps[i].fill);
	}
}

static void many_answered(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	struct dpu_error *ret = arg;

	*ret = err ? *err : (struct dpu_error){ 0 };
	ret->path[0] = status ? ret->path[0] : '!'; /* it has come */
}

/* In one transaction. */
static int make_many(struct block_rig *rig, unsigned count, struct dpu_error *err)
{
	struct txn *txn;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	for (unsigned i = 0; i < count; i++) {
		char key[32];
		json_t *fields = json_pack("{s:s,s:i}", "pool", "p", "size", 1 << 20);
		snprintf(key, sizeof(key), "blue/v%u", i);
		assert_int_equal(txn_add(txn, CHANGE_CREATE, "volume", NULL, key, fields, 0, false, err), 0);
		json_decref(fields);
	}
	*err = (struct dpu_error){ 0 };
	txn_commit(txn, many_answered, err);
	WAIT_FOR(&rig->base, err->path[0]);
	txn_free(txn);
	return err->code ? -1 : 0;
}

/* More volumes than the directory has room for, which are pages of 31, are refused before anything is made; deletions
 * make room. */
static void full_directory(void **state)
{
	enum { MOST = 1209 };
	struct block_rig *rig = *state;
	struct dpu_error err = { 0 };

	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'r', 'kind': 'ram', 'size': 33554432}],"
			" 'pools': [{'name': 'p', 'media': ['r'], 'max_volumes': 1200}]}");
	assert_int_not_equal(make_many(rig, MOST + 1, &err), 0);
	assert_int_equal(err.code, DPU_E_LIMIT);
	assert_non_null(strstr(err.message, "p can have 1209 volumes"));
	FIELD_IS(rig, "pool", "p", "volumes", "0");
	assert_int_equal(make_many(rig, MOST, &err), 0);
	FIELD_IS(rig, "pool", "p", "volumes", "1209");
	assert_int_not_equal(block_rig_change(rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v0'}", &err), 0);
	assert_string_equal(err.path, "snapshot/blue/s.volume");
	block_rig_delete(rig, "volume", "blue/v1", false, NULL);
	block_rig_change(rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v0'}", NULL);
	FIELD_IS(rig, "snapshot", "s", "state", "ready");
	block_rig_delete(rig, "pool", "p", true, NULL);
}

/* ---- growth ---- */

static void second_medium(struct block_rig *rig)
{
	block_rig_apply(rig, "{'media': [{'name': 'n', 'path': '%s/n', 'size': 67108864}]}", rig->dir);
}

/* By itself; what holds another pool only when that is said to be erased; neither is erased with the pool but what it
 * has. */
static void growth(void **state)
{
	struct block_rig *rig = *state;
	struct dpu_error err;
	char path[256];

	block_rig_pool(rig);
	second_medium(rig);
	block_rig_change(rig, CHANGE_CREATE, "pool", "q", "{'media': ['n']}", NULL);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'q', 'size': 4096}", NULL);
	/* The model forgets it, the medium does not. */
	block_rig_down(rig);
	snprintf(path, sizeof(path), "cp %s/n %s/kept", rig->dir, rig->dir);
	assert_int_equal(system(path), 0);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "w", "state"), "ready") == 0);
	block_rig_delete(rig, "pool", "q", true, NULL);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "cp %s/kept %s/n", rig->dir, rig->dir);
	assert_int_equal(system(path), 0);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	block_rig_change(rig, CHANGE_UPDATE, "pool", "p", "{'media': ['n', 'm']}", NULL);
	WAIT_FOR(&rig->base, strstr(block_rig_field(rig, "pool", "p", "why"), "medium n cannot be added"));
	/* After a restart it knows which one is its own, whatever comes first. */
	block_rig_down(rig);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	FIELD_IS(rig, "pool", "p", "unclaimed", "0");
	uint64_t bytes = strtoull(block_rig_field(rig, "pool", "p", "bytes"), NULL, 10);
	assert_true(bytes < 64 * MIB);
	assert_null(block_rig_action(rig, "pool", "grow", "p", json_pack("{s:s}", "medium", "m"), &err));
	assert_int_equal(err.code, DPU_E_EXISTS);
	assert_null(block_rig_action(rig, "pool", "grow", "p", json_pack("{s:s}", "medium", "o"), &err));
	assert_int_equal(err.code, DPU_E_NOT_FOUND);
	block_rig_change(rig, CHANGE_UPDATE, "medium", "n", "{'name': 'renamed'}", NULL);
	json_decref(block_rig_action(rig, "pool", "grow", "p", json_pack("{s:s}", "medium", "renamed"), NULL));
	FIELD_IS(rig, "pool", "p", "why", "");
	assert_true(strtoull(block_rig_field(rig, "pool", "p", "bytes"), NULL, 10) > bytes + 50 * MIB);
	block_rig_down(rig);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	assert_true(strtoull(block_rig_field(rig, "pool", "p", "bytes"), NULL, 10) > bytes + 50 * MIB);
}

static bool all_zero(const char *path)
{
	uint8_t data[BLOCK], zeroes[BLOCK] = { 0 };
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, data, BLOCK, 0), BLOCK);
	close(fd);
	return memcmp(data, zeroes, BLOCK) == 0;
}

/* A pool goes while a medium of it was never there, and another one was refused: that one's data stays. */
static void deleted_with_media_that_it_never_had(void **state)
{
	struct block_rig *rig = *state;
	char path[128];
	int fd;

	block_rig_pool(rig);
	snprintf(path, sizeof(path), "%s/short", rig->dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(write(fd, "data of others", 15), 15);
	assert_int_equal(ftruncate(fd, 4 * BLOCK), 0);
	close(fd);
	block_rig_apply(rig,
			"{'media': [{'name': 'gone', 'path': '%s/gone'}, {'name': 'short', 'path': '%s/short'}],"
			" 'pools': [{'name': 'p', 'media': ['m', 'gone', 'short']}]}",
			rig->dir, rig->dir);
	WAIT_FOR(&rig->base, strstr(block_rig_field(rig, "pool", "p", "why"), "medium short cannot be added"));
	FIELD_IS(rig, "volume", "v", "state", "ready");
	block_rig_delete(rig, "pool", "p", true, NULL);
	assert_false(all_zero(path));
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	assert_true(all_zero(path));
}

/* `pool format` was said of what was there then. */
static void erasing_is_not_kept_for_later(void **state)
{
	struct block_rig *rig = *state;
	char path[128], away[128];
	struct dpu_error err;

	block_rig_pool(rig);
	block_rig_delete(rig, "volume", "blue/v", false, NULL);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	snprintf(away, sizeof(away), "%s/away", rig->dir);
	assert_int_equal(rename(path, away), 0);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "medium", "m", "state"), "failed") == 0);
	assert_null(block_rig_action(rig, "pool", "format", "p", NULL, &err));
	assert_int_equal(rename(away, path), 0);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "failed") == 0);
	assert_non_null(strstr(block_rig_field(rig, "pool", "p", "why"), "holds a pool already"));
	json_decref(block_rig_action(rig, "pool", "adopt", "p", NULL, NULL));
	FIELD_IS(rig, "pool", "p", "state", "ready");
}

/* A superblock that is damaged says nothing while its copy is whole. */
static void first_superblock_damaged(void **state)
{
	struct block_rig *rig = *state;
	const uint8_t other[16] = { 7 };
	char path[128];

	block_rig_pool(rig);
	second_medium(rig);
	block_rig_change(rig, CHANGE_UPDATE, "pool", "p", "{'media': ['m', 'n']}", NULL);
	WAIT_FOR(&rig->base, atoll(block_rig_field(rig, "pool", "p", "bytes")) > 100 * MIB);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/n", rig->dir);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, other, sizeof(other), offsetof(struct store_super, pool)), sizeof(other));
	close(fd);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "ready") == 0);
	FIELD_IS(rig, "volume", "v", "state", "ready");
}

static void copy_file(struct block_rig *rig, const char *from, const char *to)
{
	char command[400];

	snprintf(command, sizeof(command), "cp %s/%s %s/%s", rig->dir, from, rig->dir, to);
	assert_int_equal(system(command), 0);
}

/* A transaction that nobody waits for. */
static void begin(struct block_rig *rig, enum change_op op, const char *fields)
{
	struct dpu_error err;
	struct txn *txn;
	json_t *json = fields ? json_loads(fields, 0, NULL) : NULL;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, op, "pool", NULL, "q", json, 0, false, &err), 0);
	txn_commit(txn, NULL, NULL);
	txn_free(txn);
	json_decref(json);
}

/* Whatever its opening is about: superblocks, what others have on its medium, the formatting. */
static void deleted_while_it_opens(void **state)
{
	struct block_rig *rig = *state;

	block_rig_apply(rig, "{'media': [{'name': 'n', 'path': '%s/n', 'size': '64M'}]}", rig->dir);
	for (unsigned turns = 0; turns < 60; turns++) {
		begin(rig, CHANGE_CREATE, "{\"media\": [\"n\"]}");
		for (unsigned i = 0; i < turns; i++)
			assert_int_equal(loop_once(rig->base.loop, 1), 0);
		begin(rig, CHANGE_DELETE, NULL);
	}
	/* The last of those may still be under way: this one waits for it. */
	block_rig_change(rig, CHANGE_CREATE, "pool", "q", "{'media': ['n']}", NULL);
	FIELD_IS(rig, "pool", "q", "state", "ready");
}

/* Who takes another's place on a medium gets it when that one has done all that it had to do there. */
static void successors(void **state)
{
	static uint8_t first[DPU_BLOCK_BYTES], zeroes[DPU_BLOCK_BYTES];
	struct block_rig *rig = *state;
	struct block_rig_user user;

	block_rig_apply(rig,
			"{'media': [{'name': 'n', 'path': '%s/n', 'size': '64M'}],"
			" 'pools': [{'name': 'q', 'media': ['n']}]}",
			rig->dir);
	block_rig_attach(&user, rig, "medium", "n", NULL);
	begin(rig, CHANGE_DELETE, NULL);
	WAIT_FOR(&rig->base, user.device);
	assert_null(block_rig_find(rig, "pool", "q"));
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 0, first, sizeof(first), 0), DPU_BLOCK_OK);
	assert_memory_equal(first, zeroes, sizeof(first));
	begin(rig, CHANGE_CREATE, "{\"media\": [\"n\"]}");
	WAIT_FOR(&rig->base, block_rig_field(rig, "pool", "q", "why")[0]);
	FIELD_IS(rig, "pool", "q", "why", "medium n: who used it before has not let go of it yet");
	block_rig_detach(&user);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "q", "state"), "ready") == 0);
}

/* One of its media was put back to what it was a while ago. */
static void older_copy(void **state)
{
	struct block_rig *rig = *state;
	struct dpu_error err;

	block_rig_pool(rig);
	second_medium(rig);
	block_rig_change(rig, CHANGE_UPDATE, "pool", "p", "{'media': ['m', 'n']}", NULL);
	WAIT_FOR(&rig->base, atoll(block_rig_field(rig, "pool", "p", "bytes")) > 100 * MIB);
	block_rig_down(rig);
	copy_file(rig, "n", "older");
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "ready") == 0);
	block_rig_down(rig);
	copy_file(rig, "n", "newest");
	copy_file(rig, "older", "n");
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "failed") == 0);
	assert_non_null(strstr(block_rig_field(rig, "pool", "p", "why"), "medium 'n', offset 0: it is an older copy"));
	assert_null(block_rig_action(rig, "pool", "open", "p", json_pack("{s:b}", "force", 1), &err));
	assert_non_null(strstr(err.message, "it is an older copy"));
	copy_file(rig, "newest", "n");
	json_decref(block_rig_action(rig, "pool", "open", "p", NULL, NULL));
	FIELD_IS(rig, "pool", "p", "state", "ready");
	FIELD_IS(rig, "volume", "v", "state", "ready");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(foreign_pool, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(quarantine_among_much_damage, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(full_pool, block_rig_setup, block_rig_teardown),
		cmocka_unit_test(fill_levels),
		cmocka_unit_test_setup_teardown(full_directory, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(growth, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(deleted_with_media_that_it_never_had, block_rig_setup,
						block_rig_teardown),
		cmocka_unit_test_setup_teardown(erasing_is_not_kept_for_later, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(first_superblock_damaged, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(deleted_while_it_opens, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(successors, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(older_copy, block_rig_setup, block_rig_teardown),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
