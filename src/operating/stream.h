/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP byte streams on a worker's io_uring, by thousands: what NVMe/TCP and its like run on.
 *
 * Threads: all calls and callbacks happen in the worker that polls the group's io_uring (or, without workers, in the
 * thread that calls uring_poll()), except where said. Callbacks come from uring_poll() only, never from within a call,
 * and may call everything here, stream_close() of their own stream included.
 *
 * Life: connect or adopt → (connected) → received …, sends done … → ended, at most once → stream_close() → closed,
 * exactly once; the stream is no more then. Who has not been told of the end may close at any time; after
 * stream_close() there are no calls of `connected`, `received` and `ended`, but every send and every take that is still
 * lent to the stream completes before `closed`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/error.h"
#include "operating/uring.h"

/* ---- a worker's streams ---- */

struct stream_group;

enum stream_feature {
	STREAM_BUFFER_RING = 1 << 0, /* the kernel picks a buffer when bytes have come: idle streams hold none (5.19) */
	STREAM_MULTISHOT = 1 << 1,   /* one receive, one accept goes on until it is cancelled (6.0) */
	STREAM_ZERO_COPY = 1 << 2,   /* SENDMSG_ZC (6.1) */
};

struct stream_group_options {
	struct uring *uring;
	unsigned buffers;         /* to receive into, shared; a power of two up to 32768; 0 = 256 */
	unsigned buffer_bytes;    /* of each; 0 = 16 KiB */
	unsigned zero_copy_bytes; /* send in place what is at least so long in one flush; 0 = STREAM_ZERO_COPY_BYTES,
				   * UINT_MAX = never */
	unsigned without;         /* enum stream_feature: not to be used even where the kernel has it */
};

enum { STREAM_ZERO_COPY_BYTES = 32 << 10 };

struct stream_stats {
	uint64_t accepted, connected, ended;
	uint64_t receives, received_bytes; /* … of which straight into a take: */
	uint64_t taken_bytes;
	uint64_t flushes, sends, sent_bytes;
	uint64_t partial;                   /* flushes that the kernel took only a part of */
	uint64_t zero_copy, copied_anyway;  /* flushes in place, and those that the kernel copied nevertheless */
	uint64_t no_buffers, accept_failed; /* waited for a receive buffer; for descriptors or memory to accept */
};

/* Any thread, before the io_uring's first poll or in its worker. Errors: buffers, buffer_bytes (DPU_E_INVALID), memory.
 */
int stream_group_new(const struct stream_group_options *options, struct stream_group **ret, struct dpu_error *err);
/* No streams and listeners may be left. In the worker, or once nobody polls the io_uring any more; before uring_free().
 */
void stream_group_free(struct stream_group *group);
unsigned stream_group_features(const struct stream_group *group); /* enum stream_feature: in use */
struct uring *stream_group_uring(const struct stream_group *group);
void stream_group_stats(const struct stream_group *group, struct stream_stats *ret);

/* ---- streams ---- */

struct stream;

struct stream_ops {
	void (*connected)(void *ctx); /* of stream_connect(); may be NULL */
	/* Bytes have come; they are lent for the call. Returns how many were consumed. Fewer than `count`: the rest is
	 * kept and given again, from where it was left, after stream_resume(), or, when the call has started a take,
	 * goes to that first. */
	size_t (*received)(void *ctx, const uint8_t *bytes, size_t count);
	/* The connection is over, nothing is received any more: 0 = the peer has sent all it had (it may still
	 * receive), else a negative errno, of a failed stream_connect() too (-ETIMEDOUT, -ECONNREFUSED, …). */
	void (*ended)(void *ctx, int error);
};

struct stream_options {
	unsigned connect_timeout_ms; /* 0 = 10 s */
	unsigned keepalive_s;     /* first probe after so long in silence, then three, a third of it apart; 0 = none */
	unsigned user_timeout_ms; /* given up when what was sent stays unacknowledged for so long; 0 = the kernel's */
	unsigned send_buffer_bytes, receive_buffer_bytes; /* of the kernel; 0 = its own sizing */
	const struct sockaddr *local;                     /* to connect from; NULL = any */
	socklen_t local_bytes;
};

