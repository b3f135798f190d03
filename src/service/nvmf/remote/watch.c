// SPDX-License-Identifier: BSD-3-Clause
/* Paths that a discovery controller tells of: they are added and removed as its log changes. While it cannot be reached
 * those that it told of last stay. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_data.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

struct watch {
	struct remote_discovery *discovery;
	struct remote *remote;
	char subnqn[NVME_NQN_BYTES];
	struct remote_address given[REMOTE_PATHS_MAX], found[REMOTE_PATHS_MAX]; /* found: each once, given or not */
	unsigned given_count, found_count, left_out;
	bool connected, heard; /* heard: it has been read once, or that failed */
	char text[WATCH_TEXT];
};

/* Too many are those behind the first that remote_set_paths() takes. */
static void known_tell(struct watch *watch)
{
	unsigned known = watch->found_count + watch->left_out, all = watch->given_count + watch->left_out;

	for (unsigned i = 0; i < watch->found_count; i++)
		all += !remote_address_among(&watch->found[i], watch->given, watch->given_count);
	unsigned over = all > REMOTE_PATHS_MAX ? all - REMOTE_PATHS_MAX : 0;

	if (known == 0)
		snprintf(watch->text, sizeof(watch->text),
			 "connected, knows no path of the subsystem, or none that this host may know");
	else if (over == 0)
		snprintf(watch->text, sizeof(watch->text), "connected, knows %u path%s", known, known == 1 ? "" : "s");
	else
		snprintf(watch->text, sizeof(watch->text), "connected, knows %u path%s, of which %u %s too many", known,
			 known == 1 ? "" : "s", over, over == 1 ? "is" : "are");
}

static void paths_merge(struct watch *watch)
{
	struct remote_address all[2 * REMOTE_PATHS_MAX];

	if (watch->connected)
		known_tell(watch);
	memcpy(all, watch->given, watch->given_count * sizeof(*all));
	memcpy(all + watch->given_count, watch->found, watch->found_count * sizeof(*all));
	remote_set_paths(watch->remote, all, watch->given_count + watch->found_count);
}

/* ASCII that a controller has sent, padded with spaces; cut where it is too long for what it should be. */
static void unpad(const char *from, size_t bytes, char *to, size_t room)
{
	size_t length = 0;

	while (length < bytes && length < room - 1 && from[length] > ' ' && from[length] < 0x7f)
		length++;
	memcpy(to, from, length);
	to[length] = 0;
}

static bool entry_address(const struct nvme_discovery_entry *entry, struct remote_address *ret)
{
	char host[IP_TEXT + 1], port[8], text[IP_TEXT + 16];

	if (entry->trtype != NVME_TRTYPE_TCP ||
	    (entry->adrfam != NVME_ADRFAM_IPV4 && entry->adrfam != NVME_ADRFAM_IPV6))
		return false;
	unpad(entry->traddr, sizeof(entry->traddr), host, sizeof(host));
	unpad(entry->trsvcid, sizeof(entry->trsvcid), port, sizeof(port));
	snprintf(text, sizeof(text), entry->adrfam == NVME_ADRFAM_IPV6 ? "[%s]:%s" : "%s:%s", host, port);
	return remote_address_parse(text, ret) == 0;
}

static void on_read(void *ctx, const struct nvme_discovery_entry *entries, unsigned count, const char *error)
{
	struct watch *watch = ctx;

	watch->heard = true;
	watch->connected = !error;
	if (error) {
		snprintf(watch->text, sizeof(watch->text), "not connected, %u paths are known: %s", watch->found_count,
			 error);
		return;
	}
	watch->found_count = watch->left_out = 0;
	for (unsigned i = 0; i < count; i++) {
		struct remote_address address;

		if (entries[i].subtype != NVME_SUBTYPE_NVM || !memchr(entries[i].subnqn, 0, NVME_NQN_BYTES) ||
		    strcmp(entries[i].subnqn, watch->subnqn) != 0 || !entry_address(&entries[i], &address) ||
		    remote_address_among(&address, watch->found, watch->found_count))
			continue;
		if (watch->found_count < REMOTE_PATHS_MAX)
			watch->found[watch->found_count++] = address;
		else
			watch->left_out++;
	}
	paths_merge(watch);
}

struct watch *watch_new(const struct remote_options *options, const struct remote_address *address,
			struct remote *remote)
{
	struct discovery_options how = {
		.streams = options->streams,
		.address = *address,
		.persistent = true,
		.keep_alive_ms = options->keep_alive_ms,
	};
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	memcpy(how.hostnqn, options->hostnqn, sizeof(how.hostnqn));
	memcpy(how.hostid, options->hostid, sizeof(how.hostid));
	memcpy(watch->subnqn, options->subnqn, sizeof(watch->subnqn));
	watch->remote = remote;
	watch->given_count = options->path_count;
	memcpy(watch->given, options->paths, sizeof(watch->given));
	snprintf(watch->text, sizeof(watch->text), "is being connected");
	if (remote_discovery_start(&how, on_read, watch, &watch->discovery, NULL) == 0)
		return watch;
	free(watch);
	return NULL;
}

void watch_set_paths(struct watch *watch, const struct remote_address *paths, unsigned count)
{
	watch->given_count = count;
	memcpy(watch->given, paths, count * sizeof(*paths));
	paths_merge(watch);
}

uint64_t watch_tick(struct watch *watch, struct worker *worker, uint64_t now_ns)
{
	struct worker_source *source = remote_discovery_source(watch->discovery);

	return source->tick(source, worker, now_ns);
}

bool watch_knows_none(const struct watch *watch)
{
	return watch->heard && watch->given_count + watch->found_count == 0;
}

const char *watch_text(const struct watch *watch)
{
	return watch->text;
}

void watch_close(struct watch *watch, void (*closed)(void *arg), void *arg)
{
	remote_discovery_close(watch->discovery, closed, arg);
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	remote_discovery_free(watch->discovery);
	free(watch);
}
