// SPDX-License-Identifier: BSD-3-Clause
/* What a path asks its controller, one after the other: queues, events, ANA, the namespace; then its I/O queues. While
 * it is live, parts of it again when the controller reports a change. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

enum { KAS_MAX = 600 };

static void list_begin(struct path *path);
static void namespace_checked(struct path *path);
static void on_namespace(struct host_command *command, uint16_t status);

/* The answer is of no use any more: the path is given up, or closed in order, for which its queues still work. */
static bool too_late(const struct path *path, uint16_t status)
{
	return status == HOST_LOST || path->step == PATH_CLOSING || path->step == PATH_DOWN;
}

/* ---- what the controller is ---- */

static bool has_ana(const struct path *path)
{
	return path->admin.identify.cmic & 8;
}

/* Whether it is known when what is lost with it is dead, by us and by a successor. */
static bool keep_alive_check(struct path *path)
{
	struct remote *remote = path->remote;
	unsigned kas = path->admin.identify.kas;

	if (kas == 0 || kas > KAS_MAX) {
		remote_path_fail(path,
				 kas ? "it counts keep-alive in steps of %u00 ms: at most 60000"
				     : "it does not support keep-alive",
				 kas);
		return false;
	}
	uint64_t ms = remote_path_outlives_ms(path);

	if (ms <= remote->noted_ms)
		return true;
	if (remote->events->outlives && !remote->events->outlives(remote->ctx, ms)) {
		remote_path_fail(path, "how long it keeps associations cannot be noted");
		return false;
	}
	remote->noted_ms = ms;
	return true;
}

static bool controller_check(struct path *path)
{
	const struct nvme_identify_controller *identify = &path->admin.identify;
	struct remote *remote = path->remote;
	uint64_t transfer = identify->mdts > 0 && identify->mdts < 20 ? UINT64_C(4096) << identify->mdts : 1 << 20;
	unsigned entries = (unsigned)(path->admin.cap & 0xffff);

	if (identify->ioccsz < 4 || identify->iorcsz < 1 || (identify->sgls & 3) == 0) {
		remote_path_fail(path, "it is no NVMe/TCP controller by its capsule sizes or SGLs");
		return false;
	}
	if (identify->cntrltype == NVME_CNTRLTYPE_DISCOVERY) {
		remote_path_fail(path, "it is a discovery controller");
		return false;
	}
	if (!keep_alive_check(path))
		return false;
	path->in_capsule_bytes = (identify->ioccsz - 4) * 16;
	if (path->in_capsule_bytes > 64 << 10 || identify->ioccsz > 1 << 20)
		path->in_capsule_bytes = 64 << 10;
	path->max_bytes = transfer < 1 << 20 ? (uint32_t)transfer : 1 << 20;
	path->depth = remote->options.depth;
	if (entries > 0 && path->depth > entries)
		path->depth = entries;
	if (identify->maxcmd > 0 && path->depth > identify->maxcmd)
		path->depth = identify->maxcmd;
	return true;
}

static void on_queues(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;
	unsigned granted = 1;

	if (too_late(path, status))
		return;
	if (status != NVME_OK) {
		remote_path_fail(path, "it grants no I/O queues: %s", status_text(status));
		return;
	}
	granted += command->cqe.dw0 & 0xffff;
	path->queue_count = granted < path->remote->options.queues ? granted : path->remote->options.queues;
	path->step = PATH_EVENTS;
	remote_path_step_next(path);
}

static void on_events(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (!too_late(path, status))
		list_begin(path);
}

static void events_configure(struct path *path)
{
	uint32_t wanted = path->admin.identify.oaes & (NVME_EVENT_BIT_NAMESPACES | NVME_EVENT_BIT_ANA);

	admin_set_feature(&path->admin, NVME_FEATURE_ASYNC_EVENTS, wanted, on_events, path);
}

/* ---- ANA ---- */

static void ana_find(struct path *path)
{
	const struct nvme_log_ana *log = (const struct nvme_log_ana *)path->log;
	uint32_t at = sizeof(*log);

	path->ana = NVME_ANA_STATE_INACCESSIBLE; /* a group that is not listed */
	for (unsigned i = 0; i < log->groups && at + sizeof(struct nvme_ana_group) <= path->log_bytes; i++) {
		struct nvme_ana_group group;

		memcpy(&group, path->log + at, sizeof(group));
		if (group.id == path->ana_group)
			path->ana = group.state & 0xf;
		if (group.nsids > 0) /* groups only were asked for */
			break;
		at += (uint32_t)sizeof(group);
	}
	uint64_t transition = path->admin.identify.anatt ? path->admin.identify.anatt : 1;
	path->ana_until_ns = path->ana == NVME_ANA_STATE_CHANGE ? clock_ns() + transition * CLOCK_NS_PER_S : 0;
	if (remote_path_usable(path) && clock_ns() < path->ana_doubted_ns) { /* its commands said otherwise, twice */
		path->ana = NVME_ANA_STATE_INACCESSIBLE;
		path->ana_until_ns = path->ana_doubted_ns;
	}
	path->status.ana = path->ana;
}

