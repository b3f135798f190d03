// SPDX-License-Identifier: BSD-3-Clause
/* Superblocks, read and written: two of each medium, of all media at once, and which of the two counts. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

struct supers {
	struct medium *first;
	unsigned media;
	uint8_t *blocks;    /* SUPERS for each medium */
	struct raw_io io[]; /* … */
};

int supers_new(struct store *store, unsigned first, unsigned media)
{
	struct supers *supers = calloc(1, sizeof(*supers) + media * SUPERS * sizeof(supers->io[0]));

	if (!supers)
		return -ENOMEM;
	supers->first = &store->medium[first];
	supers->media = media;
	supers->blocks = aligned_alloc(STORE_BLOCK, (size_t)media * SUPERS * STORE_BLOCK);
	store->supers = supers;
	return supers->blocks ? 0 : -ENOMEM; /* store_free() */
}

void supers_free(struct store *store)
{
	if (store->supers)
		free(store->supers->blocks);
	free(store->supers);
	store->supers = NULL;
}

static unsigned number_of(const struct store *store, const struct medium *medium, unsigned which)
{
	return (unsigned)(medium - store->supers->first) * SUPERS + which;
}

static uint8_t *block_of(const struct store *store, const struct medium *medium, unsigned which)
{
	return store->supers->blocks + (size_t)number_of(store, medium, which) * STORE_BLOCK;
}

const uint8_t *super_block(const struct store *store, const struct medium *medium, unsigned which)
{
	return block_of(store, medium, which);
}

static void start(struct store *store, struct medium *medium, enum dpu_block_op op, unsigned which, uint64_t block)
{
	raw_start(&store->supers->io[number_of(store, medium, which)], medium, op, block,
		  block_of(store, medium, which), STORE_BLOCK);
}

void supers_read(struct store *store)
{
	for (unsigned i = 0; i < store->supers->media; i++) {
		struct medium *medium = &store->supers->first[i];
		start(store, medium, DPU_BLOCK_READ, 0, 0);
		start(store, medium, DPU_BLOCK_READ, 1, medium->device->bytes / STORE_BLOCK - 1);
	}
}

/* The first one is believed even if it is torn: what it says of the length is the same before and after. */
void supers_read_moved(struct store *store)
{
	struct store_super super;

	for (unsigned i = 0; i < store->supers->media; i++) {
		struct medium *medium = &store->supers->first[i];
		memcpy(&super, block_of(store, medium, 0), sizeof(super));
		if (!store->supers->io[number_of(store, medium, 0)].failed && super.magic == STORE_SUPER_MAGIC &&
		    super.blocks >= 2 && super.blocks < medium->device->bytes / STORE_BLOCK)
			start(store, medium, DPU_BLOCK_READ, 1, super.blocks - 1);
	}
}

void supers_write(struct store *store)
{
	for (unsigned i = 0; i < store->supers->media; i++) {
		struct medium *medium = &store->supers->first[i];
		unsigned which = medium->super_at = (medium->super_at + 1) % SUPERS;
		super_seal(block_of(store, medium, which), &medium->super);
		start(store, medium, DPU_BLOCK_WRITE, which, which ? medium->super.blocks - 1 : 0);
	}
}

int supers_wait(const struct store *store)
{
	const struct supers *supers = store->supers;

	for (unsigned i = 0; i < supers->media * SUPERS; i++)
		if (supers->io[i].busy)
			return -EAGAIN;
	return supers_failed(store) ? -EIO : 0;
}

const struct raw_io *supers_failed(const struct store *store)
{
	const struct supers *supers = store->supers;

	for (unsigned i = 0; i < supers->media * SUPERS; i++)
		if (supers->io[i].failed)
			return &supers->io[i];
	return NULL;
}

/* Of the same medium of the same pool: a later opening wrote it. */
static bool is_newer(const struct store_super *super, const struct store_super *than)
{
	if (memcmp(super->pool, than->pool, sizeof(super->pool)) != 0 ||
	    memcmp(super->uuid, than->uuid, sizeof(super->uuid)) != 0)
		return false;
	return super->opening > than->opening ||
	       (super->opening == than->opening && super->confirmed > than->confirmed);
}

const char *super_take(struct store *store, struct medium *medium)
{
	struct store_super super[SUPERS];
	const char *why[SUPERS];

	for (unsigned i = 0; i < SUPERS; i++) {
		const uint8_t *block = block_of(store, medium, i);
		memcpy(&super[i], block, sizeof(super[i]));
		why[i] = store->supers->io[number_of(store, medium, i)].failed
				 ? "the superblock cannot be read"
				 : super_check(block, &super[i], medium->device->bytes / STORE_BLOCK);
	}
	if (why[0] && why[1])
		return why[0];
	medium->super_at = why[0] || (!why[1] && is_newer(&super[1], &super[0]));
	medium->super = super[medium->super_at];
	return NULL;
}
