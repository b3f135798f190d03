// SPDX-License-Identifier: BSD-3-Clause
/* Disks in force: what each is to do next, and their beginning and end. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/disk/disk_priv.h"

static const uint64_t RETRY_NS = CLOCK_NS_PER_S; /* a socket that cannot be had */
static const uint64_t GIVE_UP_NS = CLOCK_NS_PER_S / 2;

void *disk_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory)
		abort();
	return memory;
}

const struct object *disk_backing_of(const struct disk_object *object)
{
	return object->volume.object     ? object->volume.object
	       : object->snapshot.object ? object->snapshot.object
	       : object->medium.object   ? object->medium.object
					 : object->remote.object;
}

const struct object *disk_backing(const struct disk *disk)
{
	return disk_backing_of(disk->object);
}

void disk_notice(struct disk *disk, const char *name, const char *sentence)
{
	log_warn("disk", name, "object=%s why=\"%s\"", disk->path, sentence);
	if (!disk->leaving && !disk->closing)
		model_notice(disk->disks->dpu->model, &disk->object->base, name, json_pack("{s:s}", "why", sentence));
}

enum disk_state disk_state(const struct disk *disk)
{
	if (disk->error)
		return DISK_ERROR;
	if (disk->step == DEVICE_THERE && !disk->asked)
		return DISK_READY;
	return disk->fails ? DISK_FAILING : DISK_WAITING;
}

/* ---- the end ---- */

static void disk_free(struct disk *disk)
{
	struct disks *disks = disk->disks;

	if (disk->deleted)
		mode_forget(disk);
	TAILQ_REMOVE(&disks->list, disk, link);
	loop_timer_remove(disk->timer);
	free(disk->error);
	free(disk);
}

static void closing_step(struct disk *disk)
{
	struct disks *disks = disk->disks;

	if (disk->endpoint || disk->attachment || atomic_load(&disk->posted) > 0)
		return;
	disks->closing--;
	if (disk->deleted)
		disk_free(disk);
	else
		disk->closing = false; /* the end of the model frees it */
	if (disks->stopping && disks->closing == 0 && disks->stopped) {
		void (*stopped)(void *arg) = disks->stopped;
		disks->stopped = NULL;
		stopped(disks->stopped_arg);
	}
}

/* What has not ended by now waits for what is away. Until then it is not cancelled: a guest whose disk comes again
 * under another name need not see errors. */
static void give_up(struct disk *disk)
{
	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++)
		queue_give_up(&disk->queues[i]);
	mode_give_up(disk);
}

void disk_close(struct disk *disk)
{
	disk->closing = true;
	disk->disks->closing++;
	loop_timer_rearm(disk->timer, disk->deleted ? GIVE_UP_NS : UINT64_MAX / 2);
	/* Each may end it. One of our own keeps it. */
	atomic_fetch_add(&disk->posted, 1);
	if (disk->endpoint)
		guest_close(disk);
	backing_detach(disk);
	atomic_fetch_sub(&disk->posted, 1);
	disk_step(disk);
}

/* ---- one step ---- */

static void set_error(struct disk *disk, const char *error)
{
	free(disk->error);
	disk->error = error ? strdup(error) : NULL;
}

static bool uses_device(const struct disk *disk)
{
	if (disk->flush.device)
		return true;
	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++)
		if (disk->queues[i].blk && disk->queues[i].device == disk->device)
			return true;
	return false;
}

/* A front end that stops a queue waits for all that it took, which no cap may keep back. So does one that sets the
 * cache mode. */
static void hurry_step(struct disk *disk)
{
	bool hurry = disk->flush.device;

	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++)
		hurry |= disk->queues[i].leaving;
	if (hurry == disk->hurry || !disk->attachment)
		return;
	disk->hurry = hurry;
	block_hurry(disk->attachment, hurry);
}

