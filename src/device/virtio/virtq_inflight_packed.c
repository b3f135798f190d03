/* SPDX-License-Identifier: BSD-3-Clause */
/* In-flight state of a packed queue. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "device/virtio/virtq_inflight.h"

/* What the region says, read once. */
struct snapshot {
	struct inflight_packed head;
	struct inflight_packed_desc *desc;
	uint8_t *seen;
};

/* Published already: the descriptor at the old position is no longer available in the old round. */
static bool batch_published(const struct inflight_packed *head, const struct vring_packed_desc *ring)
{
	uint16_t flags = __atomic_load_n(&ring[head->old_used_idx].flags, __ATOMIC_ACQUIRE);
	bool avail = flags & (1 << VRING_PACKED_DESC_F_AVAIL), used = flags & (1 << VRING_PACKED_DESC_F_USED);

	return avail != !!head->old_used_wrap_counter || used == !!head->old_used_wrap_counter;
}

static bool head_check(const struct inflight_packed *head, uint16_t size)
{
	return head->version == 1 && head->desc_num == size && head->free_head <= size && head->old_free_head <= size &&
	       head->used_idx < size && head->old_used_idx < size && head->used_wrap_counter <= 1 &&
	       head->old_used_wrap_counter <= 1;
}

static void finish_batch(struct inflight_packed *head, const struct vring_packed_desc *ring)
{
	bool moved = head->used_idx != head->old_used_idx || head->used_wrap_counter != head->old_used_wrap_counter;

	if (moved && batch_published(head, ring)) {
		head->old_free_head = head->free_head;
		head->old_used_idx = head->used_idx;
		head->old_used_wrap_counter = head->used_wrap_counter;
	}
	head->free_head = head->old_free_head;
	head->used_idx = head->old_used_idx;
	head->used_wrap_counter = head->old_used_wrap_counter;
}

/* Every entry must be in the free list (whose end is `size`) or in one chain in flight. Returns the entries in flight,
 * or -EINVAL. */
static int entries_check(struct snapshot *s, uint16_t size)
{
	unsigned seen = 0, free_count;

	for (uint16_t at = s->head.free_head; at < size; at = s->desc[at].next, seen++) {
		if (s->seen[at]++)
			return -EINVAL;
		s->desc[at].inflight = 0;
	}
	free_count = seen;
	for (uint16_t first = 0; first < size; first++) {
		uint16_t at = first;
		if (s->desc[first].inflight != 1)
			continue;
		if (s->desc[first].num == 0)
			return -EINVAL;
		for (uint16_t i = 0; i < s->desc[first].num; i++, seen++) {
			if (at >= size || s->seen[at]++)
				return -EINVAL;
			if (i + 1 == s->desc[first].num && at != s->desc[first].last)
				return -EINVAL;
			at = s->desc[at].next;
		}
	}
	return seen == size ? (int)(size - free_count) : -EINVAL;
}

static void snapshot_new(struct snapshot *s, uint16_t size, uint16_t used, bool used_wrap)
{
	s->head = (struct inflight_packed){ .version = 1,
					    .desc_num = size,
					    .used_idx = used,
					    .old_used_idx = used,
					    .used_wrap_counter = used_wrap,
					    .old_used_wrap_counter = used_wrap };
	memset(s->desc, 0, size * sizeof(*s->desc));
	for (uint16_t i = 0; i < size; i++)
		s->desc[i].next = i + 1;
}

static int by_counter(const void *a, const void *b, void *desc)
{
	const struct inflight_packed_desc *base = desc;
	uint64_t x = base[*(const uint16_t *)a].counter, y = base[*(const uint16_t *)b].counter;

	return x < y ? -1 : x > y;
}

static void collect(struct virtq_inflight *inflight, const struct snapshot *s, uint16_t size)
{
	uint16_t n = 0;

	for (uint16_t i = 0; i < size; i++) {
		const struct inflight_packed_desc *desc = &s->desc[i];
		inflight->entries[i] = (struct inflight_entry){
			.next = desc->next,
			.last = desc->last,
			.num = desc->num,
			.desc = { .addr = desc->addr, .len = desc->len, .id = desc->id, .flags = desc->flags },
		};
		if (desc->inflight == 1)
			inflight->resubmit[n++] = i;
	}
	qsort_r(inflight->resubmit, n, sizeof(*inflight->resubmit), by_counter, s->desc);
	inflight->resubmit_count = n;
	inflight->counter = n ? s->desc[inflight->resubmit[n - 1]].counter + 1 : 0;
	inflight->free_head = s->head.free_head;
}

