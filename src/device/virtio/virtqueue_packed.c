/* SPDX-License-Identifier: BSD-3-Clause */
/* Packed virtqueues (virtio 1.2, 2.8). */
#include <errno.h>
#include <stdlib.h>
#include "device/virtio/virtqueue_priv.h"

/* Where the descriptor ring is, for the dirty log and the record. */
static void *ring_area(const struct virtqueue *queue, uint64_t user, uint64_t length, unsigned alignment,
		       const struct guest_region **ret_region, uint64_t *ret_gpa)
{
	uint8_t *host = guest_memory_from_user(queue->memory, user, length, ret_region);

	if (!host || (uintptr_t)host % alignment)
		return NULL;
	*ret_gpa = (*ret_region)->gpa + (uint64_t)(host - (*ret_region)->host);
	return host;
}

/* Steps over slots of a ring of this size. */
static inline void position_advance(uint16_t *position, bool *wrap, uint32_t slots, uint16_t size)
{
	uint32_t next = *position + slots;

	if (next >= size) {
		next -= size;
		*wrap = !*wrap;
	}
	*position = (uint16_t)next;
}

/* An in-flight region knows where the device stood; avail is ahead of it by what is to be resubmitted. */
static int position_from_region(struct virtqueue *queue, void *region)
{
	int slots = inflight_packed_setup(&queue->inflight, region, queue->size, queue->ring.desc, &queue->used,
					  &queue->used_wrap);

	if (slots == INFLIGHT_NEW_REGION)
		return 0;
	if (slots < 0)
		return slots;
	queue->avail = queue->used;
	queue->avail_wrap = queue->used_wrap;
	position_advance(&queue->avail, &queue->avail_wrap, (uint32_t)slots, queue->size);
	queue->outstanding = (uint32_t)slots;
	return 0;
}

static int position_start(struct virtqueue *queue, const struct virtqueue_config *config,
			  const struct guest_region *region, const char **ret_why)
{
	uint16_t avail = (uint16_t)config->base, used = (uint16_t)(config->base >> 16);

	*ret_why = "a packed ring's position is outside the ring";
	if ((avail & ~VIRTQ_WRAP_BIT) >= queue->size || (used & ~VIRTQ_WRAP_BIT) >= queue->size)
		return -EINVAL;
	/* DPDK's front end gives the available half only. */
	if (used == 0)
		used = avail;
	if (config->in_order)
		avail = used;
	queue->avail = avail & ~VIRTQ_WRAP_BIT;
	queue->avail_wrap = avail & VIRTQ_WRAP_BIT;
	queue->used = used & ~VIRTQ_WRAP_BIT;
	queue->used_wrap = used & VIRTQ_WRAP_BIT;
	if (config->inflight_region) {
		*ret_why = "no memory for in-flight state";
		return position_from_region(queue, config->inflight_region);
	}
	if (!config->in_order || !config->record)
		return 0;
	struct queue_record_key key = { .gpa = queue->ring_log_gpa,
					.device = region->mapping.device,
					.inode = region->mapping.inode,
					.size = queue->size };
	queue->record = config->record;
	if (queue_record_begin(queue->record, &key, config->given_base, queue->ring.desc, &queue->used,
			       &queue->used_wrap)) {
		queue->avail = queue->used;
		queue->avail_wrap = queue->used_wrap;
	}
	return 0;
}

int virtq_packed_setup(struct virtqueue *queue, const struct virtqueue_config *config, const char **ret_why)
{
	const struct guest_region *region, *other;
	uint64_t driver_gpa = 0;

	*ret_why = "the size of a packed ring is not within 1 and 32768";
	if (queue->size == 0 || queue->size > INT16_MAX + 1)
		return -EINVAL;
	queue->ring.driver = ring_area(queue, config->driver, sizeof(*queue->ring.driver), 4, &other, &driver_gpa);
	queue->ring.device =
		ring_area(queue, config->device, sizeof(*queue->ring.device), 4, &other, &queue->event_log_gpa);
	queue->ring.desc = ring_area(queue, config->desc, queue->size * sizeof(*queue->ring.desc), 16, &region,
				     &queue->ring_log_gpa);
	*ret_why = "a ring is misaligned or not in one memory region";
	if (!queue->ring.desc || !queue->ring.driver || !queue->ring.device)
		return -EINVAL;
	int r = position_start(queue, config, region, ret_why);
	if (r < 0)
		return r;
	*ret_why = "no memory for a batch of used descriptors";
	queue->batch = queue->record ? NULL : calloc(queue->size, sizeof(*queue->batch));
	if (!queue->record && !queue->batch)
		return -ENOMEM;
	virtq_packed_disarm(queue);
	return 0;
}

static inline bool flags_available(uint16_t flags, bool wrap)
{
	return !!(flags & VIRTQ_PACKED_AVAIL) == wrap && !!(flags & VIRTQ_PACKED_USED) != wrap;
}

