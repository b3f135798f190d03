// SPDX-License-Identifier: BSD-3-Clause
/* Which paths a remote namespace has: they come and go while requests are under way. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

bool remote_address_is(const struct remote_address *a, const struct remote_address *b)
{
	return a->bytes == b->bytes && memcmp(&a->address, &b->address, a->bytes) == 0;
}

bool remote_address_among(const struct remote_address *address, const struct remote_address *paths, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (remote_address_is(address, &paths[i]))
			return true;
	return false;
}

static void path_end(struct path *path)
{
	struct remote *remote = path->remote;

	remote->past_losses += path->status.losses;
	remote->past_digest_errors += path->status.digest_errors;
	remote->past_aborts += path->status.aborts;
	free(path->log);
	*path = (struct path){ 0 };
}

/* First in order, when all that it has is answered; then for good. What is lost with it is repeated as ever. */
static void path_leaves(struct path *path)
{
	path->leaving = true;
	if (path->step == PATH_DOWN)
		path_end(path);
	else if (path->under_way == 0)
		remote_path_close(path);
}

static void path_begin(struct remote *remote, const struct remote_address *address)
{
	for (unsigned i = 0; i < REMOTE_PATHS_MAX; i++) {
		struct path *path = &remote->paths[i];

		if (path->used)
			continue;
		*path = (struct path){
			.remote = remote,
			.index = i,
			.used = true,
			.address = *address,
			.due_ns = remote->now_ns,
		};
		if (i >= remote->path_count)
			remote->path_count = i + 1;
		return;
	}
	/* All leave yet: settled again with the next tick. */
}

static bool has_path(const struct remote *remote, const struct remote_address *address)
{
	for (unsigned i = 0; i < remote->path_count; i++)
		if (remote->paths[i].used && !remote->paths[i].leaving &&
		    remote_address_is(&remote->paths[i].address, address))
			return true;
	return false;
}

void remote_paths_settle(struct remote *remote)
{
	bool left = false;

	if (remote->closing || remote->gone)
		return;
	for (unsigned i = 0; i < remote->path_count; i++) {
		struct path *path = &remote->paths[i];

		if (!path->used ||
		    (!path->leaving && remote_address_among(&path->address, remote->wanted, remote->wanted_count)))
			continue;
		left |= !path->leaving;
		path_leaves(path);
	}
	for (unsigned i = 0; i < remote->wanted_count; i++)
		if (!has_path(remote, &remote->wanted[i]))
			path_begin(remote, &remote->wanted[i]);
	if (left)
		remote_path_changed(remote);
}

void remote_set_paths(struct remote *remote, const struct remote_address *paths, unsigned count)
{
	remote->wanted_count = 0;
	for (unsigned i = 0; i < count && remote->wanted_count < REMOTE_PATHS_MAX; i++)
		if (!remote_address_among(&paths[i], remote->wanted, remote->wanted_count))
			remote->wanted[remote->wanted_count++] = paths[i];
	remote_paths_settle(remote);
}
