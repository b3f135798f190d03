// SPDX-License-Identifier: BSD-3-Clause
/* The virtio-blk queue: takes a burst, submits it, answers what has completed. What a request says is
 * virtio_blk_parse.c's. */
#include "device/virtio/virtio_blk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	BURST = 32,
	TURN = 16, /* requests that are taken in one: with what they lead to, they have the worker for some 10 us */
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static struct virtio_blk_slot *slot_take(struct virtio_blk *blk)
{
	struct virtio_blk_slot *slot = blk->free;

	blk->free = slot->next;
	blk->outstanding++;
	return slot;
}

static void slot_give(struct virtio_blk *blk, struct virtio_blk_slot *slot)
{
	free(slot->large);
	free(slot->ranges);
	virtio_blk_credit(slot);
	slot->large = NULL;
	slot->ranges = NULL;
	slot->next = blk->free;
	blk->free = slot;
	blk->outstanding--;
}

/* ---- answers ---- */

static void answers_push(struct virtio_blk *blk)
{
	struct virtq_element elements[BURST];
	uint32_t written[BURST];

	while (blk->answered) {
		unsigned n = 0;

		for (struct virtio_blk_slot *slot = blk->answered; slot && n < BURST; slot = blk->answered) {
			blk->answered = slot->next;
			elements[n] = slot->element;
			written[n++] = slot->status ? slot->element.writable_bytes : 0;
			if (slot->shortened)
				slot->shortened->iov_len++;
			/* Its segments are read by the push: the slot is given back afterwards. */
			slot->next = blk->pushed;
			blk->pushed = slot;
		}
		virtqueue_push(blk->queue, elements, written, n);
		while (blk->pushed) {
			struct virtio_blk_slot *slot = blk->pushed;

			blk->pushed = slot->next;
			slot_give(blk, slot);
		}
	}
	blk->answered_tail = &blk->answered;
	virtqueue_notify(blk->queue);
}

static void drained_check(struct virtio_blk *blk)
{
	if (blk->outstanding > 0 || !blk->drained)
		return;
	void (*drained)(void *arg) = blk->drained;

	blk->drained = NULL;
	drained(blk->drained_arg); /* may free us */
}

static void slot_answer(struct virtio_blk_slot *slot, uint8_t status)
{
	struct virtio_blk *blk = slot->blk;

	if (slot->status)
		*slot->status = status;
	virtio_blk_pieces_end(slot);
	slot->next = NULL;
	*blk->answered_tail = slot;
	blk->answered_tail = &slot->next;
}

