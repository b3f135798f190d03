/* SPDX-License-Identifier: BSD-3-Clause */
/* What split and packed virtqueues have in common: set-up, elements of indirect tables, dirty logging, notifications.
 */
#include "device/virtio/virtqueue_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include "base/event_signal.h"

int virtqueue_new(struct virtqueue **ret)
{
	struct virtqueue *queue = aligned_alloc(64, (sizeof(*queue) + 63) & ~(size_t)63);

	if (!queue)
		return -ENOMEM;
	memset(queue, 0, sizeof(*queue));
	queue->kick_fd = queue->call_fd = queue->alarm_fd = -1;
	*ret = queue;
	return 0;
}

void virtqueue_free(struct virtqueue *queue)
{
	if (!queue)
		return;
	virtq_inflight_fini(&queue->inflight);
	free(queue->batch);
	free(queue);
}

/* Of what is written for the driver to see: a predecessor may have died between a write there and its mark. */
static uint64_t ring_bytes(const struct virtqueue *queue)
{
	return queue->packed ? queue->size * sizeof(struct vring_packed_desc)
			     : offsetof(struct vring_used, ring[queue->size]);
}

int virtqueue_setup(struct virtqueue *queue, const struct virtqueue_config *config, const char **ret_why)
{
	virtq_inflight_fini(&queue->inflight);
	free(queue->batch);
	memset(queue, 0, sizeof(*queue));
	queue->packed = config->features & (UINT64_C(1) << VIRTIO_F_RING_PACKED);
	queue->event_index = config->features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
	queue->features = config->features;
	queue->size = config->size;
	queue->memory = config->memory;
	queue->kick_fd = config->kick_fd;
	queue->call_fd = config->call_fd;
	queue->alarm_fd = config->alarm_fd;
	queue->log = config->log;
	queue->logging = config->log;
	queue->notify_always = true;
	int r = queue->packed ? virtq_packed_setup(queue, config, ret_why) : virtq_split_setup(queue, config, ret_why);
	if (r == 0 && queue->logging)
		dirty_log_mark(queue->log, queue->ring_log_gpa, ring_bytes(queue));
	return r;
}

uint32_t virtqueue_base(const struct virtqueue *queue)
{
	if (!queue->packed)
		return queue->avail;
	return queue->avail | (queue->avail_wrap ? VIRTQ_WRAP_BIT : 0) |
	       (uint32_t)(queue->used | (queue->used_wrap ? VIRTQ_WRAP_BIT : 0)) << 16;
}

int virtqueue_break(struct virtqueue *queue, const char *reason)
{
	const char *expected = NULL;
	uint64_t one = 1;

	/* What is read where memory was does not make sense either: say what came first. */
	if (atomic_load_explicit(&queue->memory->faulted, memory_order_relaxed))
		reason = "the front end has taken memory away that it shared";
	if (atomic_compare_exchange_strong(&queue->broken, &expected, reason) && queue->alarm_fd >= 0) {
		ssize_t written = write(queue->alarm_fd, &one, sizeof(one));
		(void)written; /* a full counter wakes control as well */
	}
	return -EPIPE;
}

