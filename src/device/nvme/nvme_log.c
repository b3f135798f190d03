// SPDX-License-Identifier: BSD-3-Clause
/* Get Log Page (NVM Express Base 5.16). A log is written from its beginning; what the host did not ask for is dropped
 * on the way. */
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

/* Receives the log's bytes in order and keeps those of a window. */
struct log {
	uint8_t *to;
	uint64_t offset, bytes; /* the window */
	uint64_t at;            /* written so far */
};

static void put(struct log *log, const void *data, size_t bytes)
{
	uint64_t begin = log->at, end = begin + bytes;
	uint64_t from = begin > log->offset ? begin : log->offset;
	uint64_t to = end < log->offset + log->bytes ? end : log->offset + log->bytes;

	log->at = end;
	if (from < to)
		memcpy(log->to + (from - log->offset), (const uint8_t *)data + (from - begin), to - from);
}

/* ---- pages of any controller ---- */

static const uint8_t discovery_pages[] = {
	NVME_LOG_SUPPORTED, NVME_LOG_ERRORS, NVME_LOG_EFFECTS, NVME_LOG_FEATURE_EFFECTS, NVME_LOG_DISCOVERY,
};
static const uint8_t io_pages[] = {
	NVME_LOG_SUPPORTED,          NVME_LOG_ERRORS,  NVME_LOG_SMART, NVME_LOG_FIRMWARE,
	NVME_LOG_CHANGED_NAMESPACES, NVME_LOG_EFFECTS, NVME_LOG_ANA,   NVME_LOG_FEATURE_EFFECTS,
	NVME_LOG_RESERVATION,
};

static const uint8_t *pages_of(const struct nvme_controller *controller, unsigned *ret_count)
{
	bool discovery = controller->subsystem->discovery;

	*ret_count = discovery ? sizeof(discovery_pages) : sizeof(io_pages);
	return discovery ? discovery_pages : io_pages;
}

static bool page_known(const struct nvme_controller *controller, uint8_t page)
{
	unsigned count;
	const uint8_t *pages = pages_of(controller, &count);

	return memchr(pages, page, count) != NULL;
}

/* 5.16.1.1: LSUPP for each. */
static void put_supported(const struct nvme_controller *controller, struct log *log)
{
	for (unsigned page = 0; page < 256; page++) {
		uint32_t supported = page_known(controller, (uint8_t)page);

		put(log, &supported, sizeof(supported));
	}
}

static void put_errors(const struct nvme_controller *controller, struct log *log)
{
	static const struct nvme_log_error none;

	for (uint64_t i = 0; i < ERROR_ENTRIES; i++) {
		bool there = i < controller->error_count;
		const struct nvme_log_error *error =
			there ? &controller->errors[(controller->error_count - 1 - i) % ERROR_ENTRIES] : &none;

		put(log, error, sizeof(*error));
	}
}

/* ---- pages of I/O controllers ---- */

static bool of_all(uint32_t nsid)
{
	return nsid == 0 || nsid == NVME_NSID_ALL;
}

/* Of one namespace: what all hosts did to it; what nobody counts for each is the controller's. */
static uint16_t put_smart(const struct nvme_controller *controller, uint32_t nsid, struct log *log)
{
	enum { UNIT_BYTES = 512000 };
	const struct nvme_namespace *ns = nvme_namespace_find(controller->subsystem, nsid);

	if (!ns && !of_all(nsid))
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	const struct nvme_smart_counts *counts = ns ? &ns->smart : &controller->smart;
	uint64_t since_ns = controller->started_ns ? controller->started_ns : controller->subsystem->now_ns;
	uint64_t hours = (controller->subsystem->now_ns - since_ns) / UINT64_C(3600000000000);
	struct nvme_log_smart smart = {
		.critical_warning = nvme_temperature_warns(controller) ? NVME_SMART_TEMPERATURE : 0,
		.temperature = { TEMPERATURE_K & 0xff, TEMPERATURE_K >> 8 },
		.available_spare = 100,
		.spare_threshold = 10,
		.data_read = { (counts->read_bytes + UNIT_BYTES - 1) / UNIT_BYTES },
		.data_written = { (counts->write_bytes + UNIT_BYTES - 1) / UNIT_BYTES },
		.host_reads = { counts->reads },
		.host_writes = { counts->writes },
		.power_hours = { hours },
		.media_errors = { counts->media_errors },
		.error_entries = { controller->error_count },
	};

	put(log, &smart, sizeof(smart));
	return NVME_OK;
}

