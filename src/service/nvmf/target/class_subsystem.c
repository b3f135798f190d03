// SPDX-License-Identifier: BSD-3-Clause
/* The classes "nvmf_subsystem" and "nvmf_host": what hosts connect to, and who they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/nvmf/nqn.h"
#include "service/nvmf/target/target_priv.h"

static bool is_ascii(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static const struct field subsystem_fields[] = {
	FIELD(struct subsystem_object, nqn, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE, .check = nqn_check,
	      .check_doc = NQN_CHECK_DOC, .check_stored = nqn_check_stored, .max = NVME_NQN_LENGTH_MAX,
	      .doc = "The name that hosts connect to."),
	FIELD(struct subsystem_object, serial, .flags = FIELD_F_IMMUTABLE | FIELD_F_GENERATED, .max = 20,
	      .check = is_ascii, .check_doc = "must be printable ASCII", .doc = "Serial number that hosts see."),
	FIELD(struct subsystem_object, model, .flags = FIELD_F_IMMUTABLE, .def = "softdpu", .max = 40,
	      .check = is_ascii, .check_doc = "must be printable ASCII", .doc = "Model that hosts see."),
	FIELD(struct subsystem_object, allow_any_host, .def = "false",
	      .doc = "Whether any host may connect; else those with an nvmf_host."),
	FIELD(struct subsystem_object, max_queues, .flags = FIELD_F_IMMUTABLE, .def = "16", .min = 1,
	      .max = NVME_TARGET_QUEUES_MAX, .unit = "queues", .doc = "I/O queues that a host may have."),
	FIELD(struct subsystem_object, max_entries, .flags = FIELD_F_IMMUTABLE, .def = "128", .min = 32,
	      .max = NVME_TARGET_ENTRIES_MAX, .unit = "commands", .doc = "Commands that a queue may hold."),
	FIELD(struct subsystem_object, max_controllers, .flags = FIELD_F_IMMUTABLE, .def = "256", .min = 1,
	      .max = NVME_TARGET_CONTROLLERS_MAX, .unit = "controllers",
	      .doc = "Connections of hosts at a time, each with all its queues."),
	FIELD(struct subsystem_object, memory, .flags = FIELD_F_IMMUTABLE, .def = "67108864", .min = 2 << 20,
	      .max = 256 << 20, .unit = "bytes", .doc = "Memory for data under way; commands that find none wait."),
	FIELD(struct subsystem_object, why, .flags = FIELD_F_STATE, .doc = "Why it cannot be served."),
	FIELD(struct subsystem_object, controllers, .flags = FIELD_F_STATE,
	      .doc = "Hosts that are connected: controller, queues, NQN, wrong digests."),
	FIELD(struct subsystem_object, connections, .flags = FIELD_F_GAUGE, .unit = "connections",
	      .doc = "Queues that are connected, admin queues included."),
	FIELD(struct subsystem_object, connected_hosts, .flags = FIELD_F_GAUGE, .unit = "hosts",
	      .doc = "Controllers that are connected."),
	FIELD(struct subsystem_object, served_by, .flags = FIELD_F_STATE,
	      .doc = "Number of the worker that serves it, once something has to be served."),
	FIELD(struct subsystem_object, refused, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connect commands refused: host not allowed, too many, wrong parameters, not ready yet."),
	FIELD(struct subsystem_object, keep_alive_expired, .flags = FIELD_F_COUNTER, .unit = "controllers",
	      .doc = "Hosts that fell silent and were ended."),
	FIELD(struct subsystem_object, protocol_errors, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connections ended because of a PDU that the specification forbids."),
	FIELD(struct subsystem_object, header_digest_errors, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connections ended because of a PDU whose header does not match its digest."),
	FIELD(struct subsystem_object, data_digest_errors, .flags = FIELD_F_COUNTER, .unit = "errors",
	      .doc = "Data from hosts that did not match its digest: not taken, the command is to be tried again."),
	FIELD(struct subsystem_object, queue_memory, .flags = FIELD_F_GAUGE, .unit = "bytes",
	      .doc = "Memory that queues and their commands have, counted for the tenant."),
	FIELD(struct subsystem_object, memory_refusals, .flags = FIELD_F_COUNTER, .unit = "connections",
	      .doc = "Connect commands refused, to be tried again, because the tenant's memory for queues is used up."),
	FIELD(struct subsystem_object, buffer_waits, .flags = FIELD_F_COUNTER, .unit = "commands",
	      .doc = "Commands that waited for memory."),
	{ 0 },
};

static int subsystem_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	struct subsystem_object *object = (struct subsystem_object *)new;
	char serial[21];

	(void)ctx;
	(void)old;
	(void)err;
	if (object->serial)
		return 0;
	for (unsigned i = 0; i < 10; i++)
		snprintf(serial + 2 * i, sizeof(serial) - 2 * i, "%02x", new->uuid.bytes[i]);
	object->serial = nvmf_text(serial);
	return 0;
}

struct same_nqn {
	const struct subsystem_object *object;
	bool found;
};

static int nqn_note(void *arg, struct object *object)
{
	struct same_nqn *search = arg;

	search->found |= strcmp(((const struct subsystem_object *)object)->nqn, search->object->nqn) == 0 &&
			 !uuid_equal(&object->uuid, &search->object->base.uuid);
	return 0;
}

/* Hosts know nothing of tenants: a name is one subsystem's in all of the DPU. */
static int subsystem_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	struct nvmf *nvmf = ctx;
	struct same_nqn search = { .object = (const struct subsystem_object *)new };

	(void)old;
	if (strcmp(search.object->nqn, NVME_DISCOVERY_NQN) == 0)
		return error_set(err, DPU_E_INVALID, "nqn", "is the discovery subsystem's");
	model_each(nvmf->dpu->model, "nvmf_subsystem", NULL, nqn_note, &search);
	return search.found ? error_set(err, DPU_E_EXISTS, "nqn", "is taken: it must be unique in this DPU") : 0;
}

