// SPDX-License-Identifier: BSD-3-Clause
/* The class "nvmf_namespace": a volume, snapshot or medium as hosts see it. */
#include <string.h>
#include "service/nvmf/target/target_priv.h"

static const char *const state_names[] = {
	[NAMESPACE_WAITING] = "waiting",
	[NAMESPACE_READY] = "ready",
	[NAMESPACE_FAILED] = "failed",
	[NAMESPACE_LEAVING] = "leaving",
	NULL,
};

static bool block_size_good(uint16_t size)
{
	return size == 0 || size == 512 || size == 4096;
}

static const struct field namespace_fields[] = {
	FIELD(struct namespace_object, subsystem, .target = "nvmf_subsystem",
	      .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT, .doc = "The subsystem that it is in."),
	FIELD(struct namespace_object, nsid, .flags = FIELD_F_IMMUTABLE | FIELD_F_GENERATED,
	      .max = NVME_TARGET_NAMESPACES_MAX,
	      .doc = "Its number in the subsystem; by default the next after the one last given, so that hosts "
		     "do not take it for one that was there before."),
	FIELD(struct namespace_object, volume, .target = "volume", .flags = FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	      .doc = "The volume that it shows: exactly one of volume, snapshot and medium is given."),
	FIELD(struct namespace_object, snapshot, .target = "snapshot", .flags = FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	      .doc = "The snapshot that it shows, read-only."),
	FIELD(struct namespace_object, medium, .target = "medium", .flags = FIELD_F_IMMUTABLE,
	      .doc = "The medium that it shows."),
	FIELD(struct namespace_object, qos, .target = "qos_policy",
	      .doc = "On a medium: what its hosts are guaranteed and may use, beside what its tenant is and may. "
		     "Volumes "
		     "and snapshots have their own."),
	FIELD(struct namespace_object, block_size, .unit = "bytes", .flags = FIELD_F_IMMUTABLE, .max = 4096,
	      .doc = "Logical block, 512 or 4096; by default the smallest that the volume can do."),
	FIELD(struct namespace_object, ana_group, .flags = FIELD_F_IMMUTABLE, .def = "1", .min = 1,
	      .max = NVME_TARGET_ANA_GROUPS, .doc = "Its ANA group: listeners give states to groups."),
	FIELD_ENUM_ROW(struct namespace_object, state, state_names, .flags = FIELD_F_STATE,
		       .doc = "Whether hosts can use it."),
	FIELD(struct namespace_object, why, .flags = FIELD_F_STATE, .doc = "Why they cannot."),
	FIELD(struct namespace_object, nguid, .flags = FIELD_F_STATE,
	      .doc = "The identifier that hosts know it by, the same for as long as it lives."),
	FIELD(struct namespace_object, size, .flags = FIELD_F_GAUGE, .unit = "bytes", .doc = "How large it is."),
	FIELD(struct namespace_object, reads, .flags = FIELD_F_COUNTER, .unit = "commands", .doc = "Reads by hosts."),
	FIELD(struct namespace_object, writes, .flags = FIELD_F_COUNTER, .unit = "commands", .doc = "Writes by hosts."),
	FIELD(struct namespace_object, flushes, .flags = FIELD_F_COUNTER, .unit = "commands",
	      .doc = "Flushes by hosts."),
	FIELD(struct namespace_object, other_commands, .flags = FIELD_F_COUNTER, .unit = "commands",
	      .doc = "Compares, deallocations and writes of zeroes."),
	FIELD(struct namespace_object, read_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes",
	      .doc = "Data that hosts have read."),
	FIELD(struct namespace_object, written_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes",
	      .doc = "Data that hosts have written."),
	FIELD(struct namespace_object, errors, .flags = FIELD_F_COUNTER, .unit = "commands",
	      .doc = "Requests that failed in the volume."),
	FIELD(struct namespace_object, reservation_conflicts, .flags = FIELD_F_COUNTER, .unit = "commands",
	      .doc = "Commands refused because of another host's reservation."),
	FIELD(struct namespace_object, path_errors, .flags = FIELD_F_COUNTER, .unit = "commands",
	      .doc = "Commands refused because of the ANA state of the listener."),
	{ 0 },
};

struct nsid_search {
	const struct namespace_object *object;
	bool taken[NVME_TARGET_NAMESPACES_MAX + 1];
};

static int nsid_note(void *arg, struct object *object)
{
	struct nsid_search *search = arg;
	const struct namespace_object *other = (const struct namespace_object *)object;

	if (!uuid_equal(&object->uuid, &search->object->base.uuid) && other->subsystem.object &&
	    uuid_equal(&other->subsystem.object->uuid, &search->object->subsystem.object->uuid))
		search->taken[other->nsid] = true;
	return 0;
}

