// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors and memory registered with an io_uring. */
#include "operating/uring_fixed.h"

#include <string.h>
#include "base/log.h"
#include "operating/uring.h"

unsigned fixed_init(struct uring_fixed *fixed, struct io_uring *ring, unsigned wanted)
{
	fixed->ring = ring;
	fixed->files = (wanted & URING_FIXED_FILES) && io_uring_register_files_sparse(ring, FIXED_FILES) == 0;
	fixed->buffers = (wanted & URING_FIXED_BUFFERS) && io_uring_register_buffers_sparse(ring, FIXED_WINDOWS) == 0;
	return (fixed->files ? URING_FIXED_FILES : 0) | (fixed->buffers ? URING_FIXED_BUFFERS : 0);
}

int fixed_file_add(struct uring_fixed *fixed, int fd)
{
	int number = 0;

	if (!fixed->files)
		return FIXED_NONE;
	while (number < FIXED_FILES && fixed->file_used[number])
		number++;
	if (number == FIXED_FILES || io_uring_register_files_update(fixed->ring, (unsigned)number, &fd, 1) != 1)
		return FIXED_NONE;
	fixed->file_used[number] = true;
	return number;
}

void fixed_file_remove(struct uring_fixed *fixed, int number)
{
	int none = -1;

	if (number != FIXED_NONE && io_uring_register_files_update(fixed->ring, (unsigned)number, &none, 1) == 1)
		fixed->file_used[number] = false;
}

void fixed_memory_set(struct uring_fixed *fixed, void *memory, size_t bytes)
{
	fixed->memory = memory;
	fixed->bytes = bytes;
}

static bool window_register(struct uring_fixed *fixed, size_t number)
{
	size_t begin = number * FIXED_WINDOW_BYTES, left = fixed->bytes - begin;
	struct iovec window = { fixed->memory + begin, left < FIXED_WINDOW_BYTES ? left : FIXED_WINDOW_BYTES };
	int r = io_uring_register_buffers_update_tag(fixed->ring, (unsigned)number, &window, NULL, 1);

	fixed->registered[number] = r == 1;
	if (r == 1)
		return true;
	/* Once: what is refused now (RLIMIT_MEMLOCK, mostly) would be refused for each request. */
	fixed->buffers = false;
	log_info("io_uring",
		 "memory cannot be registered; requests outside what is registered go on without (RLIMIT_MEMLOCK?)",
		 "registered_bytes=%zu error=\"%s\"", begin, strerror(-r));
	return false;
}

int fixed_buffer(struct uring_fixed *fixed, const void *data, size_t bytes)
{
	size_t at = (uintptr_t)data - (uintptr_t)fixed->memory, number = at / FIXED_WINDOW_BYTES;

	if (at >= fixed->bytes || bytes == 0 || number >= FIXED_WINDOWS)
		return FIXED_NONE;
	if ((at + bytes - 1) / FIXED_WINDOW_BYTES != number || bytes > fixed->bytes - at)
		return FIXED_NONE;
	if (fixed->registered[number] || (fixed->buffers && window_register(fixed, number)))
		return (int)number;
	return FIXED_NONE;
}
