// SPDX-License-Identifier: BSD-3-Clause
/* An example of a filter: what is stored below is the complement of what is written. It shows how a filter submits
 * requests of its own with buffers of its own: a write must not change the data of who submitted it. */
#include <dpu/block_module.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct invert {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	unsigned under_way;
	void (*close_done)(void *arg);
	void *close_arg;
};

struct own {
	struct dpu_block_request below; /* first */
	struct dpu_block_request *above;
	struct invert *invert;
	struct iovec iov;
	uint8_t data[] __attribute__((aligned(8)));
};

static void turn(uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)~data[i];
}

static void closed(struct invert *invert)
{
	void (*done)(void *arg) = invert->close_done;
	void *arg = invert->close_arg;

	free(invert);
	if (done)
		done(arg);
}

static void own_done(struct dpu_block_request *below)
{
	struct own *own = (struct own *)below;
	struct dpu_block_request *above = own->above;
	struct invert *invert = own->invert;
	enum dpu_block_status status = below->status;

	if (status == DPU_BLOCK_OK && above->op == DPU_BLOCK_READ)
		for (unsigned i = 0; i < above->segments; i++)
			turn(above->iov[i].iov_base, above->iov[i].iov_len);
	free(own);
	invert->under_way--;
	dpu_block_complete(above, status);
	if (invert->close_done && invert->under_way == 0)
		closed(invert);
}

/* A write and what is compared get a copy. */
static void gather(struct own *own)
{
	const struct dpu_block_request *above = own->above;
	uint8_t *at = own->data;

	for (unsigned i = 0; i < above->segments; i++) {
		memcpy(at, above->iov[i].iov_base, above->iov[i].iov_len);
		at += above->iov[i].iov_len;
	}
	turn(own->data, above->length);
	own->iov = (struct iovec){ own->data, above->length };
	own->below.iov = &own->iov;
	own->below.segments = 1;
}

static void invert_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct invert *invert = (struct invert *)device;
	bool copy = request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_COMPARE;
	struct own *own = aligned_alloc(8, (sizeof(*own) + (copy ? request->length : 0) + 7) / 8 * 8);

	/* Nothing completes from within submit: without memory there is no answer, so this example gives up. */
	if (!own)
		abort();
	own->below = *request;
	own->below.done = own_done;
	own->above = request;
	own->invert = invert;
	if (copy)
		gather(own);
	invert->under_way++;
	invert->below->ops->submit(invert->below, &own->below);
}

static void invert_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct invert *invert = (struct invert *)device;

	invert->close_done = done;
	invert->close_arg = arg;
	if (invert->under_way == 0)
		closed(invert);
}

static const struct dpu_block_ops invert_ops = { .submit = invert_submit, .close = invert_close };

/* Discarded blocks would not read as zeroes, and the CRCs of what is below are of other data. */
static void measure(struct invert *invert)
{
	const uint32_t without = DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD | DPU_BLOCK_F_CRC;

	invert->device.bytes = invert->below->bytes;
	invert->device.features = invert->below->features & ~without;
}

/* What is below has another size now, and so has this. */
static void below_changed(void *ctx)
{
	struct invert *invert = ctx;

	measure(invert);
	if (invert->device.changed)
		invert->device.changed(invert->device.changed_ctx);
}

static int invert_open(const struct dpu_block_open *open, struct dpu_block_device **ret, char *why, size_t why_bytes)
{
	struct invert *invert = calloc(1, sizeof(*invert));

	(void)why;
	(void)why_bytes;
	if (!invert)
		return -ENOMEM;
	invert->device = *open->below;
	invert->device.ops = &invert_ops;
	invert->device.name = open->name;
	invert->device.changed = NULL;
	invert->below = open->below;
	invert->below->changed = below_changed;
	invert->below->changed_ctx = invert;
	measure(invert);
	*ret = &invert->device;
	return 0;
}

__attribute__((visibility("default"))) const struct dpu_block_module dpu_block_module = {
	DPU_BLOCK_MODULE_HEAD,
	.name = "invert",
	.filter = true,
	.open = invert_open,
};
