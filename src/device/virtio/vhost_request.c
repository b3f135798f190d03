/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of requests: what each must look like, which queues it stops, who carries it out; and negotiation. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/virtio_net.h>
#include "device/virtio/vhost_user_priv.h"

int vhost_refuse(struct vhost_endpoint *endpoint, int error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(endpoint->why, sizeof(endpoint->why), fmt, args);
	va_end(args);
	return error;
}

/* ---- negotiation ---- */

static uint64_t features_offered(const struct vhost_endpoint *endpoint)
{
	uint64_t features = endpoint->ops->features | VHOST_BIT(VIRTIO_F_VERSION_1) | VHOST_BIT(VIRTIO_F_RING_PACKED) |
			    VHOST_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VHOST_BIT(VIRTIO_RING_F_EVENT_IDX) |
			    VHOST_BIT(VHOST_F_LOG_ALL_BIT) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES_BIT);

	return endpoint->ops->in_order ? features | VHOST_BIT(VIRTIO_F_IN_ORDER) : features;
}

static uint64_t protocol_features_offered(const struct vhost_endpoint *endpoint)
{
	const struct vhost_device_ops *ops = endpoint->ops;
	uint64_t features = ops->protocol_features | VHOST_BIT(VHOST_PROTOCOL_F_MQ) |
			    VHOST_BIT(VHOST_PROTOCOL_F_LOG_SHMFD) | VHOST_BIT(VHOST_PROTOCOL_F_REPLY_ACK) |
			    VHOST_BIT(VHOST_PROTOCOL_F_BACKEND_REQ) | VHOST_BIT(VHOST_PROTOCOL_F_INFLIGHT_SHMFD) |
			    VHOST_BIT(VHOST_PROTOCOL_F_RESET_DEVICE) | VHOST_BIT(VHOST_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |
			    VHOST_BIT(VHOST_PROTOCOL_F_STATUS);

	if (ops->get_config)
		features |= VHOST_BIT(VHOST_PROTOCOL_F_CONFIG);
	if (ops->announce)
		features |= VHOST_BIT(VHOST_PROTOCOL_F_RARP);
	if (endpoint->mtu)
		features |= VHOST_BIT(VHOST_PROTOCOL_F_NET_MTU);
	return features;
}

static int get_features(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	message->payload.u64 = features_offered(endpoint);
	return 0;
}

static int set_features(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	uint64_t features = message->payload.u64, strange = features & ~features_offered(endpoint);
	uint64_t quiet = VHOST_BIT(VHOST_F_LOG_ALL_BIT) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES_BIT);
	bool changed = !endpoint->negotiated || ((endpoint->features ^ features) & ~quiet);

	if (strange)
		return vhost_refuse(endpoint, -EPROTO, "SET_FEATURES has bits 0x%llx that were not offered",
				    (unsigned long long)strange);
	endpoint->features = features;
	endpoint->negotiated = true;
	/* Without protocol features there is no SET_VRING_ENABLE: rings are born enabled. */
	if (!(features & VHOST_BIT(VHOST_F_PROTOCOL_FEATURES_BIT)))
		for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
			endpoint->vrings[i].enabled = true;
	if (changed)
		endpoint->ops->connected(endpoint->ctx, true, features);
	return 0;
}

static int get_protocol_features(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	message->payload.u64 = protocol_features_offered(endpoint);
	return 0;
}

static int set_protocol_features(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	uint64_t strange = message->payload.u64 & ~protocol_features_offered(endpoint);

	if (strange)
		return vhost_refuse(endpoint, -EPROTO, "SET_PROTOCOL_FEATURES has bits 0x%llx that were not offered",
				    (unsigned long long)strange);
	endpoint->protocol_features = message->payload.u64;
	return 0;
}

static int get_queue_num(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	message->payload.u64 = endpoint->ops->queue_num ? endpoint->ops->queue_num : endpoint->ops->max_queues;
	return 0;
}

static int get_max_mem_slots(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	message->payload.u64 = GUEST_MEMORY_MAX_REGIONS;
	return 0;
}

/* ---- device ---- */

static int nothing(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	return 0;
}

/* The old meaning of RESET_OWNER that does no harm. */
static int reset_owner(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
		endpoint->vrings[i].enabled = false;
	return 0;
}

static void rings_stop_for_good(struct vhost_endpoint *endpoint)
{
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++) {
		endpoint->vrings[i].started = false;
		queue_record_end(queue_records_get(endpoint->records, i));
	}
}

static int reset_device(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	rings_stop_for_good(endpoint);
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++) {
		endpoint->vrings[i].enabled = false;
		endpoint->vrings[i].base = endpoint->vrings[i].given_base = 0;
	}
	endpoint->status = 0;
	return 0;
}

