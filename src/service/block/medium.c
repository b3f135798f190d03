// SPDX-License-Identifier: BSD-3-Clause
/* Media in force: opened and locked by a helper thread, tried again while that fails, on the worker of the pool that
 * wants them, closed when they go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/stage.h"
#include "device/block/null.h"
#include "device/block/ram.h"
#include "operating/medium_file.h"
#include "service/block/block_priv.h"

static const uint64_t RETRY_LOCKED_NS = 50 * CLOCK_NS_PER_MS; /* a predecessor's last I/O */
static const uint64_t RETRY_NS = CLOCK_NS_PER_S;
static const uint64_t MEASURE_NS = CLOCK_NS_PER_S / 2;

/* What the helper thread gets and gives. */
struct medium_job {
	struct medium *medium;
	char *path;
	uint64_t make_bytes; /* 0: it must be there */
	bool sizeless;       /* … because nobody said how large it would be */
	struct medium_file_options options;
	struct medium_file_id file;
	struct dpu_block_device *device;
	struct dpu_error error;
	int rc;
};

struct medium *medium_of(const struct object *object)
{
	return object->runtime;
}

bool medium_closed(const struct medium *medium)
{
	return !medium->device && !medium->busy && !medium->below.attachment;
}

static struct medium *of_subject(struct subject *subject)
{
	return (struct medium *)((uint8_t *)subject - offsetof(struct medium, subject));
}

static void state_set(struct medium *medium, enum block_state state, const char *why)
{
	medium->state = state;
	if (!medium->backing.device)
		block_backing_wait(&medium->backing, why, medium->backing.trying);
}

/* ---- the worker's side ---- */

static unsigned source_poll(struct worker_source *source, struct worker *worker)
{
	struct medium *medium = (struct medium *)((uint8_t *)source - offsetof(struct medium, source));

	(void)worker;
	enum cycle_stage before = stage_enter(STAGE_DEVICE);
	unsigned work = medium->device->ops->poll(medium->device);
	stage_enter(before);
	return work;
}

/* One at a time; what fails meanwhile is counted. */
static void complain(struct medium *medium, const struct medium_file_stats *stats)
{
	if (atomic_exchange(&medium->complaining, true))
		return;
	snprintf(medium->complaint_text, sizeof(medium->complaint_text),
		 "requests fail, the last at offset %llu: %s; %llu have failed since it was opened",
		 (unsigned long long)stats->last_offset, strerror(stats->last_errno),
		 (unsigned long long)stats->errors);
	note_send(medium->subject.block, &medium->complaint);
}

static uint64_t source_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct medium *medium = (struct medium *)((uint8_t *)source - offsetof(struct medium, source));
	struct medium_file_stats stats;

	(void)worker;
	medium_file_stats(medium->device, &stats);
	if (stats.errors != atomic_load_explicit(&medium->errors, memory_order_relaxed))
		complain(medium, &stats);
	atomic_store_explicit(&medium->errors, stats.errors, memory_order_relaxed);
	if (now_ns - medium->measured_ns < MEASURE_NS)
		return medium->measured_ns + MEASURE_NS - now_ns;
	medium->measured_ns = now_ns;
	atomic_store_explicit(&medium->bytes, medium_file_resized(medium->device), memory_order_relaxed);
	return MEASURE_NS;
}

static void device_closed(void *arg)
{
	struct medium *medium = arg;

	note_send(medium->subject.block, &medium->closed);
}

static void device_close(void *arg, struct worker *worker)
{
	struct medium *medium = arg;

	(void)worker;
	medium->device->ops->close(medium->device, device_closed, medium);
}

/* ---- closing ---- */

static void medium_free(struct medium *medium)
{
	struct block *block = medium->subject.block;

	TAILQ_REMOVE(&block->media, medium, link);
	subject_fini(&medium->subject);
	block_backing_fini(&medium->backing);
	if (medium->retry)
		loop_timer_remove(medium->retry);
	free(medium);
	block_stop_check(block);
}

static void closed(struct note *note)
{
	struct medium *medium = (struct medium *)((uint8_t *)note - offsetof(struct medium, closed));

	medium->device = NULL;
	medium->busy = false;
	state_set(medium, BLOCK_WAITING, "the medium is closed");
	medium_step(medium);
}

static void source_removed(void *arg)
{
	struct medium *medium = arg;

	block_call(medium->worker, device_close, medium, NULL);
}

