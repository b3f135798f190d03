/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's memory as its front end shares it: regions of guest physical addresses, mapped from file descriptors.
 *
 * Changed by the control thread only, while no queue that uses it is started; workers translate without a lock. A
 * region whose file is truncated under us sets `faulted` (memory_fault.h): everything read since is worthless and the
 * device stops until the front end shares other memory. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "device/virtio/shared_mapping.h"

enum { GUEST_MEMORY_MAX_REGIONS = 128 };
#define GUEST_MEMORY_MAX_BYTES (UINT64_C(1) << 40) /* of all regions: our address space is not one guest's */

/* As the front end describes a region. */
struct guest_range {
	uint64_t gpa, size;
	uint64_t user;        /* its address in the front end, in which ring addresses are given */
	uint64_t file_offset; /* of gpa in the file */
};

struct guest_region {
	uint64_t gpa, size, user;
	uint8_t *host; /* of gpa */
	struct shared_mapping mapping;
};

struct guest_memory {
	_Atomic bool faulted;
	unsigned count;
	struct guest_region *regions; /* room for all, sorted by gpa; an unused one has size 0 */
};

int guest_memory_new(struct guest_memory **ret);
void guest_memory_free(struct guest_memory *memory);
/* Maps a region; fd stays the caller's. Fails with -EINVAL (empty, wraps around, larger than its file), -EEXIST
 * (overlaps another), -ENOSPC (too many or too much) or what the kernel says; *ret_why is then a sentence. */
int guest_memory_add(struct guest_memory *memory, const struct guest_range *range, int fd, const char **ret_why);
/* The region must match in gpa, user and size; -ENOENT otherwise. */
int guest_memory_remove(struct guest_memory *memory, const struct guest_range *range);
/* Unmaps everything and forgets a fault. */
void guest_memory_clear(struct guest_memory *memory);

/* The region with this guest physical address, or NULL. */
const struct guest_region *guest_memory_find(const struct guest_memory *memory, uint64_t gpa);
/* Host address of [user, user + length) if all of it lies in one region, else NULL. */
void *guest_memory_from_user(const struct guest_memory *memory, uint64_t user, uint64_t length,
			     const struct guest_region **ret_region);
/* Guest physical address of a host address in the map; false if it is not in it. */
bool guest_memory_gpa(const struct guest_memory *memory, const void *host, uint64_t *ret_gpa);

/* Host address of a guest physical one and how many bytes follow in its region; NULL outside the guest's memory.
 * hint: a region index that the caller keeps from call to call, 0 at first. */
static inline uint8_t *guest_memory_at(const struct guest_memory *memory, unsigned *hint, uint64_t gpa,
				       uint64_t *ret_room)
{
	const struct guest_region *region = &memory->regions[*hint];
	uint64_t offset = gpa - region->gpa;

	if (__builtin_expect(offset >= region->size, 0)) {
		region = guest_memory_find(memory, gpa);
		if (!region)
			return NULL;
		*hint = region - memory->regions;
		offset = gpa - region->gpa;
	}
	*ret_room = region->size - offset;
	return region->host + offset;
}