static void queues_step(struct disk *disk)
{
	struct workers *workers = disk->disks->dpu->workers;
	struct dpu_block_device *device = NULL;
	struct worker *worker = disk->worker;

	if (disk->step == DEVICE_THERE && !disk->asked) {
		device = disk->device;
	} else if (disk->fails) {
		device = &disk->failing.device;
		worker = workers_get(workers, disk->slot % workers_count(workers));
	}
	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++)
		queue_step(&disk->queues[i], device, worker);
	hurry_step(disk);
}

/* Tells the endpoint of a queue that it waits for. The endpoint may start it again in that call, or be gone. */
static bool queue_answer(struct disk *disk)
{
	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++) {
		struct disk_queue *queue = &disk->queues[i];
		if (!queue->stopping || queue->blk)
			continue;
		queue->stopping = false;
		queue->started = NULL;
		vhost_queue_stopped(disk->endpoint, i);
		return true;
	}
	return false;
}

static void guest_try(struct disk *disk)
{
	struct dpu_error err = { 0 };

	if (guest_open(disk, &err) == 0) {
		set_error(disk, NULL);
		return;
	}
	if (!disk->error)
		disk_notice(disk, "socket-error", err.message);
	set_error(disk, err.message);
	loop_timer_rearm(disk->timer, RETRY_NS);
}

/* A backing that is away makes the guest wait, then fail; one that is back ends that. */
static void patience_step(struct disk *disk)
{
	bool there = disk->step == DEVICE_THERE && !disk->asked;

	if (there && disk->fails) {
		disk->fails = false;
		disk_notice(disk, "backing-back", "the disk works again");
	} else if (!there && !disk->fails && !disk->counting) {
		disk->counting = true;
		loop_timer_rearm(disk->timer, disk->object->wait_seconds * CLOCK_NS_PER_S);
	}
	if (there)
		disk->counting = false;
}

void disk_step(struct disk *disk)
{
	/* What is called below may call us again: the outermost does it all. */
	disk->again = true;
	if (disk->stepping)
		return;
	disk->stepping = true;
	while (disk->again) {
		disk->again = false;
		if (!disk->closing && !disk->leaving)
			patience_step(disk);
		queues_step(disk);
		if (disk->asked && disk->step == DEVICE_THERE && !uses_device(disk))
			backing_let_go(disk);
		while (queue_answer(disk))
			;
		/* A guest is let in when there is something to show, or to say. */
		if (!disk->closing && !disk->leaving && !disk->endpoint && !disk->error && !disk->disks->stopping &&
		    (disk->step == DEVICE_THERE || disk->fails))
			guest_try(disk);
	}
	disk->stepping = false;
	if (disk->closing)
		closing_step(disk);
}

static void on_timer(void *ctx)
{
	struct disk *disk = ctx;
	const char *why;

	if (disk->closing) {
		give_up(disk);
		return;
	}
	if (disk->error) {
		guest_try(disk);
		disk_step(disk);
		return;
	}
	if (!disk->counting)
		return;
	if (block_is_coming(disk_backing(disk))) { /* a recovery takes what it takes */
		loop_timer_rearm(disk->timer, RETRY_NS);
		return;
	}
	disk->counting = false;
	disk->fails = true;
	why = block_why_not(disk_backing(disk));
	disk_notice(disk, "backing-gone", why ? why : "what is behind the disk does not come");
	disk_step(disk);
}

/* ---- transactions ---- */

static struct disk *disk_revive(struct disks *disks, const struct object *object)
{
	struct disk *disk;

	TAILQ_FOREACH(disk, &disks->list, link)
	{
		if (disk->leaving && !disk->closing && uuid_equal(&disk->uuid, &object->uuid)) {
			disk->leaving = false;
			return disk;
		}
	}
	return NULL;
}

static void serial_make(struct disk *disk)
{
	const struct disk_object *object = disk->object;
	char uuid[UUID_TEXT];
	unsigned length = 0;

	if (object->serial) {
		strncpy(disk->serial, object->serial, VIRTIO_BLK_ID_BYTES);
		return;
	}
	uuid_format(&disk->uuid, uuid);
	for (const char *c = uuid; *c && length < VIRTIO_BLK_ID_BYTES; c++)
		if (*c != '-')
			disk->serial[length++] = *c;
}