static void unused(void *arg)
{
	struct medium *medium = arg;

	worker_remove_source(medium->worker, &medium->source, source_removed, medium);
}

static void medium_close(struct medium *medium, const char *why)
{
	medium->busy = true;
	medium->state = BLOCK_CLOSING;
	/* One that only moves is opened again at once, and who waits for it hears what comes of that. */
	medium->backing.trying = !medium->subject.committed && !medium->subject.block->stopping;
	block_backing_down(&medium->backing, why, unused, medium);
}

/* ---- opening ---- */

static void retry(void *arg)
{
	struct medium *medium = arg;

	loop_timer_remove(medium->retry);
	medium->retry = NULL;
	medium_step(medium);
}

static void retry_later(struct medium *medium, uint64_t delay_ns)
{
	if (!medium->retry &&
	    loop_timer_add(medium->subject.block->dpu->loop, delay_ns, 0, retry, medium, &medium->retry) != 0)
		abort(); /* out of memory */
}

/* Said when it is new. */
static void opening_failed(struct medium *medium, const struct dpu_error *err)
{
	char why[BLOCK_WHY_BYTES];
	bool locked = err->code == DPU_E_IN_USE;

	subject_why(why, err);
	if (strcmp(why, medium->backing.why_not) != 0 && !locked)
		subject_notice(&medium->subject, "medium-failed", why);
	medium->state = locked ? BLOCK_OPENING : BLOCK_FAILED;
	block_backing_wait(&medium->backing, why, false);
	retry_later(medium, locked ? RETRY_LOCKED_NS : RETRY_NS);
}

static void complained(struct note *note)
{
	struct medium *medium = (struct medium *)((uint8_t *)note - offsetof(struct medium, complaint));

	if (notice_limit_pass(&medium->noticed, "medium-failing", clock_ns()))
		subject_notice(&medium->subject, "medium-failing", medium->complaint_text);
	atomic_store(&medium->complaining, false);
}

static void device_use(struct medium *medium, struct dpu_block_device *device)
{
	medium->device = device;
	medium->creating = false;
	atomic_store(&medium->bytes, device->bytes);
	medium->source = (struct worker_source){ .fd = -1, .name = "medium" };
	switch (medium->kind) {
	case MEDIUM_MODULE:
		medium_module_source(medium);
		block_call(medium->worker, medium_module_start, device, NULL);
		break;
	case MEDIUM_RAM:
	case MEDIUM_NULL:
		medium->source.poll = source_poll;
		break;
	case MEDIUM_FILE:
		medium->complaint.fn = complained;
		medium->source.tick = source_tick;
		break;
	}
	if (worker_add_source(medium->worker, &medium->source) != 0)
		abort(); /* out of memory */
	medium->direct = medium->kind == MEDIUM_FILE && medium_file_direct(device);
	medium->state = BLOCK_READY;
	log_info("block", "medium opened", "object=%s bytes=%llu worker=%u", medium->subject.name,
		 (unsigned long long)device->bytes, worker_index(medium->worker));
	block_backing_up(&medium->backing, device, medium->worker);
}

/* In a helper thread. A file is made in one step or not at all: what is there is never touched. */
static int file_make(const char *path, uint64_t bytes, struct dpu_error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = 0;

	if (fd < 0)
		return errno == EEXIST ? 0
		       : errno == ENOENT
			       ? error_set(err, DPU_E_NOT_FOUND, path, "it cannot be made: its folder is not there")
			       : error_set(err, DPU_E_IO, path, "it cannot be made: %s", strerror(errno));
	if (ftruncate(fd, (off_t)bytes) < 0 || fsync(fd) < 0) {
		rc = error_set(err, DPU_E_IO, path, "it cannot be made with %llu bytes: %s", (unsigned long long)bytes,
			       strerror(errno));
		unlink(path);
	}
	close(fd);
	return rc;
}

static void job_run(void *arg)
{
	struct medium_job *job = arg;
	struct stat status;

	if (job->make_bytes)
		job->rc = file_make(job->path, job->make_bytes, &job->error);
	if (job->rc == 0)
		job->rc = medium_file_open(&job->options, &job->device, &job->error);
	if (job->rc != 0 && job->error.code == DPU_E_NOT_FOUND && job->sizeless)
		error_set(&job->error, DPU_E_NOT_FOUND, job->path,
			  "there is no such file or block device: with size a file is made");
	if (stat(job->path, &status) == 0)
		job->file = (struct medium_file_id){ S_ISBLK(status.st_mode) ? 0 : status.st_dev,
						     S_ISBLK(status.st_mode) ? status.st_rdev : status.st_ino };
}

