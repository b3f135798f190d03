// SPDX-License-Identifier: BSD-3-Clause
/* Where a block of a volume is, for who asks. */
#include "service/block/store/store_priv.h"

int locate_step(struct store *store, struct store_command *command)
{
	struct store_location *location = command->location;
	struct store_volume *volume = command_target(store, command);
	uint64_t block = command->bytes / STORE_BLOCK, place;
	struct frame *frame;
	bool exclusive;

	if (!volume)
		return -ENOENT;
	if (volume->entry->flags & ENTRY_QUARANTINED)
		return command_error(command, DPU_E_IO, "the volume is quarantined: its map is damaged");
	if (command->bytes >= volume->entry->bytes)
		return command_error(command, DPU_E_INVALID, "the volume ends at %llu bytes",
				     (unsigned long long)volume->entry->bytes);
	*location = (struct store_location){ 0 };
	int rc = tree_find(store, volume->entry, block, &frame, &exclusive);
	if (rc == -EAGAIN)
		return rc;
	if (rc < 0)
		return command_error(command, DPU_E_IO, "a page of the volume's map cannot be read");
	const struct page_leaf *leaf = frame ? (const struct page_leaf *)frame->data : NULL;
	place = leaf ? leaf_place(leaf, block % LEAF_BLOCKS) : 0;
	if (!place)
		return 0;
	rc = space_need(store, --place);
	if (rc < 0)
		return rc;
	uint32_t references = space_get(store, place);
	location->mapped = true;
	location->medium = medium_of_place(store, place, &location->offset)->device;
	location->crc = leaf->block[block % LEAF_BLOCKS].crc;
	location->references = references == COUNT_LOST ? 0 : references;
	location->shared = !exclusive || location->references > 1;
	return 0;
}