static struct disk *disk_new(struct disks *disks, struct object *object)
{
	struct disk *disk = disk_alloc(sizeof(*disk));

	disk->disks = disks;
	disk->object = (struct disk_object *)object;
	disk->uuid = object->uuid;
	disk->tenant = object->tenant->uuid;
	disk->fresh = !model_loading(disks->dpu->model);
	if (loop_timer_add(disks->dpu->loop, UINT64_MAX / 2, 0, on_timer, disk, &disk->timer) != 0)
		abort(); /* out of memory */
	for (unsigned i = 0; i < DISK_MAX_QUEUES; i++)
		queue_init(&disk->queues[i], disk, i);
	failing_init(&disk->failing, "gone");
	serial_make(disk);
	TAILQ_INSERT_TAIL(&disks->list, disk, link);
	return disk;
}

int disk_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct disks *disks = ctx;
	struct disk *disk = old ? old->runtime : disk_revive(disks, new);

	(void)err;
	if (!disk)
		disk = disk_new(disks, new);
	new->runtime = disk;
	disk->object = (struct disk_object *)new;
	disk->slot = new->slot;
	object_path(new, disk->path, sizeof(disk->path));
	if (!disk->attachment)
		backing_attach(disk);
	else if (!disk->detaching)
		block_set_policy(disk->attachment, disk->object->qos.object);
	if (!disk->detaching)
		patience_step(disk);
	return 0;
}

/* The backing may be on its way out in the same transaction: it is let go at once. */
void disk_remove(void *ctx, struct object *object)
{
	struct disk *disk = object->runtime;

	(void)ctx;
	object->runtime = NULL;
	disk->leaving = true;
	if (disk->disks->stopping && !disk->closing) {
		disk_free(disk);
	} else if (disk->fresh) { /* its creation came to nothing */
		disk->deleted = true;
		disk_close(disk);
	} else {
		backing_detach(disk);
	}
}

/* The transaction is durable: what it deleted ends. Not before, because a commit that fails gives disks back. */
static void disks_settle(void *state, void (*done)(void *arg), void *arg)
{
	struct disks *disks = state;
	struct disk *disk, *next;

	for (disk = TAILQ_FIRST(&disks->list); disk; disk = next) {
		next = TAILQ_NEXT(disk, link);
		disk->fresh = false;
		if (!disk->leaving || disk->closing)
			continue;
		disk->deleted = true;
		disk_close(disk);
	}
	done(arg);
}

/* ---- the service ---- */

static int disks_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct disks *disks = disk_alloc(sizeof(*disks));

	(void)err;
	disks->dpu = dpu;
	disks->block = block_of(dpu);
	disks->arenas = disk_alloc(workers_count(dpu->workers) * sizeof(*disks->arenas));
	TAILQ_INIT(&disks->list);
	*ret_state = disks;
	return 0;
}

static void disks_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct disks *disks = state;
	struct disk *disk, *next;

	disks->stopping = true;
	disks->stopped = done;
	disks->stopped_arg = arg;
	disks->closing++;
	for (disk = TAILQ_FIRST(&disks->list); disk; disk = next) {
		next = TAILQ_NEXT(disk, link);
		if (!disk->closing)
			disk_close(disk);
	}
	if (--disks->closing == 0 && disks->stopped) {
		disks->stopped = NULL;
		done(arg);
	}
}

static void disks_fini(void *state)
{
	struct disks *disks = state;

	arenas_free(disks);
	free(disks);
}

static const struct object_class *const classes[] = { &disk_class, NULL };
static const char *const requires[] = { "block", NULL };

const struct service disk_service = {
	.name = "disk",
	.requires = requires,
	.classes = classes,
	.init = disks_init,
	.stop = disks_stop,
	.settle = disks_settle,
	.metrics = disk_metrics,
	.fini = disks_fini,
};
