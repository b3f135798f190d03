// SPDX-License-Identifier: BSD-3-Clause
/* Subsystems: their home, what the worker is told of hosts and ports, and what it tells of controllers. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/nvmf/target/target_priv.h"

enum { MIB = 1 << 20 };

/* ---- the worker's part of the target ---- */

static uint64_t group_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct target_group *group = (struct target_group *)((char *)source - offsetof(struct target_group, source));
	uint64_t soonest = connections_tick(group, now_ns);
	struct subsystem *subsystem;

	(void)worker;
	LIST_FOREACH(subsystem, &group->subsystems, link)
	{
		uint64_t next = nvme_subsystem_tick(subsystem->nvme, now_ns);

		soonest = next < soonest ? next : soonest;
	}
	uint64_t next = nvme_pool_tick(group->pool, now_ns);

	return next < soonest ? next : soonest;
}

static struct tenant_part *part_get(struct target_group *group, const struct object *object)
{
	const struct object *tenant = object ? object->tenant : NULL;
	static const struct uuid none;
	const struct uuid *uuid = tenant ? &tenant->uuid : &none;
	struct tenant_part *part;

	LIST_FOREACH(part, &group->tenants, link)
	{
		if (uuid_equal(&part->uuid, uuid))
			break;
	}
	if (!part) {
		part = nvmf_alloc(sizeof(*part));
		part->uuid = *uuid;
		nvme_tenant_init(&part->memory, group->pool);
		LIST_INSERT_HEAD(&group->tenants, part, link);
	}
	part->subsystems++;
	return part;
}

static void part_put(struct tenant_part *part)
{
	if (--part->subsystems > 0)
		return;
	LIST_REMOVE(part, link);
	free(part);
}

static int group_make(struct target_group *group, struct worker *worker, struct dpu_error *err)
{
	group->nvmf = nvmf_group(group->target->nvmf, worker, err);
	if (!group->nvmf)
		return -1;
	if (!group->pool)
		group->pool = nvme_pool_new(&(struct nvme_pool_options){ .bytes = UINT64_C(256) * MIB });
	if (!group->pool)
		return error_set(err, DPU_E_LIMIT, NULL, "no memory");
	group->source = (struct worker_source){ .tick = group_tick, .fd = -1, .name = "nvmf" };
	int rc = worker_add_source(worker, &group->source);
	if (rc != 0)
		return error_set(err, DPU_E_LIMIT, NULL, "a worker takes no more sources: %s", strerror(-rc));
	group->ready = true;
	return 0;
}

/* ---- what the worker tells ---- */

struct told {
	struct subsystem *subsystem;
	struct nvme_target_notice notice;
	char hostnqn[NVME_NQN_BYTES];
};

static const char *const reasons[NVME_REASONS] = {
	[NVME_REASON_NONE] = "none",
	[NVME_REASON_HOST] = "the host disconnected",
	[NVME_REASON_CLOSED] = "the connection broke",
	[NVME_REASON_KEEP_ALIVE] = "its keep-alive timer expired",
	[NVME_REASON_CONTROL] = "host, listener or subsystem were removed",
	[NVME_REASON_PROTOCOL] = "it sent a PDU that the specification forbids",
	[NVME_REASON_STALLED] = "it did not take what was sent to it, or send what it had announced",
};

static struct seen_controller *seen_find(struct subsystem *subsystem, uint16_t cntlid)
{
	struct seen_controller *seen;

	TAILQ_FOREACH(seen, &subsystem->controllers, link)
	{
		if (seen->cntlid == cntlid)
			return seen;
	}
	return NULL;
}

static void tell(struct subsystem *subsystem, const char *what, const char *hostnqn, const char *why)
{
	if (why)
		log_info("nvmf", what, "subsystem=%s host=%s why=\"%s\"", subsystem->nqn, hostnqn, why);
	else
		log_info("nvmf", what, "subsystem=%s host=%s", subsystem->nqn, hostnqn);
	if (subsystem->item.object)
		model_notice(subsystem->item.target->nvmf->dpu->model, subsystem->item.object, what,
			     json_pack("{s:s,s:s*}", "host", hostnqn, "why", why));
}

static void controller_up(struct subsystem *subsystem, const struct told *told)
{
	struct seen_controller *seen = nvmf_alloc(sizeof(*seen));

	seen->cntlid = told->notice.cntlid;
	seen->port = told->notice.port;
	seen->queues = 1;
	memcpy(seen->hostnqn, told->hostnqn, sizeof(seen->hostnqn));
	TAILQ_INSERT_TAIL(&subsystem->controllers, seen, link);
	if (!subsystem->discovery)
		tell(subsystem, "host-connected", told->hostnqn, NULL);
}