static void on_ana(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (too_late(path, status))
		return;
	if (status != NVME_OK) {
		remote_path_fail(path, "its ANA log is not to be had: %s", status_text(status));
		return;
	}
	ana_find(path);
	if (path->step == PATH_LIVE) {
		path->refreshing = false;
		remote_path_changed(path->remote);
	} else {
		path->step = PATH_IO_QUEUES;
	}
	remote_path_step_next(path);
}

/* Only once the namespace is known: the log has the groups that have one now, and no event tells of a new group. */
static void ana_read(struct path *path)
{
	uint32_t groups = path->admin.identify.nanagrpid;
	enum nvme_log log = NVME_LOG_ANA | NVME_ANA_RGO << 8;

	groups = groups < ANA_GROUPS_MAX ? groups : ANA_GROUPS_MAX;
	path->log_bytes = (uint32_t)(sizeof(struct nvme_log_ana) + groups * sizeof(struct nvme_ana_group));
	if (!path->log)
		path->log = malloc(sizeof(struct nvme_log_ana) + ANA_GROUPS_MAX * sizeof(struct nvme_ana_group));
	if (!path->log) {
		remote_path_fail(path, "no memory for its ANA log");
		return;
	}
	memset(path->log, 0, path->log_bytes);
	admin_get_log(&path->admin, log, 0, path->log, path->log_bytes, on_ana, path);
}

/* ---- the namespace ---- */

static bool is_zero(const uint8_t *bytes)
{
	static const uint8_t none[16];

	return memcmp(bytes, none, sizeof(none)) == 0;
}

static void descriptors_read(struct path *path)
{
	const uint8_t *data = path->data.descriptors;
	unsigned at = 0;

	memset(path->uuid, 0, sizeof(path->uuid));
	memset(path->nguid, 0, sizeof(path->nguid));
	while (at + 4 <= NVME_IDENTIFY_BYTES) {
		unsigned type = data[at], length = data[at + 1];

		if (length == 0 || at + 4 + length > NVME_IDENTIFY_BYTES)
			break;
		if (type == NVME_ID_UUID && length == 16)
			memcpy(path->uuid, data + at + 4, 16);
		if (type == NVME_ID_NGUID && length == 16)
			memcpy(path->nguid, data + at + 4, 16);
		at += 4 + length;
	}
}

static bool is_wanted(const struct path *path)
{
	const struct remote *remote = path->remote;

	if (remote->nsid != 0)
		return path->nsid == remote->nsid && memcmp(path->uuid, remote->uuid, 16) == 0 &&
		       memcmp(path->nguid, remote->nguid, 16) == 0;
	if (remote->options.nsid != 0 && path->nsid != remote->options.nsid)
		return false;
	return is_zero(remote->options.uuid) || memcmp(path->uuid, remote->options.uuid, 16) == 0;
}

/* A controller that we have been with tells of a deletion; one that has just come back may not have all of its
 * namespaces yet. */
static void namespace_missing(struct path *path)
{
	if (path->step == PATH_LIVE)
		remote_gone(path->remote);
	else
		remote_path_fail(path, "the subsystem has no such namespace for this host");
}

/* 0: its number is not known. */
static uint32_t nsid_wanted(const struct remote *remote)
{
	return remote->nsid ? remote->nsid : remote->options.nsid;
}

/* From the one on that is wanted, if that is known. */
static void list_begin(struct path *path)
{
	uint32_t wanted = nsid_wanted(path->remote);

	path->list_after = wanted ? wanted - 1 : 0;
	path->step = PATH_LIST;
	remote_path_step_next(path);
}

static void list_go_on(struct path *path)
{
	path->list_after = path->list[NAMESPACES_MAX - 1];
	path->step = PATH_LIST;
	if (path->list_after < NVME_NSID_ALL - 1) /* the highest that a list may begin behind */
		remote_path_step_next(path);
	else
		namespace_missing(path);
}

