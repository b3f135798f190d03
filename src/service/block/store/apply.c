// SPDX-License-Identifier: BSD-3-Clause
/* What a record of the log changes: the one way in which pages change, live and in recovery. */
#include "service/block/store/store_priv.h"

struct frame *entry_frame(struct store *store, uint32_t slot)
{
	const struct store_super *super = &store->medium[0].super;

	return store->fixed[super->space_pages + super->summary_pages + super->count_pages + slot / DIRECTORY_ENTRIES];
}

struct volume_entry *entry_at(struct store *store, uint32_t slot)
{
	return &((struct page_directory *)entry_frame(store, slot)->data)->entry[slot % DIRECTORY_ENTRIES];
}

static void apply_volume(struct store *store, struct volume_entry *entry, const struct record *record)
{
	bool copy = record->volume.source != UINT32_MAX;

	*entry = record->volume.entry;
	/* In recovery the source may map less than it did. */
	entry->blocks = copy ? entry_at(store, record->volume.source)->blocks : 0;
	if (entry->root)
		pageref_add(store, entry->root, 1);
	if (entry->id >= store->next_volume)
		store->next_volume = entry->id + 1;
}

/* A higher tree has the old one as its first child. */
static void apply_resize(struct store *store, struct volume_entry *entry, const struct record *record)
{
	for (unsigned i = 0; i < record->pages; i++) {
		struct frame *frame = page_new(store, record->resize.list[i], PAGE_NODE, entry->height, 0, entry->id);
		struct page_node *node = (struct page_node *)frame->data;
		node->child[0] = entry->root;
		node->header.used = 1;
		node->header.below = entry->height <= BELOW_LEVELS ? (uint32_t)entry->blocks : 0;
		pageref_add(store, record->resize.list[i], 1);
		entry->root = record->resize.list[i];
		entry->height++;
	}
	entry->height = (uint8_t)record->resize.height;
	entry->bytes = record->resize.bytes;
	entry->mapped = record->resize.mapped;
	entry->flags = (uint8_t)record->resize.flags;
}

void record_apply(struct store *store, const struct record *record, uint64_t skip)
{
	struct volume_entry *entry = entry_at(store, record->slot);
	struct store_volume *volume = store->volume[record->slot];

	page_dirty(store, entry_frame(store, record->slot));
	switch ((enum record_type)record->type) {
	case RECORD_WRITE:
		tree_write(store, volume, record, skip);
		break;
	case RECORD_UNMAP:
		tree_unmap(store, entry, record);
		leaf_cache_forget(volume, record->unmap.first, record->unmap.count);
		break;
	case RECORD_VOLUME:
		apply_volume(store, entry, record);
		/* What it is a copy of has its pages not for itself any more. */
		if (record->volume.source != UINT32_MAX)
			leaf_cache_forget(store->volume[record->volume.source], 0, UINT64_MAX);
		break;
	case RECORD_RESIZE:
		apply_resize(store, entry, record);
		leaf_cache_forget(volume, 0, UINT64_MAX);
		break;
	case RECORD_REMOVE:
		memset(entry, 0, sizeof(*entry));
		break;
	}
}

bool record_give_up(struct store *store, const struct record *record)
{
	struct volume_entry *entry = entry_at(store, record->slot);

	if (entry_frame(store, record->slot)->state == FRAME_BAD)
		return false;
	if (record->type == RECORD_VOLUME) {
		const struct volume_entry *made = &record->volume.entry;
		if (entry->id || !number_is_possible(made->id) || !memchr(made->name, 0, sizeof(made->name)))
			return false;
		page_dirty(store, entry_frame(store, record->slot));
		*entry = (struct volume_entry){ .id = made->id, .height = 1, .origin = made->origin };
		memcpy(entry->name, made->name, sizeof(entry->name));
		entry->flags = made->flags & ENTRY_SNAPSHOT;
		if (entry->id >= store->next_volume)
			store->next_volume = entry->id + 1;
		if (volume_attach(store, record->slot) < 0)
			return false;
	}
	if (store->volume[record->slot])
		volume_quarantine(store->volume[record->slot], ENTRY_BEHIND);
	return true;
}

