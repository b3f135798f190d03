/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapping and looking up a guest's memory regions. */
#include "device/virtio/guest_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int guest_memory_new(struct guest_memory **ret)
{
	struct guest_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return -ENOMEM;
	/* One more than can be used: a look-up with any hint up to count finds an empty region. */
	memory->regions = calloc(GUEST_MEMORY_MAX_REGIONS + 1, sizeof(*memory->regions));
	if (!memory->regions) {
		free(memory);
		return -ENOMEM;
	}
	*ret = memory;
	return 0;
}

void guest_memory_free(struct guest_memory *memory)
{
	if (!memory)
		return;
	guest_memory_clear(memory);
	free(memory->regions);
	free(memory);
}

static int range_check(const struct guest_memory *memory, const struct guest_range *range, const char **ret_why)
{
	uint64_t end, total = 0;

	*ret_why = "a memory region wraps around";
	if (__builtin_add_overflow(range->gpa, range->size, &end) ||
	    __builtin_add_overflow(range->user, range->size, &end))
		return -EINVAL;
	*ret_why = "two memory regions overlap";
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *other = &memory->regions[i];
		if (range->gpa < other->gpa + other->size && other->gpa < range->gpa + range->size)
			return -EEXIST;
		if (range->user < other->user + other->size && other->user < range->user + range->size)
			return -EEXIST;
		total += other->size;
	}
	*ret_why = "a guest has at most 1 TiB of memory";
	return range->size > GUEST_MEMORY_MAX_BYTES - total ? -ENOSPC : 0;
}

int guest_memory_add(struct guest_memory *memory, const struct guest_range *range, int fd, const char **ret_why)
{
	struct guest_region region = { .gpa = range->gpa, .size = range->size, .user = range->user };
	unsigned at = 0;

	if (memory->count >= GUEST_MEMORY_MAX_REGIONS) {
		*ret_why = "there are more memory regions than slots";
		return -ENOSPC;
	}
	int r = range_check(memory, range, ret_why);
	if (r < 0)
		return r;
	r = shared_mapping_open(fd, range->file_offset, range->size, &memory->faulted, &region.mapping, ret_why);
	if (r < 0)
		return r;
	region.host = region.mapping.data;
	while (at < memory->count && memory->regions[at].gpa < region.gpa)
		at++;
	memmove(&memory->regions[at + 1], &memory->regions[at], (memory->count - at) * sizeof(region));
	memory->regions[at] = region;
	memory->count++;
	return 0;
}

int guest_memory_remove(struct guest_memory *memory, const struct guest_range *range)
{
	for (unsigned i = 0; i < memory->count; i++) {
		struct guest_region *region = &memory->regions[i];
		if (region->gpa != range->gpa || region->user != range->user || region->size != range->size)
			continue;
		shared_mapping_close(&region->mapping);
		memory->count--;
		memmove(region, region + 1, (memory->count - i) * sizeof(*region));
		memory->regions[memory->count] = (struct guest_region){ 0 };
		return 0;
	}
	return -ENOENT;
}

void guest_memory_clear(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		shared_mapping_close(&memory->regions[i].mapping);
	memset(memory->regions, 0, memory->count * sizeof(*memory->regions));
	memory->count = 0;
	atomic_store(&memory->faulted, false);
}

const struct guest_region *guest_memory_find(const struct guest_memory *memory, uint64_t gpa)
{
	unsigned low = 0, high = memory->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct guest_region *region = &memory->regions[middle];
		if (gpa < region->gpa)
			high = middle;
		else if (gpa - region->gpa >= region->size)
			low = middle + 1;
		else
			return region;
	}
	return NULL;
}

void *guest_memory_from_user(const struct guest_memory *memory, uint64_t user, uint64_t length,
			     const struct guest_region **ret_region)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uint64_t offset = user - region->user;
		if (offset < region->size && length <= region->size - offset) {
			*ret_region = region;
			return region->host + offset;
		}
	}
	return NULL;
}

bool guest_memory_gpa(const struct guest_memory *memory, const void *host, uint64_t *ret_gpa)
{
	for (unsigned i = 0; i < memory->count; i++) {
		uint64_t offset = (uintptr_t)host - (uintptr_t)memory->regions[i].host;
		if (offset < memory->regions[i].size) {
			*ret_gpa = memory->regions[i].gpa + offset;
			return true;
		}
	}
	return false;
}
