// SPDX-License-Identifier: BSD-3-Clause
/* Durability: seal the log, write it, flush the media; for all who came before it began. One at a time. */
#include "service/block/store/store_priv.h"

void flush_wait(struct store *store, struct waiter *waiter, bool force)
{
	if (waiter) {
		waiter->next = store->flush.next_waiters;
		store->flush.next_waiters = waiter;
	}
	store->flush.forced |= force;
	store->flush.asked = true;
	store->wake = true;
}

void flush_request(struct store *store, struct dpu_block_request *request)
{
	block_queue_add(&store->flush.next, request);
	store->flush.asked = true;
}

static void complete(struct store *store, struct block_queue *queue, struct waiter *waiters, int rc)
{
	struct dpu_block_request *request;

	while ((request = block_queue_take(queue)) != NULL) {
		struct request_state *state = (struct request_state *)request->scratch;
		if (rc < 0 && state->status == DPU_BLOCK_OK)
			state->status = DPU_BLOCK_IO_ERROR;
		request_piece_done(request, DPU_BLOCK_OK);
	}
	while (waiters) {
		struct waiter *next = waiters->next;
		waiters->done(waiters, rc);
		waiters = next;
	}
	store->wake = true;
	store->again = true; /* what came meanwhile waits for its own flush */
}

static void finish(struct store *store)
{
	struct flush *flush = &store->flush;
	struct block_queue now = flush->now;
	struct waiter *waiters = flush->now_waiters;
	int rc = store->failed ? -EIO : flush->rc;

	if (!now.first)
		now.tail = &now.first;
	flush->running = flush->at_media = false;
	flush->now_waiters = NULL;
	block_queue_init(&flush->now);
	if (rc == 0) {
		if (flush->target > store->log.durable)
			store->log.durable = flush->target;
		epoch_durable(store, flush->closing);
	}
	complete(store, &now, waiters, rc);
}

static void medium_flushed(struct dpu_block_request *request)
{
	struct medium *medium = (struct medium *)((uint8_t *)request - offsetof(struct medium, flush));
	struct store *store = medium->store;

	medium_answered(store);
	if (request->status != DPU_BLOCK_OK) {
		store->flush.rc = -EIO;
		store_fail(store, medium, 0, "the medium cannot be flushed");
	}
	if (--store->flush.media == 0)
		finish(store);
}

static void flush_media(struct store *store)
{
	struct flush *flush = &store->flush;

	flush->at_media = true;
	flush->media = 1; /* until all are submitted */
	store->stats.flushes++;
	for (unsigned i = 0; i < store->media; i++) {
		struct medium *medium = &store->medium[i];
		if (!(medium->device->features & DPU_BLOCK_F_FLUSH))
			continue;
		flush->media++;
		medium->flush = (struct dpu_block_request){ .op = DPU_BLOCK_FLUSH, .done = medium_flushed };
		medium_ask(store, medium, &medium->flush);
	}
	if (--flush->media == 0)
		finish(store);
}

static void start(struct store *store)
{
	struct flush *flush = &store->flush;

	log_seal(store);
	flush->now = flush->next;
	if (!flush->now.first)
		flush->now.tail = &flush->now.first;
	block_queue_init(&flush->next);
	flush->now_waiters = flush->next_waiters;
	flush->next_waiters = NULL;
	flush->asked = false;
	flush->running = true;
	flush->rc = 0;
	flush->target = store->log.sequence - 1;
	flush->closing = epoch_close(store);
	/* Nothing was acknowledged since the last one: there is nothing to make durable. */
	flush->skip = !flush->forced && flush->target == store->log.durable;
	flush->forced = false;
}

void flush_go(struct store *store)
{
	struct flush *flush = &store->flush;

	if (!flush->running && flush->asked)
		start(store);
	if (!flush->running || flush->at_media)
		return;
	if (flush->skip || store->failed)
		finish(store);
	else if (store->log.written >= flush->target)
		flush_media(store);
}