static void nsids_find(struct nvmf *nvmf, const struct namespace_object *object, struct nsid_search *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->object = object;
	model_each(nvmf->dpu->model, "nvmf_namespace", NULL, nsid_note, ret);
}

static struct subsystem *subsystem_of(struct target *target, const struct namespace_object *object)
{
	return (struct subsystem *)item_find(&target->subsystems, &object->subsystem.object->uuid);
}

static uint32_t nsid_last(struct target *target, const struct namespace_object *object)
{
	const struct subsystem *subsystem = subsystem_of(target, object);

	return subsystem ? subsystem->last_nsid : 0;
}

/* Linux takes another namespace of the same number for one that has changed, says so, and may lose a path to it. */
static void nsid_given(struct target *target, const struct namespace_object *object)
{
	struct subsystem *subsystem = subsystem_of(target, object);

	if (subsystem && (target->started || object->nsid > subsystem->last_nsid))
		subsystem->last_nsid = object->nsid;
}

static int namespace_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	struct namespace_object *object = (struct namespace_object *)new;
	struct nsid_search search;

	if (old || object->nsid != 0 || !object->subsystem.object)
		return 0;
	nsids_find(ctx, object, &search);
	uint32_t nsid = nsid_last(((struct nvmf *)ctx)->target, object);

	for (unsigned i = 0; i < NVME_TARGET_NAMESPACES_MAX; i++) {
		nsid = nsid % NVME_TARGET_NAMESPACES_MAX + 1;
		if (search.taken[nsid])
			continue;
		object->nsid = nsid;
		return 0;
	}
	return error_set(err, DPU_E_LIMIT, "nsid", "the subsystem has %d namespaces already",
			 NVME_TARGET_NAMESPACES_MAX);
}

static int namespace_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	struct nvmf *nvmf = ctx;
	const struct namespace_object *object = (const struct namespace_object *)new;
	unsigned given = !!object->volume.object + !!object->snapshot.object + !!object->medium.object;
	struct nsid_search search;

	if (given != 1)
		return error_set(err, DPU_E_INVALID, "volume", "give exactly one of volume, snapshot and medium");
	int rc = block_check_policy(new, &object->qos, namespace_backing(object), err);
	if (rc == 0)
		rc = object_same_tenant(new, object->volume.object, "volume", err);
	if (rc == 0)
		rc = object_same_tenant(new, object->snapshot.object, "snapshot", err);
	if (rc < 0)
		return rc;
	if (!block_size_good(object->block_size))
		return error_set(err, DPU_E_INVALID, "block_size", "must be 512 or 4096");
	nsids_find(nvmf, object, &search);
	if (search.taken[object->nsid])
		return error_set(err, DPU_E_EXISTS, "nsid", "%u is another namespace's of this subsystem",
				 object->nsid);
	if (!old && object->volume.object)
		return block_check_attach(object->volume.object, "volume", err);
	if (!old && object->medium.object)
		return block_check_exclusive(block_of(nvmf->dpu), object->medium.object, new, "medium", err);
	return 0;
}

static int namespace_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct target *target = ((struct nvmf *)ctx)->target;
	struct namespace *ns =
		(struct namespace *)item_apply(target, &target->namespaces, sizeof(struct namespace), new);

	(void)err;
	ns->failed = false; /* it is tried again */
	if (!old) {
		ns->restored = !target->started;
		nsid_given(target, (const struct namespace_object *)new);
	}
	namespace_policy(ns);
	return 0;
}

/* The backing may be on its way out in the same transaction: it is let go at once. */
static void namespace_remove(void *ctx, struct object *object)
{
	item_remove(&((struct nvmf *)ctx)->target->namespaces, object);
	namespace_let_go(object->runtime);
}

static uint64_t count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void stats_copy(const struct nvme_namespace_stats *stats, struct namespace_object *out)
{
	out->reads = count(&stats->requests[DPU_BLOCK_READ]);
	out->writes = count(&stats->requests[DPU_BLOCK_WRITE]);
	out->flushes = count(&stats->requests[DPU_BLOCK_FLUSH]);
	out->other_commands = count(&stats->requests[DPU_BLOCK_COMPARE]) + count(&stats->requests[DPU_BLOCK_DISCARD]) +
			      count(&stats->requests[DPU_BLOCK_WRITE_ZEROES]);
	out->read_bytes = count(&stats->bytes[DPU_BLOCK_READ]);
	out->written_bytes = count(&stats->bytes[DPU_BLOCK_WRITE]);
	for (unsigned i = DPU_BLOCK_OK + 1; i < DPU_BLOCK_STATUSES; i++)
		out->errors += i == DPU_BLOCK_MISCOMPARE ? 0 : count(&stats->statuses[i]);
	out->reservation_conflicts = count(&stats->reservation_conflicts);
	out->path_errors = count(&stats->path_errors);
}

