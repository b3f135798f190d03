// SPDX-License-Identifier: BSD-3-Clause
/* Media that out-of-tree modules bring. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "service/block/block_priv.h"
#include "service/block/module/module.h"

/* What the helper thread gets and gives. */
struct module_job {
	struct medium *medium;
	char *module, *arguments, *name;
	struct dpu_block_device below_seen;
	struct block_module_options options;
	struct dpu_block_device *device;
	struct dpu_error error;
	int rc;
};

static struct medium *of_source(struct worker_source *source)
{
	return (struct medium *)((uint8_t *)source - offsetof(struct medium, source));
}

/* ---- the worker's side ---- */

static unsigned source_poll(struct worker_source *source, struct worker *worker)
{
	struct medium *medium = of_source(source);

	(void)worker;
	return medium->device->ops->poll(medium->device);
}

/* A module that never wakes anybody is polled by timer as long as it has requests. */
static int source_arm(struct worker_source *source)
{
	return block_module_busy(of_source(source)->device) ? -ENOTSUP : 0;
}

static uint64_t source_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct medium *medium = of_source(source);

	(void)worker;
	atomic_store_explicit(&medium->errors, block_module_errors(medium->device), memory_order_relaxed);
	return block_module_tick(medium->device, now_ns) ? 5 * CLOCK_NS_PER_S : UINT64_MAX;
}

void medium_module_start(void *arg, struct worker *worker)
{
	(void)worker;
	block_module_start(arg);
}

void medium_module_source(struct medium *medium)
{
	medium->source.poll = source_poll;
	medium->source.arm = source_arm;
	medium->source.tick = source_tick;
}

static void wake(void *ctx)
{
	worker_wake(((struct medium *)ctx)->worker);
}

/* One at a time; what is found meanwhile is more of the same. */
static void complain(void *ctx, const char *sentence)
{
	struct medium *medium = ctx;

	if (atomic_exchange(&medium->complaining, true))
		return;
	snprintf(medium->complaint_text, sizeof(medium->complaint_text), "%s", sentence);
	note_send(medium->subject.block, &medium->complaint);
}

/* ---- control ---- */

static void complained(struct note *note)
{
	struct medium *medium = (struct medium *)((uint8_t *)note - offsetof(struct medium, complaint));

	subject_notice(&medium->subject, "module-misbehaves", medium->complaint_text);
	atomic_store(&medium->complaining, false);
}

static void job_run(void *arg)
{
	struct module_job *job = arg;

	job->rc = block_module_open(&job->options, &job->device, &job->error);
}

static void job_done(void *arg)
{
	struct module_job *job = arg;

	medium_opened(job->medium, job->device, job->rc, &job->error);
	free(job->module);
	free(job->arguments);
	free(job->name);
	free(job);
}

void medium_module_open(struct medium *medium, const struct medium_object *object)
{
	struct block *block = medium->subject.block;
	struct module_job *job = block_alloc(sizeof(*job));

	medium->complaint.fn = complained;
	job->medium = medium;
	job->module = block_text(object->module);
	job->arguments = block_text(object->arguments ? object->arguments : "");
	job->name = block_text(medium->backing.name);
	job->below_seen = medium->below.seen;
	job->options = (struct block_module_options){
		.folder = block->dpu->module_dir,
		.module = job->module,
		.name = job->name,
		.arguments = job->arguments,
		.below = medium->below.device,
		.below_seen = &job->below_seen,
		.wake = wake,
		.complain = complain,
		.ctx = medium,
	};
	medium->busy = true;
	if (helpers_run(block->helpers, job_run, job_done, job) != 0)
		abort(); /* out of memory */
}