/* Builds the element whose head is at the queue's position. */
static int packed_walk(struct virtqueue *queue, struct virtq_element *element, unsigned room)
{
	uint16_t at = queue->avail;
	int r;

	for (;;) {
		if (queue->outstanding + ++element->descriptors > queue->size)
			return virtqueue_break(queue, "a descriptor chain is longer than the ring");
		struct vring_packed_desc desc;
		virtq_desc_load(&queue->ring.desc[at], &desc);
		element->id = desc.id;
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (desc.flags & VRING_DESC_F_NEXT)
				return virtq_element_fault(element, VIRTQ_FAULT_TABLE_SUCCESSOR);
			return virtq_indirect_add(queue, element, room, desc.addr, desc.len);
		}
		r = virtq_element_add(queue, element, room, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
		if (r < 0 || !(desc.flags & VRING_DESC_F_NEXT))
			return r;
		at = at + 1 < queue->size ? at + 1 : 0;
	}
}

/* Elements of the in-flight region: their descriptors are kept there, the ring's may be overwritten. */
static int resubmit_walk(struct virtqueue *queue, uint16_t entry, struct virtq_element *element, unsigned room)
{
	const struct inflight_entry *entries = queue->inflight.entries;
	unsigned count = entries[entry].num;
	uint16_t at = entry;
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++, at = entries[at].next) {
		const struct vring_packed_desc *desc = &entries[at].desc;
		element->id = desc->id;
		if (desc->flags & VRING_DESC_F_INDIRECT && desc->flags & VRING_DESC_F_NEXT)
			r = virtq_element_fault(element, VIRTQ_FAULT_TABLE_SUCCESSOR);
		else if (desc->flags & VRING_DESC_F_INDIRECT)
			r = virtq_indirect_add(queue, element, room, desc->addr, desc->len);
		else
			r = virtq_element_add(queue, element, room, desc->addr, desc->len,
					      desc->flags & VRING_DESC_F_WRITE);
	}
	element->descriptors = (uint16_t)count;
	return r;
}

static int packed_resubmit(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
			   unsigned room)
{
	struct virtq_inflight *inflight = &queue->inflight;
	unsigned n = 0;

	for (; n < max && inflight->resubmit_next < inflight->resubmit_count; n++) {
		uint16_t entry = inflight->resubmit[inflight->resubmit_next];
		struct virtq_element *element = &elements[n];
		*element = (struct virtq_element){ .segments = iov, .inflight = INFLIGHT_RESUBMITTED | entry };
		int r = resubmit_walk(queue, entry, element, room < VIRTQ_MAX_SEGMENTS ? room : VIRTQ_MAX_SEGMENTS);
		if (r < 0)
			r = virtq_resubmit_salvage(queue, element, room, r);
		if (r < 0)
			return n ? (int)n : r;
		inflight->resubmit_next++;
		iov += element->readable + element->writable;
		room -= element->readable + element->writable;
	}
	return (int)n;
}

int virtq_packed_pop(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
		     unsigned room)
{
	struct vring_packed_desc *ring = queue->ring.desc;
	unsigned n = 0;

	if (__builtin_expect(queue->inflight.resubmit_next < queue->inflight.resubmit_count, 0))
		return packed_resubmit(queue, elements, max, iov, room);
	for (; n < max; n++) {
		struct virtq_element *element = &elements[n];
		if (!flags_available(__atomic_load_n(&ring[queue->avail].flags, __ATOMIC_ACQUIRE), queue->avail_wrap))
			break;
		*element = (struct virtq_element){ .segments = iov };
		int r = packed_walk(queue, element, room < VIRTQ_MAX_SEGMENTS ? room : VIRTQ_MAX_SEGMENTS);
		if (__builtin_expect(r < 0, 0)) {
			r = virtq_packed_salvage(queue, element, room, r);
			if (r < 0)
				return n ? (int)n : r;
		}
		if (queue->inflight.packed)
			element->inflight =
				inflight_packed_take(&queue->inflight, ring, queue->avail, element->descriptors);
		position_advance(&queue->avail, &queue->avail_wrap, element->descriptors, queue->size);
		queue->outstanding += element->descriptors;
		iov += element->readable + element->writable;
		room -= element->readable + element->writable;
	}
	return (int)n;
}

void virtq_packed_unpop(struct virtqueue *queue, unsigned slots)
{
	queue->outstanding -= slots;
	if (queue->avail < slots) {
		queue->avail += queue->size;
		queue->avail_wrap = !queue->avail_wrap;
	}
	queue->avail -= slots;
}

/* Length, id and flags of a used descriptor are one word, so that the head of a batch is published by one store. */
static inline uint64_t used_word(uint16_t id, uint32_t written, bool wrap)
{
	uint16_t flags = (wrap ? VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED : 0) | (written ? VRING_DESC_F_WRITE : 0);
	union {
		struct {
			uint32_t length;
			uint16_t id, flags;
		} fields;
		uint64_t word;
	} used = { .fields = { .length = written, .id = id, .flags = flags } };
	return used.word;
}

