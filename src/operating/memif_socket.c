/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets and messages of a memif's control channel. */
#include "operating/memif_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fds.h"

enum { BACKLOG = 8 };

static void address_set(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
}

int memif_connect(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;

	if (fd < 0)
		return -errno;
	address_set(&address, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	int status = -errno;
	close(fd);
	return status;
}

/* ---- listening ---- */

static int check_folder(const char *path, struct dpu_error *err)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct stat status;

	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = '\0'; /* the path is absolute */
	if (stat(folder[0] ? folder : "/", &status) < 0 || !S_ISDIR(status.st_mode))
		return error_set(err, DPU_E_NOT_FOUND, "device", "There is no folder \"%s\" for the socket.", folder);
	return 0;
}

/* A socket of another type than a live one's is answered with EPROTOTYPE, and disturbs nobody. */
static bool is_alive(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;

	address_set(&address, path);
	bool alive = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno != ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return alive;
}

static int remove_stale(const char *path, struct dpu_error *err)
{
	struct stat status;

	if (lstat(path, &status) < 0)
		return 0;
	if (!S_ISSOCK(status.st_mode))
		return error_set(err, DPU_E_EXISTS, "device", "\"%s\" exists already and is no socket.", path);
	if (is_alive(path))
		return error_set(err, DPU_E_IN_USE, "device", "Another process listens at \"%s\".", path);
	unlink(path);
	return 0;
}

static int bind_and_listen(const char *path, struct memif_listener *listener)
{
	struct sockaddr_un address;
	struct stat status;

	address_set(&address, path);
	if (bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (lstat(path, &status) == 0) {
		listener->device = status.st_dev;
		listener->inode = status.st_ino;
	}
	return listen(listener->fd, BACKLOG) < 0 ? -errno : 0;
}

int memif_listen(const char *path, struct memif_listener *ret, struct dpu_error *err)
{
	struct memif_listener listener = { .fd = -1 };
	int status = check_folder(path, err);

	if (status == 0)
		status = remove_stale(path, err);
	if (status < 0)
		return status;
	listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	status = listener.fd < 0 ? -errno : bind_and_listen(path, &listener);
	if (status < 0) {
		memif_listener_close(&listener, path);
		return error_set(err, status == -EACCES ? DPU_E_DENIED : DPU_E_IO, "device",
				 "There can be no socket at \"%s\": %s.", path, strerror(-status));
	}
	*ret = listener;
	return 0;
}

void memif_listener_close(struct memif_listener *listener, const char *path)
{
	struct stat status;

	if (listener->fd < 0)
		return;
	close(listener->fd);
	listener->fd = -1;
	if (listener->inode && lstat(path, &status) == 0 && status.st_dev == listener->device &&
	    status.st_ino == listener->inode)
		unlink(path);
}

int memif_accept(const struct memif_listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* ---- messages ---- */

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int memif_send(int fd, const struct memif_message *message, int passed_fd)
{
	const struct iovec bytes = { .iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message) };
	ssize_t sent = fds_send(fd, &bytes, 1, &passed_fd, passed_fd >= 0, MSG_DONTWAIT);

	return sent < 0 ? (int)sent : sent == sizeof(*message) ? 0 : -EIO;
}

/* There is room for one; the kernel closes more, and says so by MSG_CTRUNC. */
static int take_fd(struct msghdr *header)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(header);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

int memif_receive(int fd, struct memif_message *ret, int *ret_fd)
{
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	union control control;
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_LEN(sizeof(int))
	};
	ssize_t length = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (length < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	int passed = take_fd(&header);
	if (length == sizeof(*ret) && !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		*ret_fd = passed;
		return 1;
	}
	if (passed >= 0)
		close(passed);
	return length == 0 ? -ECONNRESET : -EPROTO;
}
