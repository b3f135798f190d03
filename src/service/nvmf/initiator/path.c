// SPDX-License-Identifier: BSD-3-Clause
/* A path's life: attempts with back-off, what happens while it is live, its end. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static const uint64_t LOOK_NS = 100 * CLOCK_NS_PER_MS; /* between looks at time-outs */

static const uint64_t SET_UP_NS = 30 * CLOCK_NS_PER_S;

bool remote_path_usable(const struct path *path)
{
	return path->step == PATH_LIVE && !path->leaving &&
	       (path->ana == NVME_ANA_OPTIMIZED || path->ana == NVME_ANA_NON_OPTIMIZED);
}

/* ---- the end ---- */

/* Half of the pause by chance, so that hosts that lost the same controller do not come back together. */
static void attempt_later(struct path *path)
{
	const struct remote_options *options = &path->remote->options;
	uint64_t pause_ms = options->retry_ms, *random = &path->remote->random;

	for (unsigned i = 0; i < path->attempts && pause_ms < options->retry_max_ms; i++)
		pause_ms *= 2;
	pause_ms = pause_ms < options->retry_max_ms ? pause_ms : options->retry_max_ms;
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	path->attempts++;
	path->due_ns = clock_ns() + pause_ms * CLOCK_NS_PER_MS / 2 + *random % (pause_ms * CLOCK_NS_PER_MS / 2 + 1);
}

void remote_path_down_check(struct path *path)
{
	if (path->step != PATH_CLOSING || path->admin_open || path->queues_there > 0)
		return;
	path->step = PATH_DOWN;
	path->under_way = 0;
	attempt_later(path);
	remote_path_down(path->remote, path);
}

static void queues_close(struct path *path, bool reset)
{
	for (unsigned i = 0; i < REMOTE_QUEUES_MAX; i++)
		if (path->queues[i])
			host_queue_close(path->queues[i], reset);
}

static void path_leave(struct path *path, bool orderly)
{
	path->step = PATH_CLOSING;
	path->status.state = REMOTE_PATH_WAITING;
	queues_close(path, !orderly);
	if (path->admin_open)
		admin_close(&path->admin, orderly);
	remote_path_down_check(path);
}

void remote_path_fail(struct path *path, const char *format, ...)
{
	bool live = path->step == PATH_LIVE;
	va_list args;

	if (path->step == PATH_DOWN || path->step == PATH_CLOSING)
		return;
	va_start(args, format);
	vsnprintf(path->status.why, sizeof(path->status.why), format, args);
	va_end(args);
	if (live) {
		path->status.losses++;
		memcpy(path->status.lost_why, path->status.why, sizeof(path->status.why));
		path->attempts = 0;
	}
	path_leave(path, false);
	if (path->remote->events->path && !path->leaving && (live || path->attempts <= 1))
		path->remote->events->path(path->remote->ctx, &path->address, false, path->status.why);
	remote_path_changed(path->remote);
}

void remote_path_close(struct path *path)
{
	if (path->step != PATH_DOWN && path->step != PATH_CLOSING)
		path_leave(path, path->under_way == 0);
}

/* ---- the admin queue ---- */

static void on_admin_failed(void *ctx, const char *why)
{
	remote_path_fail(ctx, "%s", why);
}

static void on_admin_closed(void *ctx)
{
	struct path *path = ctx;

	path->admin_open = false;
	path->status.digest_errors += path->admin.digest_errors;
	remote_path_down_check(path);
}

static void on_event(void *ctx, uint32_t dw0)
{
	struct path *path = ctx;
	unsigned type = dw0 & 7, information = dw0 >> 8 & 0xff;

	if (type != NVME_EVENT_NOTICE)
		return;
	if (information == NVME_NOTICE_NAMESPACES)
		remote_path_refresh(path, REFRESH_CHANGED | REFRESH_NAMESPACE);
	else if (information == NVME_NOTICE_ANA)
		remote_path_refresh(path, REFRESH_ANA);
}

