// SPDX-License-Identifier: BSD-3-Clause
/* Reservations that survive power loss: a file for each namespace, replaced as a whole and synced before the command is
 * answered. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "device/nvme/nvme_reservation.h"
#include "service/nvmf/target/target_priv.h"

#define FRESH ".new" /* of a file that is being written */

enum { PATH_BYTES = 4096 + UUID_TEXT + 8 };

static void file_path(const char *dir, const struct uuid *uuid, const char *suffix, char path[PATH_BYTES])
{
	char text[UUID_TEXT];

	snprintf(path, PATH_BYTES, "%s/%s%s", dir, uuid_format(uuid, text), suffix);
}

/* Bytes of a regular file, at most `most`; more: it is not ours. Nothing else is opened: a FIFO would be waited for. */
static ssize_t bounded_read(const char *path, uint8_t *image, size_t most)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	struct stat file;

	if (fd < 0 || fstat(fd, &file) != 0)
		return -errno;
	if (!S_ISREG(file.st_mode))
		return S_ISDIR(file.st_mode) ? -EISDIR : -EINVAL;
	if (file.st_size == 0) /* we leave no file without bytes: what was in it is lost */
		return -ENODATA;
	if ((size_t)file.st_size > most)
		return -EFBIG;
	ssize_t n = read(fd, image, most);
	return n < 0 ? -errno : n == 0 ? -ENODATA : n;
}

bool reservation_file_read(const struct target *target, const struct uuid *uuid, uint8_t **ret, size_t *ret_bytes,
			   char *why, size_t why_bytes)
{
	char path[PATH_BYTES];
	uint8_t *image = nvmf_alloc(RESERVATION_IMAGE_BYTES_MAX);
	const char *error = NULL;
	size_t at = 0;

	file_path(target->reservation_dir, uuid, "", path);
	ssize_t n = bounded_read(path, image, RESERVATION_IMAGE_BYTES_MAX);
	if (n > 0)
		error = reservation_image_error(image, (size_t)n, &at);
	if (error)
		snprintf(why, why_bytes, "its file of reservations is damaged at byte %zu, %s: %.256s", at, error,
			 path);
	else if (n < 0 && n != -ENOENT)
		snprintf(why, why_bytes, "its file of reservations cannot be read, %s: %.256s",
			 n == -EFBIG ? "it is too large to be one" : strerror((int)-n), path);
	if (n < 0 || error) {
		free(image);
		image = NULL;
	}
	if (error || (n < 0 && n != -ENOENT))
		return false;
	free(*ret);
	*ret = image;
	*ret_bytes = image ? (size_t)n : 0;
	return true;
}

/* What a write that was cut off has left. Nothing is being written yet. */
void reservation_files_tidy(const struct target *target)
{
	DIR *dir = opendir(target->reservation_dir);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL) {
		char uuid[UUID_TEXT];
		struct uuid parsed;

		snprintf(uuid, sizeof(uuid), "%.36s", entry->d_name);
		if (strlen(entry->d_name) == UUID_TEXT - 1 + strlen(FRESH) && uuid_parse(uuid, &parsed) == 0 &&
		    strcmp(entry->d_name + UUID_TEXT - 1, FRESH) == 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
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
	file_path(dir, &job->uuid, FRESH, fresh);
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
	if (job->error)
		unlink(fresh);
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
