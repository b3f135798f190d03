// SPDX-License-Identifier: BSD-3-Clause
/* Block requests from worker to worker. A request takes a slot, which has a request of its own for the device below;
 * the number of slots bounds both rings, so that neither is ever full. */
#include "service/block/handoff/block_handoff.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "device/block/block_queue.h"

enum { BURST = 64, MASK = BLOCK_HANDOFF_DEPTH - 1 };
static_assert((BLOCK_HANDOFF_DEPTH & MASK) == 0, "a power of two");

/* Positions run freely. */
struct ring {
	/* the producer's */
	_Alignas(64) _Atomic uint32_t published;
	uint32_t staged; /* written, not all published */
	/* the consumer's */
	_Alignas(64) _Atomic uint32_t taken;
	uint16_t items[BLOCK_HANDOFF_DEPTH];
};

struct slot {
	struct dpu_block_request request; /* first; for the device below */
	struct dpu_block_request *user;
	struct block_handoff *handoff;
	_Atomic bool cancelled; /* here says so */
	bool below;             /* there: the device below has it */
};

/* Of a user's request: where it is; with NO_SLOT it waits, and scratch[0] is the link that leads to it. */
enum { NO_SLOT = BLOCK_HANDOFF_DEPTH, GIVEN_UP };

struct side {
	struct worker_source source; /* first */
	struct block_handoff *handoff;
	struct worker *worker;
};

struct block_handoff {
	struct side here, there;
	struct ring out, back;
	struct slot slots[BLOCK_HANDOFF_DEPTH];
	/* here */
	_Alignas(64) struct dpu_block_device device;
	struct block_queue waiting, given_up;
	bool cancels; /* not yet told */
	uint16_t free[BLOCK_HANDOFF_DEPTH];
	unsigned free_count;
	void (*closed)(void *arg);
	void *closed_arg;
	/* there */
	_Alignas(64) struct dpu_block_device *below;
	uint32_t cancelled_seen;
	_Atomic uint32_t cancelled; /* from here */
	/* from there to here */
	_Atomic uint64_t bytes;
	_Atomic uint32_t features, changes;
	uint32_t changes_seen; /* here */
	/* control */
	void (*done)(void *arg);
	void *arg;
};

static struct block_handoff *of_device(struct dpu_block_device *device)
{
	return (struct block_handoff *)((uint8_t *)device - offsetof(struct block_handoff, device));
}

/* ---- rings ---- */

static void stage(struct ring *ring, uint16_t item)
{
	ring->items[ring->staged++ & MASK] = item;
}

/* What is there is seen by the other's next round, for which it is woken. */
static void publish(struct ring *ring, struct worker *to)
{
	if (atomic_load_explicit(&ring->published, memory_order_relaxed) == ring->staged)
		return;
	atomic_store_explicit(&ring->published, ring->staged, memory_order_release);
	worker_wake(to);
}

static unsigned take(struct ring *ring, uint16_t items[BURST])
{
	uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
	uint32_t count = atomic_load_explicit(&ring->published, memory_order_acquire) - taken;

	if (count > BURST)
		count = BURST;
	for (uint32_t i = 0; i < count; i++)
		items[i] = ring->items[(taken + i) & MASK];
	atomic_store_explicit(&ring->taken, taken + count, memory_order_release);
	return count;
}

static bool is_empty(struct ring *ring)
{
	return atomic_load_explicit(&ring->published, memory_order_relaxed) ==
	       atomic_load_explicit(&ring->taken, memory_order_relaxed);
}

/* ---- there ---- */

static void below_done(struct dpu_block_request *request)
{
	struct slot *slot = (struct slot *)request;

	slot->below = false;
	stage(&slot->handoff->back, (uint16_t)(slot - slot->handoff->slots));
}

static void submit_below(struct block_handoff *handoff, struct slot *slot)
{
	slot->below = true;
	handoff->below->ops->submit(handoff->below, &slot->request);
}

static void cancel_below(struct block_handoff *handoff, struct slot *slot)
{
	if (slot->below && atomic_load_explicit(&slot->cancelled, memory_order_relaxed) && handoff->below->ops->cancel)
		handoff->below->ops->cancel(handoff->below, &slot->request);
}

static bool cancels_are_new(const struct block_handoff *handoff)
{
	return atomic_load_explicit(&handoff->cancelled, memory_order_acquire) != handoff->cancelled_seen;
}

