/* SPDX-License-Identifier: BSD-3-Clause */
/* A DPU with pools and disks, and the guest of a disk: a vhost-user front end of our own (tests/lib) with a virtio-blk
 * driver that can have several requests under way. */
#pragma once

#include "service/block/block_rig_remote.h"
#include "service/disk/objects.h"
#include "tests/lib/vhost_frontend.h"

enum { GUEST_QUEUE = 64 /* requests at once */, GUEST_BYTES = 8192 /* most of one */ };

struct guest {
	struct block_rig *rig;
	struct frontend frontend;
	struct frontend_queue *queue;
	char path[128];
	uint64_t area; /* of request i: header, data, status */
	unsigned offered, taken;
};

/* A file as medium `m`, the pool `p` on it, its volume `v` of 16 MiB; a remote `far`. */
void disk_rig_new(struct block_rig *rig, unsigned workers);
/* A disk, whose guest listens where it connects. */
void disk_rig_disk(struct block_rig *rig, const char *fields);

/* Listens where the disk connects; then guest_connect() negotiates and starts a queue. */
void guest_listen(struct guest *guest, struct block_rig *rig);
void guest_connect(struct guest *guest);
void guest_stop(struct guest *guest); /* GET_VRING_BASE: waits until nothing is under way */
void guest_free(struct guest *guest);

uint64_t guest_config_bytes(struct guest *guest);            /* capacity, as the configuration space has it */
uint64_t guest_set_write_back(struct guest *guest, bool on); /* the endpoint's answer: 0 if it was done */

/* One more request, without waiting; its number. type: VIRTIO_BLK_T_*. */
unsigned guest_offer(struct guest *guest, uint32_t type, uint64_t sector, const void *data, uint32_t bytes);
bool guest_take(struct guest *guest); /* one that has been answered */
uint8_t guest_status(struct guest *guest, unsigned number);
void *guest_data(struct guest *guest, unsigned number);
/* One that is waited for; data is written from there or read to there. */
uint8_t guest_io(struct guest *guest, uint32_t type, uint64_t sector, void *data, uint32_t bytes);
