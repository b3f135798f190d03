/* SPDX-License-Identifier: BSD-3-Clause */
/* Split virtqueues (virtio 1.2, 2.7). */
#include <errno.h>
#include <stddef.h>
#include "device/virtio/virtqueue_priv.h"

static void *ring_area(const struct virtqueue *queue, uint64_t user, uint64_t length, unsigned alignment,
		       uint64_t *ret_gpa)
{
	const struct guest_region *region;
	uint8_t *host = guest_memory_from_user(queue->memory, user, length, &region);

	if (!host || (uintptr_t)host % alignment)
		return NULL;
	*ret_gpa = region->gpa + (uint64_t)(host - region->host);
	return host;
}

int virtq_split_setup(struct virtqueue *queue, const struct virtqueue_config *config, const char **ret_why)
{
	uint64_t gpa, used_gpa = 0;
	unsigned size = config->size;

	*ret_why = "the size of a split ring is no power of two";
	if (size == 0 || size > INT16_MAX + 1 || (size & (size - 1)))
		return -EINVAL;
	/* Event indices lie behind the rings, used or not. */
	queue->split.desc = ring_area(queue, config->desc, size * sizeof(struct vring_desc), 16, &gpa);
	queue->split.avail = ring_area(queue, config->driver, sizeof(struct vring_avail) + (size + 1) * 2, 2, &gpa);
	queue->split.used =
		ring_area(queue, config->device, sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + 2,
			  4, &used_gpa);
	*ret_why = "a ring is misaligned or not in one memory region";
	if (!queue->split.desc || !queue->split.avail || !queue->split.used)
		return -EINVAL;
	queue->mask = (uint16_t)(size - 1);
	queue->ring_log_gpa = config->log_used ? config->used_log_gpa : used_gpa;

	uint16_t used = __atomic_load_n(&queue->split.used->idx, __ATOMIC_ACQUIRE);
	*ret_why = "no memory for in-flight state";
	int r = config->inflight_region
			? inflight_split_setup(&queue->inflight, config->inflight_region, queue->size, used)
			: 0;
	if (r < 0)
		return r;
	/* With an in-flight region, what lies between used and available is exactly what it lists. Without, a device
	 * that works in order has nothing in flight, and the ring knows better than a front end that lost us. */
	queue->used = used;
	if (config->inflight_region)
		queue->avail = (uint16_t)(used + queue->inflight.resubmit_count);
	else
		queue->avail = config->in_order ? used : (uint16_t)config->base;
	queue->avail_shadow = queue->avail;
	queue->split.forgotten = config->inflight_region ? 0 : (uint16_t)(queue->avail - used);
	virtq_split_disarm(queue);
	return 0;
}

/* How many elements the driver has made available; -EPIPE if that is impossible: each has a descriptor of its own until
 * it is used (2.7.13), so those that are under way count. */
static int split_available(struct virtqueue *queue, unsigned wanted)
{
	uint16_t available = (uint16_t)(queue->avail_shadow - queue->avail);
	uint16_t under_way = (uint16_t)(queue->avail - queue->used - queue->split.forgotten);

	if (available >= wanted)
		return (int)wanted;
	queue->avail_shadow = __atomic_load_n(&queue->split.avail->idx, __ATOMIC_ACQUIRE);
	available = (uint16_t)(queue->avail_shadow - queue->avail);
	if (available + under_way > queue->size)
		return virtqueue_break(queue, "the available index runs ahead of the ring");
	return available < wanted ? available : (int)wanted;
}

static int split_walk(struct virtqueue *queue, uint16_t head, struct virtq_element *element, unsigned room)
{
	uint16_t at = head;
	int r;

	for (unsigned hops = 0; hops < queue->size; hops++) {
		struct vring_desc desc;
		virtq_desc_load(&queue->split.desc[at], &desc);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (desc.flags & VRING_DESC_F_NEXT)
				return virtq_element_fault(element, VIRTQ_FAULT_TABLE_SUCCESSOR);
			return virtq_indirect_add(queue, element, room, desc.addr, desc.len);
		}
		r = virtq_element_add(queue, element, room, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
		if (r < 0 || !(desc.flags & VRING_DESC_F_NEXT))
			return r;
		at = desc.next;
		if (__builtin_expect(at >= queue->size, 0))
			return virtq_element_fault(element, VIRTQ_FAULT_NEXT);
	}
	return virtq_element_fault(element, VIRTQ_FAULT_LOOP);
}

static int split_take(struct virtqueue *queue, uint16_t head, struct virtq_element *element, struct iovec *iov,
		      unsigned room)
{
	*element = (struct virtq_element){ .id = head, .descriptors = 1, .segments = iov };
	if (__builtin_expect(head >= queue->size, 0))
		return virtqueue_break(queue, "an element's head is outside the ring");
	int r = split_walk(queue, head, element, room < VIRTQ_MAX_SEGMENTS ? room : VIRTQ_MAX_SEGMENTS);
	return __builtin_expect(r < 0, 0) ? virtq_split_salvage(queue, element, room, r) : 0;
}

