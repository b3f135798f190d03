// SPDX-License-Identifier: BSD-3-Clause
/* The log is applied again: first all sections are found, and how far the media were flushed; then their records are
 * applied in order. What may not have been flushed counts only as far as its data has its CRCs. */
#include "service/block/store/recovery.h"

#include "engine/crc32c/crc32c.h"

enum { RECORDS = 256, AHEAD = 64, SECTION_BLOCKS = SECTION_BYTES / STORE_BLOCK };

/* The blocks of the ring from `block` on that a section may have, in memory: -EAGAIN, -EIO. */
static int window(struct store *store, uint64_t block, uint8_t **ret)
{
	struct recovery *recovery = store->recovery;
	const struct store_super *super = &store->medium[0].super;

	if (recovery->io.busy)
		return -EAGAIN;
	if (recovery->window_blocks && recovery->io.failed)
		return -EIO;
	if (block >= recovery->window && block + SECTION_BLOCKS <= recovery->window + recovery->window_blocks) {
		*ret = recovery->buffer + (block - recovery->window) * STORE_BLOCK;
		return 0;
	}
	uint64_t blocks = super->log_blocks - block < WINDOW_BLOCKS ? super->log_blocks - block : WINDOW_BLOCKS;
	recovery->window = block;
	recovery->window_blocks = blocks;
	raw_start(&recovery->io, &store->medium[0], DPU_BLOCK_READ, super->log_block + block, recovery->buffer,
		  blocks * STORE_BLOCK);
	return -EAGAIN;
}

static bool is_ours(const struct store *store, const struct section_header *section)
{
	return section->magic == STORE_SECTION_MAGIC && section->bytes >= sizeof(*section) &&
	       section->bytes <= SECTION_BYTES && memcmp(section->pool, store->root.pool, sizeof(section->pool)) == 0 &&
	       section->crc == crc32c(0, &section->magic, section->bytes - sizeof(section->crc));
}

static bool section_is(const struct store *store, const struct section_header *section, uint64_t sequence)
{
	return section->sequence == sequence && section->session == store->root.session && is_ours(store, section);
}

/* The section with recovery->sequence, from the ring or the tail. 1: there is none. */
static int find_section(struct store *store)
{
	struct recovery *recovery = store->recovery;
	uint8_t *data;

	recovery->section = NULL;
	recovery->from_tail = false;
	int rc = window(store, recovery->block, &data);
	if (rc < 0)
		return rc;
	if (section_is(store, (const struct section_header *)data, recovery->sequence)) {
		recovery->section = (const struct section_header *)data;
		return 0;
	}
	recovery->section = tail_section(store, recovery->sequence);
	recovery->from_tail = true;
	return recovery->section == NULL;
}

static void next_section(struct store *store)
{
	struct recovery *recovery = store->recovery;

	recovery->block = log_next_block(store, recovery->block, recovery->section->bytes);
	recovery->sequence++;
	recovery->record_at = recovery->check_at = sizeof(struct section_header);
	recovery->record = recovery->check = recovery->check_block = 0;
	recovery->checked = false;
	memset(recovery->skip, 0, SECTION_BYTES / 8 * sizeof(*recovery->skip));
}

static void rewind_log(struct store *store)
{
	struct recovery *recovery = store->recovery;

	recovery->sequence = store->root.log_sequence;
	recovery->block = store->root.log_block;
	recovery->record_at = recovery->check_at = sizeof(struct section_header);
	recovery->record = recovery->check = recovery->check_block = 0;
	recovery->checked = false;
}

/* Of a byte of the section that is looked at: on medium 0, or in the tail file. */
static uint64_t section_offset(const struct store *store, uint32_t at)
{
	const struct recovery *recovery = store->recovery;

	return recovery->from_tail ? tail_offset(recovery->sequence) + at
				   : (store->medium[0].super.log_block + recovery->block) * STORE_BLOCK + at;
}

static int log_unread(struct store *store, const char **ret_why, uint64_t *ret_offset)
{
	*ret_why = "the log cannot be read";
	*ret_offset = (store->medium[0].super.log_block + store->recovery->block) * STORE_BLOCK;
	return -EIO;
}

