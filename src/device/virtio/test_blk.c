// SPDX-License-Identifier: BSD-3-Clause
/* A guest with a disk, for tests of its queue. */
#include "device/virtio/test_blk.h"

#include <stdlib.h>

static void holder_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct holder *holder = (struct holder *)device;

	assert_int_equal(dpu_block_check(device, request), DPU_BLOCK_OK);
	holder->last_flags = request->flags;
	holder->last_op = request->op;
	holder->held[holder->count++] = request;
}

/* The test lets go of them: only those that it has. */
static void holder_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct holder *holder = (struct holder *)device;
	unsigned i = 0;

	while (i < holder->count && holder->held[i] != request)
		i++;
	assert_true(i < holder->count);
	holder->cancels++;
}

static const struct dpu_block_ops holder_ops = { .submit = holder_submit, .cancel = holder_cancel };

void holder_release(struct holder *holder, unsigned index)
{
	struct dpu_block_request *request = holder->held[index];

	memmove(&holder->held[index], &holder->held[index + 1], (--holder->count - index) * sizeof(request));
	holder->below->ops->submit(holder->below, request);
	while (holder->below->ops->poll(holder->below) > 0)
		;
}

void holder_release_all(struct holder *holder)
{
	while (holder->count > 0)
		holder_release(holder, 0);
}

static void disk_ready(void *ctx)
{
	((struct disk *)ctx)->ready++;
}

void disk_open_for(struct disk *disk, uint64_t features, struct virtio_blk_account *account)
{
	struct virtio_blk_disk geometry = {
		.bytes = DISK_BYTES, .sector = 512, .physical_bytes = 4096, .queues = 1, .discard = true
	};

	memset(disk, 0, sizeof(*disk));
	disk->write_back = true;
	assert_int_equal(block_ram_new("ram", DISK_BYTES, 512, &disk->holder.below), 0);
	disk->holder.device = *disk->holder.below;
	disk->holder.device.ops = &holder_ops;
	test_device_init(&disk->device, false);
	disk->device.ops.features = virtio_blk_features(&geometry);
	virtio_blk_config_fill(&geometry, true, disk->device.config);
	test_device_start(&disk->device, VHOST_CLIENT);
	frontend_init(&disk->frontend, 4 << 20, test_device_pump, &disk->device);
	frontend_listen(&disk->frontend, disk->device.path);
	frontend_accept(&disk->frontend);
	frontend_negotiate(&disk->frontend, features, TEST_PROTOCOL);
	frontend_share_memory(&disk->frontend);
	disk->frontend.allocated = 0x200000;
	disk->queue = frontend_queue_new(&disk->frontend, 0, SIZE);
	frontend_queue_start(disk->queue, frontend_queue_base(disk->queue));
	struct virtio_blk_options options = { .queue = disk->device.queues[0],
					      .device = &disk->holder.device,
					      .id = "softdpu-0123456789-and-more",
					      .write_back = &disk->write_back,
					      .stats = &disk->stats,
					      .account = account,
					      .ready = disk_ready,
					      .ctx = disk };
	assert_int_equal(virtio_blk_new(&options, &disk->blk), 0);
}

void disk_open(struct disk *disk, uint64_t features)
{
	disk_open_for(disk, features, NULL);
}

void disk_close(struct disk *disk)
{
	assert_int_equal(virtio_blk_outstanding(disk->blk), 0);
	virtio_blk_free(disk->blk);
	frontend_fini(&disk->frontend);
	test_device_close(&disk->device);
	disk->holder.below->ops->close(disk->holder.below, NULL, NULL);
}

uint8_t *guest(struct disk *disk, uint64_t offset)
{
	return frontend_at(&disk->frontend, offset);
}

void header_set(struct disk *disk, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };

	memcpy(guest(disk, HEADER), &header, sizeof(header));
	*guest(disk, STATUS) = 0xee;
}

uint32_t serve(struct disk *disk, const struct frontend_buffer *buffers, unsigned count, bool indirect)
{
	uint16_t id;
	uint32_t length;
	int offered = frontend_offer(disk->queue, buffers, count, indirect);

	assert_true(offered >= 0);
	for (unsigned i = 0; i < 4; i++) {
		virtio_blk_poll(disk->blk);
		holder_release_all(&disk->holder);
	}
	assert_true(frontend_take(disk->queue, &id, &length));
	assert_int_equal(id, offered);
	return length;
}

uint8_t request(struct disk *disk, uint32_t type, uint64_t sector, uint32_t bytes, bool to_guest)
{
	struct frontend_buffer buffers[] = { { HEADER, sizeof(struct virtio_blk_outhdr), false },
					     { DATA, bytes, to_guest },
					     { STATUS, 1, true } };

	header_set(disk, type, sector);
	if (bytes == 0)
		buffers[1] = buffers[2];
	serve(disk, buffers, bytes ? 3 : 2, false);
	return *guest(disk, STATUS);
}

void pattern(uint8_t *at, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)((i * 7 + seed) ^ (i >> 8));
}