static int subsystem_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct target *target = ((struct nvmf *)ctx)->target;
	struct subsystem *subsystem =
		(struct subsystem *)item_apply(target, &target->subsystems, sizeof(*subsystem), new);

	(void)old;
	(void)err;
	if (subsystem->nqn[0] == '\0') {
		TAILQ_INIT(&subsystem->controllers);
		strncpy(subsystem->nqn, ((struct subsystem_object *)new)->nqn, sizeof(subsystem->nqn) - 1);
	}
	return 0;
}

static void subsystem_remove(void *ctx, struct object *object)
{
	item_remove(&((struct nvmf *)ctx)->target->subsystems, object);
}

static void subsystem_observe(void *ctx, const struct object *object, struct object *copy)
{
	const struct subsystem *subsystem = object->runtime;
	struct subsystem_object *out = (struct subsystem_object *)copy;
	const struct seen_controller *seen;
	unsigned count = 0;

	(void)ctx;
	TAILQ_FOREACH(seen, &subsystem->controllers, link)
	{
		out->connections += seen->queues;
		count++;
	}
	out->connected_hosts = count;
	out->controllers.items = count ? nvmf_alloc(count * sizeof(char *)) : NULL;
	out->controllers.count = 0;
	TAILQ_FOREACH(seen, &subsystem->controllers, link)
	{
		char text[NVME_NQN_BYTES + 96];
		int n = snprintf(text, sizeof(text), "%u: %u queues, %s", seen->cntlid, seen->queues, seen->hostnqn);

		if (seen->digest_errors > 0)
			snprintf(text + n, sizeof(text) - (size_t)n, ", wrong digests: %llu or more",
				 (unsigned long long)seen->digest_errors);
		out->controllers.items[out->controllers.count++] = nvmf_text(text);
	}
	out->served_by = subsystem->home ? (uint16_t)worker_index(subsystem->home) : 0;
	out->refused = atomic_load_explicit(&subsystem->refused, memory_order_relaxed);
	out->keep_alive_expired = subsystem->keep_alive_expired;
	if (!subsystem->nvme || subsystem->taken)
		return;
	const struct nvme_subsystem_stats *stats = nvme_subsystem_stats(subsystem->nvme);
	out->protocol_errors = atomic_load_explicit(&stats->protocol_errors, memory_order_relaxed);
	out->header_digest_errors = atomic_load_explicit(&stats->header_digest_errors, memory_order_relaxed);
	out->data_digest_errors = atomic_load_explicit(&stats->data_digest_errors, memory_order_relaxed);
	out->memory_refusals = atomic_load_explicit(&stats->memory_refusals, memory_order_relaxed);
	out->queue_memory = __atomic_load_n(&subsystem->account.queues, __ATOMIC_RELAXED);
	out->buffer_waits = __atomic_load_n(&subsystem->account.waits, __ATOMIC_RELAXED);
}

const struct object_class nvmf_subsystem_class = {
	.name = "nvmf_subsystem",
	.plural = "nvmf_subsystems",
	.doc = "An NVMe subsystem that hosts reach over TCP: a set of namespaces under one name.",
	.size = sizeof(struct subsystem_object),
	.fields = subsystem_fields,
	.max_objects = 1024,
	.complete = subsystem_complete,
	.validate = subsystem_validate,
	.apply = subsystem_apply,
	.remove = subsystem_remove,
	.observe = subsystem_observe,
};

/* ---- hosts ---- */

static const struct field host_fields[] = {
	FIELD(struct host_object, nqn, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_UNIQUE,
	      .check = nqn_check, .check_doc = NQN_CHECK_DOC, .check_stored = nqn_check_stored,
	      .max = NVME_NQN_LENGTH_MAX, .doc = "The name by which the host connects."),
	FIELD(struct host_object, subsystems, .target = "nvmf_subsystem",
	      .doc = "Subsystems that it may connect to; none named: all of the tenant."),
	{ 0 },
};

static int host_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct target *target = ((struct nvmf *)ctx)->target;

	(void)old;
	(void)err;
	item_apply(target, &target->hosts, sizeof(struct host), new);
	return 0;
}

static void host_remove(void *ctx, struct object *object)
{
	item_remove(&((struct nvmf *)ctx)->target->hosts, object);
}

const struct object_class nvmf_host_class = {
	.name = "nvmf_host",
	.plural = "nvmf_hosts",
	.doc = "A host that may connect to a tenant's NVMe subsystems.",
	.size = sizeof(struct host_object),
	.fields = host_fields,
	.max_objects = 4096,
	.apply = host_apply,
	.remove = host_remove,
};
