/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapping and checking the regions of a dpud. */
#include "link_region.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "dpu/eswitch_ring.h"

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

static void *map(int fd, uint64_t bytes)
{
	struct stat status;

	if (fstat(fd, &status) < 0 || status.st_size < 0 || (uint64_t)status.st_size < bytes || bytes == 0)
		return NULL;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static bool within(uint64_t bytes, uint64_t offset, uint64_t count, uint64_t size)
{
	return offset % sizeof(uint64_t) == 0 && offset <= bytes && count <= (bytes - offset) / size;
}

static bool region_check(struct eswitch_region *shared, uint64_t bytes, struct link_region *ret)
{
	const uint64_t states = shared->states_offset, counters = shared->counters_offset;

	ret->max_rules = shared->max_rules;
	ret->workers = shared->workers;
	ret->command_rings = shared->command_rings;
	if (shared->magic != ESWITCH_MAGIC || shared->version != ESWITCH_ABI_VERSION || ret->max_rules == 0 ||
	    ret->max_rules > ESWITCH_MAX_RULES || ret->workers == 0 || ret->command_rings == 0 ||
	    ret->command_rings > ESWITCH_MAX_COMMAND_RINGS ||
	    !within(bytes, states, ret->max_rules, sizeof(uint32_t)) ||
	    !within(bytes, counters, (uint64_t)ret->max_rules * ret->workers, sizeof(struct eswitch_counter)))
		return false;
	ret->states = (void *)((uint8_t *)shared + states);
	ret->counters = (void *)((uint8_t *)shared + counters);
	for (uint32_t i = 0; i < ret->command_rings; i++) {
		uint64_t offset = shared->rings[i].commands_offset;
		uint32_t slots = shared->rings[i].slots;
		if (slots == 0 || slots & (slots - 1) || !within(bytes, offset, slots, sizeof(struct eswitch_command)))
			return false;
		ret->rings[i] = (struct link_command_ring){ (void *)((uint8_t *)shared + offset), slots };
	}
	return true;
}

int link_region_map(const struct eswitch_message *reply, const int *fds, unsigned count, struct link_region *ret)
{
	uint64_t bytes = reply->hello_reply.region_bytes;

	memset(ret, 0, sizeof(*ret));
	if (count != 2 || bytes < sizeof(struct eswitch_region)) {
		close_all(fds, count);
		return -EPROTO;
	}
	struct eswitch_region *shared = map(fds[0], bytes);
	if (!shared || !region_check(shared, bytes, ret)) {
		if (shared)
			munmap(shared, bytes);
		close_all(fds, count);
		return -EPROTO;
	}
	close(fds[0]);
	ret->shared = shared;
	ret->bytes = bytes;
	ret->wake_fd = fds[1];
	return 0;
}

void link_region_unmap(struct link_region *region)
{
	if (!region->shared)
		return;
	munmap(region->shared, region->bytes);
	close(region->wake_fd);
	region->shared = NULL;
}

int link_port_map(const struct eswitch_message *reply, unsigned queue_pairs, uint32_t slots, const int *fds,
		  unsigned count, struct link_port *ret)
{
	uint64_t bytes = reply->open_port_reply.region_bytes;
	struct eswitch_port_region *region = NULL;

	if (count == 1 + 2 * queue_pairs && bytes >= eswitch_region_bytes(2 * queue_pairs, slots))
		region = map(fds[0], bytes);
	if (!region || region->magic != ESWITCH_MAGIC || region->version != ESWITCH_ABI_VERSION ||
	    region->slots != slots || region->to_host_queues != queue_pairs ||
	    region->from_host_queues != queue_pairs) {
		if (region)
			munmap(region, bytes);
		close_all(fds, count);
		return -EPROTO;
	}
	close(fds[0]);
	*ret = (struct link_port){
		.info = reply->open_port_reply.info,
		.region = region,
		.bytes = bytes,
		.queue_pairs = queue_pairs,
		.slots = slots,
	};
	ret->info.name[sizeof(ret->info.name) - 1] = '\0';
	memcpy(ret->wake_fds, fds + 1, 2 * queue_pairs * sizeof(fds[0]));
	return 0;
}

void link_port_unmap(struct link_port *port)
{
	if (!port->region)
		return;
	munmap(port->region, port->bytes);
	close_all(port->wake_fds, 2 * port->queue_pairs);
	port->region = NULL;
}
