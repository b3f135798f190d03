// SPDX-License-Identifier: BSD-3-Clause
/* Subsystems: who may connect, by which ports, and what they say of themselves. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

static void pad_copy(char *to, size_t bytes, const char *text)
{
	size_t length = text ? strnlen(text, bytes) : 0;

	memset(to, ' ', bytes);
	if (length > 0)
		memcpy(to, text, length);
}

static uint16_t limit(uint16_t wanted, unsigned most)
{
	return wanted == 0 || wanted > most ? (uint16_t)most : wanted;
}

int nvme_subsystem_new(const struct nvme_subsystem_options *options, struct nvme_subsystem **ret)
{
	struct nvme_subsystem *subsystem = calloc(1, sizeof(*subsystem));

	if (!subsystem)
		return -ENOMEM;
	strncpy(subsystem->nqn, options->nqn, sizeof(subsystem->nqn) - 1);
	pad_copy(subsystem->serial, sizeof(subsystem->serial), options->serial);
	pad_copy(subsystem->model, sizeof(subsystem->model), options->model);
	pad_copy(subsystem->firmware, sizeof(subsystem->firmware), options->firmware);
	subsystem->discovery = options->discovery;
	subsystem->max_queues = limit(options->max_queues, NVME_TARGET_QUEUES_MAX);
	subsystem->max_entries = limit(options->max_entries, NVME_TARGET_ENTRIES_MAX);
	subsystem->max_controllers = limit(options->max_controllers, NVME_TARGET_CONTROLLERS_MAX);
	subsystem->account = options->account;
	subsystem->ops = options->ops;
	subsystem->ctx = options->ctx;
	TAILQ_INIT(&subsystem->controllers);
	*ret = subsystem;
	return 0;
}

void nvme_subsystem_free(struct nvme_subsystem *subsystem)
{
	assert(TAILQ_EMPTY(&subsystem->controllers));
	for (unsigned i = 0; i < NVME_TARGET_NAMESPACES_MAX; i++)
		assert(!subsystem->namespaces[i]);
	free(subsystem->hosts);
	free(subsystem);
}

const struct nvme_subsystem_stats *nvme_subsystem_stats(const struct nvme_subsystem *subsystem)
{
	return &subsystem->stats;
}

unsigned nvme_subsystem_queues(const struct nvme_subsystem *subsystem)
{
	return subsystem->queue_count;
}

void nvme_subsystem_end(struct nvme_subsystem *subsystem, bool refuse)
{
	struct nvme_controller *controller;

	subsystem->refuse = refuse;
	TAILQ_FOREACH(controller, &subsystem->controllers, link)
	nvme_controller_end(controller, NVME_REASON_CONTROL);
}

/* ---- hosts ---- */

bool nvme_subsystem_allows(const struct nvme_subsystem *subsystem, const char *hostnqn)
{
	for (unsigned i = 0; i < subsystem->host_count; i++)
		if (strcmp(subsystem->hosts[i].nqn, hostnqn) == 0)
			return true;
	return subsystem->any_host;
}

int nvme_subsystem_hosts(struct nvme_subsystem *subsystem, bool any, const char *const *nqns, unsigned count)
{
	struct nvme_host *hosts = calloc(count ? count : 1, sizeof(*hosts));
	struct nvme_controller *controller;

	if (!hosts)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++)
		strncpy(hosts[i].nqn, nqns[i], sizeof(hosts[i].nqn) - 1);
	free(subsystem->hosts);
	subsystem->hosts = hosts;
	subsystem->host_count = count;
	subsystem->any_host = any;
	TAILQ_FOREACH(controller, &subsystem->controllers, link)
	if (!nvme_subsystem_allows(subsystem, controller->hostnqn))
		nvme_controller_end(controller, NVME_REASON_CONTROL);
	return 0;
}

/* ---- ports and ANA ---- */

static struct nvme_port *port_find(struct nvme_subsystem *subsystem, uint16_t id)
{
	for (unsigned i = 0; i < subsystem->port_count; i++)
		if (subsystem->ports[i].id == id)
			return &subsystem->ports[i];
	return NULL;
}

int nvme_subsystem_port(struct nvme_subsystem *subsystem, uint16_t id, const uint8_t state[NVME_TARGET_ANA_GROUPS])
{
	struct nvme_port *port = port_find(subsystem, id);
	struct nvme_controller *controller;

	if (!port) {
		if (subsystem->port_count == NVME_TARGET_PORTS_MAX)
			return -ENOSPC;
		port = &subsystem->ports[subsystem->port_count++];
		port->id = id;
		memcpy(port->state, state, sizeof(port->state));
		return 0;
	}
	if (memcmp(port->state, state, sizeof(port->state)) == 0)
		return 0;
	memcpy(port->state, state, sizeof(port->state));
	subsystem->ana_changes++;
	TAILQ_FOREACH(controller, &subsystem->controllers, link)
	if (controller->port == id)
		nvme_event_raise(controller, NVME_EVENT_BIT_ANA);
	return 0;
}

unsigned nvme_subsystem_ports(const struct nvme_subsystem *subsystem, uint16_t ret[NVME_TARGET_PORTS_MAX])
{
	for (unsigned i = 0; i < subsystem->port_count; i++)
		ret[i] = subsystem->ports[i].id;
	return subsystem->port_count;
}

void nvme_subsystem_port_remove(struct nvme_subsystem *subsystem, uint16_t id)
{
	struct nvme_port *port = port_find(subsystem, id);
	struct nvme_controller *controller;

	if (!port)
		return;
	*port = subsystem->ports[--subsystem->port_count];
	TAILQ_FOREACH(controller, &subsystem->controllers, link)
	if (controller->port == id)
		nvme_controller_end(controller, NVME_REASON_CONTROL);
}

const struct nvme_port *nvme_controller_port(const struct nvme_controller *controller)
{
	return port_find(controller->subsystem, controller->port);
}

uint8_t nvme_controller_ana(const struct nvme_controller *controller, const struct nvme_namespace *ns)
{
	const struct nvme_port *port = nvme_controller_port(controller);

	if (ns->lost)
		return NVME_ANA_STATE_INACCESSIBLE;
	return port ? port->state[ns->ana_group - 1] : NVME_ANA_OPTIMIZED;
}

/* ---- discovery ---- */

void nvme_subsystem_discovery(struct nvme_subsystem *subsystem, const struct nvme_discovery_record *records,
			      unsigned count, uint64_t generation)
{
	bool changed = subsystem->generation != generation;

	subsystem->records = records;
	subsystem->record_count = count;
	subsystem->generation = generation;
	if (changed)
		nvme_event_raise_all(subsystem, NVME_EVENT_BIT_DISCOVERY);
}
