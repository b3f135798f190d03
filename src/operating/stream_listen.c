// SPDX-License-Identifier: BSD-3-Clause
/* Listening: one accept that goes on, or one after the other; a pause when there are no descriptors. */
#include "operating/stream_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAUSE_MS = 100, BACKLOG = 4096 /* the kernel cuts it to net.core.somaxconn */ };

struct stream_listener {
	struct stream_group *group;
	int fd;
	unsigned under_way;
	bool accepting, multishot, pausing, cancelled, closing;
	struct uring_hook hook;
	struct uring_op accept, timer, cancel;
	struct __kernel_timespec pause;
	stream_accepted_fn *accepted;
	void (*closed)(void *ctx);
	void *ctx;
};

static void wake(struct stream_listener *listener)
{
	uring_before_send(listener->group->uring, &listener->hook);
}

static void on_accepted(struct uring_op *op, int32_t result)
{
	struct stream_listener *listener =
		(struct stream_listener *)((char *)op - offsetof(struct stream_listener, accept));
	struct stream_group *group = listener->group;

	if (!(op->flags & IORING_CQE_F_MORE)) {
		listener->under_way--;
		listener->accepting = false;
		wake(listener);
	}
	if (result >= 0) {
		group->stats.accepted++;
		if (listener->closing)
			close(result);
		else
			listener->accepted(listener->ctx, result);
	} else if (result == -EINVAL && listener->multishot) {
		group->features &= ~(unsigned)STREAM_MULTISHOT;
	} else if (result != -ECANCELED && result != -EINTR && result != -ECONNABORTED) {
		group->stats.accept_failed++;
		listener->pausing = true;
	}
}

static void on_pause_over(struct uring_op *op, int32_t result)
{
	struct stream_listener *listener =
		(struct stream_listener *)((char *)op - offsetof(struct stream_listener, timer));

	listener->under_way--;
	listener->pausing = listener->accepting = false;
	wake(listener);
}

static void on_cancelled(struct uring_op *op, int32_t result)
{
	struct stream_listener *listener =
		(struct stream_listener *)((char *)op - offsetof(struct stream_listener, cancel));

	listener->under_way--;
	wake(listener);
}

static struct io_uring_sqe *entry_take(struct stream_listener *listener, struct uring_op *op,
				       void (*done)(struct uring_op *op, int32_t result))
{
	op->done = done;
	struct io_uring_sqe *entry = uring_entry(listener->group->uring, op);

	if (entry)
		listener->under_way++;
	else
		wake(listener);
	return entry;
}

/* An accept, or the pause instead of it. */
static void accept_start(struct stream_listener *listener)
{
	struct uring_op *op = listener->pausing ? &listener->timer : &listener->accept;
	struct io_uring_sqe *entry = entry_take(listener, op, listener->pausing ? on_pause_over : on_accepted);

	if (!entry)
		return;
	listener->accepting = true;
	listener->multishot = !listener->pausing && (listener->group->features & STREAM_MULTISHOT);
	if (listener->pausing)
		io_uring_prep_timeout(entry, &listener->pause, 0, 0);
	else if (listener->multishot)
		io_uring_prep_multishot_accept(entry, listener->fd, NULL, NULL, SOCK_CLOEXEC);
	else
		io_uring_prep_accept(entry, listener->fd, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data(entry, op);
}

static void accept_stop(struct stream_listener *listener)
{
	struct uring_op *op = listener->pausing ? &listener->timer : &listener->accept;
	struct io_uring_sqe *entry = entry_take(listener, &listener->cancel, on_cancelled);

	if (!entry)
		return;
	if (listener->pausing)
		io_uring_prep_timeout_remove(entry, (__u64)(uintptr_t)op, 0);
	else
		io_uring_prep_cancel(entry, op, 0);
	io_uring_sqe_set_data(entry, &listener->cancel);
	listener->cancelled = true;
}

static void finish(struct stream_listener *listener)
{
	void (*closed)(void *ctx) = listener->closed;
	void *ctx = listener->ctx;

	close(listener->fd);
	listener->group->listeners--;
	free(listener);
	if (closed)
		closed(ctx);
}

static void work(struct uring_hook *hook)
{
	struct stream_listener *listener =
		(struct stream_listener *)((char *)hook - offsetof(struct stream_listener, hook));

	if (!listener->closing && !listener->accepting)
		accept_start(listener);
	if (listener->closing && listener->accepting && !listener->cancelled)
		accept_stop(listener);
	if (listener->closing && listener->under_way == 0 && !listener->hook.queued)
		finish(listener);
}

/* ---- life ---- */

static int socket_listen(const struct sockaddr *address, socklen_t bytes, int backlog, struct dpu_error *err)
{
	static const int on = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_set(err, DPU_E_LIMIT, NULL, "No socket to listen on: %s.", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, address, bytes) == 0 && listen(fd, backlog > 0 ? backlog : BACKLOG) == 0)
		return fd;
	int error = errno;
	close(fd);
	if (error == EADDRINUSE)
		return error_set(err, DPU_E_IN_USE, NULL, "Something else listens on this address and port.");
	if (error == EADDRNOTAVAIL)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "No interface of this machine has this address.");
	if (error == EACCES)
		return error_set(err, DPU_E_DENIED, NULL, "Ports below 1024 take privileges that we lack.");
	return error_set(err, DPU_E_IO, NULL, "Cannot listen: %s.", strerror(error));
}

int stream_listen(struct stream_group *group, const struct sockaddr *address, socklen_t address_bytes, int backlog,
		  stream_accepted_fn *accepted, void *ctx, struct stream_listener **ret, struct dpu_error *err)
{
	int fd = socket_listen(address, address_bytes, backlog, err);

	if (fd < 0)
		return fd;
	struct stream_listener *listener = calloc(1, sizeof(*listener));
	if (!listener) {
		close(fd);
		return error_set(err, DPU_E_LIMIT, NULL, "No memory to listen.");
	}
	listener->group = group;
	listener->fd = fd;
	listener->accepted = accepted;
	listener->ctx = ctx;
	listener->hook.run = work;
	listener->pause.tv_nsec = PAUSE_MS * 1000000LL;
	group->listeners++;
	wake(listener);
	*ret = listener;
	return 0;
}

int stream_listener_fd(const struct stream_listener *listener)
{
	return listener->fd;
}

void stream_listener_close(struct stream_listener *listener, void (*closed)(void *ctx))
{
	listener->closing = true;
	listener->closed = closed;
	wake(listener);
}
