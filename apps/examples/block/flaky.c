// SPDX-License-Identifier: BSD-3-Clause
/* An example of a filter that passes requests on without a look at the data: of as many as its arguments say, one fails
 * (every=100; 0: none), to see what those above make of an error. What it cannot hand down at once waits for poll. */
#include <dpu/block_module.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct flaky {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	struct dpu_block_request *failing; /* since the last poll */
	unsigned long every, count;
	unsigned under_way;
	void (*close_done)(void *arg);
	void *close_arg;
};

/* What goes down is the request of who is above, with an end of its own: `next` and `scratch` belong to the device
 * below by then, so where it came from is kept beside. Those of the request above say where it has gone, for cancel. */
struct passed {
	struct dpu_block_request below; /* first */
	struct dpu_block_request *above;
	struct flaky *flaky;
};

static void end_check(struct flaky *flaky)
{
	void (*done)(void *arg) = flaky->close_done;
	void *arg = flaky->close_arg;

	if (!done || flaky->under_way > 0)
		return;
	free(flaky);
	done(arg);
}

static void passed_done(struct dpu_block_request *below)
{
	struct passed *passed = (struct passed *)below;
	struct dpu_block_request *above = passed->above;
	struct flaky *flaky = passed->flaky;
	enum dpu_block_status status = below->status;

	free(passed);
	flaky->under_way--;
	dpu_block_complete(above, status);
	end_check(flaky);
}

static void fail(struct flaky *flaky, struct dpu_block_request *request)
{
	request->scratch[0] = 0;
	request->next = flaky->failing;
	flaky->failing = request;
	flaky->under_way++;
}

static void flaky_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct flaky *flaky = (struct flaky *)device;
	struct passed *passed;

	if (flaky->every && ++flaky->count % flaky->every == 0) {
		fail(flaky, request);
		return;
	}
	passed = malloc(sizeof(*passed));
	if (!passed) {
		fail(flaky, request);
		return;
	}
	passed->below = *request;
	passed->below.done = passed_done;
	passed->above = request;
	passed->flaky = flaky;
	request->scratch[0] = (uintptr_t)passed;
	flaky->under_way++;
	flaky->below->ops->submit(flaky->below, &passed->below);
}

static unsigned flaky_poll(struct dpu_block_device *device)
{
	struct flaky *flaky = (struct flaky *)device;
	struct dpu_block_request *request = flaky->failing, *next;
	unsigned count = 0;

	flaky->failing = NULL;
	for (; request; request = next, count++) {
		next = request->next;
		flaky->under_way--;
		dpu_block_complete(request, DPU_BLOCK_IO_ERROR);
	}
	return count;
}

static void flaky_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct dpu_block_device *below = ((struct flaky *)device)->below;
	struct passed *passed = (struct passed *)(uintptr_t)request->scratch[0];

	if (passed && below->ops->cancel)
		below->ops->cancel(below, &passed->below);
}

static void flaky_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct flaky *flaky = (struct flaky *)device;

	flaky_poll(device);
	flaky->close_done = done;
	flaky->close_arg = arg;
	end_check(flaky);
}

static const struct dpu_block_ops flaky_ops = {
	.submit = flaky_submit, .poll = flaky_poll, .close = flaky_close, .cancel = flaky_cancel
};

static void below_changed(void *ctx)
{
	struct flaky *flaky = ctx;

	flaky->device.bytes = flaky->below->bytes;
	flaky->device.features = flaky->below->features;
	if (flaky->device.changed)
		flaky->device.changed(flaky->device.changed_ctx);
}

static int flaky_open(const struct dpu_block_open *open, struct dpu_block_device **ret, char *why, size_t why_bytes)
{
	unsigned long every;
	char rest;

	if (sscanf(open->arguments, "every=%lu%c", &every, &rest) != 1) {
		snprintf(why, why_bytes, "its arguments must be every=N: the Nth request fails, and so on; 0: none");
		return -EINVAL;
	}
	struct flaky *flaky = calloc(1, sizeof(*flaky));
	if (!flaky)
		return -ENOMEM;
	flaky->device = *open->below;
	flaky->device.ops = &flaky_ops;
	flaky->device.name = open->name;
	flaky->device.changed = NULL;
	flaky->below = open->below;
	flaky->below->changed = below_changed;
	flaky->below->changed_ctx = flaky;
	flaky->every = every;
	*ret = &flaky->device;
	return 0;
}

__attribute__((visibility("default"))) const struct dpu_block_module dpu_block_module = {
	DPU_BLOCK_MODULE_HEAD,
	.name = "flaky",
	.filter = true,
	.open = flaky_open,
};
