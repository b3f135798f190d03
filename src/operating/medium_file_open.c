// SPDX-License-Identifier: BSD-3-Clause
/* Opening a medium: what it is, how large, its lock, and how it wants its buffers. */
#include "operating/medium_file_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

int medium_file_size(int fd, uint64_t *ret)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (S_ISREG(status.st_mode)) {
		*ret = (uint64_t)status.st_size;
		return 0;
	}
	return ioctl(fd, BLKGETSIZE64, ret) < 0 ? -errno : 0;
}

static int open_error(struct dpu_error *err, const char *path, int error)
{
	switch (error) {
	case ENOENT:
		return error_set(err, DPU_E_NOT_FOUND, path, "there is no such file or block device");
	case EACCES:
	case EPERM:
		return error_set(err, DPU_E_DENIED, path, "dpud may not open it: %s", strerror(error));
	case EBUSY:
		return error_set(err, DPU_E_IN_USE, path, "the block device is mounted or used by another program");
	default:
		return error_set(err, DPU_E_IO, path, "it cannot be opened: %s", strerror(error));
	}
}

static int kind_check(struct medium_file *file, const char *path, bool read_only, struct dpu_error *err)
{
	struct stat status;
	int only_read = 0;

	if (fstat(file->fd, &status) < 0)
		return error_set(err, DPU_E_IO, path, "it cannot be looked at: %s", strerror(errno));
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return error_set(err, DPU_E_INVALID, path, "it is neither a regular file nor a block device");
	file->block_device = S_ISBLK(status.st_mode);
	if (file->block_device && !read_only && ioctl(file->fd, BLKROGET, &only_read) == 0 && only_read)
		return error_set(err, DPU_E_DENIED, path, "the block device can only be read: set read_only");
	return 0;
}

/* Opened by O_DIRECT if the file system can; a block device exclusively, so that nothing mounts it under us. */
static int file_open(struct medium_file *file, const struct medium_file_options *options, struct dpu_error *err)
{
	int flags = (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct stat status;

	if (stat(options->path, &status) == 0 && S_ISBLK(status.st_mode))
		flags |= O_EXCL;
	if (!options->cached) {
		file->fd = open(options->path, flags | O_DIRECT);
		file->direct = file->fd >= 0;
	}
	if (options->cached || (file->fd < 0 && errno == EINVAL))
		file->fd = open(options->path, flags);
	return file->fd < 0 ? open_error(err, options->path, errno)
			    : kind_check(file, options->path, options->read_only, err);
}

static int lock(struct medium_file *file, const struct medium_file_options *options, struct dpu_error *err)
{
	struct flock whole = { .l_type = options->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(file->fd, F_OFD_SETLK, &whole) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return error_set(err, DPU_E_IN_USE, options->path,
				 "another dpud uses it, or one that has died still has I/O under way");
	return error_set(err, DPU_E_IO, options->path, "it cannot be locked: %s", strerror(errno));
}

/* What O_DIRECT asks for (Linux 6.1 says it). */
static void alignment_find(struct medium_file *file)
{
	uint32_t offset_alignment = DPU_BLOCK_BYTES;
	int sector;

	file->memory_alignment = DPU_BLOCK_BYTES;
	if (!file->direct) {
		file->memory_alignment = 1;
		offset_alignment = DPU_BLOCK_SECTOR;
	} else if (file->block_device && ioctl(file->fd, BLKSSZGET, &sector) == 0) {
		file->memory_alignment = DPU_BLOCK_SECTOR;
		offset_alignment = (uint32_t)sector;
	}
#ifdef STATX_DIOALIGN
	struct statx status;

	if (file->direct && statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
	    (status.stx_mask & STATX_DIOALIGN) && status.stx_dio_mem_align && status.stx_dio_offset_align) {
		file->memory_alignment = status.stx_dio_mem_align;
		offset_alignment = status.stx_dio_offset_align;
	}
#endif
	file->device.sector = offset_alignment <= DPU_BLOCK_SECTOR ? DPU_BLOCK_SECTOR : DPU_BLOCK_BYTES;
}

int medium_file_attach(struct medium_file *file, const struct medium_file_options *options, struct dpu_error *err)
{
	file->fd = -1;
	int r = file_open(file, options, err);

	if (r == 0)
		r = lock(file, options, err);
	if (r == 0 && medium_file_size(file->fd, &file->device.bytes) < 0)
		r = error_set(err, DPU_E_IO, options->path, "its size cannot be read");
	if (r == 0 && file->device.bytes == 0)
		r = error_set(err, DPU_E_INVALID, options->path,
			      file->block_device ? "the block device has no size: nothing is attached to it"
						 : "the file is empty: make it with `truncate -s`");
	if (r == 0 && file->device.bytes % DPU_BLOCK_BYTES)
		r = error_set(err, DPU_E_INVALID, options->path,
			      "its size of %llu bytes is not a multiple of %d: make it with `truncate -s`",
			      (unsigned long long)file->device.bytes, DPU_BLOCK_BYTES);
	if (r < 0) {
		if (file->fd >= 0)
			close(file->fd);
		return r;
	}
	alignment_find(file);
	file->device.features = DPU_BLOCK_F_FLUSH | DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD |
				(options->read_only ? DPU_BLOCK_F_READ_ONLY : 0);
	return 0;
}
