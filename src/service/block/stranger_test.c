// SPDX-License-Identifier: BSD-3-Clause
/* Tests of what is not formatted over: marks of others anywhere on a medium are found and named, stay when they are not
 * to be erased, and are gone when they are. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "operating/uring_needed.h"
#include "service/block/block_rig.h"
#include "service/block/stranger.h"

#define MEDIUM_BYTES (UINT64_C(64) << 20)
#define END(bytes)   (MEDIUM_BYTES - (bytes))

struct patch {
	uint64_t at;
	const char *bytes;
	unsigned length;
};
#define PATCH(at, bytes)                                                                                               \
	{                                                                                                              \
		at, bytes, sizeof(bytes) - 1                                                                           \
	}

/* Of ZFS older versions of libblkid look for uberblocks, later ones for a label. */
#define ZFS_LABEL                                                                                                      \
	"\1\1\0\0\0\0\0\0\0\0\0\0"                                                                                     \
	"\0\0\0\x20\0\0\0\x20\0\0\0\4guid\0\0\0\x08\0\0\0\1\0\0\0\0\0\0\0\1"                                           \
	"\0\0\0\x24\0\0\0\x24\0\0\0\5state\0\0\0\0\0\0\x08\0\0\0\1\0\0\0\0\0\0\0\0"                                    \
	"\0\0\0\x20\0\0\0\x20\0\0\0\3txg\0\0\0\0\x08\0\0\0\1\0\0\0\0\0\0\0\1"
enum { PATCHES = 5 };

/* No more than makes them known. */
static const struct {
	const char *what;
	uint64_t offset;  /* where it is said to be */
	bool overwritten; /* … and only a new superblock takes it away */
	struct patch patch[PATCHES];
	uint64_t since; /* where libblkid 2.41 says that it is; 0: there, too */
} cases[] = {
	{ "a file system (ext2)", 1080, false, { PATCH(1080, "\x53\xef") } },
	{ "a file system (btrfs)", 65600, false, { PATCH(65600, "_BHRfS_M") } },
	{ "a file system (iso9660)", 32769, false, { PATCH(32768, "\1CD001\1") } },
	{ "a file system (zfs_member)",
	  138240,
	  false,
	  { PATCH(135168, "\x0c\xb1\xba\0\0\0\0\0\x88\x13"), PATCH(136192, "\x0c\xb1\xba\0\0\0\0\0\x88\x13"),
	    PATCH(137216, "\x0c\xb1\xba\0\0\0\0\0\x88\x13"), PATCH(138240, "\x0c\xb1\xba\0\0\0\0\0\x88\x13"),
	    PATCH(16384, ZFS_LABEL) },
	  16384 },
	{ "a member of a RAID or volume group (linux_raid_member)",
	  END(8192),
	  false,
	  { PATCH(END(8192), "\xfc\x4e\x2b\xa9\1"), PATCH(END(8192) + 0x90, "\xf0\xff\1") } },
	{ "a member of a RAID or volume group (LVM2_member)",
	  536,
	  true,
	  { PATCH(512, "LABELONE\1"), PATCH(532, "\x20\0\0\0LVM2 001") } },
	{ "an encrypted volume (crypto_LUKS)", 0, false, { PATCH(0, "LUKS\xba\xbe\0\1") } },
	{ "data (swap)", 4086, false, { PATCH(4086, "SWAPSPACE2"), PATCH(1024, "\1\0\0\0\xff") } },
	{ "a partition table (dos)",
	  510,
	  false,
	  { PATCH(446, "\x80\1\1\0\x83\1\1\2\1\0\0\0\xff"), PATCH(510, "\x55\xaa") } },
	{ "a partition table or a file system",
	  510,
	  true,
	  { PATCH(440, "nonse"), PATCH(446, "\7\7\7\7\7\7"), PATCH(510, "\x55\xaa") } },
	{ "a qcow2 image", 0, true, { PATCH(0, "QFI\xfb\0\0\0\3") } },
	{ "an XFS file system", 0, true, { PATCH(0, "XFSB") } },
	{ "a partition table", 512, true, { PATCH(512, "EFI PART") } },
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void patch(int fd, unsigned number)
{
	for (unsigned i = 0; i < PATCHES && cases[number].patch[i].length; i++) {
		const struct patch *patch = &cases[number].patch[i];
		assert_int_equal(pwrite(fd, patch->bytes, patch->length, (off_t)patch->at), patch->length);
	}
}

static bool is_place(unsigned number, uint64_t offset)
{
	return offset == cases[number].offset || (cases[number].since && offset == cases[number].since);
}

static void marks(void **state)
{
	struct stranger stranger;
	uint64_t wiped[16];

	for (unsigned i = 0; i < CASES; i++) {
		int fd = memfd_create("medium", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fd, MEDIUM_BYTES), 0);
		assert_false(stranger_find(fd, 512, &stranger));
		patch(fd, i);
		if (!stranger_find(fd, 512, &stranger))
			fail_msg("%s was not found", cases[i].what);
		assert_string_equal(stranger.what, cases[i].what);
		assert_true(is_place(i, stranger.offset));
		unsigned count = stranger_wipe(fd, 512, wiped, 16);
		assert_true(cases[i].overwritten || (count > 0 && wiped[0] == stranger.offset));
		if (stranger_find(fd, 512, &stranger) != cases[i].overwritten)
			fail_msg("%s is still there", stranger.what);
		close(fd);
	}
}

