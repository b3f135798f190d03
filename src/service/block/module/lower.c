// SPDX-License-Identifier: BSD-3-Clause
/* What a filter of a module sits on, as the module sees it: a device of ours, so that nothing reaches the one below
 * that it would not have to take, and the module has all of `changed` to itself. */
#include "service/block/module/module_priv.h"

static struct lower *of_device(struct dpu_block_device *device)
{
	return (struct lower *)device;
}

static void measure(struct lower *lower, const struct dpu_block_device *real)
{
	lower->device.bytes = real->bytes;
	lower->device.sector = real->sector;
	lower->device.features = real->features;
	lower->device.max_bytes = real->max_bytes;
	lower->device.alignment = real->alignment;
}

/* Refused requests wait for the poll: nothing completes from within submit. */
static void lower_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct lower *lower = of_device(device);
	enum dpu_block_status status = lower->started ? dpu_block_check(device, request) : DPU_BLOCK_GONE;

	if (status == DPU_BLOCK_OK) {
		lower->real->ops->submit(lower->real, request);
		return;
	}
	if (!lower->complained)
		lower->complain(lower->ctx, lower->started ? "has submitted a request that the device below cannot take"
							   : "has submitted a request before its device was in use");
	lower->complained = true;
	request->status = (uint8_t)status;
	block_queue_add(&lower->refused, request);
}

static void lower_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct lower *lower = of_device(device);

	for (const struct dpu_block_request *refused = lower->refused.first; refused; refused = refused->next)
		if (refused == request)
			return;
	if (lower->real->ops->cancel)
		lower->real->ops->cancel(lower->real, request);
}

/* The owner closes it. */
static void lower_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct lower *lower = of_device(device);

	lower->complain(lower->ctx, "has closed the device below, which is not its own");
	if (done)
		done(arg);
}

static const struct dpu_block_ops lower_ops = { .submit = lower_submit, .close = lower_close, .cancel = lower_cancel };

static void real_changed(void *ctx)
{
	struct lower *lower = ctx;

	measure(lower, lower->real);
	if (lower->device.changed)
		lower->device.changed(lower->device.changed_ctx);
}

void lower_init(struct lower *lower, struct dpu_block_device *real, const struct dpu_block_device *seen,
		void (*complain)(void *ctx, const char *what), void *ctx)
{
	lower->real = real;
	lower->complain = complain;
	lower->ctx = ctx;
	lower->device.ops = &lower_ops;
	lower->device.name = seen->name;
	block_queue_init(&lower->refused);
	measure(lower, seen);
}

void lower_start(struct lower *lower)
{
	bool same = lower->device.bytes == lower->real->bytes && lower->device.features == lower->real->features;

	lower->started = true;
	lower->real->changed_ctx = lower;
	lower->real->changed = real_changed;
	if (!same) /* since it was opened */
		real_changed(lower);
}

void lower_end(struct lower *lower)
{
	if (lower->started)
		lower->real->changed = NULL;
}

unsigned lower_poll(struct lower *lower)
{
	struct dpu_block_request *request;
	unsigned count = 0;

	while (count < LOWER_BURST && (request = block_queue_take(&lower->refused)) != NULL) {
		dpu_block_complete(request, request->status);
		count++;
	}
	return count;
}