/* ---- records from a medium ---- */

static size_t list_bytes(size_t items)
{
	return items * sizeof(uint32_t);
}

const char *record_form(const struct record *record, uint32_t room)
{
	size_t need = offsetof(struct record, write);

	if (room < need || record->bytes > room || record->bytes % 8 || record->bytes < need ||
	    record->pages > RECORD_PAGES)
		return "a record has an impossible length";
	switch (record->type) {
	case RECORD_WRITE:
		need = offsetof(struct record, write.list);
		if (record->bytes < need || record->write.count == 0 || record->write.count > RECORD_BLOCKS)
			return "a write record is malformed";
		need += list_bytes(record->pages + record->write.count);
		break;
	case RECORD_UNMAP:
		need = offsetof(struct record, unmap.list) + list_bytes(record->pages);
		break;
	case RECORD_VOLUME:
		need = offsetof(struct record, volume) + sizeof(record->volume);
		break;
	case RECORD_RESIZE:
		need = offsetof(struct record, resize.list) + list_bytes(record->pages);
		break;
	case RECORD_REMOVE:
		break;
	default:
		return "a record has an unknown type";
	}
	return record->bytes == record_bytes(need) ? NULL : "a record has a wrong length";
}

/* Ids of pages that are free and different. */
static bool pages_are_free(struct store *store, const uint32_t *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (list[i] >= store->pages || !page_is_tree(store, list[i]) || pageref_get(store, list[i]) != 0)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (list[j] == list[i])
				return false;
	}
	return true;
}

/* Some volume's records were passed over, so it may still refer to what it gave back. */
static bool is_behind(struct store *store)
{
	for (uint32_t slot = 0; slot < store->slots; slot++)
		if (entry_frame(store, slot)->state == FRAME_BAD || entry_at(store, slot)->flags & ENTRY_BEHIND)
			return true;
	return false;
}

static int check_write(struct store *store, struct store_volume *volume, const struct record *record,
		       const char **ret_why)
{
	const struct volume_entry *entry = volume->entry;
	uint64_t first = record->write.first, place = record->write.place;
	unsigned count = record->write.count, pages;

	*ret_why = "a write record is beyond its volume or the pool";
	if (first >= tree_capacity(entry->height) || first % LEAF_BLOCKS + count > LEAF_BLOCKS ||
	    place >= store->places || count > store->places - place ||
	    group_of(store, place) != group_of(store, place + count - 1))
		return -EBADMSG;
	*ret_why = NULL;
	int rc = tree_plan_write(store, volume, first, count, place, &pages);
	if (rc < 0)
		return rc;
	*ret_why = "a write record has pages that it cannot have";
	if (pages != record->pages || !pages_are_free(store, record->write.list, pages))
		return -EBADMSG;
	*ret_why = "a write record has blocks that are in use";
	for (unsigned i = 0; i < count; i++) {
		uint32_t had = space_get(store, place + i);
		if (had != 0 && had != COUNT_LOST && !is_behind(store))
			return -EBADMSG;
	}
	return 0;
}

static int check_unmap(struct store *store, const struct volume_entry *entry, const struct record *record,
		       const char **ret_why)
{
	uint64_t first = record->unmap.first, count = record->unmap.count;
	struct unmap_step step;

	*ret_why = "an unmap record is beyond its volume";
	if (count == 0 || count > tree_capacity(entry->height) || first > tree_capacity(entry->height) - count)
		return -EBADMSG;
	*ret_why = NULL;
	int rc = tree_plan_unmap(store, entry, first, first + count, &step);
	if (rc < 0)
		return rc;
	*ret_why = "an unmap record is not what there is to unmap";
	if (!step.present || step.next != first + count || step.pages != record->pages ||
	    (record->unmap.drop && !step.drop) || !pages_are_free(store, record->unmap.list, step.pages))
		return -EBADMSG;
	return 0;
}