static void controller_down(struct subsystem *subsystem, const struct told *told)
{
	struct seen_controller *seen = seen_find(subsystem, told->notice.cntlid);

	if (!seen)
		return;
	TAILQ_REMOVE(&subsystem->controllers, seen, link);
	free(seen);
	if (!subsystem->discovery)
		tell(subsystem, "host-disconnected", told->hostnqn, reasons[told->notice.reason]);
}

static void digest_error(struct subsystem *subsystem, struct seen_controller *seen, const struct told *told)
{
	log_warn("nvmf", "a host sends wrong digests", "subsystem=%s host=%s count=%llu", subsystem->nqn, told->hostnqn,
		 (unsigned long long)told->notice.digest_errors);
	if (seen)
		seen->digest_errors = told->notice.digest_errors;
}

static void tell_control(void *arg)
{
	struct told *told = arg;
	struct subsystem *subsystem = told->subsystem;
	struct seen_controller *seen = seen_find(subsystem, told->notice.cntlid);

	subsystem->keep_alive_expired +=
		told->notice.event == NVME_TARGET_CONTROLLER_DOWN && told->notice.reason == NVME_REASON_KEEP_ALIVE;
	switch (told->notice.event) {
	case NVME_TARGET_CONTROLLER_UP:
		controller_up(subsystem, told);
		break;
	case NVME_TARGET_CONTROLLER_DOWN:
		controller_down(subsystem, told);
		break;
	case NVME_TARGET_QUEUE_UP:
		if (seen)
			seen->queues++;
		break;
	case NVME_TARGET_QUEUE_DOWN:
		if (seen)
			seen->queues--;
		break;
	case NVME_TARGET_DIGEST_ERROR:
		digest_error(subsystem, seen, told);
		break;
	}
	free(told);
}

/* For logs and people: a host may call itself anything. */
static void name_copy(char to[NVME_NQN_BYTES], const char *name)
{
	strncpy(to, name, NVME_NQN_BYTES - 1);
	for (; *to; to++)
		if (*to <= ' ' || *to > '~' || *to == '"')
			*to = '?';
}

static void on_notice(void *ctx, const struct nvme_target_notice *notice)
{
	struct subsystem *subsystem = ctx;
	struct told *told = nvmf_alloc(sizeof(*told));

	told->subsystem = subsystem;
	told->notice = *notice;
	name_copy(told->hostnqn, notice->hostnqn);
	nvmf_post(subsystem->item.target->nvmf, tell_control, told);
}

static const struct nvme_subsystem_ops subsystem_ops = { .notice = on_notice, .persist = reservation_persist };

/* ---- home ---- */

static const struct subsystem_object *object_of(const struct subsystem *subsystem)
{
	return (const struct subsystem_object *)subsystem->item.object;
}

static int nvme_make(struct subsystem *subsystem)
{
	const struct subsystem_object *object = object_of(subsystem);
	struct nvme_subsystem_options options = {
		.nqn = subsystem->nqn,
		.serial = object ? object->serial : "discovery",
		.model = object ? object->model : "softdpu",
		.firmware = "1",
		.discovery = subsystem->discovery,
		.max_queues = object ? object->max_queues : 1,
		.max_entries = object ? object->max_entries : 128,
		.max_controllers = object ? object->max_controllers : 1024,
		.account = &subsystem->account,
		.ops = &subsystem_ops,
		.ctx = subsystem,
	};

	subsystem->part = part_get(subsystem->group, subsystem->item.object);
	nvme_account_init(&subsystem->account, subsystem->group->pool, &subsystem->part->memory,
			  object ? object->memory : (uint64_t)MIB);
	int rc = nvme_subsystem_new(&options, &subsystem->nvme);
	if (rc != 0)
		part_put(subsystem->part);
	return rc;
}

static void subsystem_add(void *arg, struct worker *worker)
{
	struct subsystem *subsystem = arg;

	(void)worker;
	LIST_INSERT_HEAD(&subsystem->group->subsystems, subsystem, link);
}

static void config_push(struct subsystem *subsystem);

bool subsystem_settle(struct subsystem *subsystem, struct worker *wanted)
{
	struct target *target = subsystem->item.target;
	struct dpu_error err = { 0 };

	if (subsystem->nvme)
		return !subsystem->removing;
	if (target->stopping || (!subsystem->discovery && !subsystem->item.object))
		return false;
	unsigned slot = subsystem->item.object ? subsystem->item.object->slot : 0;
	struct worker *home = wanted ? wanted : workers_get(target->nvmf->dpu->workers, slot % target->nvmf->workers);

	subsystem->group = &target->groups[worker_index(home)];
	if ((!subsystem->group->ready && group_make(subsystem->group, home, &err) != 0) || nvme_make(subsystem) != 0) {
		log_error("nvmf", "a subsystem cannot be served", "subsystem=%s why=\"%s\"", subsystem->nqn,
			  err.message);
		return false;
	}
	subsystem->home = home;
	nvmf_call(home, subsystem_add, subsystem, NULL);
	config_push(subsystem);
	if (subsystem->discovery)
		discovery_push(target);
	target_step_soon(target); /* its namespaces */
	return true;
}