/* What is in the ring at the log's end may be of a session that this root does not know. */
static bool goes_on_from_newer_root(const struct store *store)
{
	const struct recovery *recovery = store->recovery;
	const struct section_header *section = recovery->section;

	if (!section)
		section = (const struct section_header *)(recovery->buffer +
							  (recovery->block - recovery->window) * STORE_BLOCK);
	return section->generation > store->root.generation && (recovery->section || is_ours(store, section));
}

/* How many there are, and which are durable. */
static int scan(struct store *store, const char **ret_why, uint64_t *ret_offset)
{
	struct recovery *recovery = store->recovery;

	if (recovery->sequence == 0)
		rewind_log(store);
	for (;;) {
		int rc = find_section(store);
		if (rc == -EIO)
			return log_unread(store, ret_why, ret_offset);
		if (rc < 0)
			return rc;
		if (goes_on_from_newer_root(store)) {
			*ret_why = "the log goes on from a newer root, which is damaged";
			*ret_offset = section_offset(store, 0);
			return -EINVAL;
		}
		if (rc == 1)
			break;
		if (recovery->section->durable > recovery->durable && recovery->section->durable < recovery->sequence)
			recovery->durable = recovery->section->durable;
		next_section(store);
	}
	recovery->last = recovery->sequence - 1;
	recovery->scanned = true;
	rewind_log(store);
	return 0;
}

/* ---- data that may not be there ---- */

static const struct record *record_at(const struct section_header *section, uint32_t at)
{
	return (const struct record *)((const uint8_t *)section + at);
}

static const char *checked_form(const struct store *store, const struct section_header *section, uint32_t at)
{
	const struct record *record = record_at(section, at);
	const char *why = record_form(record, section->bytes - at);

	if (!why && record->type == RECORD_WRITE &&
	    (record->write.place >= store->places || record->write.count > store->places - record->write.place))
		why = "a write record is beyond the pool";
	return why;
}

/* Reads what the section's records say is written; -EAGAIN until all is known. */
static int check_data(struct store *store, const char **ret_why, uint64_t *ret_offset)
{
	struct recovery *recovery = store->recovery;
	const struct section_header *section = recovery->section;

	while (recovery->check_at < section->bytes) {
		const struct record *record = record_at(section, recovery->check_at);
		*ret_why = checked_form(store, section, recovery->check_at);
		*ret_offset = section_offset(store, recovery->check_at);
		if (*ret_why) {
			recovery->failed = true;
			break;
		}
		while (record->type == RECORD_WRITE && recovery->check_block < record->write.count) {
			uint32_t block = recovery->check_block;
			if (!data_check_add(store, record->write.place + block, record_crc(record)[block],
					    recovery->check, block))
				return -EAGAIN;
			recovery->check_block++;
		}
		recovery->check_block = 0;
		recovery->check++;
		recovery->check_at += record->bytes;
	}
	if (!data_check_end(store))
		return -EAGAIN;
	recovery->checked = true;
	return recovery->failed ? -EINVAL : 0;
}

/* ---- applying ---- */

static int apply_one(struct store *store, const struct record *record, uint64_t skip, uint64_t offset,
		     const char **ret_why)
{
	pages_begin(store);
	if (pages_room(store) < 0) {
		*ret_why = "recovery needs more memory than cache_pages";
		return -ENOMEM;
	}
	int rc = record_check(store, record, ret_why);

	if (rc == -EBADMSG && store->unread && !store->recovery->force)
		return -EIO; /* nothing is given up */
	if (rc == -EBADMSG) {
		/* The volume is lost as far as this goes; the others are not. */
		if (*ret_why)
			store_report_damage(store, STORE_DAMAGE_VOLUME, 0, 0,
					    store->recovery->from_tail ? store->tail_path
								       : store->medium[0].device->name,
					    offset, *ret_why);
		record_give_up(store, record);
		return 0;
	}
	if (rc < 0)
		return rc;
	record_apply(store, record, skip);
	if (skip)
		store->stats.dropped_records++;
	if (record->type == RECORD_VOLUME)
		rc = volume_attach(store, record->slot);
	else if (record->type == RECORD_REMOVE)
		volume_detach(store, record->slot);
	else if (record->type == RECORD_RESIZE && store->volume[record->slot])
		volume_resized(store->volume[record->slot]);
	if (record->type == RECORD_RESIZE && store->volume[record->slot])
		store->volume[record->slot]->gone |= record->resize.flags & ENTRY_DELETING;
	return rc;
}