static int set_status(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	if (message->payload.u64 > UINT8_MAX)
		return vhost_refuse(endpoint, -EPROTO, "SET_STATUS has more than a byte");
	endpoint->status = (uint8_t)message->payload.u64;
	if (endpoint->status == 0)
		rings_stop_for_good(endpoint);
	return 0;
}

static int get_status(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	message->payload.u64 = endpoint->status;
	return 0;
}

static int send_rarp(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	uint8_t mac[6];

	memcpy(mac, &message->payload.u64, sizeof(mac));
	if (endpoint->ops->announce)
		endpoint->ops->announce(endpoint->ctx, mac);
	return 0;
}

static int net_set_mtu(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	uint64_t mtu = message->payload.u64;

	if (mtu < 68 || mtu > endpoint->mtu)
		return vhost_refuse(endpoint, -EINVAL, "MTU %llu is not within 68 and %u", (unsigned long long)mtu,
				    endpoint->mtu);
	return 0;
}

static int set_backend_req_fd(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	int domain;
	socklen_t length = sizeof(domain);

	if (getsockopt(message->fds[0], SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 || domain != AF_UNIX)
		return vhost_refuse(endpoint, -EPROTO, "the back end's request channel is no Unix socket");
	if (endpoint->backend_fd >= 0)
		close(endpoint->backend_fd);
	endpoint->backend_fd = message->fds[0];
	message->fds[0] = -1;
	return 0;
}

static bool config_range_valid(const struct vhost_message *message)
{
	const struct vhost_config *config = &message->payload.config;

	return config->size <= VHOST_CONFIG_BYTES && config->offset <= VHOST_CONFIG_BYTES - config->size &&
	       message->header.size == offsetof(struct vhost_config, region) + config->size;
}

/* An error is a reply without payload. */
static int get_config(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct vhost_config *config = &message->payload.config;

	if (!endpoint->ops->get_config || !config_range_valid(message))
		return vhost_refuse(endpoint, -EPROTO, "GET_CONFIG's range or size is impossible");
	memset(config->region, 0, sizeof(config->region));
	if (endpoint->ops->get_config(endpoint->ctx, config->offset, config->size, config->region) < 0)
		message->header.size = 0;
	return 0;
}

static int set_config(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	const struct vhost_config *config = &message->payload.config;

	if (!config_range_valid(message))
		return vhost_refuse(endpoint, -EPROTO, "SET_CONFIG's range or size is impossible");
	int r = endpoint->ops->set_config
			? endpoint->ops->set_config(endpoint->ctx, config->offset, config->size, config->region)
			: -ENOTSUP;
	return r < 0 ? vhost_refuse(endpoint, r == -EPROTO ? -EINVAL : r, "the device refuses SET_CONFIG") : r;
}

void vhost_endpoint_reset(struct vhost_endpoint *endpoint)
{
	for (unsigned i = 0; i < endpoint->ops->max_queues; i++)
		vhost_vring_reset(&endpoint->vrings[i]);
	guest_memory_clear(endpoint->memory);
	dirty_log_close(endpoint->log);
	endpoint->log = NULL;
	inflight_region_free(endpoint->inflight);
	endpoint->inflight = NULL;
	if (endpoint->backend_fd >= 0)
		close(endpoint->backend_fd);
	endpoint->backend_fd = -1;
	endpoint->features = endpoint->protocol_features = 0;
	endpoint->status = 0;
	endpoint->negotiated = endpoint->fault_told = false;
}

/* ---- the table ---- */

enum scope { SCOPE_NONE, SCOPE_ALL, SCOPE_STATE, SCOPE_ADDR, SCOPE_U64 };

struct request_kind {
	const char *name;
	uint16_t min_size, max_size;
	uint8_t min_fds, max_fds;
	uint8_t scope;
	bool replies;
	uint32_t needs; /* one of these protocol features */
	vhost_handler *handle;
};

#define STATE    sizeof(struct vhost_vring_state), sizeof(struct vhost_vring_state)
#define U64      sizeof(uint64_t), sizeof(uint64_t)
#define EMPTY    0, 0
#define REGION   sizeof(struct vhost_single_region), sizeof(struct vhost_single_region)
#define CONFIG   offsetof(struct vhost_config, region), sizeof(struct vhost_config)
#define NEEDS(f) (1u << VHOST_PROTOCOL_F_##f)

static const struct request_kind kinds[VHOST_REQUEST_MAX] = {
	[VHOST_GET_FEATURES] = { "GET_FEATURES", EMPTY, 0, 0, SCOPE_NONE, true, 0, get_features },
	[VHOST_SET_FEATURES] = { "SET_FEATURES", U64, 0, 0, SCOPE_ALL, false, 0, set_features },
	[VHOST_SET_OWNER] = { "SET_OWNER", EMPTY, 0, 0, SCOPE_NONE, false, 0, nothing },
	[VHOST_RESET_OWNER] = { "RESET_OWNER", EMPTY, 0, 0, SCOPE_ALL, false, 0, reset_owner },
	[VHOST_SET_MEM_TABLE] = { "SET_MEM_TABLE", 8, sizeof(struct vhost_memory_table), 0, VHOST_MAX_FDS, SCOPE_ALL,
				  false, 0, vhost_set_mem_table },
	[VHOST_SET_LOG_BASE] = { "SET_LOG_BASE", sizeof(struct vhost_log), sizeof(struct vhost_log), 1, 1, SCOPE_ALL,
				 true, NEEDS(LOG_SHMFD), vhost_set_log_base },
	[VHOST_SET_LOG_FD] = { "SET_LOG_FD", 0, 8, 1, 1, SCOPE_NONE, false, 0, nothing },
	[VHOST_SET_VRING_NUM] = { "SET_VRING_NUM", STATE, 0, 0, SCOPE_STATE, false, 0, vhost_set_vring_num },
	[VHOST_SET_VRING_ADDR] = { "SET_VRING_ADDR", sizeof(struct vhost_vring_addr), sizeof(struct vhost_vring_addr),
				   0, 0, SCOPE_ADDR, false, 0, vhost_set_vring_addr },
	[VHOST_SET_VRING_BASE] = { "SET_VRING_BASE", STATE, 0, 0, SCOPE_STATE, false, 0, vhost_set_vring_base },
	[VHOST_GET_VRING_BASE] = { "GET_VRING_BASE", STATE, 0, 0, SCOPE_STATE, true, 0, vhost_get_vring_base },
	[VHOST_SET_VRING_KICK] = { "SET_VRING_KICK", U64, 0, 1, SCOPE_U64, false, 0, vhost_set_vring_kick },
	[VHOST_SET_VRING_CALL] = { "SET_VRING_CALL", U64, 0, 1, SCOPE_U64, false, 0, vhost_set_vring_call },
	[VHOST_SET_VRING_ERR] = { "SET_VRING_ERR", U64, 0, 1, SCOPE_U64, false, 0, vhost_set_vring_err },
	[VHOST_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", EMPTY, 0, 0, SCOPE_NONE, true, 0,
					  get_protocol_features },
	[VHOST_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64, 0, 0, SCOPE_NONE, false, 0,
					  set_protocol_features },
	[VHOST_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", EMPTY, 0, 0, SCOPE_NONE, true, 0, get_queue_num },
	[VHOST_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", STATE, 0, 0, SCOPE_STATE, false, 0, vhost_set_vring_enable },
	[VHOST_SEND_RARP] = { "SEND_RARP", U64, 0, 0, SCOPE_NONE, false, NEEDS(RARP), send_rarp },
	[VHOST_NET_SET_MTU] = { "NET_SET_MTU", U64, 0, 0, SCOPE_NONE, false, NEEDS(NET_MTU), net_set_mtu },
	[VHOST_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, 8, 1, 1, SCOPE_NONE, false, NEEDS(BACKEND_REQ),
				       set_backend_req_fd },
	[VHOST_GET_CONFIG] = { "GET_CONFIG", CONFIG, 0, 0, SCOPE_NONE, true, NEEDS(CONFIG), get_config },
	[VHOST_SET_CONFIG] = { "SET_CONFIG", CONFIG, 0, 0, SCOPE_ALL, false, NEEDS(CONFIG), set_config },
	[VHOST_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", VHOST_INFLIGHT_BYTES, sizeof(struct vhost_inflight), 0, 0,
				    SCOPE_NONE, true, NEEDS(INFLIGHT_SHMFD), vhost_get_inflight_fd },
	[VHOST_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", VHOST_INFLIGHT_BYTES, sizeof(struct vhost_inflight), 1, 1,
				    SCOPE_ALL, false, NEEDS(INFLIGHT_SHMFD), vhost_set_inflight_fd },
	[VHOST_RESET_DEVICE] = { "RESET_DEVICE", EMPTY, 0, 0, SCOPE_ALL, false, NEEDS(RESET_DEVICE), reset_device },
	[VHOST_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", EMPTY, 0, 0, SCOPE_NONE, true, NEEDS(CONFIGURE_MEM_SLOTS),
				      get_max_mem_slots },
	[VHOST_ADD_MEM_REG] = { "ADD_MEM_REG", REGION, 1, 1, SCOPE_ALL, false, NEEDS(CONFIGURE_MEM_SLOTS),
				vhost_add_mem_reg },
	[VHOST_REM_MEM_REG] = { "REM_MEM_REG", REGION, 0, 1, SCOPE_ALL, false, NEEDS(CONFIGURE_MEM_SLOTS),
				vhost_rem_mem_reg },
	[VHOST_SET_STATUS] = { "SET_STATUS", U64, 0, 0, SCOPE_ALL, false, NEEDS(STATUS), set_status },
	[VHOST_GET_STATUS] = { "GET_STATUS", EMPTY, 0, 0, SCOPE_NONE, true, NEEDS(STATUS), get_status },
};

int vhost_request_check_header(struct vhost_endpoint *endpoint, const struct vhost_header *header)
{
	if ((header->flags & VHOST_FLAG_VERSION_MASK) != VHOST_FLAG_VERSION || header->flags & VHOST_FLAG_REPLY)
		return vhost_refuse(endpoint, -EPROTO, "message flags 0x%x are no request of version 1", header->flags);
	if (header->request >= VHOST_REQUEST_MAX || !kinds[header->request].handle)
		return vhost_refuse(endpoint, -EPROTO, "request %u is unknown", header->request);
	const struct request_kind *kind = &kinds[header->request];
	if (header->size < kind->min_size || header->size > kind->max_size)
		return vhost_refuse(endpoint, -EPROTO, "%s has %u bytes of payload, not %u to %u", kind->name,
				    header->size, kind->min_size, kind->max_size);
	return 0;
}

/* The queue that a message names, which may be any 32-bit number; -1 if it names none. */
static int64_t queue_named(const struct vhost_message *message)
{
	switch (kinds[message->header.request].scope) {
	case SCOPE_STATE:
		return message->payload.state.index;
	case SCOPE_ADDR:
		return message->payload.addr.index;
	case SCOPE_U64:
		return message->payload.u64 & VHOST_VRING_INDEX_MASK;
	default:
		return -1;
	}
}

int vhost_request_check(struct vhost_endpoint *endpoint, const struct vhost_message *message)
{
	const struct request_kind *kind = &kinds[message->header.request];
	int64_t index = queue_named(message);

	if (message->fd_count < kind->min_fds || message->fd_count > kind->max_fds)
		return vhost_refuse(endpoint, -EPROTO, "%s carries %u descriptors, not %u to %u", kind->name,
				    message->fd_count, kind->min_fds, kind->max_fds);
	if (kind->needs && !(endpoint->protocol_features & kind->needs))
		return vhost_refuse(endpoint, -EPROTO, "%s without its protocol feature", kind->name);
	if (index >= endpoint->ops->max_queues)
		return vhost_refuse(endpoint, -EPROTO, "%s names queue %u of %u", kind->name, (uint32_t)index,
				    endpoint->ops->max_queues);
	return 0;
}

bool vhost_request_affects(const struct vhost_endpoint *endpoint, const struct vhost_message *message, unsigned index)
{
	if (message->header.request == VHOST_SET_FEATURES && endpoint->features == message->payload.u64)
		return false;
	if (message->header.request == VHOST_SET_STATUS && message->payload.u64 != 0)
		return false;
	return kinds[message->header.request].scope == SCOPE_ALL || queue_named(message) == index;
}

static int reply(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	struct vhost_header header = { .request = message->header.request,
				       .flags = VHOST_FLAG_VERSION | VHOST_FLAG_REPLY,
				       .size = message->header.size };

	int r = vhost_message_send(endpoint->fd, &header, &message->payload, message->reply_fd);
	if (message->reply_fd >= 0)
		close(message->reply_fd);
	message->reply_fd = -1;
	/* A peer that has gone is seen when reading. */
	return r == -EAGAIN ? vhost_refuse(endpoint, -EPROTO, "the front end does not read replies") : 0;
}

static int acknowledge(struct vhost_endpoint *endpoint, struct vhost_message *message, int result)
{
	message->header.size = sizeof(uint64_t);
	message->payload.u64 = result < 0;
	return reply(endpoint, message);
}

int vhost_request_handle(struct vhost_endpoint *endpoint, struct vhost_message *message)
{
	const struct request_kind *kind = &kinds[message->header.request];

	message->reply_fd = -1;
	if (kind->replies && kind->max_size == 0)
		message->header.size = sizeof(message->payload.u64);
	int r = kind->handle(endpoint, message);
	return r == VHOST_LATER ? r : vhost_request_answer(endpoint, message, r);
}

int vhost_request_answer(struct vhost_endpoint *endpoint, struct vhost_message *message, int r)
{
	const struct request_kind *kind = &kinds[message->header.request];
	bool wants_ack = message->header.flags & VHOST_FLAG_NEED_REPLY && !kind->replies &&
			 endpoint->protocol_features & VHOST_BIT(VHOST_PROTOCOL_F_REPLY_ACK);

	if (r < 0 && r != -EPROTO)
		vhost_notice(endpoint, "request-refused", "%s: %s", kind->name, endpoint->why);
	if (kind->replies && r == 0)
		return reply(endpoint, message);
	if (!wants_ack)
		return r;
	int sent = acknowledge(endpoint, message, r);
	return r == -EPROTO ? r : sent;
}
