// SPDX-License-Identifier: BSD-3-Clause
/* What a guest reads of a virtio-blk device: features and the configuration space (virtio 1.2, 5.2.3 and 5.2.4). */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "device/virtio/virtio_blk.h"

_Static_assert(offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4 == VIRTIO_BLK_CONFIG_BYTES,
	       "fields of the features that are offered");

static uint64_t bit(unsigned feature)
{
	return UINT64_C(1) << feature;
}

uint64_t virtio_blk_features(const struct virtio_blk_disk *disk)
{
	uint64_t features = bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_TOPOLOGY) |
			    bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE) | bit(VIRTIO_BLK_F_MQ);

	if (disk->read_only)
		features |= bit(VIRTIO_BLK_F_RO);
	else if (disk->discard)
		features |= bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
	return features;
}

static uint8_t physical_exponent(const struct virtio_blk_disk *disk)
{
	uint8_t exponent = 0;

	while ((uint64_t)disk->sector << exponent < disk->physical_bytes)
		exponent++;
	return exponent;
}

void virtio_blk_config_fill(const struct virtio_blk_disk *disk, bool write_back,
			    uint8_t ret[static VIRTIO_BLK_CONFIG_BYTES])
{
	uint32_t max_sectors = UINT32_MAX / DPU_BLOCK_BYTES * (DPU_BLOCK_BYTES / DPU_BLOCK_SECTOR);
	struct virtio_blk_config config = {
		.capacity = disk->bytes / DPU_BLOCK_SECTOR,
		.seg_max = VIRTIO_BLK_MAX_SEGMENTS,
		.blk_size = disk->sector,
		.physical_block_exp = physical_exponent(disk),
		.min_io_size = (uint16_t)(disk->physical_bytes / disk->sector),
		.opt_io_size = disk->optimal_bytes / disk->sector,
		.wce = write_back,
		.num_queues = disk->queues,
	};

	if (disk->discard && !disk->read_only) {
		config.max_discard_sectors = config.max_write_zeroes_sectors = max_sectors;
		config.max_discard_seg = config.max_write_zeroes_seg = VIRTIO_BLK_MAX_RANGES;
		config.discard_sector_alignment = disk->physical_bytes / DPU_BLOCK_SECTOR;
		config.write_zeroes_may_unmap = 1;
	}
	memcpy(ret, &config, VIRTIO_BLK_CONFIG_BYTES);
}

int virtio_blk_set_config(uint64_t features, uint32_t offset, uint32_t length, const uint8_t *data,
			  bool *ret_write_back)
{
	if (!(features & bit(VIRTIO_BLK_F_CONFIG_WCE)) || offset != offsetof(struct virtio_blk_config, wce) ||
	    length != 1 || data[0] > 1)
		return -EINVAL;
	*ret_write_back = data[0];
	return 0;
}