/* While a record waits for a page, those that the next ones will want are read, too: as far as can be told now. */
static void read_ahead(struct store *store, uint32_t at)
{
	const struct section_header *section = store->recovery->section;
	struct frame *frame;
	bool exclusive;

	for (unsigned i = 0; i < AHEAD && at < section->bytes && !checked_form(store, section, at); i++) {
		const struct record *record = record_at(section, at);
		at += record->bytes;
		if (record->type != RECORD_WRITE || record->slot >= store->slots || !store->volume[record->slot])
			continue;
		const struct volume_entry *entry = store->volume[record->slot]->entry;
		space_need(store, record->write.place);
		if (entry->root)
			tree_find(store, entry, record->write.first, &frame, &exclusive);
	}
}

static int apply_section(struct store *store, unsigned *budget, const char **ret_why, uint64_t *ret_offset)
{
	struct recovery *recovery = store->recovery;
	const struct section_header *section = recovery->section;

	while (recovery->record_at < section->bytes) {
		const struct record *record = record_at(section, recovery->record_at);
		if ((*budget)-- == 0) {
			store->again = true;
			return -EAGAIN;
		}
		*ret_offset = section_offset(store, recovery->record_at);
		*ret_why = record_form(record, section->bytes - recovery->record_at);
		int rc = *ret_why ? -EINVAL
				  : apply_one(store, record, recovery->skip[recovery->record], *ret_offset, ret_why);
		if (rc == -EAGAIN)
			read_ahead(store, recovery->record_at + record->bytes);
		if (rc < 0)
			return rc;
		*ret_why = NULL;
		store->stats.replayed_records++;
		recovery->record++;
		recovery->record_at += record->bytes;
	}
	return 0;
}

static void checkpointed(struct waiter *waiter, int rc)
{
	struct recovery *recovery = (struct recovery *)((uint8_t *)waiter - offsetof(struct recovery, waiter));

	recovery->checkpointing = false;
	recovery->failed |= rc < 0;
}

/* Memory for what the next section may change. */
static void make_room(struct store *store)
{
	struct recovery *recovery = store->recovery;

	log_start(store, recovery->sequence, recovery->block);
	recovery->checkpointing = true;
	recovery->waiter.done = checkpointed;
	checkpoint_wait(store, &recovery->waiter);
}

static int apply_next(struct store *store, unsigned *budget, const char **ret_why, uint64_t *ret_offset)
{
	struct recovery *recovery = store->recovery;
	int rc = 0;

	if (recovery->checkpointing)
		return -EAGAIN;
	if (recovery->failed)
		return -EIO;
	rc = find_section(store);
	if (rc == -EAGAIN)
		return rc;
	if (rc != 0)
		return log_unread(store, ret_why, ret_offset);
	if (!recovery->checked && recovery->sequence > recovery->durable)
		rc = check_data(store, ret_why, ret_offset);
	if (rc == 0)
		rc = apply_section(store, budget, ret_why, ret_offset);
	if (rc < 0)
		return rc;
	next_section(store);
	if (store->used_frames > store->frame_limit / 8 && recovery->sequence <= recovery->last) {
		make_room(store);
		return -EAGAIN;
	}
	return 0;
}

int replay_step(struct store *store, const char **ret_why, uint64_t *ret_offset)
{
	struct recovery *recovery = store->recovery;
	unsigned budget = RECORDS;
	int rc = recovery->scanned ? 0 : scan(store, ret_why, ret_offset);

	while (rc == 0 && recovery->sequence <= recovery->last)
		rc = apply_next(store, &budget, ret_why, ret_offset);
	if (rc < 0)
		return rc;
	log_start(store, recovery->sequence, recovery->block);
	return 0;
}
