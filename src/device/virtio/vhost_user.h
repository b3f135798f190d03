/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user back end (QEMU docs/interop/vhost-user.rst): messages, memory table, in-flight region, dirty log, and
 * the virtqueues that come out of it. Shared by network and block.
 *
 * Threads: everything here runs in the control thread. A started virtqueue (virtqueue.h) is worked on by one worker;
 * the endpoint hands it over and takes it back through the device's queue_start and queue_stop, which answer
 * asynchronously, so control never waits for a worker. While an answer is outstanding no further message is read.
 *
 * Everything the front end sends is hostile: message sizes, descriptors counts, region geometry, ring addresses and
 * offsets are checked; a violation closes the connection with a notice that says what was wrong. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"
#include "device/virtio/virtqueue.h"

enum vhost_role {
	VHOST_CLIENT, /* we connect to the front end's socket and keep trying; survives our restart without its help */
	VHOST_SERVER, /* we listen; a stale socket file of ours is replaced, a live one is not */
};

struct vhost_endpoint;

struct vhost_device_ops {
	uint64_t features; /* virtio feature bits offered; VERSION_1, RING_*, EVENT_IDX and LOG_ALL are added */
	uint64_t protocol_features; /* extra ones: MTU, CONFIG, STATUS, …; the endpoint adds its own (MQ, REPLY_ACK,
				       LOG_SHMFD, INFLIGHT_SHMFD, RESET_DEVICE, CONFIGURE_MEM_SLOTS, …) */
	uint16_t max_queues;        /* virtqueues, not pairs */
	uint16_t max_queue_size;

	/* The queue is set up, enabled and has memory: let a worker serve it. */
	void (*queue_start)(void *ctx, unsigned index, struct virtqueue *queue);
	/* Take it away from its worker; call vhost_queue_stopped() from the control thread once no worker touches it.
	 */
	void (*queue_stop)(void *ctx, unsigned index, struct virtqueue *queue);
	/* The front end has (dis)connected; features are those negotiated. After false all queues are stopped. */
	void (*connected)(void *ctx, bool up, uint64_t features);
	/* Device configuration space (CONFIG protocol feature); may be NULL. Return bytes or a negative errno. */
	int (*get_config)(void *ctx, uint32_t offset, uint32_t length, uint8_t *ret);
	int (*set_config)(void *ctx, uint32_t offset, uint32_t length, const uint8_t *data);
	/* Worth telling an operator: "protocol-error", "memory-fault", …, with a sentence. */
	void (*notice)(void *ctx, const char *name, const char *sentence);
	/* VHOST_USER_SEND_RARP: the guest has migrated here; announce this MAC. May be NULL. */
	void (*announce)(void *ctx, const uint8_t mac[6]);
};

struct vhost_options {
	struct loop *loop;
	const char *socket_path;
	enum vhost_role role;
	const struct vhost_device_ops *ops; /* kept by reference */
	void *ctx;
	uint16_t mtu;              /* offered with VHOST_USER_PROTOCOL_F_NET_MTU when not 0 */
	uint32_t reconnect_ms;     /* client: time between attempts; 0 = 100 */
	const char *inflight_path; /* named tmpfs file for the in-flight region, so that it outlives us; NULL = memfd */
};

/* Starts listening or connecting. Fails with a precise error on a bad path or a socket in use. */
int vhost_endpoint_new(const struct vhost_options *options, struct vhost_endpoint **ret, struct dpu_error *err);
/* Stops the queues (through queue_stop), closes, then calls done (may be NULL) and frees. */
void vhost_endpoint_free(struct vhost_endpoint *endpoint, void (*done)(void *arg), void *arg);
void vhost_queue_stopped(struct vhost_endpoint *endpoint, unsigned index);

bool vhost_endpoint_connected(const struct vhost_endpoint *endpoint);
uint64_t vhost_endpoint_features(const struct vhost_endpoint *endpoint); /* negotiated */
/* Tell the guest that the configuration space has changed (needs the BACKEND_REQ channel; -ENOTSUP without). */
int vhost_endpoint_config_changed(struct vhost_endpoint *endpoint);
