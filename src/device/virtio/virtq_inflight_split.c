/* SPDX-License-Identifier: BSD-3-Clause */
/* In-flight state of a split queue. */
#include <errno.h>
#include <stdlib.h>
#include "device/virtio/virtq_inflight.h"

struct waiting {
	uint64_t counter;
	uint16_t head;
};

static int by_counter(const void *a, const void *b)
{
	const struct waiting *x = a, *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

/* The last batch was made used, but perhaps not settled. */
static void finish_batch(struct inflight_split *region, uint16_t size, uint16_t used)
{
	uint16_t count = (uint16_t)(used - region->used_idx);
	uint16_t head = __atomic_load_n(&region->last_batch_head, __ATOMIC_RELAXED);

	for (; count <= size && count > 0 && head < size; count--) {
		region->desc[head].inflight = 0;
		head = __atomic_load_n(&region->desc[head].next, __ATOMIC_RELAXED); /* what is checked is used */
	}
	region->used_idx = used;
}

static int collect(struct virtq_inflight *inflight, struct inflight_split *region, uint16_t size)
{
	struct waiting *waiting = calloc(size, sizeof(*waiting));
	uint16_t n = 0;

	inflight->resubmit = calloc(size, sizeof(*inflight->resubmit));
	if (!waiting || !inflight->resubmit) {
		free(waiting);
		return -ENOMEM;
	}
	for (uint16_t head = 0; head < size; head++) {
		if (region->desc[head].inflight != 1)
			continue;
		waiting[n++] = (struct waiting){ .counter = region->desc[head].counter, .head = head };
	}
	qsort(waiting, n, sizeof(*waiting), by_counter);
	for (uint16_t i = 0; i < n; i++)
		inflight->resubmit[i] = waiting[i].head;
	inflight->resubmit_count = n;
	inflight->counter = n ? waiting[n - 1].counter + 1 : 0;
	free(waiting);
	return 0;
}

int inflight_split_setup(struct virtq_inflight *inflight, struct inflight_split *region, uint16_t size, uint16_t used)
{
	inflight->size = size;
	inflight->split = region;
	if (region->version != 1 || region->desc_num != size) {
		for (uint16_t i = 0; i < size; i++)
			region->desc[i] = (struct inflight_split_desc){ 0 };
		region->features = 0;
		region->last_batch_head = 0;
		region->used_idx = used;
		region->desc_num = size;
		atomic_signal_fence(memory_order_release);
		region->version = 1;
	}
	if (region->used_idx != used)
		finish_batch(region, size, used);
	inflight->last_batch_head = region->last_batch_head;
	return collect(inflight, region, size);
}

void inflight_split_take(struct virtq_inflight *inflight, uint16_t head)
{
	struct inflight_split_desc *desc = &inflight->split->desc[head];

	desc->counter = inflight->counter++;
	__atomic_store_n(&desc->inflight, 1, __ATOMIC_RELEASE);
}

void inflight_split_untake(struct virtq_inflight *inflight, uint16_t head)
{
	__atomic_store_n(&inflight->split->desc[head].inflight, 0, __ATOMIC_RELEASE);
}

void inflight_split_note(struct virtq_inflight *inflight, uint16_t head)
{
	__atomic_store_n(&inflight->split->desc[head].next, inflight->last_batch_head, __ATOMIC_RELAXED);
	inflight->last_batch_head = head;
	__atomic_store_n(&inflight->split->last_batch_head, head, __ATOMIC_RELEASE);
}

void inflight_split_settle(struct virtq_inflight *inflight, uint16_t head)
{
	__atomic_store_n(&inflight->split->desc[head].inflight, 0, __ATOMIC_RELEASE);
}

void inflight_split_settled(struct virtq_inflight *inflight, uint16_t used)
{
	__atomic_store_n(&inflight->split->used_idx, used, __ATOMIC_RELEASE);
}