static void path_open(struct path *path)
{
	static const struct admin_events events = {
		.ready = remote_path_ready,
		.failed = on_admin_failed,
		.event = on_event,
		.closed = on_admin_closed,
	};
	const struct remote_options *options = &path->remote->options;
	struct admin_options admin = {
		.streams = options->streams,
		.address = &path->address,
		.subnqn = options->subnqn,
		.hostnqn = options->hostnqn,
		.hostid = options->hostid,
		.keep_alive_ms = options->keep_alive_ms,
		.header_digest = options->header_digest,
		.data_digest = options->data_digest,
		.now_ns = &path->remote->now_ns,
	};

	path->step = PATH_ADMIN;
	path->status.state = REMOTE_PATH_CONNECTING;
	path->status.connects++;
	path->queues_connected = 0;
	path->set_up_by_ns = clock_ns() + SET_UP_NS;
	path->refresh = 0;
	path->refreshing = path->abort_under_way = false;
	path->ana_doubts = 0;
	path->ana_doubted_ns = 0;
	int r = admin_open(&path->admin, &admin, &events, path);
	if (r == 0) {
		path->admin_open = true;
		return;
	}
	snprintf(path->status.why, sizeof(path->status.why), "cannot connect: %s", strerror(-r));
	path->step = PATH_DOWN;
	path->status.state = REMOTE_PATH_WAITING;
	attempt_later(path);
}

/* The controller rounds the time-out that we ask for up to its granularity (Base 5.27.1.12), and waits twice as long if
 * it keeps alive by traffic (3.9). */
uint64_t remote_path_outlives_ms(const struct path *path)
{
	const struct nvme_identify_controller *identify = &path->admin.identify;
	const struct remote_options *options = &path->remote->options;
	uint64_t unit_ms = identify->kas ? identify->kas * UINT64_C(100) : 1;
	uint64_t timeout_ms = (options->keep_alive_ms + unit_ms - 1) / unit_ms * unit_ms;

	return (identify->ctratt & NVME_CTRATT_TRAFFIC_KEEP_ALIVE ? 2 : 1) * timeout_ms + options->quiesce_ms;
}

/* ---- while it is live ---- */

void remote_path_refresh(struct path *path, uint32_t what)
{
	path->refresh |= what;
	if (path->step == PATH_LIVE && !path->refreshing)
		remote_path_step_next(path);
}

static void on_aborted(struct host_command *command, uint16_t status)
{
	((struct path *)command->ctx)->abort_under_way = false;
}

/* What is not answered in time, the greeting of an I/O queue too. First the controller is asked to abort a command that
 * takes too long; if that does not help, the path is given up. */
static void overdue_check(struct path *path, struct host_queue *queue, uint64_t now_ns)
{
	uint64_t limit_ns = path->remote->options.timeout_ms * CLOCK_NS_PER_MS;
	struct host_command *late = host_queue_overdue(queue, now_ns > limit_ns ? now_ns - limit_ns : 0);

	host_queue_greeting_tick(queue, now_ns);
	if (!late)
		return;
	if (now_ns - late->sent_ns > limit_ns + limit_ns / 4) {
		remote_path_fail(path, "a command is not answered");
		return;
	}
	if (late->aborting || path->abort_under_way)
		return;
	struct host_command *command = admin_command(&path->admin, NVME_ADMIN_ABORT, on_aborted, path);
	if (!command)
		return;
	command->header.pdu.sqe.cdw10 = (uint32_t)late->cid << 16 | queue->id;
	late->aborting = true;
	path->abort_under_way = true;
	path->status.aborts++;
	admin_send(&path->admin, command, NULL, 0, false);
}

void remote_path_tick(struct path *path, uint64_t now_ns)
{
	if (path->step == PATH_DOWN && path->used && !path->leaving && !path->remote->closing && !path->remote->gone &&
	    now_ns >= path->due_ns)
		path_open(path);
	if (path->admin_open)
		admin_tick(&path->admin, now_ns);
	if (path->step > PATH_DOWN && path->step < PATH_LIVE && now_ns > path->set_up_by_ns)
		remote_path_fail(path, "the controller does not get on");
	if (path->step != PATH_LIVE && path->step != PATH_IO_QUEUES)
		return;
	if (path->step == PATH_LIVE && path->ana_until_ns > 0 && now_ns >= path->ana_until_ns) {
		path->ana_until_ns = now_ns + CLOCK_NS_PER_S; /* an event may have been missed */
		remote_path_refresh(path, REFRESH_ANA);
	}
	if (now_ns < path->look_ns)
		return;
	path->look_ns = now_ns + LOOK_NS;
	for (unsigned i = 0; i < path->queue_count && path->step != PATH_CLOSING && path->step != PATH_DOWN; i++)
		if (path->queues[i])
			overdue_check(path, path->queues[i], now_ns);
}
