// SPDX-License-Identifier: BSD-3-Clause
/* The guest's side of a disk: the vhost-user endpoint, the configuration space.
 *
 * The features that are offered follow from the object alone, so that a front end that comes back finds the same
 * whatever has become of the backing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "service/disk/disk_priv.h"

enum { CONFIG_BYTES = 256, OPTIMAL_BYTES = 1 << 16 };

/* ---- the configuration space ---- */

static int on_get_config(void *ctx, uint32_t offset, uint32_t length, uint8_t *ret)
{
	const struct disk *disk = ctx;
	uint8_t config[CONFIG_BYTES] = { 0 };

	if (offset > CONFIG_BYTES || length > CONFIG_BYTES - offset)
		return -EINVAL;
	virtio_blk_config_fill(&disk->config, atomic_load(&disk->write_back), config);
	memcpy(ret, config + offset, length);
	return 0;
}

static int on_set_config(void *ctx, uint32_t offset, uint32_t length, const uint8_t *data)
{
	struct disk *disk = ctx;
	bool write_back;
	int rc = virtio_blk_set_config(vhost_endpoint_features(disk->endpoint), offset, length, data, &write_back);

	return rc == 0 ? mode_set(disk, write_back) : rc;
}

void guest_measure(struct disk *disk)
{
	struct virtio_blk_disk *config = &disk->config;
	uint64_t bytes = atomic_load(&disk->bytes) / DPU_BLOCK_SECTOR * DPU_BLOCK_SECTOR;
	bool news = config->bytes != bytes || config->sector != disk->device->sector;

	config->bytes = bytes;
	config->sector = disk->device->sector;
	if (news && disk->endpoint)
		vhost_endpoint_config_changed(
			disk->endpoint); /* without a channel the guest reads it when it restarts */
}

static void config_init(struct disk *disk)
{
	disk->config.physical_bytes = DPU_BLOCK_BYTES;
	disk->config.optimal_bytes = OPTIMAL_BYTES;
	disk->config.queues = disk->object->queues;
	disk->config.read_only = disk->object->read_only || disk->object->snapshot.object;
	disk->config.discard = true;
	if (disk->config.sector == 0)
		disk->config.sector = DPU_BLOCK_SECTOR;
}

/* ---- the endpoint ---- */

static void on_queue_start(void *ctx, unsigned index, struct virtqueue *virtqueue)
{
	struct disk *disk = ctx;

	disk->queues[index].started = virtqueue;
	disk_step(disk);
}

static void on_queue_stop(void *ctx, unsigned index, struct virtqueue *virtqueue)
{
	struct disk *disk = ctx;

	(void)virtqueue;
	disk->queues[index].stopping = true;
	disk_step(disk);
}

static void on_connected(void *ctx, bool up, uint64_t features)
{
	struct disk *disk = ctx;

	(void)features;
	log_debug("disk", up ? "a guest is connected" : "a guest has gone", "object=%s", disk->path);
}

static void on_notice(void *ctx, const char *name, const char *sentence)
{
	struct disk *disk = ctx;

	if (notice_limit_pass(&disk->noticed, name, clock_ns()))
		disk_notice(disk, name, sentence);
}

static const char *socket_path(const struct disk *disk, char path[DISK_PATH_BYTES])
{
	const struct disk_object *object = disk->object;
	const char *folder = disk->disks->dpu->run_dir;

	if (object->socket && object->socket[0] == '/')
		snprintf(path, DISK_PATH_BYTES, "%s", object->socket);
	else if (object->socket)
		snprintf(path, DISK_PATH_BYTES, "%s/%s", folder, object->socket);
	else
		snprintf(path, DISK_PATH_BYTES, "%s/%s-%s.disk.sock", folder, object->base.tenant->name,
			 object->base.name);
	return path;
}

int guest_open(struct disk *disk, struct dpu_error *err)
{
	char path[DISK_PATH_BYTES];
	const struct disk_object *object = disk->object;
	struct vhost_options options = { .loop = disk->disks->dpu->loop,
					 .socket_path = socket_path(disk, path),
					 .role = object->backend == DISK_SERVER ? VHOST_SERVER : VHOST_CLIENT,
					 .ops = &disk->ops,
					 .ctx = disk };

	config_init(disk);
	disk->ops = (struct vhost_device_ops){
		.features = virtio_blk_features(&disk->config),
		.max_queues = object->queues,
		.max_queue_size = object->queue_size,
		.queue_num = object->queues,
		.queue_start = on_queue_start,
		.queue_stop = on_queue_stop,
		.connected = on_connected,
		.get_config = on_get_config,
		.set_config = on_set_config,
		.notice = on_notice,
	};
	mode_load(disk);
	int rc = vhost_endpoint_new(&options, &disk->endpoint, err);
	if (rc != 0 && err && strcmp(err->path, "socket_path") == 0)
		str_format(err->path, sizeof(err->path), "socket");
	return rc;
}

static void closed(void *arg)
{
	struct disk *disk = arg;

	disk->endpoint = NULL;
	disk_step(disk);
}

void guest_close(struct disk *disk)
{
	vhost_endpoint_free(disk->endpoint, closed, disk);
}
