// SPDX-License-Identifier: BSD-3-Clause
/* What a virtio-blk request says (virtio 1.2, 5.2.6). A driver may frame it as it likes: header, data and status are
 * bytes of the readable and writable parts, not segments. */
#include "device/virtio/virtio_blk_priv.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = sizeof(struct virtio_blk_outhdr), RANGE_BYTES = sizeof(struct virtio_blk_discard_write_zeroes) };

/* Takes n bytes from the front of segments, copying them to `to` unless it is NULL. There are as many. */
static void bytes_take(struct iovec **segments, unsigned *count, void *to, size_t n)
{
	uint8_t *at = to;

	while (n > 0) {
		struct iovec *segment = *segments;
		size_t part = segment->iov_len < n ? segment->iov_len : n;

		if (at) {
			memcpy(at, segment->iov_base, part);
			at += part;
		}
		segment->iov_base = (uint8_t *)segment->iov_base + part;
		segment->iov_len -= part;
		n -= part;
		if (segment->iov_len == 0) {
			(*segments)++;
			(*count)--;
		}
	}
}

static void bytes_give(const struct iovec *segments, unsigned count, const char *from, size_t n)
{
	for (; n > 0 && count > 0; segments++, count--) {
		size_t part = segments->iov_len < n ? segments->iov_len : n;

		memcpy(segments->iov_base, from, part);
		from += part;
		n -= part;
	}
}

/* The status is the last writable byte. It is taken off the data; the segment is whole again when it is pushed. */
static unsigned status_place(struct virtio_blk_slot *slot, struct iovec *writable)
{
	unsigned count = slot->element.writable;
	struct iovec *last = &writable[count - 1];

	slot->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (last->iov_len == 1)
		return count - 1;
	last->iov_len--;
	slot->shortened = last;
	return count;
}

/* Without the feature the guest cannot flush, so nothing may be volatile. */
static bool must_be_durable(const struct virtio_blk *blk)
{
	return !(virtqueue_features(blk->queue) & UINT64_C(1) << VIRTIO_BLK_F_FLUSH) ||
	       !atomic_load_explicit(blk->write_back, memory_order_relaxed);
}

static enum virtio_blk_verdict transfer_parse(struct virtio_blk_slot *slot, uint64_t sector, struct iovec *data,
					      unsigned segments, uint64_t length)
{
	struct dpu_block_request *request = &slot->request;

	request->iov = data;
	request->segments = (uint16_t)segments;
	request->length = length;
	if (length == 0 || __builtin_mul_overflow(sector, DPU_BLOCK_SECTOR, &request->offset))
		return VIRTIO_BLK_BAD;
	if (length > slot->blk->device->max_bytes && !virtio_blk_pieces_begin(slot, data))
		return VIRTIO_BLK_BAD;
	return dpu_block_check(slot->blk->device, request) == DPU_BLOCK_OK ? VIRTIO_BLK_SUBMIT : VIRTIO_BLK_BAD;
}

static enum virtio_blk_verdict range_parse(struct virtio_blk_slot *slot,
					   const struct virtio_blk_discard_write_zeroes *raw,
					   struct virtio_blk_range *ret)
{
	bool zeroes = slot->request.op == DPU_BLOCK_WRITE_ZEROES;

