// SPDX-License-Identifier: BSD-3-Clause
/* What others have on a medium, as libblkid knows it. */
#include "service/block/stranger.h"

#include <blkid/blkid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "service/block/store/store_format.h"

/* What libblkid takes for nothing, because it is damaged or no file system, and is somebody's all the same. */
struct mark {
	unsigned at, bytes;
	const char *mark, *what;
};
static const struct mark marks[] = {
	{ 0, 4, "XFSB", "an XFS file system" },
	{ 3, 8, "NTFS    ", "an NTFS file system" },
	{ 512, 8, "EFI PART", "a partition table" },
	{ 510, 2, "\x55\xaa", "a partition table or a file system" },
	{ 512, 8, "LABELONE", "a physical volume of LVM" },
	{ 0, 6, "LUKS\xba\xbe", "an encrypted volume" },
	{ 0, 4, "QFI\xfb", "a qcow2 image" },
	{ 65600, 8, "_BHRfS_M", "a file system (btrfs)" }, /* whose checksum is wrong: libblkid 2.41 */
};
enum { MARKS = sizeof(marks) / sizeof(marks[0]), MARK_BYTES = 8 };

static bool is_there(int fd, const struct mark *mark)
{
	char found[MARK_BYTES];

	return pread(fd, found, mark->bytes, mark->at) == (ssize_t)mark->bytes &&
	       memcmp(found, mark->mark, mark->bytes) == 0;
}

static bool find_mark(int fd, struct stranger *ret)
{
	for (unsigned i = 0; i < MARKS; i++) {
		if (!is_there(fd, &marks[i]))
			continue;
		ret->offset = marks[i].at;
		snprintf(ret->what, sizeof(ret->what), "%s", marks[i].what);
		return true;
	}
	return false;
}

/* Those that a new superblock leaves. */
static unsigned wipe_marks(int fd, uint64_t *ret_offsets, unsigned most)
{
	static const char nothing[MARK_BYTES];
	unsigned count = 0;

	for (unsigned i = 0; i < MARKS && count < most; i++)
		if (marks[i].at >= STORE_BLOCK && is_there(fd, &marks[i]) &&
		    pwrite(fd, nothing, marks[i].bytes, marks[i].at) == (ssize_t)marks[i].bytes)
			ret_offsets[count++] = marks[i].at;
	return count;
}

static blkid_probe probe_new(int fd, uint32_t sector)
{
	blkid_probe probe = blkid_new_probe();

	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) != 0)
		abort(); /* out of memory */
	blkid_probe_set_sectorsize(probe, sector);
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_MAGIC |
							 BLKID_SUBLKS_BADCSUM);
	blkid_probe_enable_partitions(probe, 1);
	blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC);
	return probe;
}

static const char *value(blkid_probe probe, const char *name)
{
	const char *text;

	return blkid_probe_lookup_value(probe, name, &text, NULL) == 0 ? text : NULL;
}

static uint64_t offset_of(blkid_probe probe)
{
	const char *offset = value(probe, value(probe, "PTTYPE") ? "PTMAGIC_OFFSET" : "SBMAGIC_OFFSET");

	return offset ? strtoull(offset, NULL, 10) : 0;
}

static void describe(blkid_probe probe, struct stranger *ret)
{
	static const struct {
		const char *usage, *what;
	} usages[] = {
		{ "filesystem", "a file system" },
		{ "raid", "a member of a RAID or volume group" },
		{ "crypto", "an encrypted volume" },
		{ "other", "data" },
	};
	const char *type = value(probe, "TYPE"), *usage = value(probe, "USAGE"), *what = "something";

	if (value(probe, "PTTYPE")) {
		type = value(probe, "PTTYPE");
		what = "a partition table";
	}
	for (unsigned i = 0; usage && i < sizeof(usages) / sizeof(usages[0]); i++)
		if (strcmp(usage, usages[i].usage) == 0)
			what = usages[i].what;
	ret->offset = offset_of(probe);
	snprintf(ret->what, sizeof(ret->what), "%s (%.32s)", what, type ? type : "of a kind without a name");
}

bool stranger_find(int fd, uint32_t sector, struct stranger *ret)
{
	blkid_probe probe = probe_new(fd, sector);
	bool found = blkid_do_probe(probe) == 0;

	if (found)
		describe(probe, ret);
	blkid_free_probe(probe);
	return found || find_mark(fd, ret);
}

unsigned stranger_wipe(int fd, uint32_t sector, uint64_t *ret_offsets, unsigned most)
{
	blkid_probe probe = probe_new(fd, sector);
	unsigned count = 0;

	while (count < most && blkid_do_probe(probe) == 0) {
		ret_offsets[count++] = offset_of(probe);
		if (blkid_do_wipe(probe, 0) != 0)
			break;
	}
	blkid_free_probe(probe);
	return count + wipe_marks(fd, ret_offsets + count, most - count);
}
