// SPDX-License-Identifier: BSD-3-Clause
/* The discovery log: what each listener that listens reaches, and referrals. Made anew when objects change, and given
 * to the worker of the discovery subsystem when it differs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/nvmf/target/target_priv.h"

struct discovery_log {
	struct target *target;
	struct discovery_log *before; /* that the worker lets go of */
	uint64_t generation;
	unsigned count, room;
	struct nvme_discovery_record *records;
	char (*hosts)[NVME_NQN_BYTES]; /* of all records */
	const char **pointers;
	unsigned host_count, host_room;
};

static void log_free(struct discovery_log *log)
{
	if (!log)
		return;
	free(log->records);
	free(log->hosts);
	free(log->pointers);
	free(log);
}

static void text_pad(char *to, size_t bytes, const char *text)
{
	size_t length = strlen(text);

	memset(to, ' ', bytes);
	memcpy(to, text, length < bytes ? length : bytes);
}

static struct nvme_discovery_entry *record_add(struct discovery_log *log, const struct ip_addr *address, uint16_t port,
					       const char *nqn)
{
	char text[IP_TEXT], number[8];

	if (log->count == log->room) {
		log->room = log->room ? 2 * log->room : 16;
		log->records = realloc(log->records, log->room * sizeof(*log->records));
		if (!log->records)
			abort();
	}
	struct nvme_discovery_record *record = &log->records[log->count++];

	memset(record, 0, sizeof(*record));
	record->any_host = true;
	struct nvme_discovery_entry *entry = &record->entry;
	entry->trtype = NVME_TRTYPE_TCP;
	entry->adrfam = address->family == IP_V4 ? NVME_ADRFAM_IPV4 : NVME_ADRFAM_IPV6;
	entry->treq = NVME_TREQ_NO_FLOW_CONTROL;
	entry->cntlid = NVME_CNTLID_DYNAMIC;
	entry->asqsz = 32;
	snprintf(number, sizeof(number), "%u", port);
	text_pad(entry->trsvcid, sizeof(entry->trsvcid), number);
	text_pad(entry->traddr, sizeof(entry->traddr), ip_format(address, text));
	strncpy(entry->subnqn, nqn, sizeof(entry->subnqn) - 1);
	return entry;
}

/* The names are copied: the worker reads them while objects change. */
static void hosts_add(struct discovery_log *log, const struct subsystem *subsystem)
{
	struct nvme_discovery_record *record = &log->records[log->count - 1];
	unsigned count;
	const char **nqns = subsystem_hosts(subsystem, &count);

	record->any_host = subsystem_any_host(subsystem);
	record->host_count = count;
	record->hosts = (const char *const *)(uintptr_t)log->host_count; /* its first: made a pointer at the end */
	if (log->host_count + count > log->host_room) {
		log->host_room = 2 * (log->host_count + count);
		log->hosts = realloc(log->hosts, log->host_room * sizeof(*log->hosts));
		if (!log->hosts)
			abort();
	}
	for (unsigned i = 0; i < count; i++) {
		memset(log->hosts[log->host_count], 0, NVME_NQN_BYTES);
		strncpy(log->hosts[log->host_count++], nqns[i], NVME_NQN_BYTES - 1);
	}
	free(nqns);
}

static void pointers_make(struct discovery_log *log)
{
	log->pointers = nvmf_alloc((log->host_count + 1) * sizeof(*log->pointers));
	for (unsigned i = 0; i < log->host_count; i++)
		log->pointers[i] = log->hosts[i];
	for (unsigned i = 0; i < log->count; i++)
		log->records[i].hosts = &log->pointers[(uintptr_t)log->records[i].hosts];
}

static void listener_records(struct discovery_log *log, const struct listener *listener)
{
	const struct listener_object *object = (const struct listener_object *)listener->item.object;
	struct nvme_discovery_entry *entry = record_add(log, &object->address, object->port, NVME_DISCOVERY_NQN);
	struct item *item;

	entry->subtype = NVME_SUBTYPE_DISCOVERY;
	entry->portid = listener->port_id;
	entry->eflags = NVME_EFLAGS_PERSISTENT;
	TAILQ_FOREACH(item, &log->target->subsystems, link)
	{
		struct subsystem *subsystem = (struct subsystem *)item;

		if (subsystem->discovery || !listener_serves(listener, subsystem))
			continue;
		entry = record_add(log, &object->address, object->port, subsystem->nqn);
		entry->subtype = NVME_SUBTYPE_NVM;
		entry->portid = listener->port_id;
		hosts_add(log, subsystem);
	}
}

static struct discovery_log *log_make(struct target *target)
{
	struct discovery_log *log = nvmf_alloc(sizeof(*log));
	struct item *item;

	log->target = target;
	TAILQ_FOREACH(item, &target->listeners, link)
	{
		const struct listener *listener = (const struct listener *)item;

		if (item->object && listener->fd > 0) /* nobody would answer where it cannot listen */
			listener_records(log, listener);
	}
	TAILQ_FOREACH(item, &target->referrals, link)
	{
		const struct referral_object *object = (const struct referral_object *)item->object;

		if (object)
			record_add(log, &object->address, object->port, NVME_DISCOVERY_NQN)->subtype =
				NVME_SUBTYPE_REFERRAL;
	}
	pointers_make(log);
	return log;
}

static bool log_equal(const struct discovery_log *a, const struct discovery_log *b)
{
	if (!a || a->count != b->count || a->host_count != b->host_count)
		return false;
	for (unsigned i = 0; i < a->count; i++) {
		const struct nvme_discovery_record *x = &a->records[i], *y = &b->records[i];

		if (memcmp(&x->entry, &y->entry, sizeof(x->entry)) != 0 || x->any_host != y->any_host ||
		    x->host_count != y->host_count)
			return false;
	}
	return a->host_count == 0 || memcmp(a->hosts, b->hosts, a->host_count * sizeof(*a->hosts)) == 0;
}

static void take(void *arg, struct worker *worker)
{
	struct discovery_log *log = arg;

	(void)worker;
	nvme_subsystem_discovery(log->target->discovery->nvme, log->records, log->count, log->generation);
}

static void taken(void *arg)
{
	struct discovery_log *log = arg;

	log_free(log->before);
	log->before = NULL;
	step_end(log->target);
}

void discovery_push(struct target *target)
{
	if (!target->log)
		return;
	step_begin(target);
	nvmf_call(target->discovery->home, take, target->log, taken);
}

void discovery_update(struct target *target)
{
	struct discovery_log *log = log_make(target);

	if (log_equal(target->log, log)) {
		log_free(log);
		return;
	}
	log->generation = ++target->generation;
	if (target->discovery->nvme) {
		log->before = target->log;
		target->log = log;
		discovery_push(target);
	} else {
		log_free(target->log);
		target->log = log;
	}
}

void discovery_free(struct target *target)
{
	log_free(target->log);
}
