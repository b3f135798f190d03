// SPDX-License-Identifier: BSD-3-Clause
/* The files of an import or export: where they lie, what an image is before it is believed, and how an export gets its
 * name. What is only in between has no name, so that it goes with whoever has it open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "service/block/image/image_foreign.h"
#include "service/block/image/image_priv.h"
#include "service/block/image/qcow2.h"

/* Of files beside the images. Older versions had a "raw", too. */
#define MADE "made"
#define MARK "import"

/* ---- where ---- */

static void directory_name(const struct block *block, char *ret, size_t bytes)
{
	if (block->dpu->image_dir)
		snprintf(ret, bytes, "%s", block->dpu->image_dir);
	else
		snprintf(ret, bytes, "%s/images", block->dpu->store_dir);
}

static int directory(const struct block *block, char *ret, size_t bytes, struct dpu_error *err)
{
	directory_name(block, ret, bytes);
	if (mkdir(ret, 0700) < 0 && errno != EEXIST)
		return error_set(err, DPU_E_IO, NULL, "the image directory %s cannot be made: %s", ret,
				 strerror(errno));
	return 0;
}

static void beside(char *ret, size_t bytes, const char *dir, const struct volume *volume, const char *suffix)
{
	snprintf(ret, bytes, "%s/.%s.%s", dir, volume->key, suffix);
}

void images_start(struct block *block)
{
	static const char *const unfinished[] = { "raw", MADE };
	char dir[PATH_MAX - 256], path[PATH_MAX];
	struct volume *volume;
	struct pool *pool;

	directory_name(block, dir, sizeof(dir));
	TAILQ_FOREACH(pool, &block->pools, link)
	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		for (unsigned i = 0; i < 2; i++) {
			beside(path, sizeof(path), dir, volume, unfinished[i]);
			if (unlink(path) == 0)
				log_info("block", "an import or export that was cut short is gone",
					 "object=%s path=\"%s\"", volume->subject.name, path);
		}
		beside(path, sizeof(path), dir, volume, MARK);
		image_mark_read(volume, path);
	}
}

void image_forget(struct volume *volume)
{
	char dir[PATH_MAX - 256], path[PATH_MAX];

	directory_name(volume->subject.block, dir, sizeof(dir));
	beside(path, sizeof(path), dir, volume, MARK);
	unlink(path);
}

static int paths(struct image_job *job, const struct image_args *args, struct dpu_error *err)
{
	size_t length = strlen(args->file);
	char dir[PATH_MAX - 256];
	int rc = directory(job->block, dir, sizeof(dir), err);

	if (rc != 0)
		return rc;
	job->qcow2 = args->format == IMAGE_QCOW2 ||
		     (args->format == IMAGE_AUTO && length > 6 && strcmp(args->file + length - 6, ".qcow2") == 0);
	job->guessed = args->format == IMAGE_AUTO;
	job->overwrite = args->overwrite;
	snprintf(job->name, sizeof(job->name), "%s", args->file);
	snprintf(job->path, sizeof(job->path), "%s/%s", dir, args->file);
	if (job->import)
		beside(job->mark, sizeof(job->mark), dir, job->volume, MARK);
	beside(job->made, sizeof(job->made), dir, job->volume, MADE);
	return 0;
}

/* ---- opening ---- */

/* Nobody else may read it. */
static int make(const char *path, int *ret, struct dpu_error *err)
{
	unlink(path); /* of one that was killed */
	*ret = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return *ret < 0 ? error_set(err, DPU_E_IO, "file", "%s cannot be made: %s", path, strerror(errno)) : 0;
}

static int raw_make(struct image_job *job, struct dpu_error *err)
{
	int rc = make(job->made, &job->fd, err);

	if (rc == 0)
		unlink(job->made);
	return rc;
}

static int import_open(struct image_job *job, struct dpu_error *err)
{
	int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint8_t header[QCOW2_HEADER_BYTES];

	if (fd < 0)
		return error_set(err, errno == ENOENT ? DPU_E_NOT_FOUND : DPU_E_IO, "file", "%s cannot be opened: %s",
				 job->path, strerror(errno));
	*(job->qcow2 ? &job->qcow2_fd : &job->fd) = fd;
	if (fstat(fd, &job->source) < 0 || !S_ISREG(job->source.st_mode))
		return error_set(err, DPU_E_INVALID, "file", "%s is no regular file", job->path);
	job->total = (uint64_t)job->source.st_size;
	if (job->total == 0)
		return error_set(err, DPU_E_INVALID, "file", "%s is empty: no disk has 0 bytes", job->path);
	if (!job->qcow2)
		return job->guessed ? image_foreign_check(job->name, fd, job->total, err) : 0;
	ssize_t got = pread(fd, header, sizeof(header), 0);
	int rc = qcow2_check(job->name, header, got > 0 ? (uint32_t)got : 0, job->total, &job->total, err);
	if (rc == 0)
		rc = tool_check("qemu-img", err);
	return rc == 0 ? raw_make(job, err) : rc;
}

/* The name is found out to be taken before the volume is read. */
static int name_check(const struct image_job *job, struct dpu_error *err)
{
	struct stat there;

	if (lstat(job->path, &there) < 0)
		return 0;
	if (S_ISDIR(there.st_mode))
		return error_set(err, DPU_E_EXISTS, "file", "%s is a folder", job->path);
	return job->overwrite ? 0
			      : error_set(err, DPU_E_EXISTS, "file",
					  "%s is there already: say overwrite=true if that is meant", job->path);
}

static int export_open(struct image_job *job, struct dpu_error *err)
{
	int rc = job->qcow2 ? tool_check("qemu-img", err) : 0;

	if (rc == 0)
		rc = name_check(job, err);
	if (rc == 0 && job->qcow2)
		rc = raw_make(job, err);
	if (rc == 0)
		rc = make(job->made, job->qcow2 ? &job->qcow2_fd : &job->fd, err);
	if (rc == 0 && ftruncate(job->fd, (off_t)job->volume->bytes) < 0)
		rc = error_set(err, DPU_E_IO, "file", "%s cannot have the volume's %llu bytes: %s", job->made,
			       (unsigned long long)job->volume->bytes, strerror(errno));
	return rc;
}

int image_files_open(struct image_job *job, const struct image_args *args, struct dpu_error *err)
{
	int rc = paths(job, args, err);

	if (rc != 0)
		return rc;
	return job->import ? import_open(job, err) : export_open(job, err);
}

/* ---- the end ---- */

int image_file_publish(struct image_job *job)
{
	char folder[PATH_MAX];

	if (fsync(job->qcow2 ? job->qcow2_fd : job->fd) < 0 ||
	    (job->overwrite ? rename(job->made, job->path) : link(job->made, job->path)) < 0)
		return -errno;
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(job->path, '/') - job->path), job->path);
	CLEANUP(close_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

void image_files_close(struct image_job *job)
{
	int *fds[] = { &job->fd, &job->qcow2_fd };

	for (unsigned i = 0; i < 2; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	if (!job->import && job->made[0])
		unlink(job->made);
}
