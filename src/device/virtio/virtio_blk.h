/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-blk (virtio 1.2, 5.2): requests of a guest's queue to a block device, and back. One object for each started
 * queue, in the worker that owns the queue and the device.
 *
 * Data is not copied here: a request's segments are the guest's own memory, which the guest may change meanwhile. A
 * device that must see the same bytes twice (a check sum, then the medium) copies first. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_blk.h>
#include <sys/queue.h>
#include <dpu/block.h>
#include "device/virtio/virtqueue.h"

enum {
	VIRTIO_BLK_MAX_RANGES = 64, /* of a discard or write zeroes */
	VIRTIO_BLK_MAX_SEGMENTS = 254,
	VIRTIO_BLK_CONFIG_BYTES = 60, /* of the configuration space that we have fields for */
};

/* What control knows of a disk, and what the guest reads in the configuration space. */
struct virtio_blk_disk {
	uint64_t bytes;
	uint32_t sector;         /* logical block: 512 or 4096 */
	uint32_t physical_bytes; /* what is written without reading first */
	uint32_t optimal_bytes;  /* of a large transfer; 0 = no hint */
	uint16_t queues;
	bool read_only, discard;
};

/* Features to offer: VIRTIO_BLK_F_*; the endpoint adds those of rings. */
uint64_t virtio_blk_features(const struct virtio_blk_disk *disk);
/* write_back: the cache mode that the guest reads, and may have set. */
void virtio_blk_config_fill(const struct virtio_blk_disk *disk, bool write_back,
			    uint8_t ret[static VIRTIO_BLK_CONFIG_BYTES]);
/* What SET_CONFIG may change: the cache mode. Returns 0, or -EINVAL for anything else. */
int virtio_blk_set_config(uint64_t features, uint32_t offset, uint32_t length, const uint8_t *data,
			  bool *ret_write_back);

/* Single writer: the queue's worker. Statuses count completed block requests; a request that makes no sense is `bad`,
 * and `bad_chains` if its descriptors do not (enum virtq_fault). */
struct virtio_blk_stats {
	_Atomic uint64_t requests[DPU_BLOCK_OPS], bytes[DPU_BLOCK_OPS];
	_Atomic uint64_t statuses[DPU_BLOCK_STATUSES];
	_Atomic uint64_t bad, bad_chains, unsupported;
};

struct virtio_blk;

/* Memory of requests beside their slots, which queues of one worker share: lists of more segments than a slot has room
 * for, ranges. A request for which there is none stays in the ring, and those behind it; queues that wait go on in
 * turn. One larger than the limit goes when there is no other. The queues' worker's, but for the counters. */
struct virtio_blk_account {
	uint64_t limit; /* bytes */
	_Atomic uint64_t used, most, waits;
	TAILQ_HEAD(, virtio_blk) waiting;
};
void virtio_blk_account_init(struct virtio_blk_account *account, uint64_t limit);

struct virtio_blk_options {
	struct virtqueue *queue;
	struct dpu_block_device *device;
	const char *id;                     /* serial number, at most VIRTIO_BLK_ID_BYTES; copied */
	const _Atomic bool *write_back;     /* false: writes are durable when completed. Without VIRTIO_BLK_F_FLUSH they
					     * always are, since the guest has no other way */
	struct virtio_blk_stats *stats;     /* outlives the queue */
	struct virtio_blk_account *account; /* outlives it, too; NULL: nobody counts */
	/* In the worker: there is memory again that the queue has waited for; poll it. */
	void (*ready)(void *ctx);
	void *ctx;
};

/* -ENOMEM. Any thread, before the worker has it. */
int virtio_blk_new(const struct virtio_blk_options *options, struct virtio_blk **ret);
/* Only when nothing is outstanding. */
void virtio_blk_free(struct virtio_blk *blk);

/* In the worker: answers what has completed, takes what is available; returns the number of both. */
unsigned virtio_blk_poll(struct virtio_blk *blk);
/* To leave the queue alone until its kick descriptor is readable: 1 if there is something to do now. Requests that
 * complete meanwhile are answered at once. */
int virtio_blk_arm(struct virtio_blk *blk);
void virtio_blk_disarm(struct virtio_blk *blk);
/* Takes no more; drained(arg) is called in the worker, possibly at once, when all that was taken has been answered. */
void virtio_blk_drain(struct virtio_blk *blk, void (*drained)(void *arg), void *arg);
/* While it drains: nobody waits for the requests any more. Those that wait in the device fail, as it lets go of them.
 */
void virtio_blk_cancel(struct virtio_blk *blk);
unsigned virtio_blk_outstanding(const struct virtio_blk *blk);
