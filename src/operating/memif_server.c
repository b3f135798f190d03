/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's half of a memif's greeting: a client describes its memory, message by message. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/event_signal.h"
#include "operating/memif_link.h"

static int take_init(struct memif_link *link, const struct memif_init *init)
{
	if (link->initialised)
		return memif_link_refuse(link, "INIT comes twice");
	if (init->version != MEMIF_VERSION)
		return memif_link_refuse(link, "protocol version %u.%u is not 2.0", init->version >> 8,
					 init->version & 0xff);
	if (init->id != 0)
		return memif_link_refuse(link, "there is no interface with id %u here, only 0", init->id);
	if (init->mode != MEMIF_MODE_ETHERNET)
		return memif_link_refuse(link, "mode %u is not Ethernet", init->mode);
	link->initialised = true;
	return 0;
}

static int take_region(struct memif_link *link, const struct memif_add_region *message, int fd)
{
	struct memif_region *region = &link->regions[link->region_count];
	const char *why;

	if (message->index != link->region_count || message->index >= MEMIF_MAX_REGIONS)
		return memif_link_refuse(link, "region %u does not come in turn, or is one too many", message->index);
	if (fd < 0)
		return memif_link_refuse(link, "region %u comes without a descriptor", message->index);
	int status = shared_mapping_open(fd, 0, message->bytes, &link->faulted, &region->mapping, &why);
	if (status < 0) {
		memif_link_refuse(link, "region %u is refused: %s", message->index, why);
		return status;
	}
	region->data = region->mapping.data;
	region->bytes = message->bytes;
	link->region_count++;
	return 0;
}

static int check_ring(struct memif_link *link, const struct memif_add_ring *message, unsigned count, int fd)
{
	uint64_t bytes = sizeof(struct memif_shared_ring);

	if (message->index != count || message->index >= link->options.queues)
		return memif_link_refuse(link, "ring %u does not come in turn, or is one too many", message->index);
	if (message->log2_ring > MEMIF_MAX_LOG2_RING)
		return memif_link_refuse(link, "a ring of 2^%u descriptors is too large", message->log2_ring);
	if (message->private_header != 0)
		return memif_link_refuse(link, "private headers are not known here");
	if (message->region >= link->region_count)
		return memif_link_refuse(link, "a ring lies in region %u, which is not there", message->region);
	bytes += sizeof(struct memif_desc) << message->log2_ring;
	if (message->offset % alignof(struct memif_shared_ring) != 0 ||
	    message->offset + bytes > link->regions[message->region].bytes)
		return memif_link_refuse(link, "a ring is not aligned, or ends outside its region");
	if (!event_is_eventfd(fd))
		return memif_link_refuse(link, "ring %u comes without an eventfd", message->index);
	return 0;
}

static int take_ring(struct memif_link *link, const struct memif_add_ring *message, int *fd)
{
	enum memif_direction direction = message->flags & MEMIF_ADD_RING_TO_SERVER ? MEMIF_TO_SERVER : MEMIF_TO_CLIENT;
	unsigned count = link->ring_count[direction];
	int status = check_ring(link, message, count, *fd);

	if (status < 0)
		return status;
	link->rings[direction][count] = (struct memif_ring_place){
		.shared = (struct memif_shared_ring *)(link->regions[message->region].data + message->offset),
		.log2_size = message->log2_ring,
		.event_fd = *fd,
		.region = message->region,
		.offset = message->offset,
	};
	link->ring_count[direction]++;
	*fd = -1;
	return 0;
}

static int take_connect(struct memif_link *link, struct memif_answer *ret)
{
	if (link->ring_count[MEMIF_TO_SERVER] == 0 || link->ring_count[MEMIF_TO_CLIENT] == 0)
		return memif_link_refuse(link, "there is no ring in one of the directions");
	for (unsigned direction = 0; direction < 2; direction++) {
		for (unsigned i = 0; i < link->ring_count[direction]; i++) {
			struct memif_shared_ring *ring = link->rings[direction][i].shared;
			if (ring->cookie != MEMIF_COOKIE)
				return memif_link_refuse(link, "ring %u has not been made", i);
			atomic_store(&ring->tail, 0);
			if (direction == MEMIF_TO_SERVER)
				atomic_store(&ring->flags, MEMIF_RING_MASK_INT);
		}
	}
	link->stage = MEMIF_UP;
	ret->message.type = MEMIF_CONNECTED;
	snprintf(ret->message.interface, sizeof(ret->message.interface), "%.31s", link->options.name);
	return 0;
}

int memif_server_input(struct memif_link *link, const struct memif_message *message, int *fd, struct memif_answer *ret)
{
	int status;

	ret->message.type = MEMIF_ACK;
	if (!link->initialised && message->type != MEMIF_INIT)
		status = memif_link_refuse(link, "message %u comes before INIT", message->type);
	else if (message->type == MEMIF_INIT)
		status = take_init(link, &message->init);
	else if (message->type == MEMIF_ADD_REGION)
		status = take_region(link, &message->add_region, *fd);
	else if (message->type == MEMIF_ADD_RING)
		status = take_ring(link, &message->add_ring, fd);
	else if (message->type == MEMIF_CONNECT)
		status = take_connect(link, ret);
	else
		status = memif_link_refuse(link, "message %u is not a client's", message->type);
	ret->send = status == 0;
	return status;
}