/* Those that are still on the way are looked at when they come. */
static void cancels_take(struct block_handoff *handoff)
{
	handoff->cancelled_seen = atomic_load_explicit(&handoff->cancelled, memory_order_acquire);
	for (unsigned i = 0; i < BLOCK_HANDOFF_DEPTH; i++)
		cancel_below(handoff, &handoff->slots[i]);
}

static unsigned there_poll(struct worker_source *source, struct worker *worker)
{
	struct block_handoff *handoff = ((struct side *)source)->handoff;
	uint16_t items[BURST];
	unsigned count = take(&handoff->out, items);

	(void)worker;
	for (unsigned i = 0; i < count; i++) {
		submit_below(handoff, &handoff->slots[items[i]]);
		cancel_below(handoff, &handoff->slots[items[i]]);
	}
	if (cancels_are_new(handoff)) {
		cancels_take(handoff);
		count++;
	}
	publish(&handoff->back, handoff->here.worker);
	return count;
}

static int there_arm(struct worker_source *source)
{
	struct block_handoff *handoff = ((struct side *)source)->handoff;

	publish(&handoff->back, handoff->here.worker);
	return !is_empty(&handoff->out) || cancels_are_new(handoff);
}

static void below_measure(struct block_handoff *handoff)
{
	atomic_store_explicit(&handoff->bytes, handoff->below->bytes, memory_order_relaxed);
	atomic_store_explicit(&handoff->features, handoff->below->features, memory_order_relaxed);
}

static void below_changed(void *ctx)
{
	struct block_handoff *handoff = ctx;

	below_measure(handoff);
	atomic_fetch_add_explicit(&handoff->changes, 1, memory_order_release);
	worker_wake(handoff->here.worker);
}

/* ---- here ---- */

static void send(struct block_handoff *handoff, struct dpu_block_request *request)
{
	uint16_t index = handoff->free[--handoff->free_count];
	struct slot *slot = &handoff->slots[index];

	request->scratch[1] = index;
	slot->user = request;
	atomic_store_explicit(&slot->cancelled, false, memory_order_relaxed);
	slot->request = dpu_block_request_below(request, below_done);
	stage(&handoff->out, index);
}

static struct dpu_block_request *waiting_take(struct block_handoff *handoff, struct dpu_block_request *request)
{
	struct dpu_block_request **link = (struct dpu_block_request **)(uintptr_t)request->scratch[0];

	*link = request->next;
	if (request->next)
		request->next->scratch[0] = (uintptr_t)link;
	else
		handoff->waiting.tail = link;
	return request;
}

static void handoff_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct block_handoff *handoff = of_device(device);

	if (handoff->free_count > 0 && !handoff->waiting.first) {
		send(handoff, request);
		return;
	}
	request->scratch[0] = (uintptr_t)handoff->waiting.tail;
	request->scratch[1] = NO_SLOT;
	block_queue_add(&handoff->waiting, request);
}

static void handoff_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct block_handoff *handoff = of_device(device);
	uint64_t index = request->scratch[1];

	if (index == GIVEN_UP)
		return;
	if (index < NO_SLOT) {
		atomic_store_explicit(&handoff->slots[index].cancelled, true, memory_order_relaxed);
		handoff->cancels = true;
		return;
	}
	request->scratch[1] = GIVEN_UP;
	block_queue_add(&handoff->given_up, waiting_take(handoff, request));
}

static void cancels_tell(struct block_handoff *handoff)
{
	if (!handoff->cancels)
		return;
	handoff->cancels = false;
	atomic_fetch_add_explicit(&handoff->cancelled, 1, memory_order_release);
	worker_wake(handoff->there.worker);
}

static void closed_check(struct block_handoff *handoff)
{
	void (*closed)(void *arg) = handoff->closed;

	if (!closed || handoff->free_count < BLOCK_HANDOFF_DEPTH)
		return;
	handoff->closed = NULL;
	closed(handoff->closed_arg);
}

static void handoff_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct block_handoff *handoff = of_device(device);

	handoff->closed = done;
	handoff->closed_arg = arg;
	closed_check(handoff);
}

static const struct dpu_block_ops handoff_ops = { .submit = handoff_submit,
						  .close = handoff_close,
						  .cancel = handoff_cancel };