/* ---- hosts and ports ---- */

/* What the worker is told, as one piece of memory that is compared with the last. */
struct config {
	struct target *target; /* the subsystem may be no more when control hears that it was taken */
	struct subsystem *subsystem;
	uint32_t any, hosts, ports;
	struct config_port {
		uint16_t id;
		uint8_t state[NVME_TARGET_ANA_GROUPS];
	} port[NVME_TARGET_PORTS_MAX];
	char nqn[][NVME_NQN_BYTES];
};

static bool refers(const struct ref_list *list, const struct object *object)
{
	for (size_t i = 0; i < list->count; i++)
		if (uuid_equal(&list->items[i].object->uuid, &object->uuid))
			return true;
	return list->count == 0;
}

const char **subsystem_hosts(const struct subsystem *subsystem, unsigned *ret_count)
{
	const struct target *target = subsystem->item.target;
	const struct object *object = subsystem->item.object;
	unsigned count = 0;
	struct item *item;

	TAILQ_FOREACH(item, &target->hosts, link)
	count++;
	const char **nqns = nvmf_alloc((count + 1) * sizeof(*nqns));
	count = 0;
	TAILQ_FOREACH(item, &target->hosts, link)
	{
		const struct host_object *host = (const struct host_object *)item->object;

		if (host && object && host->base.tenant && object->tenant &&
		    uuid_equal(&host->base.tenant->uuid, &object->tenant->uuid) && refers(&host->subsystems, object))
			nqns[count++] = host->nqn;
	}
	*ret_count = count;
	return nqns;
}

bool subsystem_any_host(const struct subsystem *subsystem)
{
	return subsystem->discovery || (subsystem->item.object && object_of(subsystem)->allow_any_host);
}

bool listener_serves(const struct listener *listener, const struct subsystem *subsystem)
{
	const struct listener_object *object = (const struct listener_object *)listener->item.object;

	if (!object || subsystem->discovery)
		return object;
	return subsystem->item.object && refers(&object->subsystems, subsystem->item.object);
}

static void ports_fill(const struct subsystem *subsystem, struct config *config)
{
	struct item *item;

	TAILQ_FOREACH(item, &subsystem->item.target->listeners, link)
	{
		const struct listener *listener = (const struct listener *)item;

		if (!listener_serves(listener, subsystem) || config->ports == NVME_TARGET_PORTS_MAX)
			continue;
		struct config_port *port = &config->port[config->ports++];
		port->id = listener->port_id;
		listener_ana(listener, port->state);
	}
}

static void config_take(void *arg, struct worker *worker)
{
	struct config *config = arg;
	struct nvme_subsystem *nvme = config->subsystem->nvme;
	const char **nqns = nvmf_alloc((config->hosts + 1) * sizeof(*nqns));

	(void)worker;
	for (uint32_t i = 0; i < config->hosts; i++)
		nqns[i] = config->nqn[i];
	if (nvme_subsystem_hosts(nvme, config->any, nqns, config->hosts) != 0)
		abort(); /* out of memory */
	free(nqns);
	/* Ports that are not named go. */
	uint16_t ids[NVME_TARGET_PORTS_MAX];
	unsigned count = nvme_subsystem_ports(nvme, ids);
	for (unsigned i = 0; i < count; i++) {
		bool named = false;

		for (uint32_t j = 0; j < config->ports; j++)
			named |= config->port[j].id == ids[i];
		if (!named)
			nvme_subsystem_port_remove(nvme, ids[i]);
	}
	for (uint32_t i = 0; i < config->ports; i++)
		nvme_subsystem_port(nvme, config->port[i].id, config->port[i].state);
}

static void config_taken(void *arg)
{
	struct config *config = arg;

	step_end(config->target);
	free(config);
}

static void config_push(struct subsystem *subsystem)
{
	unsigned hosts;
	const char **nqns = subsystem_hosts(subsystem, &hosts);
	size_t bytes = sizeof(struct config) + hosts * (size_t)NVME_NQN_BYTES;
	struct config *config = nvmf_alloc(bytes);

	config->target = subsystem->item.target;
	config->subsystem = subsystem;
	config->any = subsystem_any_host(subsystem);
	config->hosts = hosts;
	for (unsigned i = 0; i < hosts; i++)
		strncpy(config->nqn[i], nqns[i], NVME_NQN_BYTES - 1);
	free(nqns);
	ports_fill(subsystem, config);
	if (bytes == subsystem->config_bytes && memcmp(config, subsystem->config, bytes) == 0) {
		free(config);
		return;
	}
	free(subsystem->config);
	subsystem->config = nvmf_alloc(bytes);
	memcpy(subsystem->config, config, bytes);
	subsystem->config_bytes = bytes;
	step_begin(subsystem->item.target);
	nvmf_call(subsystem->home, config_take, config, config_taken);
}

