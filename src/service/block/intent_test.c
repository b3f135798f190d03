// SPDX-License-Identifier: BSD-3-Clause
/* Tests of intents: what was wanted of a pool and not carried out when dpud ended. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "operating/uring_needed.h"
#include "service/block/block_rig.h"
#include "service/block/store/store_format.h"

/* Deleted while its pool cannot be opened, and dpud ends before it can: gone all the same. */
static void deleted_in_absence(void **state)
{
	struct block_rig *rig = *state;
	char path[128], away[128];

	block_rig_pool(rig);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 4096}", NULL);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/x", "{'pool': 'p', 'size': 4096}", NULL);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/m", rig->dir);
	snprintf(away, sizeof(away), "%s/away", rig->dir);
	assert_int_equal(rename(path, away), 0);
	block_rig_up(rig);
	block_rig_delete(rig, "volume", "blue/w", false, NULL);
	block_rig_down(rig);
	block_rig_up(rig);
	block_rig_delete(rig, "volume", "blue/x", false, NULL);
	assert_int_equal(rename(away, path), 0);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "ready") == 0);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "unclaimed"), "0") == 0);
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/block-intents", rig->dir);
	assert_int_equal(access(path, F_OK), 0);
	FILE *file = fopen(path, "re");
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "ready") == 0);
	FIELD_IS(rig, "pool", "p", "unclaimed", "0");
	FIELD_IS(rig, "volume", "v", "state", "ready");
}

static void medium_copy(const struct block_rig *rig, const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof(command), "cp %s/%s %s/%s", rig->dir, from, rig->dir, to);
	assert_int_equal(system(command), 0);
}

/* A pool, and a copy of its medium to go back to. */
static void pool_kept(struct block_rig *rig)
{
	block_rig_pool(rig);
	block_rig_down(rig);
	medium_copy(rig, "m", "before");
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "p", "state"), "ready") == 0);
}

/* A pool that went back in time does not have a volume: it is lost, not made anew. One that was never made is. */
static void lost_or_never_made(void **state)
{
	struct block_rig *rig = *state;
	char path[128], pool[64], volume[64];
	FILE *file;

	pool_kept(rig);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 4096}", NULL);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/x", "{'pool': 'p', 'size': 4096}", NULL);
	snprintf(pool, sizeof(pool), "%s", block_rig_field(rig, "pool", "p", "uuid"));
	snprintf(volume, sizeof(volume), "%s", block_rig_field(rig, "volume", "x", "uuid"));
	block_rig_down(rig);
	medium_copy(rig, "before", "m");
	snprintf(path, sizeof(path), "%s/block-intents", rig->dir);
	file = fopen(path, "we");
	fprintf(file, "create %s %s\nnonsense\n", pool, volume);
	fclose(file);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "x", "state"), "ready") == 0);
	FIELD_IS(rig, "volume", "v", "state", "ready");
	FIELD_IS(rig, "volume", "w", "state", "failed");
	assert_non_null(strstr(block_rig_field(rig, "volume", "w", "why"), "the pool does not have it"));
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/w", "{'size': 8192}", NULL);
	FIELD_IS(rig, "volume", "w", "state", "failed");
	block_rig_delete(rig, "volume", "blue/w", false, NULL);
}

/* What a kill left of intents that were carried out is struck at the next start: a pool that then goes back in time has
 * lost the volume. A line that a power failure tore does not hide the next one. */
static void carried_out_before_a_kill(void **state)
{
	struct block_rig *rig = *state;
	char path[128], pool[64], volume[64];
	FILE *file;

	pool_kept(rig);
	block_rig_change(rig, CHANGE_CREATE, "volume", "blue/w", "{'pool': 'p', 'size': 4096}", NULL);
	snprintf(pool, sizeof(pool), "%s", block_rig_field(rig, "pool", "p", "uuid"));
	snprintf(volume, sizeof(volume), "%s", block_rig_field(rig, "volume", "w", "uuid"));
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/block-intents", rig->dir);
	file = fopen(path, "we");
	fprintf(file, "create %s %s\n", pool, volume);
	fclose(file);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "w", "state"), "ready") == 0);
	block_rig_down(rig);
	file = fopen(path, "re");
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	medium_copy(rig, "before", "m");
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "w", "state"), "failed") == 0);
	block_rig_down(rig);
	file = fopen(path, "we");
	fprintf(file, "create %s\ncreate %s %s\n", pool, pool, volume);
	fclose(file);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "w", "state"), "ready") == 0);
}

