// SPDX-License-Identifier: BSD-3-Clause
/* The filter: which requests are copied, their way down and back, and waiting for room. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/stage.h"
#include "engine/crc32c/crc32c.h"
#include "service/block/ingress/ingress_priv.h"

/* Of a request that is copied: where its copy is, or one of these. */
enum { WAITS, CANCELLED };

static void more(_Atomic uint64_t *value, uint64_t n)
{
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

/* ---- the copy ---- */

static void data_copy(struct copy *copy, const struct dpu_block_request *original)
{
	const struct iovec *from = original->iov;
	size_t from_at = 0;

	for (unsigned i = 0; i < copy->request.segments; i++) {
		struct iovec *to = &copy->pieces[i];
		for (size_t at = 0; at < to->iov_len;) {
			size_t part = to->iov_len - at;
			if (from_at == from->iov_len) {
				from++;
				from_at = 0;
				continue;
			}
			if (part > from->iov_len - from_at)
				part = from->iov_len - from_at;
			memcpy((uint8_t *)to->iov_base + at, (const uint8_t *)from->iov_base + from_at, part);
			at += part;
			from_at += part;
		}
	}
}

static void crcs_make(struct copy *copy)
{
	enum cycle_stage before = stage_enter(STAGE_CRC);
	uint32_t *crc = copy->crc;

	for (unsigned i = 0; i < copy->request.segments; i++)
		for (size_t at = 0; at < copy->pieces[i].iov_len; at += DPU_BLOCK_BYTES)
			*crc++ = crc32c(0, (uint8_t *)copy->pieces[i].iov_base + at, DPU_BLOCK_BYTES);
	stage_enter(before);
}

static void waiting_serve(struct ingress_arena *arena);
static void ingress_cancel(struct dpu_block_device *device, struct dpu_block_request *request);
static void closed_check(struct ingress *ingress);

static void on_done(struct dpu_block_request *request)
{
	struct copy *copy = (struct copy *)request;
	struct ingress *ingress = copy->ingress;
	struct ingress_arena *arena = ingress->account->arena;
	struct dpu_block_request *original = copy->original;
	uint8_t status = request->status;

	copy_free(ingress->account, copy);
	ingress->outstanding--;
	dpu_block_complete(original, status);
	waiting_serve(arena);
	closed_check(ingress);
}

/* false: there is no room. */
static bool copy_submit(struct ingress *ingress, struct dpu_block_request *original)
{
	struct copy *copy = copy_new(ingress->account, original->length);
	bool whole = (original->offset | original->length) % DPU_BLOCK_BYTES == 0 &&
		     (ingress->below->features & DPU_BLOCK_F_CRC);

	if (!copy)
		return false;
	uint16_t segments = copy->request.segments;
	copy->ingress = ingress;
	copy->original = original;
	original->scratch[0] = (uintptr_t)copy;
	copy->request = dpu_block_request_below(original, on_done);
	copy->request.segments = segments;
	copy->request.iov = copy->pieces;
	copy->request.crc = whole ? copy->crc : NULL;
	if (whole)
		copy->request.flags |= DPU_BLOCK_CRC;
	data_copy(copy, original);
	if (whole)
		crcs_make(copy);
	ingress->outstanding++;
	more(&ingress->account->stats.copied_bytes, original->length);
	ingress->below->ops->submit(ingress->below, &copy->request);
	return true;
}

/* ---- waiting for room ---- */

static void wait_begin(struct ingress *ingress, struct dpu_block_request *request)
{
	more(&ingress->account->stats.waited, 1);
	request->scratch[0] = WAITS;
	block_queue_add(&ingress->waiting, request);
	if (ingress->waits)
		return;
	ingress->waits = true;
	TAILQ_INSERT_TAIL(&ingress->account->arena->waiting, ingress, link);
}

/* One request of each that waits, in turn, as long as that helps anybody. Those of a tenant without room are passed
 * over. */
static void waiting_serve(struct ingress_arena *arena)
{
	bool helped = !arena->serving;

	arena->serving = true;
	while (helped) {
		struct ingress *ingress, *next;
		helped = false;
		for (ingress = TAILQ_FIRST(&arena->waiting); ingress; ingress = next) {
			struct dpu_block_request *request = ingress->waiting.first;
			bool cancelled = request->scratch[0] == CANCELLED;
			next = TAILQ_NEXT(ingress, link);
			if (!copy_submit(ingress, request))
				continue;
			if (cancelled)
				ingress_cancel(&ingress->device, request);
			helped = true;
			block_queue_take(&ingress->waiting);
			if (ingress->waiting.first)
				continue;
			ingress->waits = false;
			TAILQ_REMOVE(&arena->waiting, ingress, link);
		}
	}
	arena->serving = false;
}

/* ---- the device ---- */

static bool is_copied(const struct ingress *ingress, const struct dpu_block_request *request)
{
	bool enters = request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_COMPARE;

	return enters && ingress->copies && !(request->flags & DPU_BLOCK_CRC);
}

static void ingress_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct ingress *ingress = (struct ingress *)device;

	if (!is_copied(ingress, request))
		ingress->below->ops->submit(ingress->below, request);
	else if (ingress->waits || !copy_submit(ingress, request))
		wait_begin(ingress, request);
}

