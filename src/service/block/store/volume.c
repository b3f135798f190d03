// SPDX-License-Identifier: BSD-3-Clause
/* Volumes and snapshots as block devices. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

static void volume_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct store_volume *volume = (struct store_volume *)device;
	struct request_state *state = (struct request_state *)request->scratch;

	state->volume = volume;
	state->cancelled = false;
	volume->active++;
	__builtin_prefetch(leaf_way(volume, request->offset / STORE_BLOCK));
	block_queue_add(&volume->store->incoming, request);
}

/* Looked for by the next poll, and for all of them in one go: who breaks off has many. */
static void volume_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	((struct request_state *)request->scratch)->cancelled = true;
	((struct store_volume *)device)->store->cancels = true;
}

static unsigned volume_poll(struct dpu_block_device *device)
{
	return store_poll(((struct store_volume *)device)->store);
}

static void volume_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct store_volume *volume = (struct store_volume *)device;

	volume->close_done = done;
	volume->close_arg = arg;
	volume->store->trims = 1; /* looks at it */
}

static const struct dpu_block_ops volume_ops = {
	.submit = volume_submit,
	.poll = volume_poll,
	.close = volume_close,
	.cancel = volume_cancel,
};

void volume_resized(struct store_volume *volume)
{
	volume->device.bytes = volume->entry->bytes;
	leaf_cache_resize(volume);
	volume->trim = 0;
	volume->store->trims = 1;
	if (volume->device.changed)
		volume->device.changed(volume->device.changed_ctx);
}

void volume_gone(struct store_volume *volume)
{
	if (volume->gone)
		return;
	volume->gone = true;
	if (volume->device.changed)
		volume->device.changed(volume->device.changed_ctx);
}

void volume_quarantine(struct store_volume *volume, unsigned flags)
{
	struct store *store = volume->store;

	flags |= ENTRY_QUARANTINED;
	if ((volume->entry->flags & flags) == flags)
		return;
	page_dirty(store, entry_frame(store, volume->slot));
	bool before = volume->entry->flags & ENTRY_QUARANTINED;
	volume->entry->flags |= (uint8_t)flags;
	if (before)
		return;
	store_report_damage(store, STORE_DAMAGE_VOLUME, volume->entry->id, 0, store->name, 0,
			    "the volume is quarantined");
	volume_gone(volume);
}

void volume_release(struct store_volume *volume)
{
	struct volume_entry *entry = volume->entry;

	page_dirty(volume->store, entry_frame(volume->store, volume->slot));
	entry->flags &= (uint8_t) ~(ENTRY_QUARANTINED | ENTRY_BEHIND);
	volume->gone = entry->flags & ENTRY_DELETING;
	volume->store->trims = 1;
	if (!volume->gone && volume->device.changed)
		volume->device.changed(volume->device.changed_ctx);
}

static uint32_t alignment(struct store *store)
{
	uint32_t most = 1;

	for (unsigned i = 0; i < store->media; i++)
		if (store->medium[i].device->alignment > most)
			most = store->medium[i].device->alignment;
	return most;
}

void volumes_align(struct store *store)
{
	uint32_t most = alignment(store);

	for (uint32_t slot = 0; slot < store->slots; slot++) {
		struct store_volume *volume = store->volume[slot];
		if (!volume || volume->device.alignment == most)
			continue;
		volume->device.alignment = most;
		if (volume->device.changed)
			volume->device.changed(volume->device.changed_ctx);
	}
}

void volume_free(struct store_volume *volume)
{
	if (volume)
		free(volume->ways);
	free(volume);
}

int volume_attach(struct store *store, uint32_t slot)
{
	struct volume_entry *entry = entry_at(store, slot);
	struct store_volume *volume = calloc(1, sizeof(*volume));

	if (!volume)
		return -ENOMEM;
	volume->store = store;
	volume->slot = slot;
	volume->entry = entry;
	leaf_cache_resize(volume);
	if (!volume->ways) {
		free(volume);
		return -ENOMEM;
	}
	volume->gone = entry->flags & (ENTRY_QUARANTINED | ENTRY_DELETING);
	volume->device = (struct dpu_block_device){
		.ops = &volume_ops,
		.name = entry->name,
		.bytes = entry->bytes,
		.sector = DPU_BLOCK_SECTOR,
		.features = DPU_BLOCK_F_FLUSH | DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD | DPU_BLOCK_F_CRC |
			    (entry->flags & ENTRY_SNAPSHOT ? DPU_BLOCK_F_READ_ONLY : 0),
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = alignment(store),
	};
	store->volume[slot] = volume;
	store->trims = 1;
	return 0;
}

void volume_detach(struct store *store, uint32_t slot)
{
	struct store_volume *volume = store->volume[slot];

	store->volume[slot] = NULL;
	if (!volume)
		return;
	if (volume->close_done)
		volume->close_done(volume->close_arg);
	volume_free(volume);
}

static struct store_volume *find(struct store *store, uint64_t id)
{
	for (uint32_t slot = 0; id && slot < store->slots; slot++)
		if (store->volume[slot] && store->volume[slot]->entry->id == id)
			return store->volume[slot];
	return NULL;
}

struct dpu_block_device *store_device(struct store *store, uint64_t id)
{
	struct store_volume *volume = find(store, id);

	return volume && !(volume->entry->flags & ENTRY_DELETING) ? &volume->device : NULL;
}

void store_info(const struct dpu_block_device *device, struct store_volume_info *ret)
{
	const struct store_volume *volume = (const struct store_volume *)device;
	const struct volume_entry *entry = volume->entry;

	*ret = (struct store_volume_info){
		.id = entry->id,
		.origin = entry->origin,
		.bytes = entry->bytes,
		.allocated_bytes = entry->blocks * STORE_BLOCK,
		.created_s = entry->created_s,
		.name = entry->name,
		.snapshot = entry->flags & ENTRY_SNAPSHOT,
		.deleting = entry->flags & ENTRY_DELETING,
		.quarantined = entry->flags & ENTRY_QUARANTINED,
		.reads = volume->reads,
		.writes = volume->writes,
		.integrity_errors = volume->integrity_errors,
		.second_reads = volume->second_reads,
		.exclusive_bytes = volume->exclusive_bytes,
		.shared_bytes = volume->shared_bytes,
		.measured_s = volume->measured_s,
	};
}

bool store_iterate(struct store *store, uint32_t *cursor, struct store_volume_info *ret)
{
	while (*cursor < store->slots) {
		const struct store_volume *volume = store->volume[(*cursor)++];
		if (!volume)
			continue;
		store_info(&volume->device, ret);
		return true;
	}
	return false;
}

bool store_next(struct store *store, uint64_t after, struct store_volume_info *ret)
{
	const struct store_volume *next = NULL;

	for (uint32_t slot = 0; slot < store->slots; slot++) {
		const struct store_volume *volume = store->volume[slot];
		if (volume && volume->entry->id > after && (!next || volume->entry->id < next->entry->id))
			next = volume;
	}
	if (next)
		store_info(&next->device, ret);
	return next;
}