static enum namespace_state state_of(const struct namespace *ns)
{
	return ns->failed || ns->lost ? NAMESPACE_FAILED : ns->given ? NAMESPACE_READY : NAMESPACE_WAITING;
}

static void namespace_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct namespace *ns = object->runtime;
	const struct namespace_object *now = (const struct namespace_object *)object;
	struct namespace_object *out = (struct namespace_object *)copy;
	const struct object *backing = namespace_backing(now);

	(void)ctx;
	out->nguid = object->uuid;
	out->state = (uint8_t)state_of(ns);
	const char *why = ns->failed ? ns->why : ns->given ? NULL : block_why_not(backing);
	if (!why && ns->subsystem && !ns->added && namespace_waits_for_nsid(ns))
		why = "requests are under way in the namespace that had its nsid";
	if (why)
		out->why = nvmf_text(why);
	if (ns->given)
		out->size = ns->device->bytes;
	if (ns->added && !ns->removing)
		stats_copy(nvme_namespace_stats(ns->nvme), out);
}

/* ---- where the time goes ---- */

static int namespace_latency(void *ctx, struct object *object, const void *args, json_t **ret_result,
			     struct dpu_error *err)
{
	const struct namespace *ns = object->runtime;

	(void)ctx;
	(void)args;
	return block_latency(ns->attachment, namespace_backing((const struct namespace_object *)object), ret_result,
			     err);
}

static int namespace_slowest(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			     struct dpu_error *err)
{
	const struct namespace *ns = object->runtime;

	(void)ctx;
	(void)args;
	return block_slowest(ns->attachment, namespace_backing((const struct namespace_object *)object), reply, err);
}

static int namespace_why(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			 struct dpu_error *err)
{
	const struct namespace *ns = object->runtime;
	const struct namespace_object *now = (const struct namespace_object *)object;

	return block_why(block_of(((struct nvmf *)ctx)->dpu), ns->attachment, object, namespace_backing(now),
			 now->qos.object, args, reply, err);
}

/* ---- a failed one again ---- */

struct retry {
	struct action_reply *reply;
	struct uuid uuid;
	struct target *target;
};

static void retried(void *arg)
{
	struct retry *retry = arg;
	const struct namespace *ns = (const struct namespace *)item_find(&retry->target->namespaces, &retry->uuid);
	struct dpu_error err = { 0 };

	if (ns && ns->failed)
		error_set(&err, DPU_E_CONFLICT, NULL, "%.480s", ns->why);
	else if (!ns)
		error_set(&err, DPU_E_NOT_FOUND, NULL, "it was deleted meanwhile");
	if (err.code)
		action_answer(retry->reply, error_errno(err.code), NULL, &err);
	else
		action_answer(retry->reply, 0, json_pack("{s:s}", "state", state_names[state_of(ns)]), NULL);
	free(retry);
}

static int namespace_retry(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			   struct dpu_error *err)
{
	struct retry *retry = nvmf_alloc(sizeof(*retry));

	(void)args;
	(void)err;
	*retry = (struct retry){ .reply = reply, .uuid = object->uuid, .target = ((struct nvmf *)ctx)->target };
	((struct namespace *)object->runtime)->failed = false;
	target_settle(retry->target, retried, retry);
	return 0;
}

static const struct action namespace_actions[] = { { .name = "retry",
						     .doc = "Tries one that has failed again, after its file of "
							    "reservations was put right or moved away.",
						     .example = "dpuctl nvmf_namespace retry blue/web",
						     .per_object = true,
						     .start = namespace_retry },
						   BLOCK_LATENCY_ACTION(namespace_latency),
						   BLOCK_SLOWEST_ACTION(namespace_slowest),
						   BLOCK_WHY_ACTION("nvmf_namespace", namespace_why),
						   { 0 } };

const struct object_class nvmf_namespace_class = {
	.name = "nvmf_namespace",
	.plural = "nvmf_namespaces",
	.doc = "A volume, snapshot or medium that an NVMe subsystem shows to hosts.",
	.example = "dpuctl nvmf_namespace create blue/web subsystem=disks volume=web",
	.size = sizeof(struct namespace_object),
	.fields = namespace_fields,
	.actions = namespace_actions,
	.max_objects = 16384,
	.complete = namespace_complete,
	.validate = namespace_validate,
	.apply = namespace_apply,
	.remove = namespace_remove,
	.observe = namespace_observe,
};
