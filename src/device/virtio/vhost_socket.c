/* SPDX-License-Identifier: BSD-3-Clause */
/* The endpoint's socket: listening or connecting (again and again), and messages with descriptors over it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fds.h"
#include "device/virtio/vhost_user_priv.h"

static int socket_new(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd < 0 ? -errno : fd;
}

static void address_fill(const struct vhost_endpoint *endpoint, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret->sun_path, endpoint->socket_path, strlen(endpoint->socket_path));
}

/* ---- client ---- */

static int client_connect(struct vhost_endpoint *endpoint)
{
	struct sockaddr_un address;
	int fd = socket_new();

	if (fd < 0)
		return fd;
	address_fill(endpoint, &address);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static void on_reconnect(void *ctx)
{
	struct vhost_endpoint *endpoint = ctx;
	int fd = client_connect(endpoint);

	endpoint->connect_result = fd < 0 ? fd : 0;
	if (fd >= 0)
		vhost_connection_open(endpoint, fd);
	else
		loop_timer_rearm(endpoint->reconnect, endpoint->reconnect_ms * CLOCK_NS_PER_MS);
}

/* ---- server ---- */

static void on_accept(void *ctx, uint32_t events)
{
	struct vhost_endpoint *endpoint = ctx;
	int fd = accept4(endpoint->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	/* One front end at a time: the next waits in the backlog until this one has gone. */
	loop_fd_remove(endpoint->listen_watch);
	endpoint->listen_watch = NULL;
	vhost_connection_open(endpoint, fd);
}

/* Removes a socket file that nobody listens on; never anything else. */
static int stale_remove(struct vhost_endpoint *endpoint, struct dpu_error *err)
{
	struct stat st;

	if (lstat(endpoint->socket_path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_set(err, DPU_E_IO, "socket_path", "cannot look at %s: %s",
						   endpoint->socket_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, DPU_E_EXISTS, "socket_path", "%s exists and is not a socket",
				 endpoint->socket_path);
	int fd = client_connect(endpoint);
	if (fd >= 0 || fd == -EAGAIN) {
		if (fd >= 0)
			close(fd);
		return error_set(err, DPU_E_IN_USE, "socket_path", "another process listens on %s",
				 endpoint->socket_path);
	}
	if (unlink(endpoint->socket_path) < 0 && errno != ENOENT)
		return error_set(err, DPU_E_IO, "socket_path", "cannot remove the stale socket %s: %s",
				 endpoint->socket_path, strerror(errno));
	return 0;
}

static int server_listen(struct vhost_endpoint *endpoint, struct dpu_error *err)
{
	struct sockaddr_un address;
	struct stat st;
	int r = stale_remove(endpoint, err);

	if (r < 0)
		return r;
	endpoint->listen_fd = socket_new();
	if (endpoint->listen_fd < 0)
		return error_set(err, DPU_E_IO, "socket_path", "no socket: %s", strerror(-endpoint->listen_fd));
	address_fill(endpoint, &address);
	if (bind(endpoint->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(err, errno == EADDRINUSE ? DPU_E_IN_USE : DPU_E_IO, "socket_path",
				 "cannot bind %s: %s", endpoint->socket_path, strerror(errno));
	if (lstat(endpoint->socket_path, &st) == 0) {
		endpoint->socket_device = st.st_dev;
		endpoint->socket_inode = st.st_ino;
	}
	if (listen(endpoint->listen_fd, 1) < 0 ||
	    loop_fd_add(endpoint->loop, endpoint->listen_fd, EPOLLIN, on_accept, endpoint, &endpoint->listen_watch) < 0)
		return error_set(err, DPU_E_IO, "socket_path", "cannot listen on %s: %s", endpoint->socket_path,
				 strerror(errno));
	return 0;
}

/* ---- both ---- */

int vhost_socket_open(struct vhost_endpoint *endpoint, struct dpu_error *err)
{
	size_t length = strlen(endpoint->socket_path);

	if (length == 0 || length >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(err, DPU_E_INVALID, "socket_path", "a socket path has 1 to %zu bytes, this one %zu",
				 sizeof(((struct sockaddr_un *)0)->sun_path) - 1, length);
	if (endpoint->role == VHOST_SERVER)
		return server_listen(endpoint, err);
	/* Not connected here: callbacks must not run before the caller has its endpoint. */
	if (loop_timer_add(endpoint->loop, 0, 0, on_reconnect, endpoint, &endpoint->reconnect) < 0)
		return error_set(err, DPU_E_LIMIT, "socket_path", "no memory for a timer");
	return 0;
}

void vhost_socket_reopen(struct vhost_endpoint *endpoint)
{
	if (endpoint->role == VHOST_CLIENT)
		loop_timer_rearm(endpoint->reconnect, endpoint->reconnect_ms * CLOCK_NS_PER_MS);
	else if (!endpoint->listen_watch && loop_fd_add(endpoint->loop, endpoint->listen_fd, EPOLLIN, on_accept,
							endpoint, &endpoint->listen_watch) < 0)
		vhost_notice(endpoint, "socket-error", "cannot listen on %s any more: no memory",
			     endpoint->socket_path);
}

void vhost_socket_close(struct vhost_endpoint *endpoint)
{
	struct stat st;

	loop_fd_remove(endpoint->listen_watch);
	loop_timer_remove(endpoint->reconnect);
	endpoint->listen_watch = NULL;
	endpoint->reconnect = NULL;
	if (endpoint->listen_fd < 0)
		return;
	close(endpoint->listen_fd);
	endpoint->listen_fd = -1;
	/* Only the file that we made: another process may have taken the path meanwhile. */
	if (endpoint->socket_inode && lstat(endpoint->socket_path, &st) == 0 && st.st_dev == endpoint->socket_device &&
	    st.st_ino == endpoint->socket_inode)
		unlink(endpoint->socket_path);
}

/* ---- messages ---- */

static int take_fds(struct vhost_endpoint *endpoint, struct msghdr *header)
{
	struct vhost_message *message = &endpoint->message;
	int r = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (message->fd_count < VHOST_MAX_FDS) {
				message->fds[message->fd_count++] = fd;
			} else {
				close(fd);
				r = -EPROTO;
			}
		}
	}
	if (header->msg_flags & MSG_CTRUNC)
		r = -EPROTO;
	return r < 0 ? vhost_refuse(endpoint, r, "a message carries more than %d descriptors", VHOST_MAX_FDS) : 0;
}

/* Reads up to length bytes: the number, 0 = none now, or a negative errno. */
static int receive(struct vhost_endpoint *endpoint, void *data, size_t length)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_MAX_FDS)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = length };
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
	};
	ssize_t n = recvmsg(endpoint->fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	int r = take_fds(endpoint, &header);
	return r < 0 ? r : (int)n;
}

int vhost_message_read(struct vhost_endpoint *endpoint)
{
	struct vhost_message *message = &endpoint->message;

	for (;;) {
		size_t done = message->received, wanted = sizeof(message->header);
		uint8_t *at = (uint8_t *)&message->header + done;
		if (done >= wanted) {
			at = (uint8_t *)&message->payload + (done - wanted);
			wanted += message->header.size;
		}
		if (done == wanted)
			return 1;
		int n = receive(endpoint, at, wanted - done);
		if (n <= 0)
			return n;
		message->received += (size_t)n;
		if (message->received != sizeof(message->header))
			continue;
		int r = vhost_request_check_header(endpoint, &message->header);
		if (r < 0)
			return r;
	}
}

int vhost_message_send(int fd, const struct vhost_header *header, const void *payload, int passed_fd)
{
	const struct iovec parts[2] = { { .iov_base = (void *)(uintptr_t)header, .iov_len = sizeof(*header) },
					{ .iov_base = (void *)(uintptr_t)payload, .iov_len = header->size } };
	ssize_t sent = fds_send(fd, parts, 2, &passed_fd, passed_fd >= 0, MSG_DONTWAIT);

	if (sent < 0)
		return (int)sent;
	return (size_t)sent == sizeof(*header) + header->size ? 0 : -EAGAIN;
}

void vhost_message_reset(struct vhost_message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->fd_count = 0;
	message->received = 0;
}
