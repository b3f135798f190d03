/* SPDX-License-Identifier: BSD-3-Clause */
/* Making Unix sockets. */
#include "daemon/listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int somebody_listens(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	/* EAGAIN: its backlog is full. */
	int yes = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN;
	close(fd);
	return yes;
}

static int remove_stale(const struct sockaddr_un *address, struct dpu_error *err)
{
	struct stat status;
	const char *path = address->sun_path;
	if (lstat(path, &status))
		return errno == ENOENT ? 0 : error_set(err, DPU_E_IO, path, "%s", strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return error_set(err, DPU_E_EXISTS, path, "a file that is no socket is in the way");
	if (somebody_listens(address))
		return error_set(err, DPU_E_EXISTS, path, "another process listens on this socket");
	if (unlink(path))
		return error_set(err, DPU_E_IO, path, "a stale socket cannot be removed: %s", strerror(errno));
	return 0;
}

/* Bound for the owner alone, then opened to the group: it never shows with more than its final permissions. */
static int bind_with_mode(int fd, const char *path, gid_t group, struct dpu_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t old = umask(0177);
	strcpy(address.sun_path, path);
	int failed = bind(fd, (const struct sockaddr *)&address, sizeof address);
	umask(old);
	if (failed)
		return error_set(err, DPU_E_IO, path, "cannot be bound: %s", strerror(errno));
	if (group != (gid_t)-1 && chown(path, (uid_t)-1, group))
		return error_set(err, DPU_E_IO, path, "the group cannot be set: %s", strerror(errno));
	if (chmod(path, 0660))
		return error_set(err, DPU_E_IO, path, "the mode cannot be set: %s", strerror(errno));
	return 0;
}

int listen_unix(const char *path, gid_t group, struct dpu_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path)
		return error_set(err, DPU_E_INVALID, path, "the path of a socket has at most %zu bytes, this one %zu",
				 sizeof address.sun_path - 1, strlen(path));
	strcpy(address.sun_path, path);
	int rc = remove_stale(&address, err);
	if (rc)
		return rc;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, DPU_E_IO, path, "socket: %s", strerror(errno));
	rc = bind_with_mode(fd, path, group, err);
	if (!rc && listen(fd, 128))
		rc = error_set(err, DPU_E_IO, path, "cannot be listened on: %s", strerror(errno));
	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}