static int indirect_split(struct virtqueue *queue, struct virtq_element *element, unsigned room, uint64_t table,
			  uint32_t count)
{
	struct vring_desc desc;
	uint32_t at = 0, limit = count < VIRTQ_MAX_SEGMENTS ? count : VIRTQ_MAX_SEGMENTS;

	for (uint32_t hops = 0; hops < limit; hops++) {
		if (!virtq_table_load(queue, table + (uint64_t)at * sizeof(desc), &desc))
			return virtq_element_fault(element, VIRTQ_FAULT_TABLE_OUTSIDE);
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return virtq_element_fault(element, VIRTQ_FAULT_TABLE_NESTED);
		int r = virtq_element_add(queue, element, room, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
		if (r < 0 || !(desc.flags & VRING_DESC_F_NEXT))
			return r;
		at = desc.next;
		if (at >= count)
			return virtq_element_fault(element, VIRTQ_FAULT_TABLE_NEXT);
	}
	return virtq_element_fault(element, limit == count ? VIRTQ_FAULT_LOOP : VIRTQ_FAULT_SEGMENTS);
}

static int indirect_packed(struct virtqueue *queue, struct virtq_element *element, unsigned room, uint64_t table,
			   uint32_t count)
{
	struct vring_packed_desc desc;

	if (count > VIRTQ_MAX_SEGMENTS)
		return virtq_element_fault(element, VIRTQ_FAULT_SEGMENTS);
	for (uint32_t i = 0; i < count; i++) {
		if (!virtq_table_load(queue, table + (uint64_t)i * sizeof(desc), &desc))
			return virtq_element_fault(element, VIRTQ_FAULT_TABLE_OUTSIDE);
		int r = virtq_element_add(queue, element, room, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
		if (r < 0)
			return r;
	}
	return 0;
}

int virtq_indirect_add(struct virtqueue *queue, struct virtq_element *element, unsigned room, uint64_t table,
		       uint32_t length)
{
	uint32_t count = virtq_table_count(queue, length);

	if (!(queue->features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)))
		return virtq_element_fault(element, VIRTQ_FAULT_NO_TABLES);
	if (count == 0)
		return virtq_element_fault(element, VIRTQ_FAULT_TABLE_LENGTH);
	return queue->packed ? indirect_packed(queue, element, room, table, count)
			     : indirect_split(queue, element, room, table, count);
}

int virtqueue_pop(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
		  unsigned room)
{
	if (__builtin_expect(atomic_load_explicit(&queue->memory->faulted, memory_order_relaxed), 0))
		virtqueue_break(queue, "the front end has taken memory away");
	if (__builtin_expect(atomic_load_explicit(&queue->broken, memory_order_relaxed) != NULL, 0))
		return -EPIPE;
	return queue->packed ? virtq_packed_pop(queue, elements, max, iov, room)
			     : virtq_split_pop(queue, elements, max, iov, room);
}

void virtqueue_unpop(struct virtqueue *queue, const struct virtq_element *elements, unsigned n)
{
	unsigned slots = 0;

	for (unsigned i = n; i-- > 0;) {
		if (elements[i].inflight & INFLIGHT_RESUBMITTED) {
			queue->inflight.resubmit_next--;
			continue;
		}
		slots += elements[i].descriptors;
		if (queue->inflight.split)
			inflight_split_untake(&queue->inflight, elements[i].id);
		else if (queue->inflight.packed)
			inflight_packed_untake(&queue->inflight, (uint16_t)elements[i].inflight);
	}
	if (queue->packed)
		virtq_packed_unpop(queue, slots);
	else
		queue->avail -= slots;
}

static void log_element(struct virtqueue *queue, const struct virtq_element *element, uint32_t written)
{
	const struct iovec *segment = &element->segments[element->readable];

	for (unsigned i = 0; i < element->writable && written; i++, segment++) {
		uint32_t here = segment->iov_len < written ? (uint32_t)segment->iov_len : written;
		uint64_t gpa;
		if (guest_memory_gpa(queue->memory, segment->iov_base, &gpa))
			dirty_log_mark(queue->log, gpa, here);
		written -= here;
	}
}

void virtqueue_push(struct virtqueue *queue, const struct virtq_element *elements, const uint32_t *written, unsigned n)
{
	if (n == 0)
		return;
	if (__builtin_expect(queue->logging, 0))
		for (unsigned i = 0; i < n; i++)
			log_element(queue, &elements[i], written[i]);
	if (queue->packed)
		virtq_packed_push(queue, elements, written, n);
	else
		virtq_split_push(queue, elements, written, n);
}

void virtqueue_notify(struct virtqueue *queue)
{
	uint32_t slots = queue->unnotified;

	if (slots == 0 && !queue->notify_always)
		return;
	queue->unnotified = 0;
	/* What was pushed must be visible before we look whether the driver sleeps. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!queue->notify_always &&
	    !(queue->packed ? virtq_packed_wants_notify(queue, slots) : virtq_split_wants_notify(queue, slots)))
		return;
	queue->notify_always = false;
	if (queue->call_fd >= 0)
		event_signal(queue->call_fd);
}

bool virtqueue_arm(struct virtqueue *queue)
{
	if (virtqueue_broken(queue))
		return false;
	if (queue->inflight.resubmit_next < queue->inflight.resubmit_count)
		return true;
	return queue->packed ? virtq_packed_arm(queue) : virtq_split_arm(queue);
}

void virtqueue_disarm(struct virtqueue *queue)
{
	if (queue->kick_fd >= 0)
		event_clear(queue->kick_fd);
	if (virtqueue_broken(queue))
		return;
	if (queue->packed)
		virtq_packed_disarm(queue);
	else
		virtq_split_disarm(queue);
}

int virtqueue_kick_fd(const struct virtqueue *queue)
{
	return queue->kick_fd;
}

unsigned virtqueue_size(const struct virtqueue *queue)
{
	return queue->size;
}

uint64_t virtqueue_features(const struct virtqueue *queue)
{
	return queue->features;
}

bool virtqueue_broken(const struct virtqueue *queue)
{
	return virtqueue_broken_reason(queue) != NULL;
}

const char *virtqueue_broken_reason(const struct virtqueue *queue)
{
	return atomic_load_explicit(&queue->broken, memory_order_relaxed);
}

enum virtq_fault virtqueue_last_fault(const struct virtqueue *queue)
{
	return atomic_load_explicit(&queue->fault, memory_order_relaxed);
}
