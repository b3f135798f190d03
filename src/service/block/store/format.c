// SPDX-License-Identifier: BSD-3-Clause
/* A new pool and its end; and what each way of opening has in common. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>

static void raw_done(struct dpu_block_request *request)
{
	struct raw_io *io = (struct raw_io *)request;

	medium_answered(io->store);
	io->busy = false;
	io->failed = request->status != DPU_BLOCK_OK;
}

void raw_start(struct raw_io *io, struct medium *medium, enum dpu_block_op op, uint64_t block, void *data, size_t bytes)
{
	io->store = medium->store;
	io->on = medium;
	io->busy = true;
	io->failed = false;
	io->iov = (struct iovec){ data, bytes };
	io->medium = (struct dpu_block_request){
		.op = (uint8_t)op,
		.segments = 1,
		.offset = block * STORE_BLOCK,
		.length = bytes,
		.iov = &io->iov,
		.done = raw_done,
	};
	medium_ask(medium->store, medium, &io->medium);
}

/* All that the media have is there. */
void store_extend(struct store *store)
{
	const struct medium *last = &store->medium[store->media - 1];

	store->pages = last->super.first_page + last->super.pages;
	store->places = last->super.first_place + last->super.places;
}

int pool_set_up(struct store *store)
{
	store_extend(store);
	store->slots = store->medium[0].super.directory_pages * DIRECTORY_ENTRIES;
	store->volume = calloc(store->slots, sizeof(*store->volume));
	int rc = store->volume ? pages_init(store) : -ENOMEM;
	for (unsigned i = 0; rc == 0 && i < store->media; i++) {
		rc = pages_add(store, &store->medium[i]);
		if (rc == 0)
			rc = space_add_medium(store, &store->medium[i]);
	}
	if (rc == 0)
		space_extend(store);
	if (rc == 0)
		rc = checkpoint_memory(store);
	return rc == 0 ? log_init(store) : rc;
}

/* The pages that stay in memory. */
int residents_get(struct store *store)
{
	uint64_t index;
	struct frame *frame;
	int result = 0;

	for (uint32_t page = store->residents_at; page < store->pages; page++) {
		if (!store->fixed[page])
			continue;
		enum page_kind kind = page_kind_of(store, page, &index);
		if (page_get(store, page, kind, 0, index, &frame) != -EAGAIN)
			continue;
		if (result == 0)
			store->residents_at = page; /* those before are there */
		result = -EAGAIN;
		if (!store->free_page_io)
			break;
	}
	if (result == 0)
		store->residents_at = store->pages;
	return result;
}

int residents_load(struct store *store)
{
	int rc = residents_get(store);

	if (rc < 0)
		return rc;
	space_count(store);
	pageref_count(store);
	return 0;
}

int directory_load(struct store *store)
{
	for (uint32_t slot = 0; slot < store->slots; slot++) {
		struct frame *frame = entry_frame(store, slot);
		struct volume_entry *entry = entry_at(store, slot);
		if (frame->state == FRAME_BAD || entry->id == 0)
			continue;
		if (!entry_check(store, entry)) {
			struct medium *medium = &store->medium[0];
			store_report_damage(store, STORE_DAMAGE_DIRECTORY, entry->id, 0, medium->device->name,
					    page_offset(medium, frame->page, map_get(store->map, frame->page)),
					    "the directory contradicts itself");
			frame->state = FRAME_BAD;
			continue;
		}
		if (entry->id >= store->next_volume)
			store->next_volume = entry->id + 1;
	}
	for (uint32_t slot = 0; slot < store->slots; slot++)
		if (entry_frame(store, slot)->state != FRAME_BAD && entry_at(store, slot)->id &&
		    volume_attach(store, slot) < 0)
			return -ENOMEM;
	return 0;
}

/* From now on there may be more pages in memory than an operation needs, but no more than the cache is to have. */
void pool_ready(struct store *store)
{
	tail_reset(store);
	store->frame_limit = store->cache_pages;
	store->ready = true;
	store->trims = 1;
	store->wake = true;
}