static int setup(struct virtq_inflight *inflight, struct snapshot *s, uint16_t size,
		 const struct vring_packed_desc *ring, uint16_t *used, bool *used_wrap)
{
	struct inflight_packed *region = inflight->packed;
	int slots = -EINVAL;

	memcpy(&s->head, region, sizeof(s->head));
	memcpy(s->desc, region->desc, size * sizeof(*s->desc));
	if (head_check(&s->head, size)) {
		finish_batch(&s->head, ring);
		slots = entries_check(s, size);
	}
	if (slots < 0) {
		snapshot_new(s, size, *used, *used_wrap);
		slots = INFLIGHT_NEW_REGION;
	}
	/* Unusable while it is rewritten. */
	__atomic_store_n(&region->version, 0, __ATOMIC_RELEASE);
	memcpy(region->desc, s->desc, size * sizeof(*s->desc));
	uint16_t version = s->head.version;
	s->head.version = 0;
	memcpy(region, &s->head, sizeof(s->head));
	__atomic_store_n(&region->version, version, __ATOMIC_RELEASE);
	collect(inflight, s, size);
	*used = inflight->used = s->head.used_idx;
	*used_wrap = inflight->used_wrap = s->head.used_wrap_counter;
	return slots;
}

int inflight_packed_setup(struct virtq_inflight *inflight, struct inflight_packed *region, uint16_t size,
			  const struct vring_packed_desc *ring, uint16_t *used, bool *used_wrap)
{
	struct snapshot s = { .desc = calloc(size, sizeof(*s.desc)), .seen = calloc(size, 1) };
	int r = -ENOMEM;

	inflight->size = size;
	inflight->packed = region;
	inflight->entries = calloc(size, sizeof(*inflight->entries));
	inflight->resubmit = calloc(size, sizeof(*inflight->resubmit));
	if (s.desc && s.seen && inflight->entries && inflight->resubmit)
		r = setup(inflight, &s, size, ring, used, used_wrap);
	free(s.desc);
	free(s.seen);
	return r;
}

uint16_t inflight_packed_take(struct virtq_inflight *inflight, const struct vring_packed_desc *ring, uint16_t at,
			      uint16_t n)
{
	struct inflight_packed *region = inflight->packed;
	uint16_t first = inflight->free_head, entry = first, last = first;

	for (uint16_t i = 0; i < n; i++) {
		const struct vring_packed_desc desc = ring[at];
		region->desc[entry].addr = desc.addr;
		region->desc[entry].len = desc.len;
		region->desc[entry].flags = desc.flags;
		region->desc[entry].id = desc.id;
		last = entry;
		entry = inflight->entries[entry].next;
		at = at + 1 < inflight->size ? at + 1 : 0;
	}
	inflight->entries[first].last = last;
	inflight->entries[first].num = n;
	inflight->free_head = entry;
	region->desc[first].last = last;
	region->desc[first].num = n;
	region->desc[first].counter = inflight->counter++;
	__atomic_store_n(&region->desc[first].inflight, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&region->free_head, entry, __ATOMIC_RELEASE);
	__atomic_store_n(&region->old_free_head, entry, __ATOMIC_RELEASE);
	return first;
}

void inflight_packed_release(struct virtq_inflight *inflight, uint16_t entry)
{
	uint16_t last = inflight->entries[entry].last;

	inflight->entries[last].next = inflight->free_head;
	inflight->packed->desc[last].next = inflight->free_head;
	inflight->free_head = entry;
	__atomic_store_n(&inflight->packed->free_head, entry, __ATOMIC_RELEASE);
}

void inflight_packed_untake(struct virtq_inflight *inflight, uint16_t entry)
{
	inflight_packed_release(inflight, entry);
	__atomic_store_n(&inflight->packed->desc[entry].inflight, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&inflight->packed->old_free_head, entry, __ATOMIC_RELEASE);
}

/* Old and new position are one aligned word, so that no crash sees half a position. */
static void positions_store(struct inflight_packed *region, uint16_t used, bool wrap, uint16_t old_used, bool old_wrap)
{
	union {
		struct {
			uint16_t used_idx, old_used_idx;
			uint8_t used_wrap_counter, old_used_wrap_counter, padding[2];
		} fields;
		uint64_t word;
	} positions = { .fields = { used, old_used, wrap, old_wrap, { 0 } } };

	static_assert(offsetof(struct inflight_packed, used_idx) == 16, "positions are one word");
	static_assert(offsetof(struct inflight_packed, old_used_wrap_counter) == 21, "positions are one word");
	__atomic_store_n((uint64_t *)&region->used_idx, positions.word, __ATOMIC_RELEASE);
}

void inflight_packed_advance(struct virtq_inflight *inflight, uint16_t used, bool used_wrap)
{
	positions_store(inflight->packed, used, used_wrap, inflight->used, inflight->used_wrap);
	inflight->used = used;
	inflight->used_wrap = used_wrap;
}

void inflight_packed_settle(struct virtq_inflight *inflight, uint16_t entry)
{
	__atomic_store_n(&inflight->packed->desc[entry].inflight, 0, __ATOMIC_RELEASE);
}

void inflight_packed_settled(struct virtq_inflight *inflight)
{
	__atomic_store_n(&inflight->packed->old_free_head, inflight->free_head, __ATOMIC_RELEASE);
	positions_store(inflight->packed, inflight->used, inflight->used_wrap, inflight->used, inflight->used_wrap);
}
