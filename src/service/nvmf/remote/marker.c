// SPDX-License-Identifier: BSD-3-Clause
/* Writes that may still be carried out for a remote that is no more: of a dpud that was killed, of a machine that was
 * started again, of an object that was deleted. Who comes next waits until they are dead. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

enum { MARKER_MOST_MS = 10000000 }; /* of a file that says what it should */

/* A deleted remote's. */
struct doubt {
	TAILQ_ENTRY(doubt) link;
	char subnqn[NVME_NQN_BYTES];
	uint64_t dead_ns;
};

/* ---- in this process ---- */

static void doubt_add(struct nvmf_remote *remote)
{
	struct doubt *doubt = remotes_alloc(sizeof(*doubt));

	memcpy(doubt->subnqn, remote->options.subnqn, sizeof(doubt->subnqn));
	doubt->dead_ns = clock_ns() + remote->marker_ms * CLOCK_NS_PER_MS;
	TAILQ_INSERT_TAIL(&remote->remotes->doubts, doubt, link);
}

void doubts_free(struct remotes *remotes)
{
	struct doubt *doubt;

	while ((doubt = TAILQ_FIRST(&remotes->doubts))) {
		TAILQ_REMOVE(&remotes->doubts, doubt, link);
		free(doubt);
	}
}

/* How long writes to this subsystem may still come, 0: none do. Forgets those that are dead. */
static uint64_t doubts_left_ms(struct remotes *remotes, const char *subnqn)
{
	uint64_t now_ns = clock_ns(), left_ns = 0;
	struct doubt *doubt, *next;

	for (doubt = TAILQ_FIRST(&remotes->doubts); doubt; doubt = next) {
		next = TAILQ_NEXT(doubt, link);
		if (doubt->dead_ns <= now_ns) {
			TAILQ_REMOVE(&remotes->doubts, doubt, link);
			free(doubt);
		} else if (strcmp(doubt->subnqn, subnqn) == 0 && doubt->dead_ns - now_ns > left_ns) {
			left_ns = doubt->dead_ns - now_ns;
		}
	}
	return (left_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;
}

/* ---- before it ---- */

/* Is there while connections may have writes under way, and says after how many milliseconds those are dead. On a
 * tmpfs: it goes with the machine. */
static void marker_path(const struct nvmf_remote *remote, char *buf, size_t size)
{
	char uuid[UUID_TEXT];

	snprintf(buf, size, "%s/nvmf-remote-%s", remote->remotes->dpu->state_dir, uuid_format(&remote->uuid, uuid));
}

/* What the file says, if it is there; else, or if it cannot be read, what holds for us. */
static uint64_t marker_read(int fd, uint64_t own_ms)
{
	char text[32] = "", *end;
	ssize_t bytes = pread(fd, text, sizeof(text) - 1, 0);
	uint64_t ms = bytes > 0 ? strtoull(text, &end, 10) : 0;

	return ms > own_ms && *end == '\n' && ms < MARKER_MOST_MS ? ms : own_ms;
}

uint64_t marker_young_ms(uint64_t own_ms, uint64_t uptime_ms)
{
	return uptime_ms < own_ms ? own_ms - uptime_ms : 0;
}

static bool marker_write(int fd, uint64_t ms)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%" PRIu64 "\n", ms);

	return pwrite(fd, text, (size_t)length, 0) == length;
}

int marker_set(struct nvmf_remote *remote, uint64_t *ret_ms, struct dpu_error *err)
{
	const struct remote_options *options = &remote->options;
	/* 2: a keep-alive by traffic takes twice as long */
	uint64_t own_ms = 2 * (uint64_t)options->keep_alive_ms + options->quiesce_ms, ms = 0;
	uint64_t left_ms = doubts_left_ms(remote->remotes, options->subnqn);
	bool written = false;
	char path[512];
	struct stat there;

	marker_path(remote, path, sizeof(path));
	bool is_new = lstat(path, &there) < 0 && errno == ENOENT;
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0) {
		ms = is_new ? marker_young_ms(own_ms, clock_ns() / CLOCK_NS_PER_MS) : marker_read(fd, own_ms);
		written = marker_write(fd, ms > own_ms ? ms : own_ms);
	}
	int error = errno;
	if (fd >= 0)
		close(fd);
	remote->marker_ms = ms > own_ms ? ms : own_ms;
	if (!written)
		return error_set(err, DPU_E_IO, NULL, "%s cannot be written: %s.", path, strerror(error));
	*ret_ms = ms > left_ms ? ms : left_ms;
	return 0;
}

bool marker_raise(struct nvmf_remote *remote, uint64_t ms)
{
	char path[512];

	if (ms <= remote->marker_ms)
		return true;
	marker_path(remote, path, sizeof(path));
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	bool written = fd >= 0 && marker_write(fd, ms);

	if (fd >= 0)
		close(fd);
	remote->marker_ms = written ? ms : remote->marker_ms;
	return written;
}

void marker_clear(struct nvmf_remote *remote)
{
	char path[512];

	if (!remote->clean)
		doubt_add(remote);
	marker_path(remote, path, sizeof(path));
	unlink(path);
}
