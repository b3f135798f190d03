// SPDX-License-Identifier: BSD-3-Clause
/* The class "nvmf_remote": a namespace of an NVMe/TCP target, over one or more paths. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "service/nvmf/nqn.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

const char *const nvmf_remote_states[] = {
	[REMOTE_CONNECTING] = "connecting",
	[REMOTE_READY] = "ready",
	[REMOTE_LOST] = "lost",
	[REMOTE_GONE] = "gone",
	[REMOTE_FAILED] = "failed",
	[REMOTE_CLOSING] = "closing",
	NULL,
};

static const char *const policies[] = {
	[REMOTE_ROUND_ROBIN] = "round-robin",
	[REMOTE_QUEUE_DEPTH] = "queue-depth",
	NULL,
};

static bool is_address(const char *text)
{
	struct remote_address address;

	return remote_address_parse(text, &address) == 0;
}

#define ADDRESS_DOC "must be an IP address with an optional port: 192.0.2.1:4420, [2001:db8::1]:4420"

static const struct field fields[] = {
	FIELD(struct nvmf_remote_object, addresses, .min = 0, .max = REMOTE_PATHS_MAX, .check = is_address,
	      .check_doc = ADDRESS_DOC,
	      .doc = "Where the subsystem listens, one path each; the port is 4420 where none is given. Paths come and "
		     "go under I/O."),
	FIELD(struct nvmf_remote_object, discovery, .flags = FIELD_F_IMMUTABLE, .check = is_address,
	      .check_doc = ADDRESS_DOC,
	      .doc = "Where a discovery controller listens, that tells of further addresses of the subsystem: paths "
		     "are "
		     "added and removed as its log changes."),
	FIELD(struct nvmf_remote_object, nqn, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE, .check = nqn_check_foreign,
	      .check_doc = NQN_FOREIGN_DOC, .check_stored = nqn_check_foreign_stored,
	      .doc = "The subsystem's name, as its target has it: mostly an NVMe qualified name."),
	FIELD(struct nvmf_remote_object, nsid, .flags = FIELD_F_IMMUTABLE,
	      .doc = "Number of the namespace; by default the one with namespace_uuid, or else the first."),
	FIELD(struct nvmf_remote_object, namespace_uuid, .flags = FIELD_F_IMMUTABLE,
	      .doc = "UUID that the namespace must have."),
	FIELD(struct nvmf_remote_object, host_nqn, .flags = FIELD_F_IMMUTABLE, .check = nqn_check,
	      .check_doc = NQN_CHECK_DOC, .check_stored = nqn_check_stored,
	      .doc = "Our name, as the target knows it; by default made of the object's UUID."),
	FIELD(struct nvmf_remote_object, queues, .flags = FIELD_F_IMMUTABLE, .def = "1", .min = 1,
	      .max = REMOTE_QUEUES_MAX, .doc = "I/O queues of a path, a TCP connection each."),
	FIELD(struct nvmf_remote_object, depth, .unit = "commands", .flags = FIELD_F_IMMUTABLE, .def = "128", .min = 2,
	      .max = REMOTE_DEPTH_MAX, .doc = "Commands under way in a queue."),
	FIELD(struct nvmf_remote_object, header_digest, .flags = FIELD_F_IMMUTABLE, .def = "false",
	      .doc = "Whether headers on the wire carry a CRC32C."),
	FIELD(struct nvmf_remote_object, data_digest, .flags = FIELD_F_IMMUTABLE, .def = "false",
	      .doc = "Whether data on the wire carries a CRC32C."),
	FIELD_ENUM_ROW(struct nvmf_remote_object, policy, policies, .flags = FIELD_F_IMMUTABLE, .def = "round-robin",
		       .doc = "Which of the paths that ANA calls best gets a request: the next in turn, or the one "
			      "with the least under way."),
	FIELD(struct nvmf_remote_object, keep_alive, .unit = "milliseconds", .flags = FIELD_F_IMMUTABLE, .def = "5000",
	      .min = 1000, .max = 600000,
	      .doc = "The target ends an association that it has not heard of for so long; writes in doubt are "
		     "waited for accordingly."),
	FIELD(struct nvmf_remote_object, quiesce, .unit = "milliseconds", .flags = FIELD_F_IMMUTABLE, .def = "1000",
	      .min = 1, .max = 600000, .doc = "What the target may take to stop after that."),
	FIELD(struct nvmf_remote_object, loss_timeout, .unit = "seconds", .flags = FIELD_F_IMMUTABLE, .def = "600",
	      .min = 1, .max = 1000000, .doc = "Requests wait so long for a path, then they fail."),
	FIELD(struct nvmf_remote_object, io_timeout, .unit = "seconds", .flags = FIELD_F_IMMUTABLE, .def = "30",
	      .min = 1, .max = 3600,
	      .doc = "A request that is not answered for so long is aborted, and then its path is given up."),
	FIELD(struct nvmf_remote_object, shared, .flags = FIELD_F_IMMUTABLE, .def = "false",
	      .doc = "Whether other hosts write it, too: no write in doubt is repeated before its old path is dead."),
	FIELD_ENUM_ROW(struct nvmf_remote_object, state, nvmf_remote_states, .flags = FIELD_F_STATE,
		       .doc = "Whether it can be used."),
	FIELD(struct nvmf_remote_object, why, .flags = FIELD_F_STATE,
	      .doc = "Why it cannot, or why its requests wait."),
	FIELD(struct nvmf_remote_object, connects_as, .flags = FIELD_F_STATE | FIELD_F_DETAIL,
	      .doc = "Our name, as the target is told it, also by default: what it lets in."),
	FIELD(struct nvmf_remote_object, discovered, .flags = FIELD_F_STATE,
	      .doc = "Whether the discovery controller is connected, and how many paths it knows."),
	FIELD(struct nvmf_remote_object, paths, .flags = FIELD_F_STATE,
	      .doc = "Each path: address, whether it is connected and what ANA says, controller, queues, commands so "
		     "far; how often it was lost, and why last."),
	FIELD(struct nvmf_remote_object, served_by, .flags = FIELD_F_STATE,
	      .doc = "Number of the worker that serves it."),
	FIELD(struct nvmf_remote_object, block_size, .unit = "bytes", .flags = FIELD_F_STATE,
	      .doc = "Size of its blocks."),
	FIELD(struct nvmf_remote_object, bytes, .unit = "bytes", .flags = FIELD_F_GAUGE, .doc = "How large it is."),
	FIELD(struct nvmf_remote_object, live_paths, .unit = "paths", .flags = FIELD_F_GAUGE,
	      .doc = "Paths that are connected."),
	FIELD(struct nvmf_remote_object, requests, .unit = "requests", .flags = FIELD_F_COUNTER,
	      .doc = "Requests that it was given."),
	FIELD(struct nvmf_remote_object, repeated, .unit = "requests", .flags = FIELD_F_COUNTER,
	      .doc = "Requests that were sent again after an error or a lost path."),
	FIELD(struct nvmf_remote_object, held, .unit = "requests", .flags = FIELD_F_COUNTER,
	      .doc = "Writes that had to wait until a lost path was dead."),
	FIELD(struct nvmf_remote_object, path_losses, .unit = "losses", .flags = FIELD_F_COUNTER,
	      .doc = "How often a path was lost."),
	FIELD(struct nvmf_remote_object, digest_errors, .unit = "errors", .flags = FIELD_F_COUNTER,
	      .doc = "Headers and data that contradicted their digests, here or at a controller."),
	FIELD(struct nvmf_remote_object, aborts, .unit = "commands", .flags = FIELD_F_COUNTER,
	      .doc = "Commands that were not answered in time."),
	{ 0 },
};

static void add_text(struct string_list *list, const char *text)
{
	list->items = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	if (!list->items)
		abort();
	list->items[list->count] = strdup(text);
	if (!list->items[list->count++])
		abort();
}

static const char *ana_name(enum nvme_ana_state ana)
{
	switch (ana) {
	case NVME_ANA_OPTIMIZED:
		return "optimized";
	case NVME_ANA_NON_OPTIMIZED:
		return "non-optimized";
	case NVME_ANA_STATE_INACCESSIBLE:
		return "inaccessible";
	case NVME_ANA_STATE_PERSISTENT_LOSS:
		return "persistent-loss";
	case NVME_ANA_STATE_CHANGE:
		return "change";
	}
	return "unknown";
}

static void path_add(struct string_list *list, const struct remote_path_status *path)
{
	static const char *const names[] = {
		[REMOTE_PATH_WAITING] = "waiting",
		[REMOTE_PATH_CONNECTING] = "connecting",
		[REMOTE_PATH_LIVE] = "live",
	};
	char address[REMOTE_ADDRESS_TEXT];
	const char *why = path->state == REMOTE_PATH_LIVE ? path->lost_why : path->why;
	struct text text = { 0 };

	text_printf(&text, "%s: %s", remote_address_format(&path->address, address), names[path->state]);
	if (path->state == REMOTE_PATH_LIVE)
		text_printf(&text, ", %s, controller %u, %u queue%s of %u, %llu commands", ana_name(path->ana),
			    path->cntlid, path->queues, path->queues == 1 ? "" : "s", path->depth,
			    (unsigned long long)path->commands);
	if (path->losses > 0)
		text_printf(&text, ", lost %llu time%s", (unsigned long long)path->losses,
			    path->losses == 1 ? "" : "s");
	if (why[0])
		text_printf(&text, path->state == REMOTE_PATH_LIVE ? " (%s)" : ": %s", why);
	char *taken = text_take(&text);
	add_text(list, taken);
	free(taken);
}

static void observe(void *ctx, const struct object *object, struct object *copy)
{
	struct nvmf_remote_object *out = (struct nvmf_remote_object *)copy;
	struct nvmf_remote *remote = object->runtime;
	struct remote_status status;
	char discovered[WATCH_TEXT];

	nvmf_remote_status(remote, &status, discovered);
	if (discovered[0] && !(out->discovered = strdup(discovered)))
		abort();
	if (!(out->connects_as = strdup(remote->options.hostnqn)))
		abort();
	out->state = remote->state;
	if (remote->state == REMOTE_READY && status.lost)
		out->state = REMOTE_LOST;
	/* Discovery alone, and it has told of none. */
	bool pathless = remote->state == REMOTE_CONNECTING && status.path_count == 0 && discovered[0];
	if (!remote->backing.device && !(out->why = strdup(pathless ? discovered : remote->backing.why_not)))
		abort();
	out->served_by = (uint16_t)worker_index(remote->worker);
	out->block_size = status.sector;
	out->bytes = status.bytes;
	out->requests = status.requests;
	out->repeated = status.repeated;
	out->held = status.held;
	out->path_losses = status.losses;
	out->digest_errors = status.digest_errors;
	out->aborts = status.aborts;
	for (unsigned i = 0; i < status.path_count; i++) {
		out->live_paths += status.paths[i].state == REMOTE_PATH_LIVE;
		path_add(&out->paths, &status.paths[i]);
	}
	if (remote->backing.device && out->live_paths == 0 &&
	    !(out->why = strdup(status.lost ? "no path is connected, requests fail"
					    : "no path is connected, requests wait for one")))
		abort();
}