/* TCP_NODELAY is always set. -errno if there is no descriptor or memory or an option is refused; what becomes of the
 * connection is told by callbacks. options may be NULL. */
int stream_connect(struct stream_group *group, const struct sockaddr *peer, socklen_t peer_bytes,
		   const struct stream_options *options, const struct stream_ops *ops, void *ctx, struct stream **ret);
/* Makes a stream of a connected socket (of a listener, a socket pair), which it owns from now on; on failure it stays
 * the caller's. */
int stream_adopt(struct stream_group *group, int fd, const struct stream_options *options, const struct stream_ops *ops,
		 void *ctx, struct stream **ret);
/* Breaks the connection if it still stands: with a reset if something was sent in place that the peer has not
 * acknowledged, else what the kernel has taken is still delivered. closed(ctx) may be NULL. */
void stream_close(struct stream *stream, void (*closed)(void *ctx));
/* For another handshake than that of stream_connect(): other callbacks from now on. */
void stream_set_ops(struct stream *stream, const struct stream_ops *ops, void *ctx);
int stream_fd(const struct stream *stream); /* for getsockname(2) and the like */

/* ---- sending ---- */

/* Embedded by the sender; lent, with its buffers, until done. */
struct stream_send {
	const struct iovec *iov;
	unsigned segments; /* 1 or more */
	/* 0: the kernel has, or has copied, all bytes, and no longer looks at them. Else a negative errno: some may
	 * have been sent (-ECANCELED: the stream was closed). In the order of sending. */
	void (*done)(struct stream_send *send, int error);
	/* the stream's own */
	struct stream_send *next;
	size_t left;
	unsigned segment;
	size_t skip;
};

/* Queued, and sent with all that is queued at the end of the round, in one system call for all streams. Never fails. */
void stream_send(struct stream *stream, struct stream_send *send);
/* Bytes that the kernel has not taken: who makes data for the peer stops above a limit, and goes on in `done`. */
size_t stream_unsent(const struct stream *stream);
/* After all that is queued, the peer gets the end of our bytes (FIN). Receiving goes on. */
void stream_shutdown(struct stream *stream);

/* ---- receiving ---- */

/* `received` pauses and goes on. Bytes stay in the kernel meanwhile, so that the peer is slowed down. Nests not. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* Embedded by the receiver; lent, with its buffers, until done. */
struct stream_take {
	const struct iovec *iov;
	unsigned segments;
	size_t bytes; /* at least 1, at most the sum of iov */
	/* 0: all bytes are there. Else a negative errno: the connection ended first (-ECONNRESET if in order), or
	 * -ECANCELED. */
	void (*done)(struct stream_take *take, int error);
	/* the stream's own */
	size_t moved;
};

/* The next bytes, after those that `received` returns as consumed, go into the take's buffers; long ones without a copy
 * (STREAM_TAKE_BYTES). Called in `received`, `connected` or a take's done, or while paused; one at a time. */
void stream_take(struct stream *stream, struct stream_take *take);

/* What is worth to be received in place: a shorter rest comes by way of the buffers. */
enum { STREAM_TAKE_BYTES = 16 << 10 };

/* ---- listening ---- */

struct stream_listener;

/* A connection has come; fd is the callee's, for stream_adopt() in this or (handed over) another worker. */
typedef void stream_accepted_fn(void *ctx, int fd);

/* Binds and listens (IPv6 sockets take IPv6 only). Any thread until the io_uring is polled, else in its worker. Errors
 * (path empty): the address is in use, not of this machine, …; backlog 0 = the kernel's. */
int stream_listen(struct stream_group *group, const struct sockaddr *address, socklen_t address_bytes, int backlog,
		  stream_accepted_fn *accepted, void *ctx, struct stream_listener **ret, struct dpu_error *err);
/* With port 0 asked for: which one it has become. */
int stream_listener_fd(const struct stream_listener *listener);
/* accepted is not called any more; closed(ctx), which may be NULL, when the socket is closed. */
void stream_listener_close(struct stream_listener *listener, void (*closed)(void *ctx));
