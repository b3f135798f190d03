// SPDX-License-Identifier: BSD-3-Clause
/* Modules that do what they must not; which of it, the build says (BAD). */
#include <dpu/block_module.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOTHING, TWICE, WITHIN, WITHIN_CANCEL, STATUS, NEVER, SIZE, REFUSES, VERSION, OLD_HEADERS };

struct bad {
	struct dpu_block_device device;
	struct dpu_block_request *waiting, *last;
};

static void bad_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct bad *bad = (struct bad *)device;

	if (BAD == WITHIN) {
		dpu_block_complete(request, DPU_BLOCK_OK);
		return;
	}
	request->next = bad->waiting;
	bad->waiting = request;
}

static unsigned bad_poll(struct dpu_block_device *device)
{
	struct bad *bad = (struct bad *)device;
	struct dpu_block_request *request = bad->waiting;

	if (!request || BAD == NEVER || BAD == WITHIN_CANCEL)
		return 0;
	bad->waiting = request->next;
	if (BAD == TWICE)
		dpu_block_complete(request, DPU_BLOCK_OK);
	dpu_block_complete(request, BAD == STATUS ? DPU_BLOCK_STATUSES : DPU_BLOCK_OK);
	return 1;
}

static void bad_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	if (BAD == WITHIN_CANCEL)
		dpu_block_complete(request, DPU_BLOCK_GONE);
}

static void bad_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	free(device);
	done(arg);
}

static const struct dpu_block_ops bad_ops = {
	.submit = bad_submit, .poll = bad_poll, .close = bad_close, .cancel = bad_cancel
};

static int bad_open(const struct dpu_block_open *open, struct dpu_block_device **ret, char *why, size_t why_bytes)
{
	static struct bad refused; /* a device that cannot be used is not closed either */
	struct bad *bad = BAD == SIZE ? &refused : calloc(1, sizeof(*bad));

	if (BAD == REFUSES) {
		free(bad);
		snprintf(why, why_bytes, "the argument is '%s', which is wrong", open->arguments);
		return -EINVAL;
	}
	bad->device = (struct dpu_block_device){
		.ops = &bad_ops,
		.name = open->name,
		.bytes = BAD == SIZE ? 1000 : 1 << 20,
		.sector = DPU_BLOCK_SECTOR,
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = 1,
	};
	*ret = &bad->device;
	return 0;
}

const struct dpu_block_module dpu_block_module = {
	.module_version = BAD == VERSION ? 77 : DPU_BLOCK_MODULE_VERSION,
	.block_version = DPU_BLOCK_ABI_VERSION,
	.module_bytes = sizeof(struct dpu_block_module),
	.request_bytes = sizeof(struct dpu_block_request) - (BAD == OLD_HEADERS ? 8 : 0),
	.device_bytes = sizeof(struct dpu_block_device),
	.name = "bad",
	.open = bad_open,
};
