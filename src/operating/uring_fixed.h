/* SPDX-License-Identifier: BSD-3-Clause */
/* What is registered with a worker's io_uring so that the kernel need not look it up for each request: descriptors, and
 * memory, whose pages it pins. Where the kernel cannot do that or refuses it, requests go the plain way.
 *
 * In the thread that polls the io_uring, but for what says otherwise. */
#pragma once

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FIXED_FILES = 64,
	FIXED_WINDOWS = 64,
	FIXED_WINDOW_BYTES = 2 << 20,
	FIXED_NONE = -1,
};

struct uring_fixed {
	struct io_uring *ring;
	bool files, buffers; /* there is a table; buffers: and nothing was refused so far */
	bool file_used[FIXED_FILES];
	uint8_t *memory;
	size_t bytes;
	bool registered[FIXED_WINDOWS];
};

/* Makes empty tables where the kernel can (5.19, and 5.13 for buffers). Before the first poll, any thread. Returns what
 * of `wanted` (enum uring_feature) it has. */
unsigned fixed_init(struct uring_fixed *fixed, struct io_uring *ring, unsigned wanted);
/* The number of the descriptor for entries with IOSQE_FIXED_FILE, or FIXED_NONE: the table is full, say. The kernel
 * then holds the open file description, and its locks, until it is removed or the ring is gone. */
int fixed_file_add(struct uring_fixed *fixed, int fd);
void fixed_file_remove(struct uring_fixed *fixed, int number); /* nothing of it is under way; FIXED_NONE: nothing */
/* Memory, page-aligned, that data mostly lies in, once for an io_uring and there until it is freed. Registered window
 * by window (FIXED_WINDOW_BYTES) when a request first uses one, so that what nobody uses takes nothing: what lies
 * across windows or behind the last goes the plain way. Any thread before the first poll. */
void fixed_memory_set(struct uring_fixed *fixed, void *memory, size_t bytes);
/* The number of the registered buffer that holds all these bytes, or FIXED_NONE. */
int fixed_buffer(struct uring_fixed *fixed, const void *data, size_t bytes);
