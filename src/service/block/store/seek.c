// SPDX-License-Identifier: BSD-3-Clause
/* Where a volume maps something next, for who need not read what is not there. Each poll looks from the start, so the
 * answer was true at one time as a whole; but behind a row of leaves that a crash has left empty it goes on from there.
 */
#include "service/block/store/store_priv.h"

int seek_step(struct store *store, struct store_command *command)
{
	struct store_volume *volume = command_target(store, command);
	uint64_t *passed = &command->scratch[0], block = command->bytes / STORE_BLOCK;
	bool found;

	if (!volume)
		return -ENOENT;
	const struct volume_entry *entry = volume->entry;
	if (entry->flags & ENTRY_QUARANTINED)
		return command_error(command, DPU_E_IO, "the volume is quarantined: its map is damaged");
	if (block < *passed)
		block = *passed;
	pages_begin(store);
	int rc = tree_seek(store, entry, &block, &found);
	if (rc == -EBADMSG) {
		volume_quarantine(volume, 0);
		return command_error(command, DPU_E_IO, "a page of the volume's map is damaged: it is quarantined");
	}
	if (rc < 0)
		return rc;
	if (!found && block != UINT64_MAX) {
		*passed = block;
		store->again = true;
		return -EAGAIN;
	}
	uint64_t offset = found ? block * STORE_BLOCK : entry->bytes;
	if (offset < command->bytes) /* within its block */
		offset = command->bytes;
	command->ret_offset = offset < entry->bytes ? offset : entry->bytes;
	return 0;
}