static int validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct nvmf_remote_object *object = (const struct nvmf_remote_object *)new;

	if (object->addresses.count > 0 || object->discovery)
		return 0;
	return error_set(err, DPU_E_INVALID, "addresses", "give addresses of the subsystem, or discovery");
}

static int reconnect_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct nvmf_remote *remote = object->runtime;

	remote->again = true;
	if (remote->state == REMOTE_GONE)
		remote->state = REMOTE_CONNECTING;
	nvmf_remote_step(remote);
	*ret_result = json_null();
	return 0;
}

static const struct action actions[] = {
	{ .name = "discover",
	  .doc = "Asks a discovery controller which subsystems it knows, where, and for which other discovery "
		 "controllers.",
	  .example = "dpuctl nvmf_remote discover address=192.0.2.1:8009",
	  .args = discover_args,
	  .args_size = sizeof(struct discover_args),
	  .read_only = true,
	  .start = discover_start },
	{ .name = "reconnect",
	  .doc = "Gives its connections up and makes new ones, also to a namespace that is gone and was made anew.",
	  .per_object = true,
	  .run = reconnect_run },
	{ 0 },
};

const struct object_class nvmf_remote_class = {
	.name = "nvmf_remote",
	.plural = "nvmf_remotes",
	.doc = "A namespace of another machine, by NVMe over TCP, that a pool or a disk is put on.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct nvmf_remote_object),
	.fields = fields,
	.actions = actions,
	.max_objects = 4096,
	.example = "dpuctl nvmf_remote create far nqn=nqn.2025-01.org.example:disks addresses=192.0.2.1,192.0.2.2",
	.validate = validate,
	.apply = nvmf_remote_apply,
	.remove = nvmf_remote_remove,
	.observe = observe,
};