void medium_opened(struct medium *medium, struct dpu_block_device *device, int rc, struct dpu_error *err)
{
	medium->busy = false;
	if (rc == 0)
		device_use(medium, device);
	else
		opening_failed(medium, err);
	medium_step(medium);
}

/* Who has locked it may be we: two paths of one file. */
static void twin_find(struct medium_job *job)
{
	const struct medium *medium, *self = job->medium;

	TAILQ_FOREACH(medium, &self->subject.block->media, link)
	{
		if (medium != self && medium->device && medium->file.inode && medium->file.inode == job->file.inode &&
		    medium->file.device == job->file.device)
			error_set(&job->error, DPU_E_EXISTS, job->path, "%s is the same file: each needs its own",
				  medium->subject.name);
	}
}

static void job_done(void *arg)
{
	struct medium_job *job = arg;

	job->medium->file = job->file;
	if (job->rc != 0 && job->error.code == DPU_E_IN_USE)
		twin_find(job);
	medium_opened(job->medium, job->device, job->rc, &job->error);
	free(job->path);
	free(job);
}

static void open_file(struct medium *medium, const struct medium_object *object)
{
	struct block *block = medium->subject.block;
	struct medium_job *job = block_alloc(sizeof(*job));
	struct dpu_error err = { 0 };

	job->medium = medium;
	job->path = block_text(object->path);
	job->make_bytes = medium->creating ? object->size : 0;
	job->sizeless = medium->creating && object->size == 0;
	job->options = (struct medium_file_options){ .path = job->path,
						     .read_only = object->read_only,
						     .cached = object->cached };
	if (block_uring(block, medium->worker, &job->options.uring, &err) != 0) {
		opening_failed(medium, &err);
		free(job->path);
		free(job);
		medium_step(medium);
		return;
	}
	medium->busy = true;
	if (helpers_run(block->helpers, job_run, job_done, job) != 0)
		abort(); /* out of memory */
}

static void open_null(struct medium *medium, const struct medium_object *object)
{
	struct dpu_block_device *device;

	if (block_null_new(medium->backing.name, object->size, &device) != 0)
		abort(); /* out of memory */
	device_use(medium, device);
	medium_step(medium);
}

static void open_ram(struct medium *medium, const struct medium_object *object)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	struct dpu_block_device *device;
	struct dpu_error err = { 0 };

	/* It is taken as it is written, so one that cannot be filled would end dpud in the middle of work. */
	if (object->size > machine) {
		error_set(&err, DPU_E_LIMIT, "size", "is more than the %llu bytes that the machine has",
			  (unsigned long long)machine);
		opening_failed(medium, &err);
	} else if (block_ram_new(medium->backing.name, object->size, DPU_BLOCK_SECTOR, &device) == 0) {
		device_use(medium, device);
	} else {
		error_set(&err, DPU_E_LIMIT, "size", "%llu bytes of memory are not to be had",
			  (unsigned long long)object->size);
		opening_failed(medium, &err);
	}
	medium_step(medium);
}

/* Whether what it sits on is there; else it waits for that, and who waits for it does so as long as that may come. */
static bool below_ready(struct medium *medium)
{
	char why[BLOCK_WHY_BYTES];

	if (!medium->below.attachment)
		medium_below_attach(medium);
	if (medium->below.device)
		return true;
	bool soon = medium->below.backing->device || medium->below.backing->trying;
	medium_below_why(medium, why, sizeof(why));
	medium->state = soon ? BLOCK_OPENING : BLOCK_WAITING;
	block_backing_wait(&medium->backing, why, soon);
	if (!soon && !medium->subject.committed)
		subject_settled(&medium->subject);
	return false;
}

static void medium_open(struct medium *medium)
{
	const struct medium_object *object = (const struct medium_object *)medium->subject.object;

	if (medium->wanted)
		medium->worker = medium->wanted;
	if (medium_below(&object->base) && !below_ready(medium))
		return;
	/* Tried again, it says still why it was not to be had before. */
	if (medium->state != BLOCK_FAILED && medium->state != BLOCK_OPENING)
		state_set(medium, BLOCK_OPENING, "the medium is being opened");
	medium->kind = object->kind;
	switch ((enum medium_kind)object->kind) {
	case MEDIUM_FILE:
		open_file(medium, object);
		break;
	case MEDIUM_RAM:
		open_ram(medium, object);
		break;
	case MEDIUM_NULL:
		open_null(medium, object);
		break;
	case MEDIUM_MODULE:
		medium_module_open(medium, object);
		break;
	}
}

