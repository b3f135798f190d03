// SPDX-License-Identifier: BSD-3-Clause
/* A store as a whole: made, polled, freed. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include "base/stage.h"

enum { MEDIUM_ROUNDS = 4 };

static int check_media(const struct store_options *options, struct dpu_block_device *const *media, unsigned count,
		       struct dpu_error *error)
{
	if (count == 0 || count > STORE_MAX_MEDIA)
		return error_set(error, DPU_E_INVALID, options->name, "a pool has 1 to %d media", STORE_MAX_MEDIA);
	for (unsigned i = 0; i < count; i++) {
		if (media[i]->features & DPU_BLOCK_F_READ_ONLY)
			return error_set(error, DPU_E_INVALID, media[i]->name, "the medium is read-only");
		if (media[i]->max_bytes < 1 << 20)
			return error_set(error, DPU_E_UNSUPPORTED, media[i]->name,
					 "the medium takes requests of at most %u bytes; a pool needs 1 MiB",
					 media[i]->max_bytes);
		for (unsigned j = 0; j < i; j++)
			if (media[i] == media[j])
				return error_set(error, DPU_E_INVALID, media[i]->name, "a medium is in the pool twice");
	}
	return 0;
}

int store_new(const struct store_options *options, struct dpu_block_device *const *media, unsigned count,
	      struct store **ret, struct dpu_error *error)
{
	int rc = check_media(options, media, count, error);

	if (rc < 0)
		return rc;
	struct store *store = calloc(1, sizeof(*store));
	if (!store)
		return -ENOMEM;
	store->name = strdup(options->name ? options->name : "pool");
	store->tail_path = options->tail_path ? strdup(options->tail_path) : NULL;
	store->cache_pages = options->cache_pages;
	store->report = options->report;
	store->ctx = options->ctx;
	store->media = count;
	store->commands_tail = &store->commands;
	store->due_ns = UINT64_MAX;
	store->log.fd = -1;
	block_queue_init(&store->flush.next);
	block_queue_init(&store->flush.now);
	for (unsigned i = 0; i < count; i++) {
		store->medium[i].device = media[i];
		store->medium[i].store = store;
	}
	if (!store->name || (options->tail_path && !store->tail_path) || ios_init(store) < 0) {
		store_free(store);
		return -ENOMEM;
	}
	*ret = store;
	return 0;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	for (uint32_t slot = 0; slot < store->slots; slot++)
		volume_free(store->volume[slot]);
	free(store->volume);
	supers_free(store);
	repair_free(store);
	scrubs_free(store);
	recovery_free(store);
	checkpoint_fini(store);
	log_fini(store);
	space_fini(store);
	pages_fini(store);
	ios_fini(store);
	free(store->name);
	free(store->tail_path);
	free(store);
}

static unsigned poll_media(struct store *store)
{
	unsigned work = 0;

	/* Also one that is being added. */
	for (unsigned i = 0; i < STORE_MAX_MEDIA && store->medium[i].device; i++) {
		struct dpu_block_device *device = store->medium[i].device;
		if (device->ops->poll)
			work += device->ops->poll(device);
	}
	return work;
}

unsigned store_poll(struct store *store)
{
	enum cycle_stage before = stage_enter(STAGE_DEVICE);
	unsigned work = poll_media(store);

	stage_enter(before);
	if (store->ending)
		return work;
	store->again = false;
	store->due_ns = UINT64_MAX;
	work += commands_go(store);
	if (store->ready && store->trims && !store->held)
		work += volume_trim(store);
	work += cancels_go(store);
	work += ios_go(store);
	if (store->log.tail) {
		flush_go(store);
		work += checkpoint_go(store);
	}
	/* Who sleeps when nothing was done must not sleep now. */
	return work + (store->again || (store->wake && (store->waiting_io || store->commands)));
}

bool store_drained(struct store *store)
{
	store->ending = true;
	return store->at_media == 0;
}

uint64_t store_due_ns(const struct store *store)
{
	return store->ending ? UINT64_MAX : store->due_ns;
}

void store_report_damage(struct store *store, enum store_damage damage, uint64_t volume, uint64_t block,
			 const char *medium, uint64_t offset, const char *why)
{
	struct store_report report = {
		.damage = damage,
		.volume = volume,
		.block = block,
		.medium = medium,
		.offset = offset,
		.why = why,
	};

	if (store->report)
		store->report(store->ctx, &report);
}

/* What could not be written may be needed by what comes after it, so nothing does. */
void store_fail(struct store *store, const struct medium *medium, uint64_t offset, const char *why)
{
	store->stats.medium_errors++;
	if (store->failed)
		return;
	store->failed = true;
	store->failure = (struct failure){ medium->device->name, offset, why };
	store->wake = true;
	store_report_damage(store, STORE_DAMAGE_MEDIUM, 0, 0, medium->device->name, offset, why);
}

bool store_has(const struct store *store, const struct dpu_block_device *medium)
{
	for (unsigned i = 0; i < store->media; i++)
		if (store->medium[i].device == medium)
			return true;
	return false;
}

void store_stats(const struct store *store, struct store_stats *ret)
{
	*ret = store->stats;
	ret->blocks = store->places;
	ret->free_blocks = store->space.free;
	ret->pages = store->pages;
	ret->free_pages = store->page_space.free;
	ret->log_bytes = store->medium[0].super.log_blocks * STORE_BLOCK;
	ret->log_used_bytes = ret->log_bytes ? log_used(store) * STORE_BLOCK : 0;
	ret->generation = store->root.generation;
	ret->cached_pages = store->held_frames;
	ret->dirty_pages = store->dirty_frames;
	ret->max_volumes = store->ready ? store->slots : 0;
	ret->full = store->space.free == 0 || store->page_space.free <= DISCARD_PAGES;
	ret->failed = store->failed;
}