static void put_firmware(const struct nvme_controller *controller, struct log *log)
{
	struct nvme_log_firmware firmware = { .afi = 1 };

	memcpy(firmware.slot[0], controller->subsystem->firmware, sizeof(firmware.slot[0]));
	put(log, &firmware, sizeof(firmware));
}

_Static_assert((int)NVME_TARGET_NAMESPACES_MAX <= CHANGED_NAMESPACES_MAX, "the log holds all that can change");

/* 5.16.1.5: a list of namespaces is in ascending order (4.4). */
static void put_changed(const struct nvme_controller *controller, struct log *log)
{
	static const uint32_t none;

	for (uint32_t nsid = 1; nsid <= NVME_TARGET_NAMESPACES_MAX; nsid++)
		if (controller->changed[(nsid - 1) / 64] >> (nsid - 1) % 64 & 1)
			put(log, &nsid, sizeof(nsid));
	while (log->at < CHANGED_NAMESPACES_MAX * sizeof(uint32_t))
		put(log, &none, sizeof(none));
}

/* Of the NVM command set. Of another one, which counts when the host works with all that there are, there are no I/O
 * commands; and none of a discovery controller. */
static bool io_commands(const struct nvme_controller *controller, uint8_t csi)
{
	bool all_sets = (controller->cc >> NVME_CC_CSS_SHIFT & 7) == 6;

	return !controller->subsystem->discovery && (csi == NVME_CSI_NVM || !all_sets);
}

static void put_effects(const struct nvme_controller *controller, uint8_t csi, struct log *log)
{
	static const uint8_t admin[] = { NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_IDENTIFY,
					 NVME_ADMIN_ABORT,        NVME_ADMIN_SET_FEATURES,
					 NVME_ADMIN_GET_FEATURES, NVME_ADMIN_ASYNC_EVENT_REQUEST,
					 NVME_ADMIN_KEEP_ALIVE };
	static const uint8_t rest[2048];
	bool io = io_commands(controller, csi);

	for (unsigned opcode = 0; opcode < 256; opcode++) {
		uint32_t effects = memchr(admin, (int)opcode, sizeof(admin)) ? NVME_EFFECT_SUPPORTED : 0;

		put(log, &effects, sizeof(effects));
	}
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		uint32_t effects = io ? nvme_io_effects((uint8_t)opcode) : 0;

		put(log, &effects, sizeof(effects));
	}
	put(log, rest, sizeof(rest));
}

/* Active namespaces by their groups, and how many each has: one look at each. */
struct ana_members {
	unsigned count[NVME_TARGET_ANA_LOST + 1];
	uint32_t nsid[NVME_TARGET_NAMESPACES_MAX]; /* group 1's, group 2's, … */
};

static void members_sort(const struct nvme_subsystem *subsystem, struct ana_members *ret)
{
	unsigned place[NVME_TARGET_ANA_LOST + 2] = { 0 };

	memset(ret->count, 0, sizeof(ret->count));
	for (uint32_t nsid = 1; nsid <= subsystem->highest_nsid; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(subsystem, nsid);

		if (ns)
			ret->count[nvme_namespace_group(ns)]++;
	}
	for (uint32_t group = 1; group <= NVME_TARGET_ANA_LOST; group++)
		place[group + 1] = place[group] + ret->count[group];
	for (uint32_t nsid = 1; nsid <= subsystem->highest_nsid; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(subsystem, nsid);

		if (ns)
			ret->nsid[place[nvme_namespace_group(ns)]++] = nsid;
	}
}

