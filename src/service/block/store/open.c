// SPDX-License-Identifier: BSD-3-Clause
/* Opening a pool: superblocks, the root, the pages that stay, the log. Whatever is wrong is named with its place. */
#include "service/block/store/store_priv.h"

#include <stdlib.h>
#include "engine/crc32c/crc32c.h"
#include "service/block/store/recovery.h"

static uint8_t *blocks_new(size_t blocks)
{
	return aligned_alloc(STORE_BLOCK, blocks * STORE_BLOCK);
}

/* Fails the command: where, and what is wrong there. */
static int refuse(struct store_command *command, const struct medium *medium, uint64_t offset, const char *why)
{
	return command_error(command, DPU_E_IO, "medium '%s', offset %llu: %s", medium->device->name,
			     (unsigned long long)offset, why);
}

/* A medium that is needed may be the one without a superblock. */
static int refuse_unknown(struct store *store, struct store_command *command)
{
	const struct medium medium = { .device = store->recovery->unknown };

	return refuse(command, &medium, 0, store->recovery->why);
}

void recovery_free(struct store *store)
{
	struct recovery *recovery = store->recovery;

	if (!recovery)
		return;
	free(recovery->buffer);
	free(recovery->roots);
	free(recovery->skip);
	data_check_free(recovery->data);
	walk_fini(&recovery->walk);
	free(recovery);
	store->recovery = NULL;
}

int refuse_failure(struct store *store, struct store_command *command)
{
	const struct failure *failure = &store->failure;

	return command_error(command, DPU_E_IO, "medium '%s', offset %llu: %s", failure->medium,
			     (unsigned long long)failure->offset, failure->why);
}

/* What cannot be read now may be read another time, so what the log has for it must not be passed over. */
static bool must_stop(const struct store *store, const struct store_command *command)
{
	return store->unread && !command->force;
}

/* ---- the end ---- */

static int open_end(struct store *store, struct store_command *command)
{
	supers_free(store);
	recovery_free(store);
	pool_ready(store);
	return 0;
}

/* The root of the new session is durable. */
static int open_confirm(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc < 0)
		return rc == -EAGAIN ? rc : refuse_failure(store, command);
	session_confirm(store);
	return session_mark(store, command, open_end);
}

static int open_checkpoint(struct store *store, struct store_command *command)
{
	return command_checkpoint(store, command, open_confirm);
}

/* The log is on a medium, its end maybe in the tail file alone. */
static int refuse_log(struct store *store, struct store_command *command, uint64_t offset, const char *why)
{
	if (!store->recovery->from_tail)
		return refuse(command, &store->medium[0], offset, why);
	return command_error(command, DPU_E_IO, "file '%s', offset %llu: %s", store->tail_path,
			     (unsigned long long)offset, why);
}

static int open_replay(struct store *store, struct store_command *command)
{
	const char *why = NULL;
	uint64_t offset = 0;
	int rc = replay_step(store, &why, &offset);

	if (rc == -EAGAIN)
		return rc;
	if (must_stop(store, command) || (rc < 0 && store->failed))
		return refuse_failure(store, command);
	if (rc < 0)
		return why ? refuse_log(store, command, offset, why) : rc;
	session_begin(store);
	rc = supers_new(store, 0, store->media);
	return rc < 0 ? rc : session_mark(store, command, open_checkpoint);
}

/* A root that a killed process wrote may not be durable. Until it is, recovery must not write to what the one before
 * needs. */
static int open_durable(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc < 0)
		return rc == -EAGAIN ? rc : refuse_failure(store, command);
	return command_then(command, open_replay);
}

/* What a record changes depends on them. */
static int open_page_counts(struct store *store, struct store_command *command)
{
	int rc = store->pages_lost ? repair_page_counts(store, &store->recovery->walk) : 0;

	if (must_stop(store, command))
		return refuse_failure(store, command);
	return rc < 0 ? rc : command_flush_media(store, command, open_durable);
}

static int open_recount(struct store *store, struct store_command *command)
{
	int rc = space_recount(store);

	if (rc == 0)
		rc = directory_load(store);
	return rc < 0 ? rc : command_then(command, open_page_counts);
}

static int open_residents(struct store *store, struct store_command *command)
{
	int rc = residents_load(store);

	return rc < 0 ? rc : command_then(command, open_recount);
}

/* ---- the root ---- */

static int refuse_root(struct store *store, struct store_command *command, unsigned which, const char *why)
{
	return refuse(command, &store->medium[0], store->medium[0].super.root_block[which] * STORE_BLOCK, why);
}