static unsigned changes_take(struct block_handoff *handoff)
{
	uint32_t changes = atomic_load_explicit(&handoff->changes, memory_order_acquire);

	if (changes == handoff->changes_seen)
		return 0;
	handoff->changes_seen = changes;
	handoff->device.bytes = atomic_load_explicit(&handoff->bytes, memory_order_relaxed);
	handoff->device.features = atomic_load_explicit(&handoff->features, memory_order_relaxed);
	if (handoff->device.changed)
		handoff->device.changed(handoff->device.changed_ctx);
	return 1;
}

static unsigned here_poll(struct worker_source *source, struct worker *worker)
{
	struct block_handoff *handoff = ((struct side *)source)->handoff;
	uint16_t items[BURST];
	unsigned count = take(&handoff->back, items), work = count + changes_take(handoff);

	(void)worker;
	for (unsigned i = 0; i < count; i++) {
		struct slot *slot = &handoff->slots[items[i]];
		enum dpu_block_status status = slot->request.status;
		struct dpu_block_request *user = slot->user;

		handoff->free[handoff->free_count++] = items[i];
		dpu_block_complete(user, status);
	}
	for (struct dpu_block_request *user; (user = block_queue_take(&handoff->given_up)) != NULL; work++)
		dpu_block_complete(user, DPU_BLOCK_GONE);
	while (handoff->free_count > 0 && handoff->waiting.first)
		send(handoff, waiting_take(handoff, handoff->waiting.first));
	publish(&handoff->out, handoff->there.worker);
	cancels_tell(handoff);
	if (count > 0)
		closed_check(handoff);
	return work;
}

static int here_arm(struct worker_source *source)
{
	struct block_handoff *handoff = ((struct side *)source)->handoff;

	publish(&handoff->out, handoff->there.worker);
	cancels_tell(handoff);
	return !is_empty(&handoff->back) || handoff->given_up.first ||
	       atomic_load_explicit(&handoff->changes, memory_order_relaxed) != handoff->changes_seen;
}

/* ---- life ---- */

void block_handoff_bind(struct block_handoff *handoff, struct dpu_block_device *below)
{
	handoff->below = below;
	handoff->device = *below;
	handoff->device.ops = &handoff_ops;
	handoff->device.changed = NULL;
	below_measure(handoff);
	below->changed_ctx = handoff;
	below->changed = below_changed;
}

struct dpu_block_device *block_handoff_device(struct block_handoff *handoff)
{
	return &handoff->device;
}

static void there_removed(void *arg)
{
	struct block_handoff *handoff = arg;
	void (*done)(void *arg) = handoff->done;
	void *done_arg = handoff->arg;

	free(handoff);
	if (done)
		done(done_arg);
}

static void here_removed(void *arg)
{
	struct block_handoff *handoff = arg;

	worker_remove_source(handoff->there.worker, &handoff->there.source, there_removed, handoff);
}

void block_handoff_free(struct block_handoff *handoff, void (*done)(void *arg), void *arg)
{
	handoff->done = done;
	handoff->arg = arg;
	worker_remove_source(handoff->here.worker, &handoff->here.source, here_removed, handoff);
}

int block_handoff_new(struct worker *there, struct worker *here, struct block_handoff **ret)
{
	struct block_handoff *handoff = aligned_alloc(64, (sizeof(*handoff) + 63) / 64 * 64);

	if (!handoff)
		return -ENOMEM;
	*handoff = (struct block_handoff){ .free_count = BLOCK_HANDOFF_DEPTH };
	block_queue_init(&handoff->waiting);
	block_queue_init(&handoff->given_up);
	for (unsigned i = 0; i < BLOCK_HANDOFF_DEPTH; i++) {
		handoff->free[i] = (uint16_t)i;
		handoff->slots[i].handoff = handoff;
	}
	handoff->here.source =
		(struct worker_source){ .poll = here_poll, .arm = here_arm, .fd = -1, .name = "block-handoff" };
	handoff->there.source =
		(struct worker_source){ .poll = there_poll, .arm = there_arm, .fd = -1, .name = "block-handoff" };
	handoff->here.handoff = handoff->there.handoff = handoff;
	handoff->here.worker = here;
	handoff->there.worker = there;
	if (worker_add_source(there, &handoff->there.source) < 0) {
		free(handoff);
		return -ENOMEM;
	}
	if (worker_add_source(here, &handoff->here.source) < 0) {
		worker_remove_source(there, &handoff->there.source, there_removed, handoff);
		return -ENOMEM;
	}
	*ret = handoff;
	return 0;
}