static void next_listed(struct path *path)
{
	uint32_t wanted = nsid_wanted(path->remote);

	if (path->list_at == NAMESPACES_MAX) {
		list_go_on(path);
		return;
	}
	uint32_t nsid = path->list[path->list_at++];
	if (nsid == 0 || (wanted != 0 && nsid != wanted)) {
		namespace_missing(path);
		return;
	}
	path->nsid = nsid;
	path->step = PATH_DESCRIPTORS;
	remote_path_step_next(path);
}

static void on_list(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (too_late(path, status))
		return;
	if (status != NVME_OK) {
		remote_path_fail(path, "its list of namespaces is not to be had: %s", status_text(status));
		return;
	}
	memcpy(path->list, path->data.list, sizeof(path->list));
	path->list_at = 0;
	next_listed(path);
}

/* What it is now is not known: no reason to forget it. */
static void descriptors_missing(struct path *path)
{
	remote_path_fail(path, "the identifiers of namespace %u are not to be had", path->nsid);
}

static void on_still_listed(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (too_late(path, status))
		return;
	if (status == NVME_OK && path->data.list[0] != path->nsid)
		remote_gone(path->remote);
	else
		descriptors_missing(path);
}

/* An older controller does not know them, or the namespace has gone since it was listed: that is seen next. */
static bool has_no_descriptors(uint16_t status)
{
	uint16_t code = status & NVME_STATUS_MASK;

	return code == NVME_INVALID_FIELD || code == NVME_INVALID_NAMESPACE;
}

static void on_descriptors(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (too_late(path, status))
		return;
	if ((status & NVME_STATUS_MASK) == NVME_INVALID_NAMESPACE && path->step == PATH_LIVE) {
		remote_gone(path->remote);
		return;
	}
	if (status != NVME_OK && !has_no_descriptors(status)) {
		if (path->step == PATH_LIVE) /* of one that is switched off Linux says "path error" */
			admin_identify(&path->admin, NVME_CNS_ACTIVE_NAMESPACES, path->nsid - 1, &path->data,
				       on_still_listed, path);
		else
			descriptors_missing(path);
		return;
	}
	if (status != NVME_OK)
		memset(path->data.descriptors, 0, sizeof(path->data.descriptors));
	descriptors_read(path);
	if (!is_wanted(path)) {
		if (path->step == PATH_LIVE)
			remote_gone(path->remote); /* its number is another's now */
		else
			next_listed(path);
		return;
	}
	if (path->step != PATH_LIVE)
		path->step = PATH_NAMESPACE;
	admin_identify(&path->admin, NVME_CNS_NAMESPACE, path->nsid, &path->data, on_namespace, path);
}

static void on_namespace(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (too_late(path, status))
		return;
	if ((status & NVME_STATUS_MASK) == NVME_INVALID_NAMESPACE ||
	    (status == NVME_OK && path->data.namespace.nsze == 0)) {
		namespace_missing(path);
		return;
	}
	if (status != NVME_OK) {
		remote_path_fail(path, "Identify Namespace fails: %s", status_text(status));
		return;
	}
	namespace_checked(path);
}

/* What cannot be served is said, not guessed. */
static void namespace_checked(struct path *path)
{
	const struct nvme_identify_namespace *namespace = &path->data.namespace;
	const struct nvme_lba_format *format = namespace_format(namespace);
	unsigned shift = format->log2_bytes;

	if ((shift != 9 && shift != 12) || namespace->nsze > UINT64_MAX >> shift) {
		remote_path_fail(path, "its blocks of 2^%u bytes or their number cannot be used", shift);
		return;
	}
	if (format->metadata_bytes != 0) {
		remote_path_fail(path, "it has %u bytes of metadata in a block, which are not supported",
				 format->metadata_bytes);
		return;
	}
	path->ana_group = namespace->anagrpid;
	if (!has_ana(path))
		path->status.ana = path->ana = NVME_ANA_OPTIMIZED;
	remote_namespace(path->remote, path);
	if (path->step == PATH_LIVE) {
		path->refreshing = false;
		path->refresh |= has_ana(path) ? REFRESH_ANA : 0; /* its group may be another */
	} else if (path->step != PATH_CLOSING && path->step != PATH_DOWN) {
		path->step = has_ana(path) ? PATH_ANA : PATH_IO_QUEUES;
	}
	remote_path_step_next(path);
}

/* ---- I/O queues ---- */

