/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's side of split and packed virtqueues, for the test front end. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vhost_frontend.h"
#include <cmocka.h>

enum { F_NEXT = 1, F_WRITE = 2, F_INDIRECT = 4, P_AVAIL = 1 << 7, P_USED = 1 << 15 };

struct desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
struct packed_desc {
	uint64_t address;
	uint32_t length;
	uint16_t id, flags;
};

/* Rings of 16-bit words: flags, idx, ring…, event. */
static uint16_t *avail_words(struct frontend_queue *queue)
{
	return frontend_at(queue->frontend, queue->driver);
}

static uint16_t *used_words(struct frontend_queue *queue)
{
	return frontend_at(queue->frontend, queue->device);
}

static struct desc *descs(struct frontend_queue *queue)
{
	return frontend_at(queue->frontend, queue->desc);
}

static struct packed_desc *packed_descs(struct frontend_queue *queue)
{
	return frontend_at(queue->frontend, queue->desc);
}

struct frontend_queue *frontend_queue_new(struct frontend *frontend, unsigned index, unsigned size)
{
	struct frontend_queue *queue = &frontend->queues[index];
	int kick = queue->kick_fd, call = queue->call_fd, err = queue->err_fd;

	assert_true(index < FRONTEND_MAX_QUEUES && size <= FRONTEND_MAX_SIZE);
	memset(queue, 0, sizeof(*queue));
	queue->kick_fd = kick;
	queue->call_fd = call;
	queue->err_fd = err;
	queue->frontend = frontend;
	queue->index = index;
	queue->size = size;
	queue->packed = frontend->features & UINT64_C(1) << 34;
	queue->event_index = frontend->features & UINT64_C(1) << 29;
	queue->desc = frontend_alloc(frontend, size * 16, 16);
	queue->driver = frontend_alloc(frontend, queue->packed ? 4 : 6 + size * 2, 4);
	queue->device = frontend_alloc(frontend, queue->packed ? 4 : 6 + size * 8, 4);
	queue->free_count = (uint16_t)size;
	for (unsigned i = 0; i < size; i++)
		queue->next[i] = (uint16_t)(i + 1);
	queue->wrap = queue->used_wrap = true;
	return queue;
}

uint32_t frontend_queue_base(const struct frontend_queue *queue)
{
	return queue->packed ? 0x80008000 : 0;
}

uint64_t frontend_table(struct frontend_queue *queue, const struct frontend_buffer *buffers, unsigned count)
{
	uint64_t offset = frontend_alloc(queue->frontend, count * 16, 16);

	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = buffers[i].writable ? F_WRITE : 0;
		uint64_t address = FRONTEND_GPA + buffers[i].offset;
		if (queue->packed) {
			struct packed_desc *table = frontend_at(queue->frontend, offset);
			table[i] = (struct packed_desc){ address, buffers[i].length, 0, flags };
		} else {
			struct desc *table = frontend_at(queue->frontend, offset);
			flags |= i + 1 < count ? F_NEXT : 0;
			table[i] = (struct desc){ address, buffers[i].length, flags, (uint16_t)(i + 1) };
		}
	}
	return offset;
}

static int offer_split(struct frontend_queue *queue, const struct frontend_buffer *buffers, unsigned count,
		       uint16_t extra)
{
	uint16_t head = queue->free_head, at = head;

	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = extra | (buffers[i].writable ? F_WRITE : 0) | (i + 1 < count ? F_NEXT : 0);
		descs(queue)[at] =
			(struct desc){ FRONTEND_GPA + buffers[i].offset, buffers[i].length, flags, queue->next[at] };
		at = queue->next[at];
	}
	queue->free_head = at;
	queue->free_count -= (uint16_t)count;
	queue->slots[head] = (uint16_t)count;
	avail_words(queue)[2 + queue->avail_idx % queue->size] = head;
	__atomic_store_n(&avail_words(queue)[1], ++queue->avail_idx, __ATOMIC_RELEASE);
	return head;
}

static int offer_packed(struct frontend_queue *queue, const struct frontend_buffer *buffers, unsigned count,
			uint16_t extra)
{
	uint16_t id = queue->likely_id, head = queue->at, head_flags = 0;

	while (queue->slots[id])
		id = (uint16_t)((id + 1) % queue->size);
	queue->likely_id = (uint16_t)((id + 1) % queue->size);
	for (unsigned i = 0; i < count; i++) {
		struct packed_desc *desc = &packed_descs(queue)[queue->at];
		uint16_t flags = extra | (buffers[i].writable ? F_WRITE : 0) | (i + 1 < count ? F_NEXT : 0) |
				 (queue->wrap ? P_AVAIL : P_USED);
		desc->address = FRONTEND_GPA + buffers[i].offset;
		desc->length = buffers[i].length;
		desc->id = id;
		if (i == 0)
			head_flags = flags;
		else
			desc->flags = flags;
		if (++queue->at == queue->size) {
			queue->at = 0;
			queue->wrap = !queue->wrap;
		}
	}
	queue->free_count -= (uint16_t)count;
	queue->slots[id] = (uint16_t)count;
	__atomic_store_n(&packed_descs(queue)[head].flags, head_flags, __ATOMIC_RELEASE);
	return id;
}

