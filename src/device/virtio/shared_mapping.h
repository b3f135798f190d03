/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps memory that a front end shares by descriptor: guest memory, dirty log, in-flight region. The descriptor is
 * hostile: its size is checked now, and truncating it later is caught (memory_fault.h). Only shared memory (memfd,
 * tmpfs, hugetlbfs) is accepted: page faults on other file systems may block for as long as their owner likes. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

struct shared_mapping {
	uint8_t *data; /* of the offset that was asked for; NULL = not mapped */
	void *base;
	size_t bytes; /* of the whole mapping */
	int watch;
	dev_t device; /* identity of the file */
	ino_t inode;
};

/* Maps [offset, offset + length) of fd, which stays the caller's, readable and writable. *faulted is set when it
 * faults, and must outlive the mapping. Returns 0, or a negative errno with a sentence in *ret_why. */
int shared_mapping_open(int fd, uint64_t offset, uint64_t length, _Atomic bool *faulted, struct shared_mapping *ret,
			const char **ret_why);
void shared_mapping_close(struct shared_mapping *mapping); /* one that is not mapped is fine */
