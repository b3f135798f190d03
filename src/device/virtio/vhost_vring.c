/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about one virtqueue, and making a queue from what they said. The queue is stopped when they are carried out.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/event_signal.h"
#include "device/virtio/vhost_user_priv.h"

static struct vhost_vring *vring_of_state(struct vhost_endpoint *endpoint, const struct vhost_message *message)
{
	return &endpoint->vrings[message->payload.state.index];
}

int vhost_set_vring_num(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	uint32_t size = message->payload.state.num;
	struct vhost_vring *vring = vring_of_state(endpoint, message);

	if (size == 0 || size > endpoint->ops->max_queue_size)
		return vhost_refuse(endpoint, -EINVAL, "queue %u: size %u is not within 1 and %u",
				    message->payload.state.index, size, endpoint->ops->max_queue_size);
	vring->size = (uint16_t)size;
	vring->failed = false;
	return 0;
}

int vhost_set_vring_addr(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct vhost_vring *vring = &endpoint->vrings[message->payload.addr.index];

	vring->addr = message->payload.addr;
	vring->has_addr = true;
	vring->failed = false;
	return 0;
}

int vhost_set_vring_base(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct vhost_vring *vring = vring_of_state(endpoint, message);

	vring->base = vring->given_base = message->payload.state.num;
	vring->failed = false;
	return 0;
}

/* Stops the ring, for good. */
int vhost_get_vring_base(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	uint32_t index = message->payload.state.index;
	struct vhost_vring *vring = &endpoint->vrings[index];

	message->payload.state.num = vring->base;
	queue_record_end(queue_records_get(endpoint->records, index));
	vring->started = false;
	vring->failed = false;
	if (vring->kick_fd >= 0)
		close(vring->kick_fd);
	vring->kick_fd = -1;
	return 0;
}

/* The descriptor of a SET_VRING_KICK, CALL or ERR message replaces *fd; none means polling. */
static int event_fd_replace(struct vhost_endpoint *endpoint, struct vhost_message *message, int *fd)
{
	bool none = message->payload.u64 & VHOST_VRING_NO_FD;
	int taken = -1;

	if (none == (message->fd_count == 1))
		return vhost_refuse(endpoint, -EPROTO, "a ring's event descriptor is missing or not announced");
	if (!none) {
		taken = message->fds[0];
		if (!event_is_eventfd(taken))
			return vhost_refuse(endpoint, -EPROTO, "a ring's event descriptor is no eventfd");
		message->fds[0] = -1;
	}
	if (*fd >= 0)
		close(*fd);
	*fd = taken;
	return 0;
}

static struct vhost_vring *vring_of_u64(struct vhost_endpoint *endpoint, const struct vhost_message *message)
{
	return &endpoint->vrings[message->payload.u64 & VHOST_VRING_INDEX_MASK];
}

int vhost_set_vring_kick(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct vhost_vring *vring = vring_of_u64(endpoint, message);
	int r = event_fd_replace(endpoint, message, &vring->kick_fd);

	if (r < 0)
		return r;
	vring->started = true;
	vring->failed = false;
	return 0;
}

int vhost_set_vring_call(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	return event_fd_replace(endpoint, message, &vring_of_u64(endpoint, message)->call_fd);
}

int vhost_set_vring_err(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	return event_fd_replace(endpoint, message, &vring_of_u64(endpoint, message)->err_fd);
}

int vhost_set_vring_enable(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	if (message->payload.state.num > 1)
		return vhost_refuse(endpoint, -EPROTO, "SET_VRING_ENABLE says neither 0 nor 1");
	vring_of_state(endpoint, message)->enabled = message->payload.state.num;
	return 0;
}

void vhost_vring_reset(struct vhost_vring *vring)
{
	int *fds[] = { &vring->kick_fd, &vring->call_fd, &vring->err_fd };

	for (unsigned i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	vring->has_addr = vring->started = vring->enabled = vring->failed = false;
	vring->size = 0;
	vring->base = vring->given_base = 0;
}

bool vhost_vring_prepare(struct vhost_endpoint *endpoint, unsigned index)
{
	struct vhost_vring *vring = &endpoint->vrings[index];
	bool packed = endpoint->features & VHOST_BIT(VIRTIO_F_RING_PACKED);
	bool logging = endpoint->features & VHOST_BIT(VHOST_F_LOG_ALL_BIT);
	const char *why = "";

	if (!endpoint->negotiated || !vring->started || !vring->enabled || vring->failed || !vring->has_addr ||
	    !vring->size || endpoint->memory->count == 0 || atomic_load(&endpoint->memory->faulted))
		return false;
	struct virtqueue_config config = {
		.features = endpoint->features,
		.size = vring->size,
		.base = vring->base,
		.given_base = vring->given_base,
		.in_order = endpoint->ops->in_order,
		.log_used = vring->addr.flags & VHOST_VRING_FLAG_LOG,
		.desc = vring->addr.desc,
		.driver = vring->addr.avail,
		.device = vring->addr.used,
		.used_log_gpa = vring->addr.log,
		.memory = endpoint->memory,
		.log = logging ? endpoint->log : NULL,
		.inflight_region = inflight_region_queue(endpoint->inflight, index, vring->size, packed),
		.record = queue_records_get(endpoint->records, index),
		.kick_fd = vring->kick_fd,
		.call_fd = vring->call_fd,
		.alarm_fd = endpoint->alarm_fd,
	};
	int r = virtqueue_setup(vring->queue, &config, &why);
	if (r < 0) {
		vring->failed = true;
		vhost_notice(endpoint, "queue-error", "queue %u cannot start: %s", index, why);
	}
	return r == 0;
}
