/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about shared memory: guest memory, dirty log, in-flight region. All queues are stopped when they are carried
 * out. */
#include <errno.h>
#include <fcntl.h>
#include "device/virtio/vhost_user_priv.h"

static struct guest_range range_of(const struct vhost_memory_region *region)
{
	return (struct guest_range){
		.gpa = region->gpa, .size = region->size, .user = region->user, .file_offset = region->mmap_offset
	};
}

/* New memory is a chance for queues that failed on the old. */
static void memory_changed(struct vhost_endpoint *endpoint)
{
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
		endpoint->vrings[i].failed = false;
}

static int memory_add(struct vhost_endpoint *endpoint, const struct vhost_memory_region *region, int fd)
{
	struct guest_range range = range_of(region);
	const char *why = "";
	int r = guest_memory_add(endpoint->memory, &range, fd, &why);

	if (r < 0)
		return vhost_refuse(endpoint, r, "memory at 0x%llx of 0x%llx bytes: %s",
				    (unsigned long long)region->gpa, (unsigned long long)region->size, why);
	return 0;
}

int vhost_set_mem_table(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	const struct vhost_memory_table *table = &message->payload.memory;
	int r = 0;

	if (table->count > VHOST_MAX_TABLE_REGIONS || table->count != message->fd_count ||
	    message->header.size != 8 + table->count * sizeof(table->regions[0]))
		return vhost_refuse(endpoint, -EPROTO,
				    "SET_MEM_TABLE has %u regions, %u descriptors and %u bytes, which do not match",
				    table->count, message->fd_count, message->header.size);
	guest_memory_clear(endpoint->memory);
	endpoint->fault_told = false;
	memory_changed(endpoint);
	for (unsigned i = 0; i < table->count && r == 0; i++)
		r = memory_add(endpoint, &table->regions[i], message->fds[i]);
	if (r < 0)
		guest_memory_clear(endpoint->memory);
	return r;
}

int vhost_add_mem_reg(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	int r = memory_add(endpoint, &message->payload.region.region, message->fds[0]);

	if (r == 0)
		memory_changed(endpoint);
	return r;
}

int vhost_rem_mem_reg(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct guest_range range = range_of(&message->payload.region.region);
	int r = guest_memory_remove(endpoint->memory, &range);

	return r < 0 ? vhost_refuse(endpoint, r, "memory at 0x%llx to be removed is not there",
				    (unsigned long long)range.gpa)
		     : 0;
}

int vhost_set_log_base(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	const struct vhost_log *place = &message->payload.log;
	struct dirty_log *log;
	const char *why = "";
	int r = dirty_log_open(message->fds[0], place->offset, place->size, &endpoint->memory->faulted, &log, &why);

	if (r < 0)
		return vhost_refuse(endpoint, r, "dirty log of %llu bytes: %s", (unsigned long long)place->size, why);
	dirty_log_close(endpoint->log);
	endpoint->log = log;
	message->header.size = 0;
	return 0;
}

static int inflight_check(struct vhost_endpoint *endpoint, const struct vhost_inflight *place)
{
	if (place->queues == 0 || place->queues > endpoint->ops->max_queues || place->queue_size == 0 ||
	    place->queue_size > endpoint->ops->max_queue_size)
		return vhost_refuse(endpoint, -EINVAL, "in-flight region for %u queues of %u: we have %u of at most %u",
				    place->queues, place->queue_size, endpoint->ops->max_queues,
				    endpoint->ops->max_queue_size);
	return 0;
}

static bool packed(const struct vhost_endpoint *endpoint)
{
	return endpoint->features & VHOST_BIT(VIRTIO_F_RING_PACKED);
}

/* Makes one for the front end to keep; it comes into use when it is given back to us. */
int vhost_get_inflight_fd(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct vhost_inflight *place = &message->payload.inflight;
	struct inflight_region *region;
	const char *why = "";
	int r = inflight_check(endpoint, place);

	if (r < 0)
		return r;
	r = inflight_region_create(place->queues, place->queue_size, packed(endpoint), &endpoint->memory->faulted,
				   &region, &why);
	if (r < 0)
		return vhost_refuse(endpoint, r, "%s", why);
	place->size = region->bytes;
	place->offset = region->offset;
	message->reply_fd = fcntl(region->fd, F_DUPFD_CLOEXEC, 0);
	inflight_region_free(region);
	return message->reply_fd < 0 ? vhost_refuse(endpoint, -EMFILE, "no descriptor for the in-flight region") : 0;
}

int vhost_set_inflight_fd(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	const struct vhost_inflight *place = &message->payload.inflight;
	struct inflight_region *region;
	const char *why = "";
	int r = inflight_check(endpoint, place);

	if (r < 0)
		return r;
	r = inflight_region_adopt(message->fds[0], place->offset, place->size, place->queues, place->queue_size,
				  packed(endpoint), &endpoint->memory->faulted, &region, &why);
	if (r < 0)
		return vhost_refuse(endpoint, r, "in-flight region of %llu bytes: %s", (unsigned long long)place->size,
				    why);
	inflight_region_free(endpoint->inflight);
	endpoint->inflight = region;
	return 0;
}
