/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's half of a memif's greeting: makes the memory and describes it, message by message.
 *
 * The memory is one region: all rings, then all buffers. A slot's buffer is always the same, so what the other end
 * writes into a descriptor never tells us where to read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "operating/memif_link.h"

enum { LINE = 64, PAGE = 4096 };

static uint64_t align(uint64_t bytes, uint64_t to)
{
	return (bytes + to - 1) / to * to;
}

static unsigned min_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* An odd number of lines from buffer to buffer: the first lines of all would else share a few sets of the cache. */
static uint32_t stride_of(uint32_t buffer_bytes)
{
	return (uint32_t)(align(buffer_bytes, LINE) | LINE);
}

static int add_memory(struct memif_link *link, uint64_t bytes)
{
	const char *why;

	link->region_fd = memfd_create("memif", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (link->region_fd < 0 || ftruncate(link->region_fd, (off_t)bytes) < 0 ||
	    fcntl(link->region_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	int status = shared_mapping_open(link->region_fd, 0, bytes, &link->faulted, &link->regions[0].mapping, &why);
	if (status < 0)
		return status;
	link->regions[0].data = link->regions[0].mapping.data;
	link->regions[0].bytes = bytes;
	link->region_count = 1;
	return 0;
}

/* Of slot 0 of the n-th ring, all directions counted. */
static uint64_t buffer_offset(const struct memif_link *link, unsigned rings, unsigned n)
{
	uint64_t ring_bytes = sizeof(struct memif_shared_ring) + (sizeof(struct memif_desc) << link->log2_ring);

	return align(rings * align(ring_bytes, LINE), PAGE) + ((uint64_t)n * link->stride << link->log2_ring);
}

static int add_ring(struct memif_link *link, enum memif_direction direction, unsigned rings, unsigned n)
{
	uint64_t ring_bytes = sizeof(struct memif_shared_ring) + (sizeof(struct memif_desc) << link->log2_ring);
	uint64_t offset = n * align(ring_bytes, LINE), buffers = buffer_offset(link, rings, n);
	struct memif_shared_ring *ring = (struct memif_shared_ring *)(link->regions[0].data + offset);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	ring->cookie = MEMIF_COOKIE;
	atomic_store(&ring->flags, MEMIF_RING_MASK_INT);
	for (uint32_t slot = 0; slot < 1u << link->log2_ring; slot++)
		ring->descs[slot] = (struct memif_desc){
			.length = link->options.buffer_bytes,
			.offset = (uint32_t)(buffers + (uint64_t)slot * link->stride),
		};
	link->rings[direction][link->ring_count[direction]++] = (struct memif_ring_place){
		.shared = ring,
		.log2_size = link->log2_ring,
		.event_fd = fd,
		.offset = (uint32_t)offset,
		.buffers = link->regions[0].data + buffers,
	};
	return 0;
}

static int make_memory(struct memif_link *link, const unsigned counts[2])
{
	unsigned rings = counts[0] + counts[1], n = 0;
	uint64_t bytes = align(buffer_offset(link, rings, rings), PAGE);

	if (bytes > UINT32_MAX)
		return -EFBIG;
	int status = add_memory(link, bytes);
	for (unsigned direction = 0; direction < 2; direction++)
		for (unsigned i = 0; i < counts[direction] && status == 0; i++)
			status = add_ring(link, (enum memif_direction)direction, rings, n++);
	return status;
}

static int take_hello(struct memif_link *link, const struct memif_hello *hello, struct memif_answer *ret)
{
	unsigned queues = link->options.queues;
	unsigned counts[2] = { min_of(queues, hello->max_ring_to_server + 1u),
			       min_of(queues, hello->max_ring_to_client + 1u) };

	if (hello->min_version > MEMIF_VERSION || hello->max_version < MEMIF_VERSION)
		return memif_link_refuse(link, "protocol versions %u.%u to %u.%u do not include 2.0",
					 hello->min_version >> 8, hello->min_version & 0xff, hello->max_version >> 8,
					 hello->max_version & 0xff);
	link->log2_ring = (uint8_t)min_of(link->options.log2_ring, hello->max_log2_ring);
	link->stride = stride_of(link->options.buffer_bytes);
	int status = make_memory(link, counts);
	if (status < 0) {
		memif_link_refuse(link, "no memory for the rings: %s", strerror(-status));
		return status;
	}
	link->initialised = true;
	ret->send = true;
	ret->message.type = MEMIF_INIT;
	ret->message.init = (struct memif_init){ .version = MEMIF_VERSION, .name = "softdpu" };
	return 0;
}

static void describe_ring(const struct memif_link *link, unsigned n, struct memif_answer *ret)
{
	enum memif_direction direction = n < link->ring_count[0] ? MEMIF_TO_SERVER : MEMIF_TO_CLIENT;
	unsigned index = direction == MEMIF_TO_SERVER ? n : n - link->ring_count[0];
	const struct memif_ring_place *ring = &link->rings[direction][index];

	ret->fd = ring->event_fd;
	ret->message.type = MEMIF_ADD_RING;
	ret->message.add_ring = (struct memif_add_ring){
		.flags = direction == MEMIF_TO_SERVER ? MEMIF_ADD_RING_TO_SERVER : 0,
		.index = (uint16_t)index,
		.offset = ring->offset,
		.log2_ring = ring->log2_size,
	};
}

/* Each acknowledgement asks for the next: the region, the rings, CONNECT. */
static int take_ack(struct memif_link *link, struct memif_answer *ret)
{
	unsigned rings = link->ring_count[0] + link->ring_count[1], n = link->sent++;

	if (n > rings + 1)
		return memif_link_refuse(link, "there is nothing to acknowledge");
	ret->send = true;
	if (n == 0) {
		ret->fd = link->region_fd;
		ret->message.type = MEMIF_ADD_REGION;
		ret->message.add_region = (struct memif_add_region){ .bytes = link->regions[0].bytes };
	} else if (n <= rings) {
		describe_ring(link, n - 1, ret);
	} else {
		ret->message.type = MEMIF_CONNECT;
		snprintf(ret->message.interface, sizeof(ret->message.interface), "%.31s", link->options.name);
	}
	return 0;
}

int memif_client_input(struct memif_link *link, const struct memif_message *message, struct memif_answer *ret)
{
	unsigned all = link->ring_count[0] + link->ring_count[1] + 2;

	if (message->type == MEMIF_HELLO && !link->initialised)
		return take_hello(link, &message->hello, ret);
	if (message->type == MEMIF_ACK && link->initialised)
		return take_ack(link, ret);
	if (message->type == MEMIF_CONNECTED && link->initialised && link->sent == all) {
		link->stage = MEMIF_UP;
		return 0;
	}
	return memif_link_refuse(link, "message %u is not what a server says now", message->type);
}