static void on_io_connected(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	if (status == HOST_LOST || path->step != PATH_IO_QUEUES)
		return;
	if (status != NVME_OK) {
		remote_path_fail(path, "Connect of an I/O queue is refused: %s", status_text(status));
		return;
	}
	if (++path->queues_connected < path->queue_count)
		return;
	path->step = PATH_LIVE;
	path->status.state = REMOTE_PATH_LIVE;
	path->status.why[0] = 0;
	path->status.cntlid = path->admin.cntlid;
	path->status.queues = path->queue_count;
	path->status.depth = path->depth;
	path->attempts = 0;
	admin_await_events(&path->admin, path->admin.identify.aerl + 1u < EVENT_REQUESTS
						 ? path->admin.identify.aerl + 1u
						 : EVENT_REQUESTS);
	if (path->remote->events->path)
		path->remote->events->path(path->remote->ctx, &path->address, true, "");
	remote_path_changed(path->remote);
	remote_path_step_next(path);
}

static void on_queue_open(void *ctx, struct host_queue *queue)
{
	struct path *path = ctx;

	connect_send(queue, &path->admin, (uint16_t)path->depth, on_io_connected, path);
}

static void on_queue_failed(void *ctx, struct host_queue *queue, const char *why)
{
	remote_path_fail(ctx, "I/O queue %u: %s", queue->id, why);
}

static void on_queue_closed(void *ctx, struct host_queue *queue)
{
	struct path *path = ctx;

	path->status.digest_errors += queue->digest_errors;
	path->queues[queue->id - 1] = NULL;
	path->queues_there--;
	host_queue_free(queue);
	remote_path_down_check(path);
}

static void on_queue_room(void *ctx, struct host_queue *queue)
{
	struct path *path = ctx;

	if (path->step == PATH_LIVE && path->remote->waiting.first)
		remote_wake(path->remote);
}

static void io_queues_open(struct path *path)
{
	static const struct queue_events events = {
		.open = on_queue_open,
		.failed = on_queue_failed,
		.closed = on_queue_closed,
		.room = on_queue_room,
	};
	const struct remote_options *options = &path->remote->options;
	struct queue_options queue = {
		.streams = options->streams,
		.address = &path->address,
		.depth = path->depth,
		.header_digest = options->header_digest,
		.data_digest = options->data_digest,
		.in_capsule_bytes = path->in_capsule_bytes,
		.now_ns = &path->remote->now_ns,
	};

	for (unsigned i = 0; i < path->queue_count; i++) {
		int r = host_queue_new(&queue, (uint16_t)(i + 1), &events, path, &path->queues[i]);

		if (r < 0) {
			remote_path_fail(path, "cannot connect I/O queue %u: %s", i + 1, strerror(-r));
			return;
		}
		path->queues_there++;
	}
}

/* ---- one after the other ---- */

static void on_changed(struct host_command *command, uint16_t status)
{
	struct path *path = command->ctx;

	path->refreshing = false;
	if (!too_late(path, status))
		remote_path_step_next(path);
}

static void refresh_next(struct path *path)
{
	if (path->refreshing || path->refresh == 0)
		return;
	path->refreshing = true;
	if (path->refresh & REFRESH_CHANGED) { /* reading it lets the next event come */
		path->refresh &= ~(uint32_t)REFRESH_CHANGED;
		admin_get_log(&path->admin, NVME_LOG_CHANGED_NAMESPACES, 0, &path->data, NVME_IDENTIFY_BYTES,
			      on_changed, path);
	} else if (path->refresh & REFRESH_ANA) {
		path->refresh &= ~(uint32_t)REFRESH_ANA;
		if (has_ana(path))
			ana_read(path);
		else
			path->refreshing = false;
	} else {
		path->refresh = 0;
		admin_identify(&path->admin, NVME_CNS_DESCRIPTORS, path->nsid, &path->data, on_descriptors, path);
	}
}

void remote_path_step_next(struct path *path)
{
	switch (path->step) {
	case PATH_QUEUES:
		admin_set_feature(&path->admin, NVME_FEATURE_QUEUES,
				  (path->remote->options.queues - 1) * UINT32_C(0x10001), on_queues, path);
		break;
	case PATH_EVENTS:
		events_configure(path);
		break;
	case PATH_ANA:
		ana_read(path);
		break;
	case PATH_LIST:
		admin_identify(&path->admin, NVME_CNS_ACTIVE_NAMESPACES, path->list_after, &path->data, on_list, path);
		break;
	case PATH_DESCRIPTORS:
		admin_identify(&path->admin, NVME_CNS_DESCRIPTORS, path->nsid, &path->data, on_descriptors, path);
		break;
	case PATH_IO_QUEUES:
		io_queues_open(path);
		break;
	case PATH_LIVE:
		refresh_next(path);
		break;
	default:
		break;
	}
}

void remote_path_ready(void *ctx)
{
	struct path *path = ctx;

	if (!controller_check(path))
		return;
	path->step = PATH_QUEUES;
	remote_path_step_next(path);
}
