/* SPDX-License-Identifier: BSD-3-Clause */
/* Elements whose descriptors make no sense: a second walk, apart from the one that failed, for what is still to be told
 * of them. It reads the ring anew, and what it finds is checked by itself: only the element's id, its slots and the
 * place of its last writable byte come of it, and the fault stays whatever the guest has changed meanwhile. */
#include <errno.h>
#include "device/virtio/virtqueue_priv.h"

const char *virtq_fault_sentence(enum virtq_fault fault)
{
	static const char *const sentences[VIRTQ_FAULTS] = {
		[VIRTQ_FAULT_NONE] = "nothing is wrong",
		[VIRTQ_FAULT_OUTSIDE] = "a descriptor points outside the guest's memory",
		[VIRTQ_FAULT_ORDER] = "a readable descriptor follows a writable one",
		[VIRTQ_FAULT_BYTES] = "a descriptor chain is longer than 4 GiB",
		[VIRTQ_FAULT_SEGMENTS] = "a descriptor chain has more segments than are supported",
		[VIRTQ_FAULT_LOOP] = "a descriptor chain loops",
		[VIRTQ_FAULT_NEXT] = "a descriptor's successor is outside the ring",
		[VIRTQ_FAULT_NO_TABLES] = "an indirect table without the feature",
		[VIRTQ_FAULT_TABLE_SUCCESSOR] = "an indirect descriptor has a successor",
		[VIRTQ_FAULT_TABLE_LENGTH] = "an indirect table has an impossible length",
		[VIRTQ_FAULT_TABLE_OUTSIDE] = "an indirect table is outside the guest's memory",
		[VIRTQ_FAULT_TABLE_NEXT] = "an indirect descriptor's successor is outside its table",
		[VIRTQ_FAULT_TABLE_NESTED] = "an indirect table within an indirect table",
	};

	return sentences[fault];
}

/* The last byte that the device may write, as far as the walk has come. */
struct tail {
	uint8_t *byte; /* NULL: there is none, or it is not in the guest's memory */
	bool lost;     /* where the chain ends is not known, so neither is this */
};

static void tail_add(struct virtqueue *queue, struct tail *tail, uint64_t address, uint32_t length, uint16_t flags)
{
	uint64_t last, contiguous;

	if (!(flags & VRING_DESC_F_WRITE) || length == 0)
		return;
	tail->byte = NULL;
	if (!__builtin_add_overflow(address, (uint64_t)length - 1, &last))
		tail->byte = guest_memory_at(queue->memory, &queue->memory_hint, last, &contiguous);
}

/* Returns whether the table's chain has an end. */
static bool tail_split_table(struct virtqueue *queue, struct tail *tail, uint64_t table, uint32_t count)
{
	struct vring_desc desc;
	uint32_t at = 0;

	for (uint32_t hops = 0; hops < count && hops < VIRTQ_MAX_SEGMENTS && at < count; hops++) {
		if (!virtq_table_load(queue, table + (uint64_t)at * sizeof(desc), &desc))
			return false;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			tail->byte = NULL; /* what it may write is not looked for */
		else
			tail_add(queue, tail, desc.addr, desc.len, desc.flags);
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return true;
		at = desc.next;
	}
	return false;
}

static bool tail_packed_table(struct virtqueue *queue, struct tail *tail, uint64_t table, uint32_t count)
{
	struct vring_packed_desc desc;

	if (count > VIRTQ_MAX_SEGMENTS)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!virtq_table_load(queue, table + (uint64_t)i * sizeof(desc), &desc))
			return false;
		tail_add(queue, tail, desc.addr, desc.len, desc.flags);
	}
	return true;
}

