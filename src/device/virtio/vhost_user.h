/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user back end (QEMU docs/interop/vhost-user.rst): messages, memory table, in-flight region, dirty log, and
 * the virtqueues that come out of it. Shared by network and block.
 *
 * Threads: everything here runs in the control thread. A started virtqueue (virtqueue.h) is worked on by one worker;
 * the endpoint hands it over and takes it back through the device's queue_start and queue_stop, which answer
 * asynchronously, so control never waits for a worker. While an answer is outstanding no further message is read.
 *
 * Everything the front end sends is hostile: message sizes, descriptor counts, region geometry, ring addresses and
 * offsets are checked; a violation closes the connection with a notice that says what was wrong. What is well-formed
 * but cannot be done (no more memory slots, an MTU that is too large) is refused with a negative reply if the front end
 * asked for one, and ends the connection otherwise.
 *
 * Rings start with SET_VRING_KICK and are served while enabled; a disabled ring is left alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"
#include "device/virtio/virtqueue.h"

enum { VHOST_MAX_QUEUES = 256, VHOST_LATER = 1 };

enum vhost_role {
	VHOST_CLIENT, /* we connect to the front end's socket and keep trying; survives our restart without its help */
	VHOST_SERVER, /* we listen; a stale socket file of ours is replaced, a live one is not */
};

struct vhost_endpoint;

struct vhost_device_ops {
	uint64_t features; /* virtio feature bits offered; VERSION_1, RING_PACKED, INDIRECT_DESC, EVENT_IDX and LOG_ALL
			      are added */
	uint64_t protocol_features; /* extra ones (enum vhost_protocol_feature, vhost_protocol.h); the endpoint adds its
				       own: MQ, REPLY_ACK, LOG_SHMFD, BACKEND_REQ, INFLIGHT_SHMFD, RESET_DEVICE,
				       CONFIGURE_MEM_SLOTS, STATUS; CONFIG with get_config, RARP with announce, NET_MTU
				       with an mtu */
	uint16_t max_queues;        /* virtqueues, not pairs; at most VHOST_MAX_QUEUES */
	uint16_t max_queue_size;
	uint16_t queue_num; /* answer to GET_QUEUE_NUM: pairs for network, virtqueues for others; 0 = max_queues */
	/* Elements are pushed in the order popped, and all of them before queue_stop is answered. Then a ring whose
	 * front end lost us is resumed behind the last used element without an in-flight region, packed rings by the
	 * record at options.state_path. IN_ORDER is offered. */
	bool in_order;

	/* The queue is set up, enabled and has memory: let a worker serve it. */
	void (*queue_start)(void *ctx, unsigned index, struct virtqueue *queue);
	/* Take it away from its worker; call vhost_queue_stopped() from the control thread once no worker touches it
	 * (also from within this call). Elements that were popped and not pushed by then must not be touched any more;
	 * they come again if the front end keeps an in-flight region. */
	void (*queue_stop)(void *ctx, unsigned index, struct virtqueue *queue);
	/* The front end has negotiated features (again), before any queue starts; or it has gone, after all queues
	 * were stopped. */
	void (*connected)(void *ctx, bool up, uint64_t features);
	/* Device configuration space (CONFIG protocol feature); may be NULL. Return 0 or a negative errno. offset and
	 * length are within 256 bytes. No queue runs during set_config; one that returns VHOST_LATER is answered by
	 * vhost_config_set(), and until then no queue runs and no message is read. */
	int (*get_config)(void *ctx, uint32_t offset, uint32_t length, uint8_t *ret);
	int (*set_config)(void *ctx, uint32_t offset, uint32_t length, const uint8_t *data);
	/* Worth telling an operator: "protocol-error", "request-refused", "queue-broken", "memory-fault",
	 * "queue-error", with a sentence. The same notice repeats with every reconnect: the device limits its rate. */
	void (*notice)(void *ctx, const char *name, const char *sentence);
	/* VHOST_USER_SEND_RARP: the guest has migrated here; announce this MAC. May be NULL. */
	void (*announce)(void *ctx, const uint8_t mac[6]);
};

struct vhost_options {
	struct loop *loop;
	const char *socket_path; /* copied, as the other strings */
	enum vhost_role role;
	const struct vhost_device_ops *ops; /* kept by reference */
	void *ctx;
	uint16_t mtu;           /* largest that NET_SET_MTU may ask for; the feature is offered when not 0 */
	uint32_t reconnect_ms;  /* client: time between attempts; 0 = 100 */
	const char *state_path; /* named tmpfs file for packed rings' positions (queue_record.h), so that they
				   outlive us; NULL = they live as long as the endpoint. Its owner unlinks it when
				   the device is deleted. */
};

/* Starts listening or connecting. Fails with a precise error on a bad path or a socket in use. */
int vhost_endpoint_new(const struct vhost_options *options, struct vhost_endpoint **ret, struct dpu_error *err);
/* Stops the queues (through queue_stop), closes, then calls done (may be NULL) and frees. */
void vhost_endpoint_free(struct vhost_endpoint *endpoint, void (*done)(void *arg), void *arg);
/* 0 or a negative errno. Nothing happens if the front end has gone meanwhile. Not from within set_config. */
void vhost_config_set(struct vhost_endpoint *endpoint, int result);
void vhost_queue_stopped(struct vhost_endpoint *endpoint, unsigned index);

bool vhost_endpoint_connected(const struct vhost_endpoint *endpoint);
/* Of a client's last attempt to connect: 0 or a negative errno. */
int vhost_endpoint_connect_result(const struct vhost_endpoint *endpoint);
uint64_t vhost_endpoint_features(const struct vhost_endpoint *endpoint); /* negotiated */
const char *vhost_endpoint_socket_path(const struct vhost_endpoint *endpoint);
/* What NET_SET_MTU may ask for from now on; not 0, and only if options.mtu was not. */
void vhost_endpoint_set_mtu(struct vhost_endpoint *endpoint, uint16_t mtu);
/* Tell the guest that the configuration space has changed (needs the BACKEND_REQ channel; -ENOTSUP without). */
int vhost_endpoint_config_changed(struct vhost_endpoint *endpoint);