/* ---- what is to be done ---- */

static const char *why_close(const struct medium *medium, char *why, size_t why_bytes)
{
	if (medium->subject.block->stopping)
		return "the DPU stops";
	if (medium->subject.committed)
		return "the medium was deleted";
	if (!medium->below.asked)
		return "the medium moves to another worker";
	medium_below_why(medium, why, why_bytes);
	return why;
}

static bool moves(const struct medium *medium)
{
	const struct worker *worker = medium->below.attachment ? medium->below.worker : medium->worker;

	return medium->wanted && medium->wanted != worker && (medium->device || medium->below.attachment);
}

/* Closed. */
static void rest(struct medium *medium, bool going)
{
	struct block *block = medium->subject.block;

	if (medium->below.asked)
		medium_below_release(medium);
	if (going && !medium_below_detach(medium))
		return;
	if (medium->subject.committed && block_backing_users(&medium->backing) == 0)
		medium_free(medium);
	else if (medium->subject.committed)
		return; /* its users are on their way out */
	else if (block->stopping)
		block_stop_check(block);
	else if (!medium->retry)
		medium_open(medium);
}

void medium_step(struct medium *medium)
{
	struct block *block = medium->subject.block;
	bool going = medium->subject.committed || block->stopping || moves(medium);
	char why[BLOCK_WHY_BYTES];

	if (!medium->backing.trying && !medium->subject.committed)
		subject_settled(&medium->subject);
	if (medium->busy || !block->started)
		return;
	if (!medium->device)
		rest(medium, going);
	else if (going || medium->below.asked)
		medium_close(medium, why_close(medium, why, sizeof(why)));
}

static void medium_settle(struct subject *subject)
{
	struct medium *medium = of_subject(subject);

	if (medium->retry) /* it was changed, or somebody waits: at once */
		loop_timer_remove(medium->retry);
	medium->retry = NULL;
	medium_step(medium);
}

static void subject_free(struct subject *subject)
{
	medium_free(of_subject(subject));
}

/* A medium of memory would lose what is in it, and who is there already stays. */
static void medium_wanted(struct block_backing *backing, struct worker *worker)
{
	struct medium *medium = (struct medium *)backing;
	const struct medium_object *object = (const struct medium_object *)medium->subject.object;

	if (medium->device && (object->kind == MEDIUM_RAM || block_backing_used(backing)))
		return;
	medium->wanted = worker;
	if (medium->device) /* else not before the transaction is durable */
		medium_step(medium);
}

static void medium_left(struct block_backing *backing)
{
	struct medium *medium = (struct medium *)backing;

	if (medium->subject.committed)
		medium_step(medium);
}

static struct medium *medium_new(struct block *block, struct object *object)
{
	struct medium *medium = block_alloc(sizeof(*medium));

	block_backing_init(&medium->backing, block, object->name, "the medium was not opened yet");
	medium->backing.wanted = medium_wanted;
	medium->backing.left = medium_left;
	medium->backing.one_user = true;
	subject_init(&medium->subject, block, object);
	medium->subject.settle = medium_settle;
	medium->subject.free = subject_free;
	block_backing_wait(&medium->backing, "the medium was not opened yet", true);
	medium->closed.fn = closed;
	medium->worker = workers_get(block->dpu->workers, object->slot % block->workers);
	medium->creating = !model_loading(block->dpu->model);
	TAILQ_INSERT_TAIL(&block->media, medium, link);
	return medium;
}

int medium_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct subject *subject = old ? NULL : subject_undelete(ctx, new);
	struct medium *medium = old ? medium_of(new) : subject ? of_subject(subject) : medium_new(ctx, new);

	(void)err;
	new->runtime = medium;
	block_backing_rename(&medium->backing, new->name);
	subject_apply(&medium->subject, new);
	return 0;
}

void medium_remove(void *ctx, struct object *object)
{
	struct medium *medium = medium_of(object);

	(void)ctx;
	object->runtime = NULL;
	subject_remove(&medium->subject);
}
