// SPDX-License-Identifier: BSD-3-Clause
/* Reservations that survive power loss: a file for each namespace, replaced as a whole and synced before the command is
 * answered. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "device/nvme/nvme_reservation.h"
#include "service/nvmf/target/target_priv.h"

enum { PATH_BYTES = 4096 + UUID_TEXT + 8 };

static void file_path(const char *dir, const struct uuid *uuid, const char *suffix, char path[PATH_BYTES])
{
	char text[UUID_TEXT];

	snprintf(path, PATH_BYTES, "%s/%s%s", dir, uuid_format(uuid, text), suffix);
}

int reservation_file_read(const struct target *target, const struct uuid *uuid, uint8_t **ret, size_t *ret_bytes)
{
	char path[PATH_BYTES];
	uint8_t *image = nvmf_alloc(RESERVATION_IMAGE_BYTES_MAX + 1);

	file_path(target->reservation_dir, uuid, "", path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, image, RESERVATION_IMAGE_BYTES_MAX + 1);
	/* We leave no file without bytes: what was in it is lost. */
	int error = n < 0 ? errno : n == 0 ? ENODATA : 0;

	if (fd >= 0)
		close(fd);
	if (error) {
		free(image);
		image = NULL;
	}
	if (error && error != ENOENT)
		return -error;
	free(*ret);
	*ret = image;
	*ret_bytes = image ? (size_t)n : 0;
	return 0;
}

void reservation_file_delete(const struct target *target, const struct uuid *uuid)
{
	char path[PATH_BYTES];

	file_path(target->reservation_dir, uuid, "", path);
	if (unlink(path) != 0 && errno != ENOENT)
		log_warn("nvmf", "a file of reservations cannot be deleted", "path=%s why=\"%s\"", path,
			 strerror(errno));
}

/* ---- writing: worker → control → helper → control → worker ---- */

struct job {
	struct target *target;
	struct worker *worker;
	struct uuid uuid;
	void (*done)(void *arg, int error);
	void *arg;
	int error;
	size_t bytes;
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];
};

static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int rc = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return rc;
}

static int image_write(const char *path, const uint8_t *image, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, image, bytes);
	int rc = n < 0 ? -errno : (size_t)n < bytes ? -EIO : fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return rc;
}

static void job_run(void *arg)
{
	struct job *job = arg;
	const char *dir = job->target->reservation_dir;
	char path[PATH_BYTES], fresh[PATH_BYTES];

	file_path(dir, &job->uuid, "", path);
	file_path(dir, &job->uuid, ".new", fresh);
	if (mkdir(dir, 0700) == 0)
		job->error = sync_directory(job->target->nvmf->dpu->store_dir);
	else if (errno != EEXIST)
		job->error = -errno;
	if (job->error == 0 && job->bytes == 0)
		job->error = unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
	else if (job->error == 0)
		job->error = image_write(fresh, job->image, job->bytes);
	if (job->error == 0 && job->bytes > 0 && rename(fresh, path) != 0)
		job->error = -errno;
	if (job->error == 0)
		job->error = sync_directory(dir);
}

static void job_answer(void *arg, struct worker *worker)
{
	struct job *job = arg;

	(void)worker;
	job->done(job->arg, job->error);
}

static void job_written(void *arg)
{
	struct job *job = arg;

	if (job->error)
		log_error("nvmf", "reservations cannot be written", "dir=%s why=\"%s\"", job->target->reservation_dir,
			  strerror(-job->error));
	nvmf_call(job->worker, job_answer, job, free);
}

static void job_begin(void *arg)
{
	struct job *job = arg;

	if (helpers_run(job->target->helpers, job_run, job_written, job) != 0)
		abort(); /* out of memory */
}

void reservation_persist(void *ctx, struct nvme_namespace *nvme, const void *image, size_t bytes,
			 void (*done)(void *arg, int error), void *arg)
{
	struct subsystem *subsystem = ctx;
	struct namespace *ns = nvme_namespace_ctx(nvme);
	struct job *job = nvmf_alloc(sizeof(*job));

	job->target = subsystem->item.target;
	job->worker = subsystem->home;
	job->uuid = ns->item.uuid;
	job->done = done;
	job->arg = arg;
	job->bytes = bytes;
	memcpy(job->image, image, bytes);
	nvmf_post(job->target->nvmf, job_begin, job);
}