/* 5.16.1.13. RGO leaves the lists of namespaces out. */
static void put_ana(const struct nvme_controller *controller, bool groups_only, struct log *log)
{
	const struct nvme_subsystem *subsystem = controller->subsystem;
	const struct nvme_port *port = nvme_controller_port(controller);
	struct nvme_log_ana header = { .chgcnt = subsystem->ana_changes };
	struct ana_members members;
	const uint32_t *nsid = members.nsid;

	members_sort(subsystem, &members);
	for (uint32_t group = 1; group <= NVME_TARGET_ANA_LOST; group++)
		header.groups += members.count[group] > 0;
	put(log, &header, sizeof(header));
	for (uint32_t group = 1; group <= NVME_TARGET_ANA_LOST; group++) {
		unsigned count = members.count[group];
		struct nvme_ana_group entry = {
			.id = group,
			.nsids = groups_only ? 0 : count,
			.chgcnt = subsystem->ana_changes,
			.state = group == NVME_TARGET_ANA_LOST ? NVME_ANA_STATE_INACCESSIBLE
				 : port                        ? port->state[group - 1]
							       : NVME_ANA_OPTIMIZED,
		};

		if (count == 0)
			continue;
		put(log, &entry, sizeof(entry));
		if (!groups_only)
			put(log, nsid, count * sizeof(*nsid));
		nsid += count;
	}
	/* Hosts read as much as there could be, by what Identify says (NANAGRPID, MNAN), in parts, some with RGO,
	 * too: the rest is zeroes. */
	uint64_t most = sizeof(header) + NVME_TARGET_ANA_LOST * sizeof(struct nvme_ana_group) +
			NVME_TARGET_NAMESPACES_MAX * sizeof(uint32_t);

	if (log->at < most)
		log->at = most;
}

/* 5.16.1.18: scope and kind of the features that exist. */
static void put_feature_effects(const struct nvme_controller *controller, struct log *log)
{
	enum { SUPPORTED = 1 << 0, OF_NAMESPACE = 1 << 20, OF_CONTROLLER = 1 << 21 };

	for (unsigned id = 0; id < 256; id++) {
		uint32_t effects = nvme_feature_known(controller, (uint8_t)id) ? SUPPORTED : 0;

		if (effects)
			effects |= id == NVME_FEATURE_RESERVATION_MASK || id == NVME_FEATURE_RESERVATION_PERSISTENCE
					   ? OF_NAMESPACE
					   : OF_CONTROLLER;
		put(log, &effects, sizeof(effects));
	}
}

static void put_reservation(struct nvme_controller *controller, struct log *log)
{
	struct nvme_log_reservation entry = { 0 };

	if (controller->notice_count > 0) {
		entry = controller->notices[controller->notice_first];
		entry.pages = (uint8_t)(controller->notice_count - 1);
	}
	put(log, &entry, sizeof(entry));
}

/* ---- discovery ---- */

static bool record_for(const struct nvme_discovery_record *record, const char *hostnqn)
{
	for (unsigned i = 0; i < record->host_count; i++)
		if (strcmp(record->hosts[i], hostnqn) == 0)
			return true;
	return record->any_host;
}

/* Which records the host sees, a bit for each: looked up once for each state of the log, for anybody may read it, in
 * parts as small as he likes. NULL: no memory. */
static const uint8_t *records_visible(struct nvme_controller *controller)
{
	const struct nvme_subsystem *subsystem = controller->subsystem;
	unsigned count = subsystem->record_count;

	if (controller->visible && controller->visible_records == subsystem->records &&
	    controller->visible_generation == subsystem->generation)
		return controller->visible;
	free(controller->visible);
	controller->visible = calloc(count / 8 + 1, 1);
	controller->visible_records = subsystem->records;
	controller->visible_generation = subsystem->generation;
	controller->visible_count = 0;
	for (unsigned i = 0; controller->visible && i < count; i++) {
		if (!record_for(&subsystem->records[i], controller->hostnqn))
			continue;
		controller->visible[i / 8] |= (uint8_t)(1 << i % 8);
		controller->visible_count++;
	}
	return controller->visible;
}

static uint16_t put_discovery(struct nvme_controller *controller, struct log *log)
{
	const struct nvme_subsystem *subsystem = controller->subsystem;
	const uint8_t *visible = records_visible(controller);
	struct nvme_log_discovery header = { .genctr = subsystem->generation, .numrec = controller->visible_count };

	if (!visible)
		return NVME_INTERNAL_ERROR;
	put(log, &header, sizeof(header));
	for (unsigned i = 0; i < subsystem->record_count; i++)
		if (visible[i / 8] >> i % 8 & 1)
			put(log, &subsystem->records[i].entry, sizeof(subsystem->records[i].entry));
	return NVME_OK;
}

