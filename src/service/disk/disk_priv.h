/* SPDX-License-Identifier: BSD-3-Clause */
/* Disks from inside. Control thread, but for what says that it is the worker's. */
#pragma once

#include <stdatomic.h>
#include <sys/queue.h>
#include "base/notice_limit.h"
#include "device/block/block_queue.h"
#include "device/virtio/vhost_user.h"
#include "device/virtio/virtio_blk.h"
#include "service/block/block.h"
#include "service/block/ingress/ingress.h"
#include "service/disk/disk.h"
#include "service/disk/objects.h"

enum { DISK_MAX_QUEUES = 16, DISK_PATH_BYTES = 512 };

struct disk;

/* One virtqueue: started by the front end, served by the worker of the device. */
struct disk_queue {
	struct worker_source source; /* first; the worker's */
	struct disk *disk;
	unsigned index;
	struct virtqueue *started; /* NULL: not */
	bool stopping;             /* the front end waits for it */
	/* served: blk and what it submits to; leaving: being taken back; drained: nothing is under way any more */
	struct virtio_blk *blk;
	struct dpu_block_device *device;
	struct worker *worker;
	bool leaving, drained;
	struct virtio_blk_stats stats;
};

/* Stands in for a backing that is gone for too long: all fails. */
struct disk_failing {
	struct dpu_block_device device; /* first */
	struct block_queue waiting;
};

/* A tenant's memory for what its disks have under way, in one worker: of writes, and of long requests themselves. */
struct disk_account {
	struct uuid tenant;
	unsigned users;
	struct ingress_account *account;
	struct virtio_blk_account requests;
	LIST_ENTRY(disk_account) link;
};

struct disk_arena {
	struct ingress_arena *arena;
	LIST_HEAD(, disk_account) accounts;
};

/* Before writes go through. */
struct disk_flush {
	struct dpu_block_request request; /* first */
	struct disk *disk;
	struct dpu_block_device *device; /* that has it; NULL: none */
	bool under_way;                  /* the worker's */
};

enum device_step { DEVICE_NONE, DEVICE_COMING, DEVICE_THERE, DEVICE_LEAVING };

struct disk {
	struct disks *disks;
	struct disk_object *object; /* the version in force; not to be touched when leaving or closing */
	struct uuid uuid, tenant;
	uint32_t slot;
	char path[OBJECT_PATH_TEXT]; /* of the object, for logs */
	TAILQ_ENTRY(disk) link;
	/* the guest's side */
	struct vhost_device_ops ops;
	struct vhost_endpoint *endpoint; /* NULL: not yet, or no more */
	char *error;                     /* why there is none */
	struct disk_queue queues[DISK_MAX_QUEUES];
	struct virtio_blk_disk config; /* as the guest reads it */
	_Atomic bool write_back;
	struct disk_flush flush;
	char serial[VIRTIO_BLK_ID_BYTES + 1];
	struct notice_limit noticed;
	/* the backing's side */
	struct block_attachment *attachment; /* NULL: detached */
	bool detaching, hurry;               /* hurry: a queue is being stopped */
	enum device_step step;
	bool asked;                      /* back: the backing waits */
	struct dpu_block_device *given;  /* by the backing */
	struct dpu_block_device *device; /* on top of it */
	struct worker *worker;
	struct disk_account *account;
	struct disk_failing failing;
	bool fails, counting; /* counting: the timer runs until it fails */
	bool stepping, again;
	struct loop_timer *timer; /* until it fails, or the socket is tried again */
	_Atomic uint64_t bytes;   /* published by the worker */
	atomic_uint posted;       /* notes that are under way to control */
	/* its end */
	bool leaving, fresh; /* goes, has come by the transaction that is being applied */
	bool closing, deleted;
};
TAILQ_HEAD(disk_list, disk);

struct disks {
	struct dpu *dpu;
	struct block *block;
	struct disk_list list;
	struct disk_arena *arenas; /* by worker */
	unsigned closing;          /* disks on their way out */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

void *disk_alloc(size_t bytes); /* zeroed; running out is fatal */

/* class_disk.c */
extern const char *const disk_state_names[];

/* disk.c: in force */
int disk_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void disk_remove(void *ctx, struct object *object);
void disk_observe(void *ctx, const struct object *object, struct object *copy);
/* Something has changed: serves queues, takes them back, lets the device go, ends. May free it. */
void disk_step(struct disk *disk);
void disk_notice(struct disk *disk, const char *name, const char *sentence);
void disk_close(struct disk *disk);
enum disk_state disk_state(const struct disk *disk);
const struct object *disk_backing(const struct disk *disk);
const struct object *disk_backing_of(const struct disk_object *object);

/* guest.c: the endpoint */
int guest_open(struct disk *disk, struct dpu_error *err);
void guest_close(struct disk *disk); /* then disk_step() */
/* What a guest reads of it, from now on. */
void guest_measure(struct disk *disk);

/* mode.c: the cache mode that the guest has set, which outlives us, not the disk */
void mode_load(struct disk *disk);
void mode_forget(const struct disk *disk);
int mode_set(struct disk *disk, bool write_back); /* as vhost_device_ops.set_config */
void mode_give_up(struct disk *disk);             /* as queue_give_up() */

/* backing.c: the device */
void backing_attach(struct disk *disk);
void backing_detach(struct disk *disk);
void backing_let_go(struct disk *disk); /* nothing uses the device any more */
void failing_init(struct disk_failing *failing, const char *name);
void arenas_free(struct disks *disks);

/* metrics.c */
char *disk_metrics(void *state);

/* queue.c. What a queue should submit to now; NULL: nothing. */
void queue_init(struct disk_queue *queue, struct disk *disk, unsigned index);
void queue_step(struct disk_queue *queue, struct dpu_block_device *device, struct worker *worker);
/* It is being taken back, and nobody waits for what is under way. */
void queue_give_up(struct disk_queue *queue);
