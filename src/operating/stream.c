// SPDX-License-Identifier: BSD-3-Clause
/* The life of a TCP stream: connect, what its state asks for in a round, its end, close. */
#include "operating/stream_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECT_TIMEOUT_MS = 10000, KEEPALIVE_PROBES = 3 };

static void work(struct uring_hook *hook);

/* ---- options ---- */

static int option_set(int fd, int level, int name, unsigned value)
{
	int number = (int)value;

	return value == 0 || setsockopt(fd, level, name, &number, sizeof(number)) == 0 ? 0 : -errno;
}

static bool is_tcp(int fd)
{
	int domain = 0;
	socklen_t bytes = sizeof(domain);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes);
	return domain == AF_INET || domain == AF_INET6;
}

static int tcp_options_set(int fd, const struct stream_options *options)
{
	unsigned between = options->keepalive_s / KEEPALIVE_PROBES;
	int r = option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);

	if (r == 0)
		r = option_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
	if (r == 0 && options->keepalive_s > 0) {
		r = option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		if (r == 0)
			r = option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepalive_s);
		if (r == 0)
			r = option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, between ? between : 1);
		if (r == 0)
			r = option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	}
	return r;
}

static int options_set(int fd, const struct stream_options *options)
{
	int r = option_set(fd, SOL_SOCKET, SO_SNDBUF, options->send_buffer_bytes);

	if (r == 0)
		r = option_set(fd, SOL_SOCKET, SO_RCVBUF, options->receive_buffer_bytes);
	return r == 0 && is_tcp(fd) ? tcp_options_set(fd, options) : r;
}

/* ---- life ---- */

static struct stream *stream_make(struct stream_group *group, int fd, const struct stream_ops *ops, void *ctx)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->group = group;
	stream->ops = ops;
	stream->ctx = ctx;
	stream->fd = fd;
	stream->hook.run = work;
	stream->sends_tail = &stream->sends;
	stream->flushes_tail = &stream->flushes;
	stream->zero_copy = group->features & STREAM_ZERO_COPY;
	group->streams++;
	return stream;
}

