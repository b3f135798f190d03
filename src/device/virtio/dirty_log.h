/* SPDX-License-Identifier: BSD-3-Clause */
/* The dirty page log of live migration (vhost-user "Migration"): a bitmap, shared with the front end, of 4 KiB guest
 * pages that the device has written. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "device/virtio/shared_mapping.h"

enum { DIRTY_LOG_PAGE_SHIFT = 12 };

struct dirty_log {
	uint8_t *bits;
	uint64_t bytes;
	struct shared_mapping mapping;
};

/* Maps [offset, offset + bytes) of fd, which stays the caller's. *faulted is set if it is truncated later. Returns 0 or
 * a negative errno with *ret_why. */
int dirty_log_open(int fd, uint64_t offset, uint64_t bytes, _Atomic bool *faulted, struct dirty_log **ret,
		   const char **ret_why);
void dirty_log_close(struct dirty_log *log);

/* Call after the write. Pages beyond the bitmap are left out. */
static inline void dirty_log_mark(struct dirty_log *log, uint64_t gpa, uint64_t length)
{
	if (length == 0)
		return;
	/* The page's new content must be visible to whoever sees its bit. */
	atomic_thread_fence(memory_order_release);
	uint64_t last = (gpa + length - 1) >> DIRTY_LOG_PAGE_SHIFT;
	for (uint64_t page = gpa >> DIRTY_LOG_PAGE_SHIFT; page <= last && page / 8 < log->bytes; page++)
		__atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << (page % 8)), __ATOMIC_RELAXED);
}