/* A power of two that is enough, for people who were refused. */
static uint64_t enough_bytes(const struct store_super *refused, const struct store_command *command, unsigned index)
{
	struct store_super super = *refused;
	uint64_t blocks = 256;

	for (; blocks < UINT64_C(1) << 40; blocks *= 2) {
		super.blocks = blocks;
		if ((index == 0 ? super_choose(&super, blocks, command) : geometry_fill(&super)) == 0)
			break;
	}
	return blocks * STORE_BLOCK;
}

/* The medium's superblock: the first one of a pool, or a further one. */
int super_make(struct store *store, struct store_command *command, unsigned index)
{
	struct medium *medium = &store->medium[index];
	struct store_super *super = &medium->super;
	uint64_t blocks = medium->device->bytes / STORE_BLOCK;
	int rc;

	if (index == 0) {
		rc = super_choose(super, blocks, command);
		uuid_new(super->pool);
	} else {
		const struct store_super *before = &store->medium[index - 1].super;
		*super = (struct store_super){
			.magic = STORE_SUPER_MAGIC,
			.version = STORE_VERSION,
			.medium = index,
			.blocks = blocks,
			.first_page = before->first_page + before->pages,
			.first_place = before->first_place + before->places,
		};
		memcpy(super->pool, before->pool, sizeof(super->pool));
		memcpy(super->owner, before->owner, sizeof(super->owner));
		rc = geometry_fill(super);
	}
	uuid_new(super->uuid);
	super->opening = super->confirmed = store->session;
	if (rc < 0)
		return command_error(command, DPU_E_LIMIT,
				     "medium '%s' of %llu bytes is too small: a pool of this form needs up to %llu",
				     medium->device->name, (unsigned long long)medium->device->bytes,
				     (unsigned long long)enough_bytes(super, command, index));
	uint64_t most = (store->medium[0].super.root_blocks - 1) * STORE_BLOCK * 4;
	if (super->first_page + (uint64_t)super->pages > most)
		return command_error(command, DPU_E_LIMIT,
				     "the pool cannot grow so large: it was made with a smaller max_bytes");
	return 0;
}

/* ---- format ---- */

static int format_end(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc == 0)
		pool_ready(store);
	return rc;
}

static int format_memory(struct store *store, struct store_command *command)
{
	int rc = residents_load(store);

	return rc < 0 ? rc : command_checkpoint(store, command, format_end);
}

static int format_set_up(struct store *store, struct store_command *command)
{
	int rc = pool_set_up(store);

	if (rc < 0)
		return command_error(command, DPU_E_IO, "the pool cannot be set up: %s", strerror(-rc));
	memcpy(store->root.pool, store->medium[0].super.pool, sizeof(store->root.pool));
	store->marked = true;
	store->next_volume = 1;
	log_start(store, 1, 0);
	return command_then(command, format_memory);
}

static int format_supers(struct store *store, struct store_command *command)
{
	int rc = supers_wait(store);

	if (rc == -EIO)
		command_error(command, DPU_E_IO, "a superblock of '%s' cannot be written",
			      supers_failed(store)->on->device->name);
	if (rc < 0)
		return rc;
	supers_free(store);
	return command_then(command, format_set_up);
}

int format_step(struct store *store, struct store_command *command)
{
	store->started = true;
	store->session = 1;
	for (unsigned i = 0; i < store->media; i++) {
		int rc = super_make(store, command, i);
		if (rc < 0)
			return rc;
	}
	int rc = supers_new(store, 0, store->media);
	if (rc < 0)
		return rc;
	supers_write(store);
	supers_write(store);
	return command_then(command, format_supers);
}

/* ---- close ---- */

static int close_end(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc == -EAGAIN)
		return rc;
	store->closing = false;
	store->ready = rc < 0;
	return rc;
}

/* Behind all that came before it: what that has begun must not outlive it. */
int close_step(struct store *store, struct store_command *command)
{
	store->closing = true;
	if (store->commands != command)
		return -EAGAIN;
	for (uint32_t slot = 0; slot < store->slots; slot++)
		if (store->volume[slot] && store->volume[slot]->active)
			return -EAGAIN;
	return command_checkpoint(store, command, close_end);
}
