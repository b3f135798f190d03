// SPDX-License-Identifier: BSD-3-Clause
/* Discard and write zeroes, and the freeing of what a resize or a deletion cut off: a leaf or a shared subtree at a
 * time, each step with a record of its own. */
#include "service/block/store/store_priv.h"

enum { STEP_BUDGET = 64, TRIM_BUDGET = 16 };

static int one_step(struct store *store, struct store_volume *volume, uint64_t *cursor, uint64_t end)
{
	uint32_t list[RECORD_PAGES];
	struct unmap_step step;
	struct record *record;
	int rc = pages_room(store);

	if (rc < 0)
		return rc;
	pages_begin(store);
	rc = tree_plan_unmap(store, volume->entry, *cursor, end, &step);
	if (rc < 0)
		return rc;
	if (step.record) {
		unsigned bytes = record_bytes(offsetof(struct record, unmap.list) + 4 * step.pages);
		rc = log_room(store, bytes, &record);
		if (rc == 0)
			rc = page_pick(store, step.pages, true, list);
		if (rc < 0)
			return rc;
		record->type = RECORD_UNMAP;
		record->pages = (uint8_t)step.pages;
		record->slot = volume->slot;
		record->bytes = (uint16_t)bytes;
		record->unmap.first = step.first;
		record->unmap.count = step.next - step.first;
		record->unmap.drop = step.drop;
		memcpy(record->unmap.list, list, step.pages * sizeof(*list));
		record_apply(store, record, 0);
		log_add(store, record);
	}
	*cursor = step.next < end ? step.next : end;
	return 0;
}

/* 0: *cursor has come to the end, or the budget is used up. */
int unmap_range(struct store *store, struct store_volume *volume, uint64_t *cursor, uint64_t end, unsigned budget)
{
	while (*cursor < end && budget-- > 0) {
		int rc = one_step(store, volume, cursor, end);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void unmap_whole(struct store_io *io)
{
	uint64_t first = (io->request->offset + io->position) / STORE_BLOCK;
	uint64_t end = (io->request->offset + io->end) / STORE_BLOCK, cursor = first;
	struct store_volume *volume = io_volume(io);
	int rc = volume->gone ? -ESTALE : unmap_range(io->store, volume, &cursor, end, STEP_BUDGET);

	io->position += (cursor - first) * STORE_BLOCK;
	if (rc == -EAGAIN)
		io_wait(io, unmap_whole);
	else if (rc < 0)
		io_error(io, rc);
	else
		io_next(io, unmap_start);
}

void unmap_start(struct store_io *io)
{
	if (io->store->failed)
		io_finish(io, DPU_BLOCK_IO_ERROR);
	else if (io_partial(io))
		write_start(io);
	else
		unmap_whole(io);
}

/* ---- in the background ---- */

static uint64_t blocks_of(const struct volume_entry *entry)
{
	return (entry->bytes + STORE_BLOCK - 1) / STORE_BLOCK;
}

/* It has no blocks behind its end any more: says so, or is no more itself. */
static int trim_end(struct store *store, struct store_volume *volume)
{
	struct volume_entry *entry = volume->entry;
	bool whole = entry->flags & ENTRY_DELETING;
	unsigned bytes = record_bytes(whole ? offsetof(struct record, write) : offsetof(struct record, resize.list));
	struct record *record;
	int rc = pages_room(store);

	if (rc == 0)
		rc = log_room(store, bytes, &record);
	if (rc < 0)
		return rc;
	record->bytes = (uint16_t)bytes;
	record->type = whole ? RECORD_REMOVE : RECORD_RESIZE;
	record->pages = 0;
	record->slot = volume->slot;
	if (!whole) {
		record->resize.bytes = entry->bytes;
		record->resize.mapped = blocks_of(entry);
		record->resize.height = entry->height;
		record->resize.flags = entry->flags;
	}
	pages_begin(store);
	record_apply(store, record, 0);
	log_add(store, record);
	if (whole)
		volume_detach(store, volume->slot);
	return 0;
}

static int trim_one(struct store *store, struct store_volume *volume)
{
	uint64_t capacity = tree_capacity(volume->entry->height);

	if (volume->trim < blocks_of(volume->entry))
		volume->trim = blocks_of(volume->entry);
	int rc = unmap_range(store, volume, &volume->trim, capacity, TRIM_BUDGET);
	if (rc < 0 || volume->trim < capacity)
		return rc;
	return trim_end(store, volume);
}

static bool wants_trim(const struct store_volume *volume)
{
	const struct volume_entry *entry = volume->entry;

	if (entry->flags & ENTRY_QUARANTINED)
		return false;
	return entry->flags & ENTRY_DELETING ? volume->active == 0 : entry->mapped > blocks_of(entry);
}

/* One volume with something to trim, in turns. Behind one whose map is damaged others may be waiting. */
unsigned volume_trim(struct store *store)
{
	for (uint32_t i = 0; i < store->slots && store->trims; i++) {
		uint32_t slot = (store->trim_slot + i) % store->slots;
		struct store_volume *volume = store->volume[slot];
		if (!volume || !wants_trim(volume))
			continue;
		store->trim_slot = slot + 1;
		int rc = trim_one(store, volume);
		if (rc == -EBADMSG)
			volume_quarantine(volume, 0);
		return rc == 0 || rc == -EBADMSG;
	}
	store->trims = 0;
	return 0;
}
