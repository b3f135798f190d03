// SPDX-License-Identifier: BSD-3-Clause
/* Sessions as the media know them. An opening writes the number of its session into all superblocks before its root is
 * durable, and into all of them after. So who knows less than a root or another medium is a copy of older times. */
#include "service/block/store/recovery.h"

uint64_t session_known(const struct store *store, const struct store_root *root)
{
	uint64_t known = root->flags & ROOT_MARKED ? root->session : 0;

	for (unsigned i = 0; i < store->media; i++)
		if (store->medium[i].super.confirmed > known)
			known = store->medium[i].super.confirmed;
	return known;
}

int session_check(struct store *store, struct store_command *command, uint64_t known)
{
	for (unsigned i = 0; i < store->media; i++) {
		const struct medium *medium = &store->medium[i];
		if (medium->super.opening < known)
			return command_error(command, DPU_E_IO,
					     "medium '%s', offset 0: it is an older copy, of session %llu, and the "
					     "pool has been in session %llu: attach the medium as it was left, or "
					     "copies of all media that were made together",
					     medium->device->name, (unsigned long long)medium->super.opening,
					     (unsigned long long)known);
	}
	return 0;
}

void session_begin(struct store *store)
{
	uint64_t last = store->root.session;

	/* An opening that was cut short may have begun one that no root has. */
	for (unsigned i = 0; i < store->media; i++)
		if (store->medium[i].super.opening > last)
			last = store->medium[i].super.opening;
	store->session = last + 1;
	store->marked = true;
	for (unsigned i = 0; i < store->media; i++)
		store->medium[i].super.opening = store->session;
}

void session_confirm(struct store *store)
{
	for (unsigned i = 0; i < store->media; i++)
		store->medium[i].super.confirmed = store->session;
}

static int mark_flushed(struct store *store, struct store_command *command);

static int mark_written(struct store *store, struct store_command *command)
{
	struct recovery *recovery = store->recovery;
	int rc = supers_wait(store);

	if (rc == -EIO) {
		const struct raw_io *failed = supers_failed(store);
		store_fail(store, failed->on, failed->medium.offset, "a superblock cannot be written");
		return refuse_failure(store, command);
	}
	if (rc < 0)
		return rc;
	if (++recovery->turn < SUPERS)
		return command_flush_media(store, command, mark_flushed);
	return command_then(command, recovery->marked);
}

static int mark_flushed(struct store *store, struct store_command *command)
{
	int rc = command_waited(store, command);

	if (rc < 0)
		return rc == -EAGAIN ? rc : refuse_failure(store, command);
	supers_write(store);
	return command_then(command, mark_written);
}

/* One of each medium's two is whole and durable at any time: what was written last, by whomever, is flushed first. */
int session_mark(struct store *store, struct store_command *command, command_step then)
{
	store->recovery->turn = 0;
	store->recovery->marked = then;
	return command_flush_media(store, command, mark_flushed);
}
