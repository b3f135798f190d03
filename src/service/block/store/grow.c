// SPDX-License-Identifier: BSD-3-Clause
/* A pool gets a further medium. What may be there after a crash at any time:
 *   - superblocks, whole or torn, and no root that names the medium: opening leaves it out, growing starts over;
 *   - a root that names it, and nothing on it: its pages are absent, its blocks free.
 * So nothing of it is handed out before that root is durable, or a record could speak of what the root does not have.
 */
#include "service/block/store/store_priv.h"

static struct medium *newest(struct store *store)
{
	return &store->medium[store->media];
}

static int give_up(struct store *store, int rc)
{
	pages_remove(store, newest(store));
	supers_free(store);
	memset(newest(store), 0, sizeof(*newest(store)));
	store->growing = false;
	return rc;
}

/* What it holds may be replaced: no pool, or what an interrupted growth of this one has left. */
static bool is_blank(const struct store *store)
{
	struct store_super super;

	for (unsigned i = 0; i < SUPERS; i++) {
		memcpy(&super, super_block(store, &store->medium[store->media], i), sizeof(super));
		bool left = memcmp(super.pool, store->medium[0].super.pool, sizeof(super.pool)) == 0 &&
			    super.medium >= 1 && super.medium < STORE_MAX_MEDIA &&
			    memcmp(super.uuid, store->root.medium[super.medium], 16) != 0;
		if (super.magic == STORE_SUPER_MAGIC && !left)
			return false;
	}
	return true;
}

static int grow_end(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc == -EAGAIN)
		return rc;
	store->growing = false;
	if (rc < 0)
		return rc;
	volumes_align(store);
	space_extend(store);
	pageref_count(store);
	store->wake = true;
	return 0;
}

/* All pages that stay are absent: they are there, with their counts, before anybody can ask for them. */
static int grow_publish(struct store *store, struct store_command *command)
{
	int rc = supers_wait(store);

	if (rc == -EIO) {
		command_error(command, DPU_E_IO, "a superblock of '%s' cannot be written", newest(store)->device->name);
		return give_up(store, rc);
	}
	if (rc < 0 || store->checkpoint.state != CHECKPOINT_IDLE || store->flush.running)
		return -EAGAIN;
	supers_free(store);
	store->residents_at = store->pages;
	store->media++;
	store_extend(store);
	rc = residents_get(store);
	assert(rc == 0);
	return command_checkpoint(store, command, grow_end);
}

/* Whatever can be refused is, before anything is written to it. */
static int grow_write(struct store *store, struct store_command *command)
{
	struct medium *medium = newest(store);
	int rc = supers_wait(store);

	if (rc == -EAGAIN)
		return rc;
	if (rc < 0)
		command_error(command, DPU_E_IO, "the superblocks of '%s' cannot be read", medium->device->name);
	else if (!command->force && !is_blank(store))
		rc = command_error(command, DPU_E_EXISTS, "medium '%s' holds another pool", medium->device->name);
	else
		rc = super_make(store, command, store->media);
	if (rc == 0)
		rc = pages_add(store, medium);
	if (rc == -E2BIG)
		command_error(command, DPU_E_LIMIT, "cache_pages is too small for so large a pool");
	if (rc == 0)
		rc = space_add_medium(store, medium);
	if (rc < 0)
		return give_up(store, rc);
	supers_write(store);
	supers_write(store);
	return command_then(command, grow_publish);
}

int grow_step(struct store *store, struct store_command *command)
{
	if (store->failed)
		return command_failed(store, command);
	if (!command->medium || store->media == STORE_MAX_MEDIA)
		return command_error(command, DPU_E_LIMIT, "a pool has at most %d media", STORE_MAX_MEDIA);
	if (command->medium->max_bytes < 1 << 20 || command->medium->features & DPU_BLOCK_F_READ_ONLY)
		return command_error(command, DPU_E_UNSUPPORTED, "the medium is read-only or takes too small requests");
	if (store_has(store, command->medium))
		return command_error(command, DPU_E_EXISTS, "the medium is in the pool already");
	if (command->medium->bytes < 2 * STORE_BLOCK)
		return command_error(command, DPU_E_LIMIT, "the medium is too short");
	if (store->growing)
		return -EAGAIN;
	int rc = supers_new(store, store->media, 1);
	if (rc < 0)
		return rc;
	*newest(store) = (struct medium){ .device = command->medium, .store = store };
	store->growing = true;
	supers_read(store);
	return command_then(command, grow_write);
}