int frontend_offer(struct frontend_queue *queue, const struct frontend_buffer *buffers, unsigned count, bool indirect)
{
	struct frontend_buffer table = { .length = count * 16 };
	uint16_t extra = 0;

	if (queue->free_count < (indirect ? 1 : count))
		return -1;
	if (indirect) {
		table.offset = frontend_table(queue, buffers, count);
		buffers = &table;
		count = 1;
		extra = F_INDIRECT;
	}
	return queue->packed ? offer_packed(queue, buffers, count, extra) : offer_split(queue, buffers, count, extra);
}

int frontend_offer_table(struct frontend_queue *queue, uint64_t table, unsigned count)
{
	struct frontend_buffer buffer = { .offset = table, .length = count * 16 };

	if (queue->free_count == 0)
		return -1;
	return queue->packed ? offer_packed(queue, &buffer, 1, F_INDIRECT) : offer_split(queue, &buffer, 1, F_INDIRECT);
}

static bool take_split(struct frontend_queue *queue, uint16_t *ret_id, uint32_t *ret_length)
{
	uint16_t idx = __atomic_load_n(&used_words(queue)[1], __ATOMIC_ACQUIRE), at, last;
	uint32_t element[2];

	if (idx == queue->used_seen)
		return false;
	memcpy(element, &used_words(queue)[2 + (queue->used_seen % queue->size) * 4], sizeof(element));
	queue->used_seen++;
	assert_true(element[0] < queue->size);
	*ret_id = (uint16_t)element[0];
	*ret_length = element[1];
	assert_int_not_equal(queue->slots[*ret_id], 0);
	for (at = last = *ret_id; queue->slots[*ret_id]--; at = queue->next[at], queue->free_count++)
		last = at;
	queue->slots[*ret_id] = 0;
	queue->next[last] = queue->free_head;
	queue->free_head = *ret_id;
	return true;
}

static bool take_packed(struct frontend_queue *queue, uint16_t *ret_id, uint32_t *ret_length)
{
	struct packed_desc *desc = &packed_descs(queue)[queue->used_at];
	uint16_t flags = __atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE);

	if (!!(flags & P_AVAIL) != queue->used_wrap || !!(flags & P_USED) != queue->used_wrap)
		return false;
	*ret_id = desc->id;
	*ret_length = desc->length;
	assert_true(desc->id < queue->size);
	assert_int_not_equal(queue->slots[desc->id], 0);
	queue->free_count += queue->slots[desc->id];
	queue->used_at += queue->slots[desc->id];
	queue->slots[desc->id] = 0;
	if (queue->used_at >= queue->size) {
		queue->used_at -= queue->size;
		queue->used_wrap = !queue->used_wrap;
	}
	return true;
}

bool frontend_take(struct frontend_queue *queue, uint16_t *ret_id, uint32_t *ret_length)
{
	return queue->packed ? take_packed(queue, ret_id, ret_length) : take_split(queue, ret_id, ret_length);
}

void frontend_kick(struct frontend_queue *queue)
{
	eventfd_write(queue->kick_fd, 1);
}

bool frontend_interrupted(struct frontend_queue *queue)
{
	eventfd_t value;

	return eventfd_read(queue->call_fd, &value) == 0;
}

void frontend_want_interrupt(struct frontend_queue *queue, bool on, uint16_t distance)
{
	uint16_t *words = avail_words(queue);

	if (queue->packed) {
		uint16_t at = queue->used_at + distance;
		bool wrap = queue->used_wrap;
		if (at >= queue->size) {
			at -= queue->size;
			wrap = !wrap;
		}
		words[0] = at | (wrap ? 1 << 15 : 0);
		words[1] = on ? (queue->event_index ? 2 : 0) : 1;
	} else if (queue->event_index) {
		words[2 + queue->size] = on ? queue->used_seen + distance : queue->used_seen - 1;
	} else {
		words[0] = !on;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool frontend_wants_kick(struct frontend_queue *queue, uint16_t offered)
{
	uint16_t *words = used_words(queue);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (queue->packed) {
		if (words[1] != 2)
			return words[1] == 0;
		uint16_t event = words[0] & 0x7fff;
		if (!!(words[0] & 1 << 15) != queue->wrap)
			event -= queue->size;
		return (uint16_t)(queue->at - event - 1) < offered;
	}
	if (!queue->event_index)
		return !(words[0] & 1);
	return (uint16_t)(queue->avail_idx - words[2 + queue->size * 4] - 1) < offered;
}