	/* 5.2.6.1: a flag that is not known is UNSUPP, and so is unmap in a discard. */
	if (raw->flags & ~(zeroes ? (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0))
		return VIRTIO_BLK_UNSUPPORTED;
	if (__builtin_mul_overflow(raw->sector, DPU_BLOCK_SECTOR, &ret->offset))
		return VIRTIO_BLK_BAD;
	ret->length = (uint64_t)raw->num_sectors * DPU_BLOCK_SECTOR;
	ret->flags = must_be_durable(slot->blk) ? DPU_BLOCK_FUA : 0;
	if (zeroes && !(raw->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		ret->flags |= DPU_BLOCK_KEEP;
	slot->request.offset = ret->offset;
	slot->request.length = ret->length;
	return dpu_block_check(slot->blk->device, &slot->request) == DPU_BLOCK_OK ? VIRTIO_BLK_SUBMIT : VIRTIO_BLK_BAD;
}

static enum virtio_blk_verdict ranges_parse(struct virtio_blk_slot *slot, struct iovec *data, unsigned segments,
					    uint64_t length)
{
	unsigned count = (unsigned)(length / RANGE_BYTES);

	if (length % RANGE_BYTES || count == 0 || length / RANGE_BYTES > VIRTIO_BLK_MAX_RANGES)
		return VIRTIO_BLK_BAD;
	if (!virtio_blk_charge(slot, count * (uint32_t)sizeof(*slot->ranges)))
		return VIRTIO_BLK_LATER;
	slot->ranges = malloc(count * sizeof(*slot->ranges));
	if (!slot->ranges)
		return VIRTIO_BLK_LATER;
	for (unsigned i = 0; i < count; i++) {
		struct virtio_blk_discard_write_zeroes raw;

		bytes_take(&data, &segments, &raw, sizeof(raw));
		enum virtio_blk_verdict verdict = range_parse(slot, &raw, &slot->ranges[i]);
		if (verdict != VIRTIO_BLK_SUBMIT)
			return verdict;
	}
	slot->range = 0;
	slot->range_count = (uint16_t)count;
	virtio_blk_next_range(slot);
	return VIRTIO_BLK_SUBMIT;
}

bool virtio_blk_next_range(struct virtio_blk_slot *slot)
{
	if (!slot->ranges || slot->range == slot->range_count)
		return false;
	const struct virtio_blk_range *range = &slot->ranges[slot->range++];

	slot->request.offset = range->offset;
	slot->request.length = range->length;
	slot->request.flags = range->flags;
	return true;
}

static enum virtio_blk_verdict id_answer(struct virtio_blk_slot *slot, const struct iovec *data, unsigned segments)
{
	if (slot->element.writable_bytes < VIRTIO_BLK_ID_BYTES + 1)
		return VIRTIO_BLK_BAD;
	bytes_give(data, segments, slot->blk->id, VIRTIO_BLK_ID_BYTES);
	return VIRTIO_BLK_ANSWERED;
}

enum virtio_blk_verdict virtio_blk_parse(struct virtio_blk_slot *slot)
{
	struct virtq_element *element = &slot->element;
	struct iovec *out = element->segments, *in = element->segments + element->readable;
	unsigned out_count = element->readable, in_count;
	struct dpu_block_request *request = &slot->request;
	struct virtio_blk_outhdr header;

	slot->status = NULL;
	slot->shortened = NULL;
	slot->segment = NULL;
	slot->left = 0;
	if (element->writable_bytes == 0)
		return VIRTIO_BLK_BAD;
	in_count = status_place(slot, in);
	if (element->readable_bytes < HEADER_BYTES)
		return VIRTIO_BLK_BAD;
	bytes_take(&out, &out_count, &header, sizeof(header));
	uint64_t out_bytes = element->readable_bytes - HEADER_BYTES;

	*request = (struct dpu_block_request){ 0 };
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		request->op = DPU_BLOCK_READ;
		return transfer_parse(slot, header.sector, in, in_count, element->writable_bytes - 1);
	case VIRTIO_BLK_T_OUT:
		request->op = DPU_BLOCK_WRITE;
		request->flags = must_be_durable(slot->blk) ? DPU_BLOCK_FUA : 0;
		return transfer_parse(slot, header.sector, out, out_count, out_bytes);
	case VIRTIO_BLK_T_FLUSH:
		request->op = DPU_BLOCK_FLUSH;
		return VIRTIO_BLK_SUBMIT;
	case VIRTIO_BLK_T_GET_ID:
		return id_answer(slot, in, in_count);
	case VIRTIO_BLK_T_DISCARD:
		request->op = DPU_BLOCK_DISCARD;
		return ranges_parse(slot, out, out_count, out_bytes);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		request->op = DPU_BLOCK_WRITE_ZEROES;
		return ranges_parse(slot, out, out_count, out_bytes);
	default:
		return VIRTIO_BLK_UNSUPPORTED;
	}
}