static void closed_check(struct ingress *ingress)
{
	if (!ingress->closed || ingress->outstanding > 0 || ingress->waits)
		return;
	void (*closed)(void *arg) = ingress->closed;
	void *arg = ingress->closed_arg;

	ingress->below->changed = NULL;
	free(ingress);
	closed(arg);
}

static void ingress_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct ingress *ingress = (struct ingress *)device;

	ingress->closed = done;
	ingress->closed_arg = arg;
	closed_check(ingress);
}

/* ---- requests that nobody waits for any more ---- */

static void waiting_sweep(struct ingress *ingress, struct block_queue *gone)
{
	struct dpu_block_request *request = ingress->waiting.first, *next;

	block_queue_init(&ingress->waiting);
	for (; request; request = next) {
		next = request->next;
		block_queue_add(request->scratch[0] == CANCELLED ? gone : &ingress->waiting, request);
	}
	if (ingress->waiting.first || !ingress->waits)
		return;
	ingress->waits = false;
	TAILQ_REMOVE(&ingress->account->arena->waiting, ingress, link);
}

static const struct dpu_block_ops ingress_ops, cancelling_ops;

static unsigned cancelling_poll(struct dpu_block_device *device)
{
	struct ingress *ingress = (struct ingress *)device;
	struct dpu_block_request *request;
	struct block_queue gone;
	unsigned count = 0;

	block_queue_init(&gone);
	device->ops = &ingress_ops;
	waiting_sweep(ingress, &gone);
	ingress->outstanding++; /* a done may close it */
	for (; (request = block_queue_take(&gone)) != NULL; count++)
		dpu_block_complete(request, DPU_BLOCK_GONE);
	ingress->outstanding--;
	closed_check(ingress);
	return count;
}

/* What waits for room ends with the next poll, which there is only for that. */
static void ingress_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct ingress *ingress = (struct ingress *)device;

	if (is_copied(ingress, request)) {
		if (request->scratch[0] == WAITS || request->scratch[0] == CANCELLED) {
			request->scratch[0] = CANCELLED;
			device->ops = &cancelling_ops;
			return;
		}
		request = (struct dpu_block_request *)(uintptr_t)request->scratch[0];
	}
	if (ingress->below->ops->cancel)
		ingress->below->ops->cancel(ingress->below, request);
}

static const struct dpu_block_ops ingress_ops = { .submit = ingress_submit,
						  .close = ingress_close,
						  .cancel = ingress_cancel };
static const struct dpu_block_ops cancelling_ops = {
	.submit = ingress_submit, .poll = cancelling_poll, .close = ingress_close, .cancel = ingress_cancel
};

static void measure(struct ingress *ingress)
{
	ingress->device.bytes = ingress->below->bytes;
	ingress->device.features = ingress->below->features;
}

static void on_changed(void *ctx)
{
	struct ingress *ingress = ctx;

	measure(ingress);
	if (ingress->device.changed)
		ingress->device.changed(ingress->device.changed_ctx);
}

int ingress_new(struct dpu_block_device *below, struct ingress_account *account, struct dpu_block_device **ret)
{
	struct ingress *ingress = calloc(1, sizeof(*ingress));

	if (!ingress)
		return -ENOMEM;
	ingress->below = below;
	ingress->account = account;
	block_queue_init(&ingress->waiting);
	ingress->device = *below;
	ingress->device.ops = &ingress_ops;
	ingress->device.changed = NULL;
	*ret = &ingress->device;
	return 0;
}

void ingress_start(struct dpu_block_device *device)
{
	struct ingress *ingress = (struct ingress *)device;

	ingress->below->changed_ctx = ingress;
	ingress->below->changed = on_changed;
	ingress->copies = ingress->below->features & DPU_BLOCK_F_CRC;
	measure(ingress);
}