void virtq_packed_ring_used(struct vring_packed_desc *ring, uint16_t size, uint16_t position, bool wrap,
			    const struct queue_redo *batch, unsigned n)
{
	uint16_t at = position;
	bool at_wrap = wrap;

	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			__atomic_store_n((uint64_t *)&ring[at].len, used_word(batch[i].id, batch[i].length, at_wrap),
					 __ATOMIC_RELAXED);
		position_advance(&at, &at_wrap, batch[i].slots, size);
	}
	__atomic_store_n((uint64_t *)&ring[position].len, used_word(batch[0].id, batch[0].length, wrap),
			 __ATOMIC_RELEASE);
}

static void log_used(struct virtqueue *queue, uint16_t from, const struct queue_redo *batch, unsigned n)
{
	bool wrap = false;

	for (unsigned i = 0; i < n; i++) {
		dirty_log_mark(queue->log, queue->ring_log_gpa + from * sizeof(struct vring_packed_desc),
			       sizeof(struct vring_packed_desc));
		position_advance(&from, &wrap, batch[i].slots, queue->size);
	}
}

static void push_batch(struct virtqueue *queue, const struct queue_redo *batch, const struct virtq_element *elements,
		       unsigned n, uint32_t slots)
{
	struct virtq_inflight *inflight = &queue->inflight;
	uint16_t next = queue->used;
	bool wrap = queue->used_wrap;

	position_advance(&next, &wrap, slots, queue->size);
	if (queue->record)
		queue_record_commit(queue->record, queue->used, queue->used_wrap, (uint16_t)n);
	if (inflight->packed) {
		for (unsigned i = 0; i < n; i++)
			inflight_packed_release(inflight, (uint16_t)elements[i].inflight);
		inflight_packed_advance(inflight, next, wrap);
	}
	virtq_packed_ring_used(queue->ring.desc, queue->size, queue->used, queue->used_wrap, batch, n);
	if (inflight->packed) {
		for (unsigned i = 0; i < n; i++)
			inflight_packed_settle(inflight, (uint16_t)elements[i].inflight);
		inflight_packed_settled(inflight);
	}
	if (queue->record)
		queue_record_done(queue->record, next, wrap);
	if (__builtin_expect(queue->logging, 0))
		log_used(queue, queue->used, batch, n);
	queue->used = next;
	queue->used_wrap = wrap;
	queue->outstanding -= slots;
	queue->unnotified += slots;
}

void virtq_packed_push(struct virtqueue *queue, const struct virtq_element *elements, const uint32_t *written,
		       unsigned n)
{
	struct queue_redo *batch = queue->batch;
	uint32_t slots = 0;

	if (queue->record)
		batch = queue_record_redo(queue->record);
	for (unsigned i = 0; i < n; i++) {
		batch[i] = (struct queue_redo){ .id = elements[i].id,
						.slots = elements[i].descriptors,
						.length = written[i] };
		slots += elements[i].descriptors;
	}
	push_batch(queue, batch, elements, n, slots);
}

bool virtq_packed_wants_notify(struct virtqueue *queue, uint32_t slots)
{
	uint32_t word = __atomic_load_n((const uint32_t *)queue->ring.driver, __ATOMIC_RELAXED);
	struct vring_packed_desc_event event;

	__builtin_memcpy(&event, &word, sizeof(event));
	if (event.flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (event.flags != VRING_PACKED_EVENT_FLAG_DESC || !queue->event_index || slots >= queue->size)
		return true;
	uint16_t at = event.off_wrap & ~VIRTQ_WRAP_BIT;
	if (!!(event.off_wrap & VIRTQ_WRAP_BIT) != queue->used_wrap)
		at -= queue->size;
	return vring_need_event(at, queue->used, (uint16_t)(queue->used - slots));
}

static void device_event_write(struct virtqueue *queue, uint16_t off_wrap, uint16_t flags)
{
	struct vring_packed_desc_event event = { .off_wrap = off_wrap, .flags = flags };
	uint32_t word;

	__builtin_memcpy(&word, &event, sizeof(word));
	if (__atomic_load_n((uint32_t *)queue->ring.device, __ATOMIC_RELAXED) == word)
		return;
	__atomic_store_n((uint32_t *)queue->ring.device, word, __ATOMIC_RELAXED);
	if (queue->logging)
		dirty_log_mark(queue->log, queue->event_log_gpa, sizeof(event));
}

bool virtq_packed_arm(struct virtqueue *queue)
{
	if (queue->event_index)
		device_event_write(queue, queue->avail | (queue->avail_wrap ? VIRTQ_WRAP_BIT : 0),
				   VRING_PACKED_EVENT_FLAG_DESC);
	else
		device_event_write(queue, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
	atomic_thread_fence(memory_order_seq_cst);
	uint16_t flags = __atomic_load_n(&queue->ring.desc[queue->avail].flags, __ATOMIC_ACQUIRE);
	if (!flags_available(flags, queue->avail_wrap))
		return false;
	virtq_packed_disarm(queue);
	return true;
}

void virtq_packed_disarm(struct virtqueue *queue)
{
	device_event_write(queue, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}
