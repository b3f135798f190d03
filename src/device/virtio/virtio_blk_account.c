// SPDX-License-Identifier: BSD-3-Clause
/* Who pays for what requests need beside their slots, and who waits for it. */
#include "device/virtio/virtio_blk_priv.h"

void virtio_blk_account_init(struct virtio_blk_account *account, uint64_t limit)
{
	*account = (struct virtio_blk_account){ .limit = limit };
	TAILQ_INIT(&account->waiting);
}

static uint64_t load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static void store(_Atomic uint64_t *value, uint64_t n)
{
	atomic_store_explicit(value, n, memory_order_relaxed);
}

/* own: what of it is the same request's. */
static bool has_room(const struct virtio_blk_account *account, uint64_t own, uint64_t bytes)
{
	uint64_t used = load(&account->used);

	return used == own || used + bytes <= account->limit;
}

bool virtio_blk_may_go_on(const struct virtio_blk *blk)
{
	return TAILQ_FIRST(&blk->account->waiting) == blk && has_room(blk->account, 0, blk->lacks);
}

static void next_wake(const struct virtio_blk_account *account)
{
	const struct virtio_blk *blk = TAILQ_FIRST(&account->waiting);

	if (blk && has_room(account, 0, blk->lacks))
		blk->ready(blk->ctx);
}

void virtio_blk_wait_end(struct virtio_blk *blk)
{
	if (!blk->lacks)
		return;
	blk->lacks = 0;
	TAILQ_REMOVE(&blk->account->waiting, blk, waiting);
	next_wake(blk->account);
}

static void wait_begin(struct virtio_blk *blk, uint32_t bytes)
{
	struct virtio_blk_account *account = blk->account;

	if (!blk->lacks) {
		TAILQ_INSERT_TAIL(&account->waiting, blk, waiting);
		store(&account->waits, load(&account->waits) + 1);
	}
	blk->lacks = bytes;
}

bool virtio_blk_charge(struct virtio_blk_slot *slot, uint32_t bytes)
{
	struct virtio_blk *blk = slot->blk;
	struct virtio_blk_account *account = blk->account;

	if (!account)
		return true;
	const struct virtio_blk *first = TAILQ_FIRST(&account->waiting);
	/* Newcomers pass nobody; who was let in with one half gets the other. */
	if ((first && first != blk && slot->charged == 0) || !has_room(account, slot->charged, bytes)) {
		wait_begin(blk, slot->charged + bytes);
		return false;
	}
	uint64_t used = load(&account->used) + bytes;
	slot->charged += bytes;
	store(&account->used, used);
	if (used > load(&account->most))
		store(&account->most, used);
	virtio_blk_wait_end(blk);
	return true;
}

void virtio_blk_credit(struct virtio_blk_slot *slot)
{
	struct virtio_blk_account *account = slot->blk->account;

	if (slot->charged == 0)
		return;
	store(&account->used, load(&account->used) - slot->charged);
	slot->charged = 0;
	next_wake(account);
}
