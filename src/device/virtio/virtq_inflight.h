/* SPDX-License-Identifier: BSD-3-Clause */
/* The in-flight region (vhost-user "Inflight I/O tracking"): memory shared with the front end in which a queue notes
 * what it has popped and not yet pushed, so that a successor resubmits exactly that, in order. Layouts as the
 * specification gives them for split and packed rings.
 *
 * The front end may write to the region: it is read once, when a queue is set up, and checked; afterwards the queue
 * works with a private copy of the lists and only writes to the region. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>
#include "device/virtio/shared_mapping.h"

/* ---- the whole region, control thread ---- */

struct inflight_region {
	struct shared_mapping mapping;
	int fd;
	uint64_t bytes, offset;
	uint16_t queues, queue_size;
	bool packed;
};

/* A fresh one for the front end to keep: it has no name, and no other size than this. */
int inflight_region_create(uint16_t queues, uint16_t queue_size, bool packed, _Atomic bool *faulted,
			   struct inflight_region **ret, const char **ret_why);
/* The one that the front end kept for us; fd stays the caller's. */
int inflight_region_adopt(int fd, uint64_t offset, uint64_t bytes, uint16_t queues, uint16_t queue_size, bool packed,
			  _Atomic bool *faulted, struct inflight_region **ret, const char **ret_why);
void inflight_region_free(struct inflight_region *region);
/* A queue's part, or NULL when it has none or its size differs. */
void *inflight_region_queue(const struct inflight_region *region, unsigned index, uint16_t size, bool packed);

/* ---- one queue's part, worker ---- */

struct inflight_split_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
struct inflight_split {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct inflight_split_desc desc[];
};

struct inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next, last, num;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};
struct inflight_packed {
	uint64_t features;
	uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	uint8_t used_wrap_counter, old_used_wrap_counter;
	uint8_t padding[7];
	struct inflight_packed_desc desc[];
};

/* An element's `inflight` member: entry index (packed), and whether it was resubmitted. */
#define INFLIGHT_RESUBMITTED (UINT32_C(1) << 31)

struct virtq_inflight {
	struct inflight_split *split; /* one of these two, or none */
	struct inflight_packed *packed;
	uint64_t counter;
	uint16_t size;
	uint16_t free_head; /* packed: our copy of the free list */
	uint16_t used;      /* packed: our copy of the position */
	bool used_wrap;
	uint16_t last_batch_head;       /* split */
	struct inflight_entry *entries; /* packed: our copy of what the region says */
	uint16_t *resubmit;             /* heads (split) or entries (packed), in order of submission */
	uint16_t resubmit_count, resubmit_next;
};

struct inflight_entry {
	uint16_t next, last, num;
	struct vring_packed_desc desc;
};

/* used: the used index in the guest's ring. Returns 0 or -ENOMEM; a region that makes no sense counts as new. */
int inflight_split_setup(struct virtq_inflight *inflight, struct inflight_split *region, uint16_t size, uint16_t used);
void inflight_split_take(struct virtq_inflight *inflight, uint16_t head);
void inflight_split_untake(struct virtq_inflight *inflight, uint16_t head);
/* Around a used index update: note before, settle after with the new index. */
void inflight_split_note(struct virtq_inflight *inflight, uint16_t head);
void inflight_split_settle(struct virtq_inflight *inflight, uint16_t head);
void inflight_split_settled(struct virtq_inflight *inflight, uint16_t used);

/* *used and *used_wrap: the position to start from, changed to the region's if it has been in use. Returns the ring
 * slots that are in flight behind it, INFLIGHT_NEW_REGION, or -ENOMEM. */
enum { INFLIGHT_NEW_REGION = 1 << 20 };
int inflight_packed_setup(struct virtq_inflight *inflight, struct inflight_packed *region, uint16_t size,
			  const struct vring_packed_desc *ring, uint16_t *used, bool *used_wrap);
/* Takes entries for a chain of n ring descriptors, of which there must be as many free; returns the first. */
uint16_t inflight_packed_take(struct virtq_inflight *inflight, const struct vring_packed_desc *ring, uint16_t at,
			      uint16_t n);
void inflight_packed_untake(struct virtq_inflight *inflight, uint16_t entry);
/* Around making a batch used: release every entry, advance, (publish), settle every entry, settled. */
void inflight_packed_release(struct virtq_inflight *inflight, uint16_t entry);
void inflight_packed_advance(struct virtq_inflight *inflight, uint16_t used, bool used_wrap);
void inflight_packed_settle(struct virtq_inflight *inflight, uint16_t entry);
void inflight_packed_settled(struct virtq_inflight *inflight);

void virtq_inflight_fini(struct virtq_inflight *inflight);
