// SPDX-License-Identifier: BSD-3-Clause
/* A transfer that is larger than its device takes in one request, in pieces that follow each other: virtio has no limit
 * for the length of a segment (virtio 1.2, 5.2.5.2) that a driver without VIRTIO_BLK_F_SIZE_MAX would know. The first
 * and the last segment of a piece are cut in place. */
#include "device/virtio/virtio_blk_priv.h"

static void cut_front(struct iovec *segment, size_t bytes)
{
	segment->iov_base = (uint8_t *)segment->iov_base + bytes;
	segment->iov_len -= bytes;
}

static struct iovec *last_segment(const struct virtio_blk_slot *slot)
{
	return &slot->segment[slot->request.segments - 1];
}

static void segments_restore(struct virtio_blk_slot *slot)
{
	last_segment(slot)->iov_len += slot->behind;
	slot->segment->iov_base = (uint8_t *)slot->segment->iov_base - slot->before;
	slot->segment->iov_len += slot->before;
}

/* Ends at a border of blocks, so that none is written twice. */
static uint64_t piece_bytes(const struct virtio_blk_slot *slot)
{
	uint64_t most = slot->blk->device->max_bytes / DPU_BLOCK_BYTES * DPU_BLOCK_BYTES;

	most -= slot->request.offset % DPU_BLOCK_BYTES;
	return slot->left < most ? slot->left : most;
}

static void piece_cut(struct virtio_blk_slot *slot)
{
	struct dpu_block_request *request = &slot->request;
	struct iovec *last = slot->segment;
	uint64_t bytes = piece_bytes(slot), rest = bytes;

	cut_front(slot->segment, slot->before);
	while (rest > last->iov_len)
		rest -= last++->iov_len;
	slot->behind = last->iov_len - rest;
	last->iov_len = rest;
	request->iov = slot->segment;
	request->segments = (uint16_t)(last - slot->segment + 1);
	request->length = bytes;
	slot->left -= bytes;
}

bool virtio_blk_pieces_begin(struct virtio_blk_slot *slot, struct iovec *data)
{
	const struct dpu_block_device *device = slot->blk->device;
	const struct dpu_block_request *request = &slot->request;

	if (request->length % device->sector != 0 || request->offset > device->bytes ||
	    request->length > device->bytes - request->offset)
		return false;
	slot->segment = data;
	slot->before = 0;
	slot->left = request->length;
	piece_cut(slot);
	return true;
}

bool virtio_blk_next_piece(struct virtio_blk_slot *slot)
{
	if (slot->left == 0)
		return false;
	struct iovec *last = last_segment(slot);

	segments_restore(slot);
	slot->before = last->iov_len - slot->behind;
	slot->segment = last;
	if (slot->behind == 0) {
		slot->segment++;
		slot->before = 0;
	}
	slot->request.offset += slot->request.length;
	piece_cut(slot);
	return true;
}

void virtio_blk_pieces_end(struct virtio_blk_slot *slot)
{
	if (!slot->segment)
		return;
	segments_restore(slot);
	slot->segment = NULL;
	slot->left = 0;
}
