// SPDX-License-Identifier: BSD-3-Clause
/* A disk's queues: given to the worker of the device, drained and taken back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/disk/disk_priv.h"

/* ---- the worker's ---- */

static unsigned source_poll(struct worker_source *source, struct worker *worker)
{
	struct disk_queue *queue = (struct disk_queue *)source;
	unsigned work = virtio_blk_poll(queue->blk);

	(void)worker;
	if (queue->device->ops->poll)
		work += queue->device->ops->poll(queue->device);
	return work;
}

static int source_arm(struct worker_source *source)
{
	const struct disk_queue *queue = (struct disk_queue *)source;

	return queue->source.fd < 0 ? -ENOTSUP : virtio_blk_arm(queue->blk);
}

static void source_disarm(struct worker_source *source)
{
	virtio_blk_disarm(((struct disk_queue *)source)->blk);
}

static void queue_drained(void *arg);

static void on_drained(void *arg)
{
	struct disk_queue *queue = arg;

	if (loop_post(queue->disk->disks->dpu->loop, queue_drained, queue) != 0)
		abort(); /* out of memory */
}

static void drain(void *arg, struct worker *worker)
{
	struct disk_queue *queue = arg;

	(void)worker;
	virtio_blk_drain(queue->blk, on_drained, queue);
	worker_source_ready(&queue->source);
}

static void give_up(void *arg, struct worker *worker)
{
	struct disk_queue *queue = arg;

	(void)worker;
	virtio_blk_cancel(queue->blk);
	worker_source_ready(&queue->source);
}

/* ---- control ---- */

static void queue_removed(void *arg)
{
	struct disk_queue *queue = arg;

	virtio_blk_free(queue->blk);
	queue->blk = NULL;
	queue->device = NULL;
	queue->leaving = queue->drained = false;
	disk_step(queue->disk);
}

static void queue_drained(void *arg)
{
	struct disk_queue *queue = arg;

	queue->drained = true;
	if (worker_remove_source(queue->worker, &queue->source, queue_removed, queue) != 0)
		abort(); /* out of memory */
}

static void has_room(void *ctx)
{
	worker_source_ready(&((struct disk_queue *)ctx)->source);
}

static void queue_serve(struct disk_queue *queue, struct dpu_block_device *device, struct worker *worker)
{
	struct disk *disk = queue->disk;
	struct virtio_blk_options options = { .queue = queue->started,
					      .device = device,
					      .id = disk->serial,
					      .write_back = &disk->write_back,
					      .stats = &queue->stats,
					      .account = device == disk->device ? &disk->account->requests : NULL,
					      .ready = has_room,
					      .ctx = queue };
	int rc = virtio_blk_new(&options, &queue->blk);

	if (rc == 0) {
		queue->device = device;
		queue->worker = worker;
		queue->source.fd = virtqueue_kick_fd(queue->started);
		rc = worker_add_source(worker, &queue->source);
	}
	if (rc == 0)
		return;
	log_error("disk", "a queue cannot be served", "object=%s queue=%u error=\"%s\"", disk->path, queue->index,
		  strerror(-rc));
	virtio_blk_free(queue->blk);
	queue->blk = NULL;
	queue->device = NULL;
}

void queue_init(struct disk_queue *queue, struct disk *disk, unsigned index)
{
	queue->disk = disk;
	queue->index = index;
	queue->source = (struct worker_source){
		.poll = source_poll, .arm = source_arm, .disarm = source_disarm, .fd = -1, .name = "disk"
	};
}

void queue_step(struct disk_queue *queue, struct dpu_block_device *device, struct worker *worker)
{
	if (!queue->started || queue->stopping)
		device = NULL;
	if (queue->leaving)
		return;
	if (queue->blk && queue->device != device) {
		queue->leaving = true;
		if (worker_call(queue->worker, drain, queue, NULL) != 0)
			abort(); /* out of memory */
	} else if (!queue->blk && device) {
		queue_serve(queue, device, worker);
	}
}

void queue_give_up(struct disk_queue *queue)
{
	if (queue->leaving && !queue->drained && worker_call(queue->worker, give_up, queue, NULL) != 0)
		abort(); /* out of memory */
}