/* One that is outstanding for long does not make the list of intents longer and longer. */
static void a_long_wait_of_one(void **state)
{
	struct block_rig *rig = *state;
	char path[128], away[128], uuid[64], text[65536] = "";
	unsigned lines = 0;

	block_rig_pool(rig);
	block_rig_apply(
		rig,
		"{'media': [{'name': 'n', 'path': '%s/n', 'size': 33554432}], 'pools': [{'name': 'q', 'media': ['n']}],"
		" 'volumes': [{'name': 'w', 'tenant': 'blue', 'pool': 'q', 'size': 4096}]}",
		rig->dir);
	snprintf(uuid, sizeof(uuid), "%s", block_rig_field(rig, "volume", "w", "uuid"));
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/n", rig->dir);
	snprintf(away, sizeof(away), "%s/away", rig->dir);
	assert_int_equal(rename(path, away), 0);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "state"), "ready") == 0);
	block_rig_delete(rig, "volume", "blue/w", false, NULL);
	for (unsigned i = 0; i < 150; i++) {
		block_rig_change(rig, CHANGE_CREATE, "volume", "blue/x", "{'pool': 'p', 'size': 4096}", NULL);
		block_rig_delete(rig, "volume", "blue/x", false, NULL);
	}
	snprintf(path, sizeof(path), "%s/block-intents", rig->dir);
	FILE *file = fopen(path, "re");
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	for (const char *line = strchr(text, '\n'); line; line = strchr(line + 1, '\n'))
		lines++;
	assert_in_range(lines, 1, 2 * 210);
	assert_non_null(strstr(text, uuid));
	block_rig_down(rig);
	snprintf(path, sizeof(path), "%s/n", rig->dir);
	assert_int_equal(rename(away, path), 0);
	block_rig_up(rig);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "q", "state"), "ready") == 0);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "pool", "q", "unclaimed"), "0") == 0);
}

/* ---- a pool that is to be formatted ---- */

enum { SUPERS_GONE = 1, ROOTS_GONE = 2, OWNER_OTHER = 4 };

static void wipe(int fd, uint64_t block, uint64_t blocks)
{
	static const uint8_t zeroes[STORE_BLOCK];

	for (uint64_t i = 0; i < blocks; i++)
		assert_int_equal(pwrite(fd, zeroes, STORE_BLOCK, (off_t)((block + i) * STORE_BLOCK)), STORE_BLOCK);
}

/* The medium as a formatting that was cut short leaves it, or as somebody else's. */
static void medium_change(const struct block_rig *rig, unsigned what, const char *mark)
{
	struct store_super super;
	char path[128];

	snprintf(path, sizeof(path), "%s/m", rig->dir);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &super, sizeof(super), 0), sizeof(super));
	if (what & ROOTS_GONE)
		wipe(fd, super.root_block[0], 2 * super.root_blocks);
	if (what & SUPERS_GONE) {
		wipe(fd, 0, 1);
		wipe(fd, super.blocks - 1, 1);
	}
	if (what & OWNER_OTHER) {
		super.owner[0]++;
		assert_int_equal(pwrite(fd, &super, sizeof(super), 0), sizeof(super));
		wipe(fd, super.blocks - 1, 1);
	}
	assert_int_equal(pwrite(fd, mark, strlen(mark), 0), strlen(mark));
	close(fd);
}

static void formatting_note(const struct block_rig *rig, const char *pool)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/block-intents", rig->dir);
	FILE *file = fopen(path, "we");
	if (pool)
		fprintf(file, "format %s %s\n", pool, pool);
	fclose(file);
}

/* What a crash has left of a pool that was being made is formatted again, and nothing else is. */
static void formatted_again(void **state)
{
	static const struct {
		unsigned what;
		bool noted;
		const char *mark, *why; /* why: it is not formatted; "": nor need it be */
	} cases[] = {
		{ SUPERS_GONE, true, "", NULL },
		{ ROOTS_GONE, true, "", NULL },
		{ ROOTS_GONE | SUPERS_GONE, true, "", NULL },
		{ 0, true, "", "" },
		{ ROOTS_GONE, false, "", "formatting was cut short, format it again" },
		{ SUPERS_GONE, false, "", "there is no pool here" },
		{ SUPERS_GONE, true, "XFSB", "holds an XFS file system" },
		{ ROOTS_GONE | OWNER_OTHER, true, "", "holds a pool already" },
	};
	struct block_rig *rig = *state;
	char pool[64], path[128];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool again = !cases[i].why, open = again || !cases[i].why[0];
		block_rig_pool(rig);
		snprintf(pool, sizeof(pool), "%s", block_rig_field(rig, "pool", "p", "uuid"));
		block_rig_down(rig);
		medium_change(rig, cases[i].what, cases[i].mark);
		formatting_note(rig, cases[i].noted ? pool : NULL);
		for (unsigned start = 0; start < 2;
		     start++) { /* what is refused stays so, what is made has not to be again */
			block_rig_up(rig);
			WAIT_FOR(&rig->base,
				 strcmp(block_rig_field(rig, "pool", "p", "state"), open ? "ready" : "failed") == 0);
			if (!open && !strstr(block_rig_field(rig, "pool", "p", "why"), cases[i].why))
				fail_msg("case %u: %s", i, block_rig_field(rig, "pool", "p", "why"));
			WAIT_FOR(&rig->base,
				 strcmp(block_rig_field(rig, "volume", "v", "state"), again  ? "failed"
										      : open ? "ready"
											     : "waiting") == 0);
			block_rig_down(rig);
		}
		block_rig_up(rig);
		block_rig_delete(rig, "pool", "p", true, NULL);
		block_rig_delete(rig, "medium", "m", false, NULL);
		block_rig_delete(rig, "tenant", "blue", true, NULL);
		snprintf(path, sizeof(path), "%s/m", rig->dir);
		assert_int_equal(unlink(path), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(deleted_in_absence, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(lost_or_never_made, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(carried_out_before_a_kill, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(a_long_wait_of_one, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(formatted_again, block_rig_setup, block_rig_teardown),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
