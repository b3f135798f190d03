// SPDX-License-Identifier: BSD-3-Clause
/* What each volume and snapshot has alone, so that deleting it would give it back: the steps of a deletion, without
 * doing them. Requests and commands go on meanwhile; each volume is as it was when its part was looked at. */
#include "service/block/store/store_priv.h"

#include <time.h>

enum { STEPS_PER_POLL = 16 };

struct measure {
	uint32_t slot;
	uint32_t medium_errors; /* of the store, when it began */
	uint64_t id;            /* of the volume; 0: none is begun */
	uint64_t block, own;
};
static_assert(sizeof(struct measure) <= sizeof(((struct store_command *)0)->scratch), "scratch");

static bool measurable(const struct store_volume *volume)
{
	return volume && !(volume->entry->flags & (ENTRY_DELETING | ENTRY_QUARANTINED));
}

/* One leaf, hole, or subtree that is shared. */
static int one_step(struct store *store, struct store_command *command, struct store_volume *volume)
{
	struct measure *measure = (struct measure *)command->scratch;
	const struct volume_entry *entry = volume->entry;
	struct own_step step;

	pages_begin(store);
	int rc = tree_count_own(store, entry, measure->block, &step);
	if ((uint32_t)store->stats.medium_errors != measure->medium_errors) /* what cannot be read now may be whole */
		return command_error(command, DPU_E_IO, "a medium fails: measured as far as volume '%s'", entry->name);
	if (rc == -EBADMSG)
		volume_quarantine(volume, 0);
	if (rc < 0)
		return rc;
	measure->block = step.next;
	measure->own += step.own;
	command->progress += step.blocks * STORE_BLOCK;
	if (command->progress > command->total) /* volumes that were made or written meanwhile */
		command->total = command->progress;
	if (step.next < tree_capacity(entry->height))
		return 0;
	if (measure->own > entry->blocks) /* some were discarded after they had been counted */
		measure->own = entry->blocks;
	volume->exclusive_bytes = measure->own * STORE_BLOCK;
	volume->shared_bytes = (entry->blocks - measure->own) * STORE_BLOCK;
	volume->measured_s = (uint64_t)time(NULL);
	measure->id = 0;
	measure->slot++;
	return 0;
}

static int measure_go(struct store *store, struct store_command *command)
{
	struct measure *measure = (struct measure *)command->scratch;

	if (command_is_cut_short(store, command))
		return command_cut_short(store, command);
	if (store->held)
		return -EAGAIN;
	for (unsigned i = 0; i < STEPS_PER_POLL; i++) {
		while (measure->slot < store->slots && !measurable(store->volume[measure->slot]))
			measure->slot++;
		if (measure->slot >= store->slots) {
			command->total = command->progress;
			return 0;
		}
		struct store_volume *volume = store->volume[measure->slot];
		if (measure->id != volume->entry->id) {
			measure->id = volume->entry->id;
			measure->block = measure->own = 0;
		}
		int rc = one_step(store, command, volume);
		if (rc == -EAGAIN || command->error.code != DPU_OK)
			return rc;
	}
	store->again = true;
	return -EAGAIN;
}

int measure_step(struct store *store, struct store_command *command)
{
	((struct measure *)command->scratch)->medium_errors = (uint32_t)store->stats.medium_errors;
	for (uint32_t slot = 0; slot < store->slots; slot++)
		if (measurable(store->volume[slot]))
			command->total += store->volume[slot]->entry->blocks * STORE_BLOCK;
	return command_then(command, measure_go);
}
