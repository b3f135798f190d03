// SPDX-License-Identifier: BSD-3-Clause
/* The cache mode of a disk, which its guest may set. A guest that has asked for writes to go through does not flush any
 * more, so what it has written before is flushed before it is told. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "service/disk/disk_priv.h"

/* ---- what outlives us ---- */

/* A file that is there while writes go through. A guest that has asked for that does not flush, whoever serves it. */
static const char *through_file(const struct disk *disk, char path[DISK_PATH_BYTES])
{
	const char *folder = disk->disks->dpu->state_dir;
	char uuid[UUID_TEXT];

	if (!folder)
		return NULL;
	snprintf(path, DISK_PATH_BYTES, "%s/disk-%s.write-through", folder, uuid_format(&disk->uuid, uuid));
	return path;
}

static int through_keep(const struct disk *disk, bool write_back)
{
	char path[DISK_PATH_BYTES];

	if (!through_file(disk, path))
		return 0;
	if (write_back)
		return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

void mode_forget(const struct disk *disk)
{
	through_keep(disk, true);
}

void mode_load(struct disk *disk)
{
	char path[DISK_PATH_BYTES];

	atomic_store(&disk->write_back, !through_file(disk, path) || access(path, F_OK) != 0);
}

/* ---- writes go through from now on ---- */

static void flush_submit(void *arg, struct worker *worker)
{
	struct disk *disk = arg;

	(void)worker;
	disk->flush.under_way = true;
	disk->flush.device->ops->submit(disk->flush.device, &disk->flush.request);
}

static void flushed(void *arg)
{
	struct disk *disk = arg;
	int rc = disk->flush.request.status == DPU_BLOCK_OK ? 0 : -EIO;

	atomic_fetch_sub(&disk->posted, 1);
	disk->flush.device = NULL;
	if (rc == 0)
		atomic_store(&disk->write_back, false);
	else
		through_keep(disk, true);
	if (disk->endpoint)
		vhost_config_set(disk->endpoint, rc);
	disk_step(disk);
}

static void flush_done(struct dpu_block_request *request)
{
	struct disk_flush *flush = (struct disk_flush *)request;

	flush->under_way = false;
	if (loop_post(flush->disk->disks->dpu->loop, flushed, flush->disk) != 0)
		abort(); /* out of memory */
}

static void flush_cancel(void *arg, struct worker *worker)
{
	struct disk *disk = arg;
	struct disk_flush *flush = &disk->flush;

	(void)worker;
	if (flush->under_way && flush->device->ops->cancel)
		flush->device->ops->cancel(flush->device, &flush->request);
}

static void flush_cancelled(void *arg)
{
	struct disk *disk = arg;

	atomic_fetch_sub(&disk->posted, 1);
	disk_step(disk);
}

void mode_give_up(struct disk *disk)
{
	if (!disk->flush.device)
		return;
	atomic_fetch_add(&disk->posted, 1);
	if (worker_call(disk->worker, flush_cancel, disk, flush_cancelled) != 0)
		abort(); /* out of memory */
}

/* No queue runs: nothing is under way that the flush would not cover. */
static int flush_begin(struct disk *disk)
{
	if (disk->flush.device)
		return -EBUSY; /* for a front end that has gone since */
	disk->flush = (struct disk_flush){
		.request = { .op = DPU_BLOCK_FLUSH, .done = flush_done },
		.disk = disk,
		.device = disk->device,
	};
	atomic_fetch_add(&disk->posted, 1);
	if (worker_call(disk->worker, flush_submit, disk, NULL) != 0)
		abort(); /* out of memory */
	disk_step(disk); /* no cap keeps it waiting */
	return VHOST_LATER;
}

int mode_set(struct disk *disk, bool write_back)
{
	bool there = disk->step == DEVICE_THERE && !disk->asked;
	int rc;

	if (write_back) {
		atomic_store(&disk->write_back, true);
		through_keep(disk, true); /* what goes through meanwhile does no harm */
		return 0;
	}
	if (!atomic_load(&disk->write_back))
		return 0;
	if (!there)
		return -EAGAIN; /* nobody can say that what was written is safe */
	rc = through_keep(disk, false);
	return rc == 0 ? flush_begin(disk) : rc;
}
