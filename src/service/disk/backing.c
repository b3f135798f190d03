// SPDX-License-Identifier: BSD-3-Clause
/* A disk's device: it comes from the block service, gets the filter on top where guests' data enters, and goes back
 * when no queue uses it. Notes from the worker come by loop_post(); the disk is not freed while one is under way. */
#include <errno.h>
#include <stdlib.h>
#include "service/disk/disk_priv.h"

enum { ARENA_BYTES = 96 << 20, TENANT_BYTES = 48 << 20, TENANT_REQUEST_BYTES = 16 << 20 };

/* ---- memory of writes ---- */

static void arena_make(struct disk *disk, struct disk_arena *arena)
{
	uint64_t bytes;

	if (ingress_arena_new(ARENA_BYTES, &arena->arena) != 0)
		abort(); /* out of memory */
	void *memory = ingress_arena_memory(arena->arena, &bytes);
	block_memory(disk->disks->block, disk->worker, memory, bytes);
}

static struct disk_account *account_get(struct disk *disk)
{
	struct disk_arena *arena = &disk->disks->arenas[worker_index(disk->worker)];
	struct disk_account *account;

	if (!arena->arena)
		arena_make(disk, arena);
	LIST_FOREACH(account, &arena->accounts, link)
	{
		if (uuid_equal(&account->tenant, &disk->tenant)) {
			account->users++;
			return account;
		}
	}
	account = disk_alloc(sizeof(*account));
	account->tenant = disk->tenant;
	account->users = 1;
	if (ingress_account_new(arena->arena, TENANT_BYTES, &account->account) != 0)
		abort(); /* out of memory */
	virtio_blk_account_init(&account->requests, TENANT_REQUEST_BYTES);
	LIST_INSERT_HEAD(&arena->accounts, account, link);
	return account;
}

static void account_put(struct disk_account *account)
{
	if (--account->users > 0)
		return;
	LIST_REMOVE(account, link);
	ingress_account_free(account->account);
	free(account);
}

void arenas_free(struct disks *disks)
{
	for (unsigned i = 0; i < workers_count(disks->dpu->workers); i++)
		ingress_arena_free(disks->arenas[i].arena);
	free(disks->arenas);
}

/* ---- the device that fails all ---- */

static void failing_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	block_queue_add(&((struct disk_failing *)device)->waiting, request);
}

static unsigned failing_poll(struct dpu_block_device *device)
{
	struct disk_failing *failing = (struct disk_failing *)device;
	struct dpu_block_request *request;
	unsigned count = 0;

	while ((request = block_queue_take(&failing->waiting)) && ++count)
		dpu_block_complete(request, DPU_BLOCK_GONE);
	return count;
}

static const struct dpu_block_ops failing_ops = { .submit = failing_submit, .poll = failing_poll };

/* Any offset is within it: that the backing is gone is what is wrong with a request. */
void failing_init(struct disk_failing *failing, const char *name)
{
	block_queue_init(&failing->waiting);
	failing->device = (struct dpu_block_device){ .ops = &failing_ops,
						     .name = name,
						     .bytes = UINT64_C(1) << 62,
						     .sector = DPU_BLOCK_SECTOR,
						     .features = DPU_BLOCK_F_DISCARD,
						     .max_bytes = DPU_BLOCK_MAX_BYTES,
						     .alignment = 1 };
}

/* ---- coming ---- */

static void resized(void *arg)
{
	struct disk *disk = arg;

	atomic_fetch_sub(&disk->posted, 1);
	if (disk->step == DEVICE_THERE) /* one that is leaving is freed in the worker */
		guest_measure(disk);
	disk_step(disk);
}

/* In the worker. */
static void on_changed(void *ctx)
{
	struct disk *disk = ctx;

	atomic_store(&disk->bytes, disk->device->bytes);
	atomic_fetch_add(&disk->posted, 1);
	if (loop_post(disk->disks->dpu->loop, resized, disk) != 0)
		abort(); /* out of memory */
}

static void device_install(void *arg, struct worker *worker)
{
	struct disk *disk = arg;

	(void)worker;
	ingress_start(disk->device);
	disk->device->changed_ctx = disk;
	disk->device->changed = on_changed;
	atomic_store(&disk->bytes, disk->device->bytes);
}

static void device_installed(void *arg)
{
	struct disk *disk = arg;

	disk->step = DEVICE_THERE;
	guest_measure(disk);
	disk_step(disk);
}

/* ---- going ---- */

static void device_left(void *arg)
{
	struct disk *disk = arg;

	atomic_fetch_sub(&disk->posted, 1);
	account_put(disk->account);
	disk->account = NULL;
	disk->given = disk->device = NULL;
	disk->step = DEVICE_NONE;
	disk->asked = false;
	struct block_attachment *attachment = disk->attachment;
	block_released(attachment); /* may detach */
	disk_step(disk);
}

static void device_closed(void *arg)
{
	struct disk *disk = arg;

	if (loop_post(disk->disks->dpu->loop, device_left, disk) != 0)
		abort(); /* out of memory */
}

static void device_close(void *arg, struct worker *worker)
{
	struct disk *disk = arg;

	(void)worker;
	disk->device->ops->close(disk->device, device_closed, disk);
}

void backing_let_go(struct disk *disk)
{
	disk->step = DEVICE_LEAVING;
	atomic_fetch_add(&disk->posted, 1);
	if (worker_call(disk->worker, device_close, disk, NULL) != 0)
		abort(); /* out of memory */
}

/* ---- attachment ---- */

static void on_device(void *ctx, struct dpu_block_device *device, struct worker *worker)
{
	struct disk *disk = ctx;

	if (!device) {
		disk->asked = true;
		disk_step(disk);
		return;
	}
	disk->given = device;
	disk->worker = worker;
	disk->account = account_get(disk);
	disk->step = DEVICE_COMING;
	if (ingress_new(device, disk->account->account, &disk->device) != 0 ||
	    worker_call(worker, device_install, disk, device_installed) != 0)
		abort(); /* out of memory */
}

void backing_attach(struct disk *disk)
{
	struct block_user user = {
		.device = on_device, .ctx = disk, .object = &disk->object->base, .policy = disk->object->qos.object
	};

	disk->attachment = block_attach(disk->disks->block, disk_backing(disk), &user);
}

static void detached(void *arg)
{
	struct disk *disk = arg;

	disk->attachment = NULL;
	disk->detaching = false;
	if (!disk->leaving && !disk->closing)
		backing_attach(disk); /* the deletion was undone meanwhile */
	disk_step(disk);
}

void backing_detach(struct disk *disk)
{
	if (!disk->attachment || disk->detaching)
		return;
	disk->detaching = true;
	block_detach(disk->attachment, detached, disk);
}