bool entry_check(struct store *store, const struct volume_entry *entry)
{
	return entry->id && number_is_possible(entry->id) && entry->bytes % DPU_BLOCK_SECTOR == 0 &&
	       entry->height >= 1 && entry->height <= TREE_MAX_HEIGHT && (entry->flags & ~ENTRY_FLAGS) == 0 &&
	       entry->bytes <= tree_capacity(entry->height) * STORE_BLOCK &&
	       entry->mapped <= tree_capacity(entry->height) && entry->blocks <= entry->mapped &&
	       entry->root < store->pages && (!entry->root || page_is_tree(store, entry->root)) &&
	       memchr(entry->name, 0, sizeof(entry->name));
}

static int check_volume(struct store *store, const struct volume_entry *entry, const struct record *record,
			const char **ret_why)
{
	const struct volume_entry *made = &record->volume.entry;

	*ret_why = "a volume record does not fit into the directory";
	if (entry->id || !entry_check(store, made) || made->flags & ~ENTRY_SNAPSHOT)
		return -EBADMSG;
	if (record->volume.source == UINT32_MAX)
		return made->root ? -EBADMSG : 0;
	if (record->volume.source >= store->slots)
		return -EBADMSG;
	const struct volume_entry *source = entry_at(store, record->volume.source);
	if (source->flags & ENTRY_QUARANTINED) {
		*ret_why = "a volume is a copy of one that lacks what the log has for it";
		return -EBADMSG;
	}
	return source->id && store->volume[record->volume.source] && source->root == made->root &&
			       source->height == made->height
		       ? 0
		       : -EBADMSG;
}

static int check_resize(struct store *store, const struct volume_entry *entry, const struct record *record,
			const char **ret_why)
{
	struct volume_entry made = *entry;
	unsigned grown = record->resize.height - entry->height;

	*ret_why = "a resize record does not fit its volume";
	if (record->resize.height < entry->height || record->resize.height > TREE_MAX_HEIGHT ||
	    record->resize.flags > ENTRY_FLAGS || record->pages != (entry->root ? grown : 0))
		return -EBADMSG;
	made.height = (uint8_t)record->resize.height;
	made.bytes = record->resize.bytes;
	made.mapped = record->resize.mapped;
	made.flags = (uint8_t)record->resize.flags;
	return entry_check(store, &made) && pages_are_free(store, record->resize.list, record->pages) ? 0 : -EBADMSG;
}

int record_check(struct store *store, const struct record *record, const char **ret_why)
{
	*ret_why = "a record speaks of a volume that is not there";
	if (record->slot >= store->slots)
		return -EINVAL;
	if (entry_frame(store, record->slot)->state == FRAME_BAD) {
		*ret_why = NULL; /* it was reported */
		return -EBADMSG;
	}
	const struct volume_entry *entry = entry_at(store, record->slot);
	if ((!entry->id || !store->volume[record->slot]) && record->type != RECORD_VOLUME)
		return -EINVAL;
	if (entry->flags & ENTRY_QUARANTINED && record->type != RECORD_VOLUME && record->type != RECORD_REMOVE) {
		*ret_why = NULL;
		return -EBADMSG;
	}
	int rc = pages_room(store);
	if (rc < 0)
		return rc;
	switch ((enum record_type)record->type) {
	case RECORD_WRITE:
		return check_write(store, store->volume[record->slot], record, ret_why);
	case RECORD_UNMAP:
		return check_unmap(store, entry, record, ret_why);
	case RECORD_VOLUME:
		return check_volume(store, entry, record, ret_why);
	case RECORD_RESIZE:
		return check_resize(store, entry, record, ret_why);
	case RECORD_REMOVE:
		return 0; /* one that is quarantined goes with what it has */
	}
	return -EINVAL;
}