static const char *root_check(struct store *store, const struct store_root *root, size_t bytes)
{
	if (root->magic == 0)
		return "there is no root here: the formatting was cut short, format it again";
	if (root->magic != STORE_ROOT_MAGIC)
		return "there is no root here";
	if (root_bytes(root->pages) > bytes ||
	    root->crc != crc32c(0, &root->magic, root_bytes(root->pages) - sizeof(root->crc)))
		return "the root contradicts its CRC";
	if (root->version != STORE_VERSION)
		return "the root has a newer format than this version knows";
	if (memcmp(root->pool, store->medium[0].super.pool, sizeof(root->pool)) != 0)
		return "the root is of another pool";
	if (root->media == 0 || root->media > STORE_MAX_MEDIA || root->log_sequence == 0 || root->generation == 0 ||
	    root->next_volume == 0 ||
	    root->log_block > store->medium[0].super.log_blocks - SECTION_BYTES / STORE_BLOCK ||
	    !number_is_possible(root->session) || root->flags & ~(uint32_t)ROOT_FLAGS ||
	    (root->log_sequence | root->generation | root->next_volume) >> NUMBER_BITS)
		return "the root contradicts itself";
	return NULL;
}

static void swap_media(struct store *store, unsigned a, unsigned b)
{
	struct medium medium = store->medium[a];

	store->medium[a] = store->medium[b];
	store->medium[b] = medium;
}

static bool is_medium(const struct medium *medium, const struct store_root *root, unsigned index)
{
	return medium->super.magic == STORE_SUPER_MAGIC && medium->super.medium == index &&
	       memcmp(medium->super.uuid, root->medium[index], sizeof(root->medium[index])) == 0;
}

/* What a growth that was interrupted has left on a medium does not count. */
static int leave_out(struct store *store, struct store_command *command, const struct store_root *root)
{
	for (unsigned i = root->media; i < store->media; i++) {
		struct medium *medium = &store->medium[i];
		for (unsigned j = 0; j < root->media; j++)
			if (is_medium(medium, root, j))
				return refuse(command, medium, 0, "the medium is a copy of another one that is here");
		memset(medium, 0, sizeof(*medium));
	}
	store->media = root->media;
	return 0;
}

/* The media that the root speaks of, in their order, and no others. */
static int match_media(struct store *store, struct store_command *command, const struct store_root *root)
{
	uint64_t place = 0, page = 0;

	for (unsigned i = 0; i < root->media; i++) {
		unsigned at = i;
		while (at < store->media && !is_medium(&store->medium[at], root, i))
			at++;
		if (at == store->media && store->recovery->unknown)
			return refuse_unknown(store, command);
		if (at == store->media)
			return command_error(command, DPU_E_IO,
					     "the pool has %u media; medium %u of it is not among the %u that are here",
					     root->media, i, store->media);
		swap_media(store, i, at);
		const struct medium *medium = &store->medium[i];
		if (medium->super.first_place != place || medium->super.first_page != page)
			return refuse(command, medium, 0, "the medium does not follow the one before it");
		place += medium->super.places;
		page += medium->super.pages;
	}
	if (root->pages != page)
		return refuse_root(store, command, root->generation % 2,
				   "the root has another number of pages than the media");
	return leave_out(store, command, root);
}

static int use_root(struct store *store, struct store_command *command, const struct store_root *root)
{
	uint64_t known = session_known(store, root); /* also by those that are left out */
	int rc = match_media(store, command, root);

	if (rc == 0)
		rc = session_check(store, command, known);
	if (rc == 0 && root->session < known && !command->force)
		rc = refuse_root(store, command, (root->generation + 1) % 2,
				 "a newer root, of a session that the superblocks know, is damaged");
	if (rc < 0)
		return rc;
	rc = pool_set_up(store);
	if (rc < 0)
		return command_error(command, DPU_E_IO, "the pool cannot be set up: %s", strerror(-rc));
	store->root = *root;
	memcpy(store->map, (const uint8_t *)root + STORE_BLOCK, (root->pages + 3) / 4);
	memcpy(store->durable_map, store->map, (root->pages + 3) / 4);
	for (uint32_t page = 0; page < store->pages; page++)
		if (map_get(store->map, page) > PAGE_SLOT_B)
			return refuse_root(store, command, root->generation % 2,
					   "the root has a page in an impossible slot");
	store->session = root->session;
	store->marked = root->flags & ROOT_MARKED;
	store->next_volume = root->next_volume;
	log_start(store, root->log_sequence, root->log_block);
	return command_then(command, open_residents);
}