/* ---- the command ---- */

static uint16_t put_page(struct nvme_controller *controller, const struct nvme_sqe *sqe, struct log *log)
{
	switch (sqe->cdw10 & 0xff) {
	case NVME_LOG_SUPPORTED:
		put_supported(controller, log);
		break;
	case NVME_LOG_ERRORS:
		put_errors(controller, log);
		break;
	case NVME_LOG_SMART:
		return put_smart(controller, sqe->nsid, log);
	case NVME_LOG_FIRMWARE:
		put_firmware(controller, log);
		break;
	case NVME_LOG_CHANGED_NAMESPACES:
		put_changed(controller, log);
		break;
	case NVME_LOG_EFFECTS:
		put_effects(controller, (uint8_t)(sqe->cdw14 >> 24), log);
		break;
	case NVME_LOG_ANA:
		put_ana(controller, sqe->cdw10 >> 8 & NVME_ANA_RGO, log);
		break;
	case NVME_LOG_FEATURE_EFFECTS:
		put_feature_effects(controller, log);
		break;
	case NVME_LOG_RESERVATION:
		put_reservation(controller, log);
		break;
	case NVME_LOG_DISCOVERY:
		return put_discovery(controller, log);
	}
	return NVME_OK;
}

/* Reading a log arms its event again, and clears what is told once. */
static void page_read(struct nvme_controller *controller, const struct nvme_sqe *sqe)
{
	uint8_t page = (uint8_t)sqe->cdw10;

	if (page == NVME_LOG_RESERVATION && controller->notice_count > 0) {
		controller->notice_first = (controller->notice_first + 1) % RESERVATION_NOTICES;
		controller->notice_count--;
	}
	if (sqe->cdw10 & NVME_LOG_RAE)
		return;
	if (page == NVME_LOG_CHANGED_NAMESPACES) {
		memset(controller->changed, 0, sizeof(controller->changed));
		nvme_event_read(controller, NVME_EVENT_BIT_NAMESPACES);
	} else if (page == NVME_LOG_SMART) {
		nvme_event_read(controller, NVME_EVENT_BIT_TEMPERATURE);
	} else if (page == NVME_LOG_ANA) {
		nvme_event_read(controller, NVME_EVENT_BIT_ANA);
	} else if (page == NVME_LOG_DISCOVERY) {
		nvme_event_read(controller, NVME_EVENT_BIT_DISCOVERY);
	} else if (page == NVME_LOG_RESERVATION) {
		controller->reservation_told = false;
		controller->reservation_pending = controller->notice_count > 0;
		nvme_event_send(controller);
	}
}

static uint64_t log_offset(const struct nvme_sqe *sqe)
{
	return sqe->cdw12 | (uint64_t)sqe->cdw13 << 32;
}

static void page_buffered(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	struct log log = {
		.to = command->buffer->data,
		.offset = log_offset(&command->sqe),
		.bytes = command->length,
	};

	memset(command->buffer->data, 0, command->length);
	uint16_t status = put_page(controller, &command->sqe, &log);
	if (status) {
		nvme_command_fail(command, status);
		return;
	}
	if (log.offset > log.at) {
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	nvme_command_answer(command, NVME_OK, command->length);
	page_read(controller, &command->sqe);
}

void nvme_log_page(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t bytes = ((sqe->cdw10 >> 16 | (uint64_t)(sqe->cdw11 & 0xffff) << 16) + 1) * 4;

	if (!page_known(command->queue->controller, (uint8_t)sqe->cdw10)) {
		nvme_command_fail(command, NVME_INVALID_LOG_PAGE | NVME_DNR);
		return;
	}
	/* Base 2.1, 5.1.12.1: all others are of the controller or the subsystem. */
	bool wrong_scope = (uint8_t)sqe->cdw10 != NVME_LOG_SMART && !of_all(sqe->nsid);
	if (wrong_scope || (sqe->cdw14 & NVME_LOG_INDEX_OFFSET) || log_offset(sqe) % 4 ||
	    bytes > NVME_BUFFER_MAX_BYTES) {
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	command->length = (uint32_t)bytes;
	if (nvme_command_has_room(command, command->length))
		nvme_command_buffer(command, command->length, page_buffered);
}
