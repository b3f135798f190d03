/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with a disk, for tests of its queue: requests framed in any way, on a device that keeps them back. */
#pragma once

#include "device/block/ram.h"
#include "device/virtio/test_device.h"
#include "device/virtio/virtio_blk.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30) | VHOST_BIT(28))
#define PACKED (MODERN | VHOST_BIT(34))
#define FLUSH  VHOST_BIT(VIRTIO_BLK_F_FLUSH)

enum { DISK_BYTES = 1 << 20, SIZE = 64, HEADER = 0x1000, DATA = 0x10000, STATUS = 0x2000 };

/* Keeps requests back, and completes them when and in which order the test says. */
struct holder {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	struct dpu_block_request *held[SIZE];
	unsigned count, cancels;
	uint8_t last_flags, last_op;
};

void holder_release(struct holder *holder, unsigned index);
void holder_release_all(struct holder *holder);

struct disk {
	struct test_device device;
	struct frontend frontend;
	struct frontend_queue *queue;
	struct holder holder;
	struct virtio_blk *blk;
	struct virtio_blk_stats stats;
	_Atomic bool write_back;
	unsigned ready; /* how often it was told that there is memory */
};

void disk_open(struct disk *disk, uint64_t features);
void disk_open_for(struct disk *disk, uint64_t features, struct virtio_blk_account *account);
void disk_close(struct disk *disk);
uint8_t *guest(struct disk *disk, uint64_t offset);
void header_set(struct disk *disk, uint32_t type, uint64_t sector);
/* Offers, serves and takes one request; returns the length in the used ring. */
uint32_t serve(struct disk *disk, const struct frontend_buffer *buffers, unsigned count, bool indirect);
/* A request with the customary framing; returns its status. */
uint8_t request(struct disk *disk, uint32_t type, uint64_t sector, uint32_t bytes, bool to_guest);
void pattern(uint8_t *at, size_t bytes, unsigned seed);