int stream_adopt(struct stream_group *group, int fd, const struct stream_options *options, const struct stream_ops *ops,
		 void *ctx, struct stream **ret)
{
	static const struct stream_options none;
	int r = options_set(fd, options ? options : &none), flags = fcntl(fd, F_GETFL);

	if (r < 0)
		return r;
	/* io_uring waits for a descriptor only if it may block. */
	if (flags < 0 || ((flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0))
		return -errno;
	struct stream *stream = stream_make(group, fd, ops, ctx);
	if (!stream)
		return -ENOMEM;
	stream_wake(stream);
	*ret = stream;
	return 0;
}

static int socket_make(const struct sockaddr *peer, const struct stream_options *options)
{
	int fd = socket(peer->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	int r = options_set(fd, options);
	if (r == 0 && options->local && bind(fd, options->local, options->local_bytes) < 0)
		r = -errno;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

int stream_connect(struct stream_group *group, const struct sockaddr *peer, socklen_t peer_bytes,
		   const struct stream_options *options, const struct stream_ops *ops, void *ctx, struct stream **ret)
{
	static const struct stream_options none;
	unsigned timeout_ms;

	if (peer_bytes > sizeof(struct sockaddr_storage))
		return -EINVAL;
	options = options ? options : &none;
	timeout_ms = options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	int fd = socket_make(peer, options);
	if (fd < 0)
		return fd;
	struct sockaddr_storage *copy = malloc(sizeof(*copy));
	struct stream *stream = copy ? stream_make(group, fd, ops, ctx) : NULL;
	if (!stream) {
		free(copy);
		close(fd);
		return -ENOMEM;
	}
	memcpy(copy, peer, peer_bytes);
	stream->peer = copy;
	stream->peer_bytes = peer_bytes;
	stream->timeout.tv_sec = timeout_ms / 1000;
	stream->timeout.tv_nsec = timeout_ms % 1000 * 1000000LL;
	stream->connecting = true;
	stream_wake(stream);
	*ret = stream;
	return 0;
}

void stream_set_ops(struct stream *stream, const struct stream_ops *ops, void *ctx)
{
	stream->ops = ops;
	stream->ctx = ctx;
}

int stream_fd(const struct stream *stream)
{
	return stream->fd;
}

/* ---- connecting ---- */

static void on_connected(struct uring_op *op, int32_t result)
{
	struct stream *stream = (struct stream *)((char *)op - offsetof(struct stream, receive));

	stream->under_way--;
	stream->file_users--;
	stream->connecting = stream->cancelling = false;
	free(stream->peer);
	stream->peer = NULL;
	stream_wake(stream);
	if (result < 0) {
		stream->broken = true;
		stream_end(stream, result == -ECANCELED ? -ETIMEDOUT : result);
		return;
	}
	stream->group->stats.connected++;
	if (!stream->closing && stream->ops->connected)
		stream->ops->connected(stream->ctx);
}

static void on_timer(struct uring_op *op, int32_t result)
{
	struct stream *stream = (struct stream *)((char *)op - offsetof(struct stream, timer));

	stream->under_way--;
	stream_wake(stream);
}

static void connect_start(struct stream *stream)
{
	struct uring *uring = stream->group->uring;

	if (!uring_reserve(uring, 2)) {
		stream_wake(stream);
		return;
	}
	stream->receive.done = on_connected;
	stream->timer.done = on_timer;
	struct io_uring_sqe *entry = uring_entry(uring, &stream->receive);
	io_uring_prep_connect(entry, stream->fd, (struct sockaddr *)stream->peer, stream->peer_bytes);
	io_uring_sqe_set_data(entry, &stream->receive);
	entry->flags |= IOSQE_IO_LINK;
	entry = uring_entry(uring, &stream->timer);
	io_uring_prep_link_timeout(entry, &stream->timeout, 0);
	io_uring_sqe_set_data(entry, &stream->timer);
	stream->connect_started = true;
	stream->under_way += 2;
	stream->file_users++;
}

/* ---- the end ---- */

static void on_cancelled(struct uring_op *op, int32_t result)
{
	struct stream *stream = (struct stream *)((char *)op - offsetof(struct stream, cancel));

	stream->under_way--;
	stream_wake(stream);
}

void stream_cancel(struct stream *stream)
{
	if (stream->cancelling)
		return;
	stream->cancel.done = on_cancelled;
	struct io_uring_sqe *entry = uring_entry(stream->group->uring, &stream->cancel);
	if (!entry) {
		stream_wake(stream);
		return;
	}
	io_uring_prep_cancel(entry, &stream->receive, 0);
	io_uring_sqe_set_data(entry, &stream->cancel);
	stream->cancelling = true;
	stream->under_way++;
}

/* An error ends everything; an orderly end of the peer's bytes (0) leaves us ours. */
void stream_end(struct stream *stream, int error)
{
	if (error) {
		stream->broken = true;
		if (stream->fd >= 0)
			shutdown(stream->fd, SHUT_RDWR); /* ends what is under way */
	}
	if (!stream->over) {
		stream->over = true;
		stream->error = error;
		stream->group->stats.ended += !stream->closing;
	}
	stream_wake(stream);
}

void stream_close(struct stream *stream, void (*closed)(void *ctx))
{
	stream->closing = true;
	stream->closed = closed;
	stream->closed_ctx = stream->ctx;
	stream_wake(stream);
}

static void finish(struct stream *stream)
{
	void (*closed)(void *ctx) = stream->closed;
	void *ctx = stream->closed_ctx;

	stream->group->streams--;
	free(stream->peer);
	free(stream);
	if (closed)
		closed(ctx);
}

static void close_begin(struct stream *stream)
{
	if (stream->connecting && stream->connect_started) {
		stream_cancel(stream);
		stream->close_begun = stream->cancelling;
		return;
	}
	stream->close_begun = true;
	stream->connecting = false;
	shutdown(stream->fd, SHUT_RDWR); /* what is under way ends */
}

/* What was sent in place and is not acknowledged is held by the kernel for as long as it tries: it is told to stop. */
static void descriptor_close(struct stream *stream)
{
	static const struct linger reset = { .l_onoff = 1 };

	if (stream->flushes)
		setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(stream->fd);
	stream->fd = -1;
}

static void close_work(struct stream *stream)
{
	if (!stream->close_begun)
		close_begin(stream);
	if (stream->file_users == 0 && stream->fd >= 0)
		descriptor_close(stream);
	if (stream->fd >= 0 || stream->under_way > 0 || stream->sends || stream->flushes || stream->take)
		return;
	if (!stream->hook.queued) /* a done of this round has woken it: then it comes again */
		finish(stream);
}

static void work(struct uring_hook *hook)
{
	struct stream *stream = stream_of_hook(hook);

	if (stream->connecting && !stream->connect_started && !stream->closing)
		connect_start(stream);
	stream_receive_work(stream);
	stream_send_work(stream);
	if (stream->over && !stream->told && !stream->closing && !stream->kept) {
		stream->told = true;
		stream->ops->ended(stream->ctx, stream->error);
	}
	if (stream->closing)
		close_work(stream);
}
