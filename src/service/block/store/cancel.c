// SPDX-License-Identifier: BSD-3-Clause
/* Requests that nobody waits for any more. What of them waits here ends; what a medium has is cancelled there, and ends
 * when the medium has let go of it. What the store needs for itself goes on: pages, the log, a flush that has begun. */
#include "service/block/store/store_priv.h"

static struct request_state *state_of(const struct dpu_block_request *request)
{
	return (struct request_state *)request->scratch;
}

static void queue_sweep(struct block_queue *queue, struct block_queue *gone)
{
	struct dpu_block_request *request = queue->first, *next;

	block_queue_init(queue);
	for (; request; request = next) {
		next = request->next;
		block_queue_add(state_of(request)->cancelled ? gone : queue, request);
	}
}

static bool is_cancelled(const struct store_io *io)
{
	return io->request && state_of(io->request)->cancelled;
}

static void pieces_sweep(struct store_io **first, struct store_io ***tail, struct store_io **gone)
{
	struct store_io *io = *first, *next;

	*first = NULL;
	*tail = first;
	for (; io; io = next) {
		next = io->next;
		io->next = NULL;
		if (is_cancelled(io)) {
			io->next = *gone;
			*gone = io;
		} else {
			**tail = io;
			*tail = &io->next;
		}
	}
}

static void media_tell(struct store *store)
{
	for (unsigned i = 0; i < STORE_IOS; i++) {
		struct store_io *io = &store->io[i];
		uint64_t offset;

		if (!io->medium_done || io->cancelled || !is_cancelled(io))
			continue;
		io->cancelled = true;
		struct dpu_block_device *device = medium_of_place(store, (uint64_t)io->place, &offset)->device;
		if (device->ops->cancel)
			device->ops->cancel(device, &io->medium);
	}
}

/* It has one piece, or waits for a flush as if it were one. */
static void end(struct dpu_block_request *request)
{
	struct request_state *state = state_of(request);

	state->pieces = 1;
	state->status = DPU_BLOCK_GONE;
	request_piece_done(request, DPU_BLOCK_GONE);
}

/* Nobody is told of an end before all have been looked at: who is told may submit, and cancel. */
unsigned cancels_go(struct store *store)
{
	struct block_queue requests;
	struct dpu_block_request *request;
	struct store_io *pieces = NULL, *io;
	unsigned count = 0;

	if (!store->cancels)
		return 0;
	store->cancels = false;
	block_queue_init(&requests);
	queue_sweep(&store->incoming, &requests);
	queue_sweep(&store->flush.next, &requests);
	queue_sweep(&store->flush.now, &requests);
	pieces_sweep(&store->ready_io, &store->ready_tail, &pieces);
	pieces_sweep(&store->waiting_io, &store->waiting_tail, &pieces);
	media_tell(store);
	for (; (request = block_queue_take(&requests)) != NULL; count++)
		end(request);
	for (; (io = pieces) != NULL; count++) {
		pieces = io->next;
		io_finish(io, DPU_BLOCK_GONE);
	}
	return count;
}
