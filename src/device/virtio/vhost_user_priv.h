/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the vhost-user endpoint: its state, and what its files call in each other. */
#pragma once

#include <sys/types.h>
#include "device/virtio/dirty_log.h"
#include "device/virtio/guest_memory.h"
#include "device/virtio/queue_record.h"
#include "device/virtio/vhost_protocol.h"
#include "device/virtio/vhost_user.h"
#include "device/virtio/virtq_inflight.h"
#include "device/virtio/virtqueue_priv.h"

enum vring_state { VRING_STOPPED, VRING_RUNNING, VRING_STOPPING };

struct vhost_vring {
	struct virtqueue *queue;
	enum vring_state state;
	bool has_addr, started, enabled;
	bool failed; /* broken or could not be set up; until the front end sets it up again */
	uint16_t size;
	uint32_t base;       /* where to go on */
	uint32_t given_base; /* as the front end said last */
	struct vhost_vring_addr addr;
	int kick_fd, call_fd, err_fd; /* -1: none */
};

/* A message as it comes in, and its reply in the same place. */
struct vhost_message {
	struct vhost_header header;
	union vhost_payload payload;
	size_t received; /* bytes, header included */
	int fds[VHOST_MAX_FDS];
	unsigned fd_count;
	int reply_fd; /* to be sent along and closed; -1 none */
};

struct vhost_endpoint {
	struct loop *loop;
	const struct vhost_device_ops *ops;
	void *ctx;
	enum vhost_role role;
	char *socket_path;
	uint16_t mtu;
	uint32_t reconnect_ms;

	int listen_fd, fd, backend_fd, alarm_fd;
	dev_t socket_device; /* the file that we bound */
	ino_t socket_inode;
	struct loop_fd *listen_watch, *watch, *alarm_watch;
	struct loop_timer *reconnect;
	int connect_result; /* of the client's last attempt: 0 or a negative errno */

	uint64_t features, protocol_features; /* negotiated */
	uint8_t status;
	bool negotiated; /* connected(true) was told */
	struct guest_memory *memory;
	struct dirty_log *log;
	struct inflight_region *inflight;
	struct queue_records *records;
	struct vhost_vring *vrings; /* ops->max_queues */

	struct vhost_message message;
	bool pending;   /* a complete message waits for queues to stop */
	bool answering; /* … was carried out, and the device owes the answer */
	bool closing;   /* the connection is being given up; queues stop */
	bool busy;      /* inside our own code: vhost_queue_stopped() does not go on by itself */
	bool fault_told;
	char why[256]; /* what the message under way did wrong */
	void (*freed)(void *arg);
	void *freed_arg;
	bool freeing;
};

/* vhost_socket.c */
int vhost_socket_open(struct vhost_endpoint *endpoint, struct dpu_error *err);
void vhost_socket_reopen(struct vhost_endpoint *endpoint); /* after a connection has ended */
void vhost_socket_close(struct vhost_endpoint *endpoint);
/* Reads more of endpoint->message. 1 when it is complete, 0 when there is no more now, or a negative errno:
 * -ECONNRESET when the peer has gone, -EPROTO with endpoint->why. */
int vhost_message_read(struct vhost_endpoint *endpoint);
/* 0 or a negative errno; never blocks. */
int vhost_message_send(int fd, const struct vhost_header *header, const void *payload, int passed_fd);
void vhost_message_reset(struct vhost_message *message); /* closes descriptors that nobody took */

/* vhost_user.c */
void vhost_connection_open(struct vhost_endpoint *endpoint, int fd); /* takes fd */
void vhost_connection_close(struct vhost_endpoint *endpoint);
void vhost_notice(struct vhost_endpoint *endpoint, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* vhost_request.c: size and descriptors of a complete header or message; 0 or -EPROTO with endpoint->why. */
int vhost_request_check_header(struct vhost_endpoint *endpoint, const struct vhost_header *header);
int vhost_request_check(struct vhost_endpoint *endpoint, const struct vhost_message *message);
/* Which queues must stop before it is carried out. */
bool vhost_request_affects(const struct vhost_endpoint *endpoint, const struct vhost_message *message, unsigned index);
/* Carries it out and replies. 0, or a negative errno: the connection is to be closed. VHOST_LATER: not answered yet. */
int vhost_request_handle(struct vhost_endpoint *endpoint, struct vhost_message *message);
int vhost_request_answer(struct vhost_endpoint *endpoint, struct vhost_message *message, int result);
/* Forget what was negotiated: after the connection, or RESET_DEVICE. */
void vhost_endpoint_reset(struct vhost_endpoint *endpoint);

/* Handlers. 0, -EPROTO (violation) or another negative errno (refused), both with endpoint->why. A handler that takes a
 * descriptor sets it to -1. */
typedef int vhost_handler(struct vhost_endpoint *endpoint, struct vhost_message *message);
vhost_handler vhost_set_mem_table, vhost_add_mem_reg, vhost_rem_mem_reg, vhost_set_log_base, vhost_get_inflight_fd,
	vhost_set_inflight_fd;
vhost_handler vhost_set_vring_num, vhost_set_vring_addr, vhost_set_vring_base, vhost_get_vring_base,
	vhost_set_vring_kick, vhost_set_vring_call, vhost_set_vring_err, vhost_set_vring_enable;
int vhost_refuse(struct vhost_endpoint *endpoint, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void vhost_vring_reset(struct vhost_vring *vring);
/* Ready to run: sets up the queue; false if it is not, or fails (with a notice). */
bool vhost_vring_prepare(struct vhost_endpoint *endpoint, unsigned index);