/* ---- on media of pools ---- */

static int medium_open(const struct block_rig *rig)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/other", rig->dir);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static void medium_make(const struct block_rig *rig, unsigned number)
{
	int fd = medium_open(rig);

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, MEDIUM_BYTES), 0);
	patch(fd, number);
	close(fd);
}

static bool untouched(const struct block_rig *rig, unsigned number)
{
	bool same = true;
	char data[128];
	int fd = medium_open(rig);

	for (unsigned i = 0; i < PATCHES && cases[number].patch[i].length; i++) {
		const struct patch *patch = &cases[number].patch[i];
		assert_int_equal(pread(fd, data, patch->length, (off_t)patch->at), patch->length);
		same = same && memcmp(data, patch->bytes, patch->length) == 0;
	}
	close(fd);
	return same;
}

static bool is_blank(const struct block_rig *rig)
{
	struct stranger stranger;
	int fd = medium_open(rig);
	bool found = stranger_find(fd, 512, &stranger);

	close(fd);
	return !found;
}

static void expect_why(struct block_rig *rig, const char *pool, unsigned number, const char *verb)
{
	const char *why = block_rig_field(rig, "pool", pool, "why");
	char words[160];

	snprintf(words, sizeof(words), "medium o holds %s at offset ", cases[number].what);
	const char *said = strstr(why, words);
	if (!said || !is_place(number, strtoull(said + strlen(words), NULL, 10)) || !strstr(why, verb))
		fail_msg("%s, %s: %s", words, verb, why);
	assert_true(untouched(rig, number));
}

/* Refused when a pool is made and when it grows; what is said to be erased is, wherever it is. */
static void pools(void **state)
{
	struct block_rig *rig = *state;
	struct dpu_error err;

	block_rig_pool(rig);
	for (unsigned i = 0; i < CASES; i++) {
		medium_make(rig, i);
		block_rig_apply(
			rig, "{'media': [{'name': 'o', 'path': '%s/other'}], 'pools': [{'name': 'q', 'media': ['o']}]}",
			rig->dir);
		FIELD_IS(rig, "pool", "q", "state", "failed");
		expect_why(rig, "q", i, "`pool format` erases it");
		assert_null(block_rig_action(rig, "pool", "open", "q", NULL, &err));
		assert_true(untouched(rig, i));
		json_decref(block_rig_action(rig, "pool", "format", "q", NULL, NULL));
		FIELD_IS(rig, "pool", "q", "state", "ready");
		assert_true(is_blank(rig));
		block_rig_delete(rig, "pool", "q", true, NULL);
		block_rig_delete(rig, "medium", "o", false, NULL);
	}
}

static void growing_pools(void **state)
{
	enum { AT_THE_END = 4 };
	struct block_rig *rig = *state;

	block_rig_pool(rig);
	medium_make(rig, AT_THE_END);
	block_rig_apply(rig,
			"{'media': [{'name': 'o', 'path': '%s/other'}], 'pools': [{'name': 'p', 'media': ['m', 'o']}]}",
			rig->dir);
	WAIT_FOR(&rig->base, strstr(block_rig_field(rig, "pool", "p", "why"), "medium o cannot be added"));
	expect_why(rig, "p", AT_THE_END, "`pool grow` erases it");
	json_decref(block_rig_action(rig, "pool", "grow", "p", json_pack("{s:s}", "medium", "o"), NULL));
	FIELD_IS(rig, "pool", "p", "why", "");
	assert_true(is_blank(rig));
	assert_true(strtoull(block_rig_field(rig, "pool", "p", "bytes"), NULL, 10) > MEDIUM_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marks),
		cmocka_unit_test_setup_teardown(pools, block_rig_setup, block_rig_teardown),
		cmocka_unit_test_setup_teardown(growing_pools, block_rig_setup, block_rig_teardown),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