static uint8_t status_of(uint8_t status)
{
	if (status == DPU_BLOCK_OK)
		return VIRTIO_BLK_S_OK;
	return status == DPU_BLOCK_UNSUPPORTED ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* What is left of it, after a part that went well. */
static bool slot_goes_on(struct virtio_blk_slot *slot)
{
	struct dpu_block_device *device = slot->blk->device;
	struct dpu_block_request *request = &slot->request;

	if (!virtio_blk_next_range(slot) && !virtio_blk_next_piece(slot))
		return false;
	/* The device may have changed meanwhile. */
	request->status = slot->blk->cancelled ? DPU_BLOCK_GONE : dpu_block_check(device, request);
	if (request->status != DPU_BLOCK_OK) {
		count(&slot->blk->stats->statuses[request->status], 1);
		return false;
	}
	device->ops->submit(device, request);
	return true;
}

static void on_done(struct dpu_block_request *request)
{
	struct virtio_blk_slot *slot = (struct virtio_blk_slot *)request;
	struct virtio_blk *blk = slot->blk;

	count(&blk->stats->statuses[request->status], 1);
	if (request->status == DPU_BLOCK_OK && slot_goes_on(slot))
		return;
	slot_answer(slot, status_of(request->status));
	/* Nobody polls a queue that is left alone; one that is polled answers a burst together. */
	if (blk->armed || blk->drained) {
		answers_push(blk);
		drained_check(blk);
	}
}

/* ---- requests ---- */

static void slot_start(struct virtio_blk *blk, struct virtio_blk_slot *slot, enum virtio_blk_verdict verdict)
{
	struct dpu_block_request *request = &slot->request;

	if (verdict == VIRTIO_BLK_ANSWERED) {
		slot_answer(slot, VIRTIO_BLK_S_OK);
		return;
	}
	if (verdict == VIRTIO_BLK_UNSUPPORTED) {
		count(&blk->stats->unsupported, 1);
		slot_answer(slot, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (verdict == VIRTIO_BLK_BAD) {
		count(slot->element.fault ? &blk->stats->bad_chains : &blk->stats->bad, 1);
		slot_answer(slot, VIRTIO_BLK_S_IOERR);
		return;
	}
	count(&blk->stats->requests[request->op], 1);
	count(&blk->stats->bytes[request->op], request->length + slot->left);
	request->done = on_done;
	blk->device->ops->submit(blk->device, request);
}

/* The segments must outlive the burst. false: no memory now. */
static bool slot_keep(struct virtio_blk_slot *slot, const struct virtq_element *element)
{
	unsigned segments = element->readable + element->writable;
	struct iovec *keep = slot->segments;

	if (segments > VIRTIO_BLK_INLINE_SEGMENTS) {
		if (!virtio_blk_charge(slot, segments * (uint32_t)sizeof(*keep)))
			return false;
		keep = slot->large = malloc(segments * sizeof(*keep));
		if (!keep)
			return false;
	}
	memcpy(keep, element->segments, segments * sizeof(*keep));
	slot->element = *element;
	slot->element.segments = keep;
	return true;
}

static unsigned requests_take(struct virtio_blk *blk)
{
	struct virtq_element elements[TURN];
	unsigned room = blk->slots - blk->outstanding, taken = 0;
	int n;

	if (room == 0 || blk->draining || (blk->lacks && !virtio_blk_may_go_on(blk)))
		return 0;
	n = virtqueue_pop(blk->queue, elements, room < TURN ? room : TURN, blk->iov, VIRTQ_MAX_SEGMENTS);
	while ((int)taken < n) {
		struct virtio_blk_slot *slot = slot_take(blk);
		enum virtio_blk_verdict verdict = VIRTIO_BLK_LATER;

		if (slot_keep(slot, &elements[taken]))
			verdict = virtio_blk_parse(slot);
		if (verdict == VIRTIO_BLK_LATER) {
			slot_give(blk, slot);
			virtqueue_unpop(blk->queue, &elements[taken], (unsigned)n - taken);
			break;
		}
		slot_start(blk, slot, verdict);
		taken++;
	}
	return taken;
}

unsigned virtio_blk_poll(struct virtio_blk *blk)
{
	unsigned taken = requests_take(blk);

	if (!blk->answered)
		return taken;
	answers_push(blk);
	return taken + 1;
}

int virtio_blk_arm(struct virtio_blk *blk)
{
	if (blk->answered)
		return 1;
	/* With all slots taken, too: the ring is empty then, and what comes later must wake us. Who waits for memory is
	 * told when there is some. */
	if (!blk->draining && (blk->lacks ? virtio_blk_may_go_on(blk) : virtqueue_arm(blk->queue)))
		return 1;
	blk->armed = true;
	return 0;
}

void virtio_blk_disarm(struct virtio_blk *blk)
{
	blk->armed = false;
	virtqueue_disarm(blk->queue);
}

void virtio_blk_drain(struct virtio_blk *blk, void (*drained)(void *arg), void *arg)
{
	blk->draining = true;
	virtio_blk_wait_end(blk);
	blk->drained = drained;
	blk->drained_arg = arg;
	if (blk->answered)
		answers_push(blk);
	drained_check(blk);
}

/* The device has the slots that are neither free nor answered: nothing is noted for that while requests are served. */
void virtio_blk_cancel(struct virtio_blk *blk)
{
	struct dpu_block_device *device = blk->device;

	blk->cancelled = true;
	for (struct virtio_blk_slot *slot = blk->free; slot; slot = slot->next)
		slot->request.done = NULL;
	for (struct virtio_blk_slot *slot = blk->answered; slot; slot = slot->next)
		slot->request.done = NULL;
	for (unsigned i = 0; i < blk->slots && device->ops->cancel; i++)
		if (blk->slot[i].request.done)
			device->ops->cancel(device, &blk->slot[i].request);
}

unsigned virtio_blk_outstanding(const struct virtio_blk *blk)
{
	return blk->outstanding;
}

/* ---- life ---- */

int virtio_blk_new(const struct virtio_blk_options *options, struct virtio_blk **ret)
{
	unsigned slots = virtqueue_size(options->queue);
	struct virtio_blk *blk = calloc(1, sizeof(*blk) + slots * sizeof(blk->slot[0]));

	if (!blk)
		return -ENOMEM;
	blk->iov = malloc(VIRTQ_MAX_SEGMENTS * sizeof(*blk->iov));
	if (!blk->iov) {
		free(blk);
		return -ENOMEM;
	}
	blk->queue = options->queue;
	blk->device = options->device;
	blk->stats = options->stats;
	blk->write_back = options->write_back;
	blk->account = options->account;
	blk->ready = options->ready;
	blk->ctx = options->ctx;
	memcpy(blk->id, options->id,
	       strnlen(options->id, sizeof(blk->id))); /* as the device has it: not terminated when full */
	blk->slots = slots;
	blk->answered_tail = &blk->answered;
	for (unsigned i = 0; i < slots; i++) {
		blk->slot[i].blk = blk;
		blk->slot[i].next = blk->free;
		blk->free = &blk->slot[i];
	}
	*ret = blk;
	return 0;
}

void virtio_blk_free(struct virtio_blk *blk)
{
	if (!blk)
		return;
	free(blk->iov);
	free(blk);
}