static int choose_root(struct store *store, struct store_command *command)
{
	struct recovery *recovery = store->recovery;
	const struct store_super *super = &store->medium[0].super;
	size_t bytes = super->root_blocks * STORE_BLOCK;
	const struct store_root *best = NULL;
	const char *why[2];
	unsigned told = 0; /* a place in which no root ever was is not what is wrong */

	for (unsigned i = 0; i < 2; i++) {
		const struct store_root *root = (const struct store_root *)(recovery->roots + i * bytes);
		why[i] = root_check(store, root, bytes);
		if (root->magic == STORE_ROOT_MAGIC)
			told = i;
		if (!why[i] && root->generation % 2 != i)
			why[i] = "the root is in the other one's place";
		if (!why[i] && (!best || root->generation > best->generation))
			best = root;
	}
	if (!best) {
		refuse_root(store, command, told, why[told]);
		command->error.code = DPU_E_NOT_FOUND;
		return -ENOENT;
	}
	return use_root(store, command, best);
}

/* A piece of one root at a time. */
static int read_roots(struct store *store, struct store_command *command)
{
	struct recovery *recovery = store->recovery;
	const struct store_super *super = &store->medium[0].super;
	size_t all = 2 * super->root_blocks * STORE_BLOCK;

	if (recovery->io.busy)
		return -EAGAIN;
	if (recovery->io.failed && !recovery->force)
		return refuse(command, &store->medium[0], recovery->io.medium.offset, "the root cannot be read");
	if (recovery->io.failed) /* like one that is damaged */
		memset(recovery->io.iov.iov_base, 0xff, recovery->io.iov.iov_len);
	recovery->io.failed = false;
	if (recovery->at == all) {
		recovery->at = 0;
		return choose_root(store, command);
	}
	size_t left = all / 2 - recovery->at % (all / 2), piece = left < 1 << 20 ? left : 1 << 20;
	raw_start(&recovery->io, &store->medium[0], DPU_BLOCK_READ, super->root_block[0] + recovery->at / STORE_BLOCK,
		  recovery->roots + recovery->at, piece);
	recovery->at += piece;
	return -EAGAIN;
}

/* ---- superblocks ---- */

/* Medium 0 has the roots, which say which ones there are. */
static int first_medium(struct store *store, struct store_command *command)
{
	struct recovery *recovery = store->recovery;
	unsigned first = 0;

	while (first < store->media &&
	       (store->medium[first].super.magic != STORE_SUPER_MAGIC || store->medium[first].super.medium != 0))
		first++;
	if (first == store->media && recovery->unknown)
		return refuse_unknown(store, command);
	if (first == store->media)
		return command_error(command, DPU_E_IO, "medium 0 of the pool is not here");
	swap_media(store, 0, first);
	for (unsigned i = 1; i < store->media; i++) {
		const struct medium *medium = &store->medium[i];
		if (medium->super.magic == STORE_SUPER_MAGIC &&
		    memcmp(medium->super.pool, store->medium[0].super.pool, sizeof(medium->super.pool)) != 0)
			return refuse(command, medium, 0, "the medium is of another pool");
	}
	recovery->roots = blocks_new(2 * store->medium[0].super.root_blocks);
	if (!recovery->roots)
		return -ENOMEM;
	recovery->at = 0;
	return command_then(command, read_roots);
}

/* Of each medium; whether one without is needed is known later. */
static int take_supers(struct store *store, struct store_command *command)
{
	struct recovery *recovery = store->recovery;

	if (supers_wait(store) == -EAGAIN)
		return -EAGAIN;
	for (unsigned i = 0; i < store->media; i++) {
		const char *why = super_take(store, &store->medium[i]);
		if (why && !recovery->unknown) {
			recovery->unknown = store->medium[i].device;
			recovery->why = why;
		}
	}
	supers_free(store);
	return first_medium(store, command);
}

static int read_supers(struct store *store, struct store_command *command)
{
	if (supers_wait(store) == -EAGAIN)
		return -EAGAIN;
	supers_read_moved(store);
	return command_then(command, take_supers);
}

int open_step(struct store *store, struct store_command *command)
{
	struct recovery *recovery = calloc(1, sizeof(*recovery));

	store->started = true;
	if (!recovery)
		return -ENOMEM;
	store->recovery = recovery;
	recovery->force = command->force;
	recovery->buffer = blocks_new(WINDOW_BLOCKS);
	recovery->skip = calloc(SECTION_BYTES / 8, sizeof(*recovery->skip));
	recovery->data = data_check_new(store);
	if (!recovery->buffer || !recovery->skip || !recovery->data)
		return -ENOMEM; /* store_free() */
	for (unsigned i = 0; i < store->media; i++)
		if (store->medium[i].device->bytes < 2 * STORE_BLOCK)
			return refuse(command, &store->medium[i], 0, "the medium is too short");
	int rc = supers_new(store, 0, store->media);
	if (rc < 0)
		return rc;
	supers_read(store);
	return command_then(command, read_supers);
}
