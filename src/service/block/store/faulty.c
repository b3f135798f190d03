// SPDX-License-Identifier: BSD-3-Clause
/* The failing medium. */
#include "service/block/store/faulty.h"

#include <stdlib.h>
#include "device/block/block_queue.h"

struct faulty {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	struct block_queue failing, held, gone;
	struct faulty_plan plan;
	uint64_t seen, failed;
};

static bool counts(const struct faulty *faulty, const struct dpu_block_request *request)
{
	const struct faulty_plan *plan = &faulty->plan;

	if (!(plan->ops >> request->op & 1))
		return false;
	return plan->end == 0 || request->op == DPU_BLOCK_FLUSH ||
	       (request->offset < plan->end && request->offset + request->length > plan->first);
}

static void submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct faulty *faulty = (struct faulty *)device;

	if (!counts(faulty, request) || faulty->seen++ < faulty->plan.skip || faulty->failed == faulty->plan.fails) {
		faulty->below->ops->submit(faulty->below, request);
		return;
	}
	faulty->failed++;
	block_queue_add(faulty->plan.holds ? &faulty->held : &faulty->failing, request);
}

static void part_written(struct dpu_block_request *request)
{
}

/* Its first sector, every other time. */
static void write_part(struct faulty *faulty, const struct dpu_block_request *request)
{
	struct iovec iov = { request->iov[0].iov_base, DPU_BLOCK_SECTOR };
	struct dpu_block_request part = {
		.op = DPU_BLOCK_WRITE,
		.segments = 1,
		.offset = request->offset,
		.length = DPU_BLOCK_SECTOR,
		.iov = &iov,
		.done = part_written,
	};

	if (faulty->failed % 2 == 0 || request->iov[0].iov_len < DPU_BLOCK_SECTOR)
		return;
	faulty->below->ops->submit(faulty->below, &part);
	while (faulty->below->ops->poll(faulty->below))
		;
}

/* One that is held may have been carried out in part. */
static void cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct faulty *faulty = (struct faulty *)device;
	struct dpu_block_request *held = faulty->held.first, *next;

	if (faulty->plan.deaf)
		return;
	block_queue_init(&faulty->held);
	for (; held; held = next) {
		next = held->next;
		block_queue_add(held == request ? &faulty->gone : &faulty->held, held);
	}
}

static unsigned poll(struct dpu_block_device *device)
{
	struct faulty *faulty = (struct faulty *)device;
	unsigned work = faulty->below->ops->poll(faulty->below);
	struct dpu_block_request *request;

	for (; (request = block_queue_take(&faulty->failing)) != NULL; work++) {
		if (request->op == DPU_BLOCK_WRITE)
			write_part(faulty, request);
		dpu_block_complete(request, (enum dpu_block_status)faulty->plan.status);
	}
	for (; (request = block_queue_take(&faulty->gone)) != NULL; work++) {
		if (request->op == DPU_BLOCK_WRITE)
			write_part(faulty, request);
		dpu_block_complete(request, DPU_BLOCK_GONE);
	}
	return work;
}

static const struct dpu_block_ops ops = { .submit = submit, .poll = poll, .cancel = cancel };

struct faulty *faulty_new(struct dpu_block_device *below)
{
	struct faulty *faulty = calloc(1, sizeof(*faulty));

	if (!faulty)
		abort();
	faulty->device = *below;
	faulty->device.ops = &ops;
	faulty->device.name = "faulty";
	faulty->below = below;
	block_queue_init(&faulty->failing);
	block_queue_init(&faulty->held);
	block_queue_init(&faulty->gone);
	return faulty;
}

void faulty_free(struct faulty *faulty)
{
	free(faulty);
}

struct dpu_block_device *faulty_device(struct faulty *faulty)
{
	return &faulty->device;
}

void faulty_plan(struct faulty *faulty, const struct faulty_plan *plan)
{
	faulty->plan = plan ? *plan : (struct faulty_plan){ 0 };
	faulty->seen = faulty->failed = 0;
}

void faulty_release(struct faulty *faulty)
{
	struct dpu_block_request *request;

	while ((request = block_queue_take(&faulty->held)) != NULL)
		faulty->below->ops->submit(faulty->below, request);
}

void faulty_fail_held(struct faulty *faulty)
{
	block_queue_add(&faulty->failing, block_queue_take(&faulty->held));
}

unsigned faulty_held(const struct faulty *faulty)
{
	unsigned count = 0;

	for (const struct dpu_block_request *request = faulty->held.first; request; request = request->next)
		count++;
	return count;
}

uint64_t faulty_failed(const struct faulty *faulty)
{
	return faulty->failed;
}