static int split_resubmit(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
			  unsigned room)
{
	struct virtq_inflight *inflight = &queue->inflight;
	unsigned n = 0;

	while (n < max && inflight->resubmit_next < inflight->resubmit_count) {
		struct virtq_element *element = &elements[n];
		int r = split_take(queue, inflight->resubmit[inflight->resubmit_next], element, iov, room);
		if (r < 0)
			return n ? (int)n : r;
		element->inflight = INFLIGHT_RESUBMITTED;
		inflight->resubmit_next++;
		n++;
		iov += element->readable + element->writable;
		room -= element->readable + element->writable;
	}
	return (int)n;
}

int virtq_split_pop(struct virtqueue *queue, struct virtq_element *elements, unsigned max, struct iovec *iov,
		    unsigned room)
{
	uint16_t heads[VIRTQ_BURST];
	const struct vring_avail *avail = queue->split.avail;
	unsigned n;

	if (__builtin_expect(queue->inflight.resubmit_next < queue->inflight.resubmit_count, 0))
		return split_resubmit(queue, elements, max, iov, room);
	int available = split_available(queue, max < VIRTQ_BURST ? max : VIRTQ_BURST);
	if (available <= 0)
		return available;
	for (int i = 0; i < available; i++) {
		heads[i] = __atomic_load_n(&avail->ring[(queue->avail + i) & queue->mask], __ATOMIC_RELAXED);
		__builtin_prefetch(&queue->split.desc[heads[i] & queue->mask]);
	}
	for (n = 0; n < (unsigned)available; n++) {
		int r = split_take(queue, heads[n], &elements[n], iov, room);
		if (r < 0) {
			if (n == 0)
				return r;
			break;
		}
		if (queue->inflight.split)
			inflight_split_take(&queue->inflight, heads[n]);
		iov += elements[n].readable + elements[n].writable;
		room -= elements[n].readable + elements[n].writable;
	}
	queue->avail += n;
	return (int)n;
}

void virtq_split_push(struct virtqueue *queue, const struct virtq_element *elements, const uint32_t *written,
		      unsigned n)
{
	struct vring_used *used = queue->split.used;
	struct virtq_inflight *inflight = &queue->inflight;
	uint16_t index = queue->used;

	for (unsigned i = 0; i < n; i++, index++) {
		if (inflight->split)
			inflight_split_note(inflight, elements[i].id);
		used->ring[index & queue->mask] = (struct vring_used_elem){ .id = elements[i].id, .len = written[i] };
		if (__builtin_expect(queue->logging, 0))
			dirty_log_mark(queue->log,
				       queue->ring_log_gpa + offsetof(struct vring_used, ring[index & queue->mask]),
				       sizeof(used->ring[0]));
	}
	__atomic_store_n(&used->idx, index, __ATOMIC_RELEASE);
	if (inflight->split) {
		for (unsigned i = 0; i < n; i++)
			inflight_split_settle(inflight, elements[i].id);
		inflight_split_settled(inflight, index);
	}
	if (__builtin_expect(queue->logging, 0))
		dirty_log_mark(queue->log, queue->ring_log_gpa, offsetof(struct vring_used, ring));
	queue->used = index;
	queue->unnotified += n;
}

bool virtq_split_wants_notify(struct virtqueue *queue, uint32_t slots)
{
	const struct vring_avail *avail = queue->split.avail;

	if (!queue->event_index)
		return !(__atomic_load_n(&avail->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
	uint16_t event = __atomic_load_n(&avail->ring[queue->size], __ATOMIC_RELAXED);
	return slots > UINT16_MAX || vring_need_event(event, queue->used, (uint16_t)(queue->used - slots));
}

static uint16_t *avail_event(const struct virtqueue *queue)
{
	return (uint16_t *)&queue->split.used->ring[queue->size];
}

bool virtq_split_arm(struct virtqueue *queue)
{
	if (queue->event_index)
		__atomic_store_n(avail_event(queue), queue->avail, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&queue->split.used->flags, 0, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_seq_cst);
	if (queue->logging)
		dirty_log_mark(queue->log, queue->ring_log_gpa,
			       offsetof(struct vring_used, ring[queue->size]) + sizeof(uint16_t));
	if (__atomic_load_n(&queue->split.avail->idx, __ATOMIC_ACQUIRE) == queue->avail)
		return false;
	virtq_split_disarm(queue);
	return true;
}

/* With event indices nothing need be written: the driver kicks only when its index passes avail_event again. */
void virtq_split_disarm(struct virtqueue *queue)
{
	uint16_t flags = queue->event_index ? 0 : VRING_USED_F_NO_NOTIFY;

	if (__atomic_load_n(&queue->split.used->flags, __ATOMIC_RELAXED) == flags)
		return;
	__atomic_store_n(&queue->split.used->flags, flags, __ATOMIC_RELAXED);
	if (queue->logging)
		dirty_log_mark(queue->log, queue->ring_log_gpa, sizeof(uint16_t));
}
