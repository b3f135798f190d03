// SPDX-License-Identifier: BSD-3-Clause
/* The marks of images and archives that are no raw disk. */
#include "service/block/image/image_foreign.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define QCOW2   "say format=qcow2"
#define CONVERT "turn it into qcow2 or raw first (qemu-img convert)"
#define UNPACK  "unpack it first"

enum { FOOTER = 512, MARK_MAX = 32 };

static const struct {
	uint32_t at; /* from the start, or from FOOTER bytes before the end */
	bool footer;
	const char *mark, *format, *advice;
} marks[] = {
	{ 0, false, "QFI\xfb", "qcow2", QCOW2 },
	{ 0, false, "KDMV", "vmdk", CONVERT },
	{ 0, false, "COWD", "vmdk", CONVERT },
	{ 0, false, "# Disk DescriptorFile", "vmdk", CONVERT },
	{ 0, false, "vhdxfile", "vhdx", CONVERT },
	{ 0, false, "conectix", "vhd", CONVERT }, /* one that grows; one of fixed size has no more than the footer */
	{ 0, true, "conectix", "vhd", CONVERT },
	{ 0, false, "<<< ", "vdi", CONVERT },
	{ 0, false, "WithoutFreeSpace", "parallels", CONVERT },
	{ 0, false, "WithouFreSpacExt", "parallels", CONVERT },
	{ 0, true, "koly", "dmg", CONVERT },
	{ 0, false, "\x1f\x8b", "gzip", UNPACK },
	{ 0, false, "\3757zXZ", "xz", UNPACK },
	{ 0, false, "\x28\xb5\x2f\xfd", "zstd", UNPACK },
	{ 0, false, "BZh", "bzip2", UNPACK },
	{ 0, false, "PK\x03\x04", "zip", UNPACK },
	{ 257, false, "ustar", "tar (or ova)", UNPACK },
};

int image_foreign_check(const char *name, int fd, uint64_t bytes, struct dpu_error *err)
{
	for (unsigned i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		size_t length = strlen(marks[i].mark);
		char found[MARK_MAX];

		if (marks[i].footer && bytes < FOOTER)
			continue;
		uint64_t at = marks[i].at + (marks[i].footer ? bytes - FOOTER : 0);
		if (pread(fd, found, length, (off_t)at) == (ssize_t)length && memcmp(found, marks[i].mark, length) == 0)
			return error_set(
				err, DPU_E_INVALID, "file",
				"%s, offset %llu: looks like %s: %s, or say format=raw if its bytes are the disk", name,
				(unsigned long long)at, marks[i].format, marks[i].advice);
	}
	return 0;
}