/* ---- the end ---- */

static void hosts_end(void *arg, struct worker *worker)
{
	struct subsystem *subsystem = arg;

	(void)worker;
	nvme_subsystem_end(subsystem->nvme, true);
	connections_end(subsystem);
}

static void subsystem_freed(void *arg)
{
	struct subsystem *subsystem = arg;

	part_put(subsystem->part);
	subsystem->nvme = NULL;
	subsystem->home = NULL;
	item_drain_end(&subsystem->item);
}

static void subsystem_leave_check(struct subsystem *subsystem)
{
	if (!subsystem->leaving || !LIST_EMPTY(&subsystem->connections))
		return;
	LIST_REMOVE(subsystem, link);
	nvme_subsystem_free(subsystem->nvme);
	nvmf_post(subsystem->item.target->nvmf, subsystem_freed, subsystem);
}

void subsystem_connection_gone(struct subsystem *subsystem)
{
	subsystem_leave_check(subsystem);
}

static void subsystem_leave(void *arg, struct worker *worker)
{
	struct subsystem *subsystem = arg;

	(void)worker;
	subsystem->leaving = true;
	subsystem_leave_check(subsystem);
}

/* Connections first, then namespaces (by their own steps), then itself. */
static void take_down(struct subsystem *subsystem)
{
	struct target *target = subsystem->item.target;

	subsystem->item.gone = true;
	if (subsystem->nvme && !subsystem->removing) {
		subsystem->removing = true;
		item_drain_begin(&subsystem->item);
		nvmf_call(subsystem->home, hosts_end, subsystem, NULL);
	}
	if (subsystem->nvme) {
		if (subsystem->namespaces == 0 && !subsystem->taken) {
			subsystem->taken = true;
			nvmf_call(subsystem->home, subsystem_leave, subsystem, NULL);
		}
		return;
	}
	struct seen_controller *seen;
	while ((seen = TAILQ_FIRST(&subsystem->controllers)) != NULL) {
		TAILQ_REMOVE(&subsystem->controllers, seen, link);
		free(seen);
	}
	if (subsystem->namespaces > 0 || subsystem->discovery || target->stopping)
		return;
	free(subsystem->config);
	item_free(&target->subsystems, &subsystem->item);
}

void subsystem_step(struct subsystem *subsystem)
{
	if (item_waits(&subsystem->item.target->subsystems, &subsystem->item))
		return;
	if (subsystem->item.target->stopping || (!subsystem->item.object && !subsystem->discovery))
		take_down(subsystem);
	else if (subsystem->nvme)
		config_push(subsystem);
}

/* ---- finding ---- */

struct subsystem *subsystem_find(struct target *target, const char *nqn)
{
	struct item *item;

	TAILQ_FOREACH(item, &target->subsystems, link)
	{
		struct subsystem *subsystem = (struct subsystem *)item;

		if ((item->object || subsystem->discovery) && strcmp(subsystem->nqn, nqn) == 0)
			return subsystem;
	}
	return NULL;
}

bool subsystem_is_starting(const struct subsystem *subsystem)
{
	const struct target *target = subsystem->item.target;
	uint64_t seconds = (clock_ns() - target->started_ns) / CLOCK_NS_PER_S;
	const struct item *item;

	if (item_waits(&target->subsystems, &subsystem->item))
		return true;
	if (seconds >= RECOVERY_S)
		return false;
	TAILQ_FOREACH(item, &target->namespaces, link)
	{
		const struct namespace *ns = (const struct namespace *)item;
		const struct namespace_object *object = (const struct namespace_object *)item->object;

		if (!object || !ns->restored || ns->seen || ns->failed || ns->lost ||
		    !uuid_equal(&object->subsystem.object->uuid, &subsystem->item.uuid))
			continue;
		if (seconds < STARTING_S || block_is_coming(namespace_backing(object)))
			return true;
	}
	return false;
}

struct subsystem *subsystem_new_discovery(struct target *target)
{
	struct subsystem *subsystem = nvmf_alloc(sizeof(*subsystem));

	subsystem->item.target = target;
	subsystem->discovery = true;
	strcpy(subsystem->nqn, NVME_DISCOVERY_NQN);
	TAILQ_INIT(&subsystem->controllers);
	TAILQ_INSERT_TAIL(&target->subsystems, &subsystem->item, link);
	return subsystem;
}