/* A table ends its chain: with a successor, which of the two was meant is not known. */
static void tail_add_table(struct virtqueue *queue, struct tail *tail, uint64_t address, uint32_t length,
			   uint16_t flags)
{
	bool offered = queue->features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
	uint32_t count = virtq_table_count(queue, length);

	if (!offered || count == 0 || flags & VRING_DESC_F_NEXT ||
	    !(queue->packed ? tail_packed_table(queue, tail, address, count)
			    : tail_split_table(queue, tail, address, count)))
		tail->lost = true;
}

/* Whether there is an element to be salvaged; else what pop has to return. */
static int salvage_begin(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r)
{
	if (r == -EPIPE || (r == -ENOSPC && room < VIRTQ_MAX_SEGMENTS))
		return r;
	if (atomic_load_explicit(&queue->memory->faulted, memory_order_relaxed))
		return virtqueue_break(queue, "the front end has taken memory away");
	if (r == -ENOSPC)
		element->fault = VIRTQ_FAULT_SEGMENTS;
	return 0;
}

static int salvage_end(struct virtqueue *queue, struct virtq_element *element, unsigned room, const struct tail *tail)
{
	bool writable = tail->byte && !tail->lost;

	if (writable && room == 0)
		return -ENOSPC;
	element->readable = 0;
	element->readable_bytes = 0;
	element->writable = writable;
	element->writable_bytes = writable;
	if (writable)
		element->segments[0] = (struct iovec){ .iov_base = tail->byte, .iov_len = 1 };
	atomic_store_explicit(&queue->fault, element->fault, memory_order_relaxed);
	return 0;
}

int virtq_split_salvage(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r)
{
	struct tail tail = { .lost = true };
	uint16_t at = element->id;

	r = salvage_begin(queue, element, room, r);
	if (r < 0)
		return r;
	for (unsigned hops = 0; hops < queue->size && at < queue->size; hops++) {
		struct vring_desc desc;
		virtq_desc_load(&queue->split.desc[at], &desc);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			tail.lost = false;
			tail_add_table(queue, &tail, desc.addr, desc.len, desc.flags);
			break;
		}
		tail_add(queue, &tail, desc.addr, desc.len, desc.flags);
		tail.lost = desc.flags & VRING_DESC_F_NEXT;
		if (!tail.lost)
			break;
		at = desc.next;
	}
	return salvage_end(queue, element, room, &tail);
}

static void tail_add_packed(struct virtqueue *queue, struct tail *tail, const struct vring_packed_desc *desc)
{
	if (desc->flags & VRING_DESC_F_INDIRECT)
		tail_add_table(queue, tail, desc->addr, desc->len, desc->flags);
	else
		tail_add(queue, tail, desc->addr, desc->len, desc->flags);
}

/* The id is in the last descriptor (virtio 1.2, 2.8.6), and the next element behind it: without an end, neither is. */
int virtq_packed_salvage(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r)
{
	struct tail tail = { 0 };
	uint16_t at = queue->avail;
	struct vring_packed_desc desc;

	r = salvage_begin(queue, element, room, r);
	if (r < 0)
		return r;
	element->descriptors = 0;
	do {
		if (queue->outstanding + ++element->descriptors > queue->size)
			return virtqueue_break(queue, "a descriptor chain is longer than the ring");
		virtq_desc_load(&queue->ring.desc[at], &desc);
		tail_add_packed(queue, &tail, &desc);
		at = at + 1 < queue->size ? at + 1 : 0;
	} while (desc.flags & VRING_DESC_F_NEXT);
	element->id = desc.id;
	return salvage_end(queue, element, room, &tail);
}

int virtq_resubmit_salvage(struct virtqueue *queue, struct virtq_element *element, unsigned room, int r)
{
	const struct inflight_entry *entries = queue->inflight.entries;
	struct tail tail = { 0 };
	uint16_t at = (uint16_t)element->inflight;

	r = salvage_begin(queue, element, room, r);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < element->descriptors; i++, at = entries[at].next) {
		tail_add_packed(queue, &tail, &entries[at].desc);
		element->id = entries[at].desc.id;
	}
	return salvage_end(queue, element, room, &tail);
}
