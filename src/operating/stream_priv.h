/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of TCP streams: what the worker's streams share, a stream, and what is under way for it. */
#pragma once

#include "operating/stream.h"

enum {
	STREAM_SEGMENTS = 64, /* of one system call */
	SINGLE_RECEIVES = 32, /* after a take in place: so many receives are not multishot, which would have to be
			       * cancelled for the next */
	SINGLE_BYTES = 4096,  /* … and bring so much, since what follows a header goes in place */
	FIRST_BUFFERS = 16,   /* that are provided before the kernel has asked for more */
	COPIED_ENOUGH = 4,    /* sends in place that were copied nevertheless, in a row, until they are given up */
};

/* A system call with many segments: a flush of sends, or a piece of a take. Lent by the group while it is under way. */
struct stream_call {
	struct uring_op op; /* first */
	struct stream *stream;
	struct stream_call *next; /* of the stream's flushes, or of the group's free ones */
	struct msghdr message;
	size_t bytes;
	struct stream_send *first, **tail; /* sends that end with it */
	bool zero_copy, sent, released;    /* released: the kernel no longer looks at the buffers */
	struct iovec iov[STREAM_SEGMENTS];
};

struct stream_group {
	struct uring *uring;
	struct io_uring_buf_ring *ring; /* NULL until it is needed, or for good */
	uint8_t *memory;                /* buffers × buffer_bytes, or one for all */
	unsigned buffers, buffer_bytes, features;
	unsigned
		provided; /* buffers that the kernel has seen: few, so that they stay in the cache, until it runs out */
	uint16_t number;  /* of the provided buffers */
	bool ready;
	bool report_copied; /* the kernel says whether it copied (6.2) */
	size_t zero_copy_bytes;
	struct stream_call *free_calls;
	unsigned streams, listeners;
	struct stream_stats stats;
};

struct stream {
	struct stream_group *group;
	const struct stream_ops *ops;
	void *ctx;
	int fd;
	unsigned under_way;  /* operations that will complete */
	unsigned file_users; /* … of which those that need the descriptor */
	unsigned single;     /* receives that are not to be multishot */
	unsigned copied;     /* sends in place in a row that were copied */
	int error;           /* of `over` */
	bool connecting;     /* the connect is under way or about to be */
	bool connect_started;
	bool receiving;  /* a receive is under way */
	bool multishot;  /* … and goes on by itself */
	bool cancelling; /* … and is being cancelled */
	bool paused;
	bool taking;      /* the take's bytes come straight into it */
	bool take_copies; /* … do not, as the kernel cannot */
	bool over, told;  /* the connection has ended; `ended` was called */
	bool sending;     /* a flush is under way */
	bool broken;      /* no more can be sent */
	bool shutdown_wanted, shutdown_done;
	bool zero_copy;
	bool closing, close_begun;
	struct uring_hook hook;
	struct uring_op receive, cancel, timer; /* receive: the connect before it */
	struct __kernel_timespec timeout;
	struct stream_take *take;
	uint8_t *kept; /* received, and not consumed yet */
	size_t kept_bytes, kept_at;
	struct stream_send *sends, **sends_tail; /* from the first that is not wholly with the kernel */
	size_t unsent;
	struct stream_call *flushes, **flushes_tail; /* in order; the last may be under way */
	void (*closed)(void *ctx);
	void *closed_ctx;
	struct sockaddr_storage *peer; /* while connecting */
	socklen_t peer_bytes;
};

static inline struct stream *stream_of_hook(struct uring_hook *hook)
{
	return (struct stream *)((char *)hook - offsetof(struct stream, hook));
}

/* Does what the stream's state asks for, in the next opportunity. */
static inline void stream_wake(struct stream *stream)
{
	uring_before_send(stream->group->uring, &stream->hook);
}

/* stream_group.c */
void stream_group_ready(struct stream_group *group); /* in the worker: the buffers, when they are first needed */
struct stream_call *stream_call_take(struct stream *stream); /* NULL: no memory */
void stream_call_give(struct stream_call *call);
uint8_t *stream_buffer(const struct stream_group *group, unsigned number);
void stream_buffer_give(struct stream_group *group, unsigned number);
/* So many that the kernel has not seen yet, if there are. */
void stream_buffers_more(struct stream_group *group, unsigned more);

/* stream.c */
void stream_end(struct stream *stream, int error); /* the first reason counts */
void stream_cancel(struct stream *stream);         /* the receive (not in place) or connect that is under way */

/* stream_receive.c */
void stream_receive_work(struct stream *stream);

/* stream_send.c */
void stream_send_work(struct stream *stream);
