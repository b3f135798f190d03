/* SPDX-License-Identifier: BSD-3-Clause */
/* What others than pools have on a medium: file systems, partition tables, members of RAIDs and volume groups,
 * encrypted volumes, images. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* They are known by what is so near to the start or the end of a medium. */
#define STRANGER_HEAD_BYTES (UINT64_C(4) << 20)
#define STRANGER_TAIL_BYTES (UINT64_C(1) << 20)

struct stranger {
	uint64_t offset; /* of its mark */
	char what[80];   /* "a file system (btrfs)" */
};

/* fd: a file as long as the medium, with its head and tail in place. Whether there is one. */
bool stranger_find(int fd, uint32_t sector, struct stranger *ret);
/* Takes the marks of all out of the file; returns how many, at most `most`, and where they were. */
unsigned stranger_wipe(int fd, uint32_t sector, uint64_t *ret_offsets, unsigned most);
