// SPDX-License-Identifier: BSD-3-Clause
/* Asking a discovery controller for its log: header, entries, header again until nothing has changed meanwhile. Once,
 * or whenever it changes. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

enum { ENTRIES_MAX = 4096, PIECE_ENTRIES = 4, ROUNDS_MAX = 8, TIMEOUT_MS = 10000, KEEP_ALIVE_MS = 5000 };
enum { RETRIES_DOUBLE = 5 };
static const uint64_t RETRY_MS = 300;
static const uint64_t TICK_NS = 10 * CLOCK_NS_PER_MS, IDLE_NS = 100 * CLOCK_NS_PER_MS;
static const uint64_t LOOK_NS = 30 * CLOCK_NS_PER_S; /* at the log of a controller without events */

struct remote_discovery {
	struct discovery_options options;
	struct worker_source source;
	struct admin admin;
	bool admin_open, told, closing;
	bool reading, again; /* again: it has changed meanwhile */
	unsigned attempts;
	uint64_t due_ns; /* of the next attempt, or look where no event is to be had */
	uint64_t now_ns, until_ns;
	struct nvme_log_discovery header;
	struct nvme_discovery_entry *entries;
	uint64_t genctr;
	unsigned count, have, rounds;
	void (*done)(void *ctx, const struct nvme_discovery_entry *entries, unsigned count, const char *error);
	void *ctx;
	void (*closed)(void *arg);
	void *closed_arg;
};

static void header_read(struct remote_discovery *discovery);
static void log_read(struct remote_discovery *discovery);

/* One reading is over. Of a persistent one the connection stays, unless it has failed. */
static void finish(struct remote_discovery *discovery, const char *error)
{
	bool persistent = discovery->options.persistent;

	if (discovery->told)
		return;
	discovery->told = !persistent || error;
	discovery->reading = false;
	if (!error)
		discovery->attempts = 0;
	discovery->done(discovery->ctx, error ? NULL : discovery->entries, error ? 0 : discovery->count, error);
	if (discovery->told && discovery->admin_open && !discovery->closing)
		admin_close(&discovery->admin, !error);
}

static void on_entries(struct host_command *command, uint16_t status);

static void entries_read(struct remote_discovery *discovery)
{
	unsigned left = discovery->count - discovery->have, piece = left < PIECE_ENTRIES ? left : PIECE_ENTRIES;
	uint64_t offset = (discovery->have + UINT64_C(1)) * sizeof(struct nvme_discovery_entry);

	if (left == 0) { /* has anything changed meanwhile? */
		header_read(discovery);
		return;
	}
	admin_get_log(&discovery->admin, NVME_LOG_DISCOVERY, offset, &discovery->entries[discovery->have],
		      piece * (uint32_t)sizeof(struct nvme_discovery_entry), on_entries, discovery);
}

static void on_entries(struct host_command *command, uint16_t status)
{
	struct remote_discovery *discovery = command->ctx;

	if (status == HOST_LOST || discovery->told)
		return;
	if (status != NVME_OK) {
		finish(discovery, "the discovery log is not to be had");
		return;
	}
	discovery->have += command->bytes / (unsigned)sizeof(struct nvme_discovery_entry);
	entries_read(discovery);
}

static void on_header(struct host_command *command, uint16_t status)
{
	struct remote_discovery *discovery = command->ctx;
	const struct nvme_log_discovery *header = &discovery->header;
	struct nvme_discovery_entry *entries;

	if (status == HOST_LOST || discovery->told)
		return;
	if (status != NVME_OK || header->recfmt != 0) {
		finish(discovery, status != NVME_OK ? status_text(status) : "unknown format of the discovery log");
		return;
	}
	if (discovery->rounds > 0 && header->genctr == discovery->genctr && header->numrec == discovery->count) {
		finish(discovery, NULL);
		if (discovery->again && !discovery->told)
			log_read(discovery);
		return;
	}
	if (header->numrec > ENTRIES_MAX || discovery->rounds++ == ROUNDS_MAX) {
		finish(discovery, header->numrec > ENTRIES_MAX ? "the discovery log is too long"
							       : "the discovery log changes all the time");
		return;
	}
	discovery->genctr = header->genctr;
	discovery->count = (unsigned)header->numrec;
	discovery->have = 0;
	entries = realloc(discovery->entries, (discovery->count + 1) * sizeof(*entries));
	if (!entries) {
		finish(discovery, "no memory for the discovery log");
		return;
	}
	discovery->entries = entries;
	memset(entries, 0, (discovery->count + 1) * sizeof(*entries));
	entries_read(discovery);
}

static void header_read(struct remote_discovery *discovery)
{
	admin_get_log(&discovery->admin, NVME_LOG_DISCOVERY, 0, &discovery->header, sizeof(discovery->header),
		      on_header, discovery);
}

static void log_read(struct remote_discovery *discovery)
{
	discovery->reading = true;
	discovery->again = false;
	discovery->rounds = 0;
	discovery->until_ns = clock_ns() + discovery->options.timeout_ms * CLOCK_NS_PER_MS;
	discovery->due_ns = clock_ns() + LOOK_NS;
	header_read(discovery);
}

/* ---- staying ---- */

static bool has_events(const struct remote_discovery *discovery)
{
	return discovery->admin.identify.oaes & NVME_EVENT_BIT_DISCOVERY;
}

/* An event is waited for before the log is read: no change is missed. */
static void on_events(struct host_command *command, uint16_t status)
{
	struct remote_discovery *discovery = command->ctx;

	if (status == HOST_LOST || discovery->told)
		return;
	if (status == NVME_OK)
		admin_await_events(&discovery->admin, 1);
	log_read(discovery);
}

static void on_ready(void *ctx)
{
	struct remote_discovery *discovery = ctx;

	if (discovery->options.persistent && has_events(discovery))
		admin_set_feature(&discovery->admin, NVME_FEATURE_ASYNC_EVENTS, NVME_EVENT_BIT_DISCOVERY, on_events,
				  discovery);
	else
		log_read(discovery);
}

static void on_failed(void *ctx, const char *why)
{
	struct remote_discovery *discovery = ctx;
	bool again = discovery->told;

	finish(discovery, why);
	if (again && discovery->admin_open)
		admin_close(&discovery->admin, false);
}

static void on_event(void *ctx, uint32_t dw0)
{
	struct remote_discovery *discovery = ctx;

	if ((dw0 & 7) != NVME_EVENT_NOTICE || (dw0 >> 8 & 0xff) != NVME_NOTICE_DISCOVERY || discovery->told)
		return;
	if (discovery->reading)
		discovery->again = true;
	else
		log_read(discovery);
}

static void attempt_later(struct remote_discovery *discovery)
{
	uint64_t pause_ms = RETRY_MS << (discovery->attempts < RETRIES_DOUBLE ? discovery->attempts++ : RETRIES_DOUBLE);

	discovery->due_ns = clock_ns() + pause_ms * CLOCK_NS_PER_MS;
}

static void on_closed(void *ctx)
{
	struct remote_discovery *discovery = ctx;

	discovery->admin_open = false;
	if (discovery->closing && discovery->closed)
		discovery->closed(discovery->closed_arg);
	else if (discovery->options.persistent)
		attempt_later(discovery);
}

static int attempt(struct remote_discovery *discovery)
{
	static const struct admin_events events = { on_ready, on_failed, on_event, on_closed };
	const struct discovery_options *options = &discovery->options;
	struct admin_options admin = {
		.streams = options->streams,
		.address = &options->address,
		.subnqn = NVME_DISCOVERY_NQN,
		.hostnqn = options->hostnqn,
		.hostid = options->hostid,
		.keep_alive_ms = options->persistent ? options->keep_alive_ms : 0,
		.now_ns = &discovery->now_ns,
	};
	int r = admin_open(&discovery->admin, &admin, &events, discovery);

	discovery->admin_open = r == 0;
	discovery->told = false;
	discovery->reading = true;
	discovery->until_ns = clock_ns() + options->timeout_ms * CLOCK_NS_PER_MS;
	return r;
}

static void persist(struct remote_discovery *discovery, uint64_t now_ns)
{
	if (discovery->closing || now_ns < discovery->due_ns)
		return;
	if (discovery->admin_open) {
		if (!discovery->reading && !discovery->told && discovery->admin.events_under_way == 0)
			log_read(discovery); /* it has no events, or refuses to tell them */
		return;
	}
	int r = attempt(discovery);
	if (r < 0) {
		finish(discovery, strerror(-r));
		attempt_later(discovery);
	}
}

static uint64_t on_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct remote_discovery *discovery =
		(struct remote_discovery *)((char *)source - offsetof(struct remote_discovery, source));

	discovery->now_ns = now_ns;
	if (discovery->options.persistent)
		persist(discovery, now_ns);
	if (discovery->admin_open)
		admin_tick(&discovery->admin, now_ns);
	if (discovery->reading && !discovery->told && now_ns > discovery->until_ns)
		finish(discovery, "the discovery controller takes too long");
	return discovery->admin_open && discovery->reading ? TICK_NS : IDLE_NS;
}

struct worker_source *remote_discovery_source(struct remote_discovery *discovery)
{
	return &discovery->source;
}

void remote_discovery_close(struct remote_discovery *discovery, void (*closed)(void *arg), void *arg)
{
	discovery->closing = discovery->told = true;
	discovery->closed = closed;
	discovery->closed_arg = arg;
	if (!discovery->admin_open) {
		if (closed)
			closed(arg);
		return;
	}
	admin_close(&discovery->admin, false);
}

void remote_discovery_free(struct remote_discovery *discovery)
{
	if (!discovery)
		return;
	free(discovery->entries);
	free(discovery);
}

int remote_discovery_start(const struct discovery_options *options,
			   void (*done)(void *ctx, const struct nvme_discovery_entry *entries, unsigned count,
					const char *error),
			   void *ctx, struct remote_discovery **ret, struct dpu_error *err)
{
	struct remote_discovery *discovery = calloc(1, sizeof(*discovery));

	if (!discovery)
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for a discovery.");
	discovery->options = *options;
	discovery->options.timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
	discovery->options.keep_alive_ms = options->keep_alive_ms ? options->keep_alive_ms : KEEP_ALIVE_MS;
	discovery->source = (struct worker_source){ .tick = on_tick, .fd = -1, .name = "nvmf_discovery" };
	discovery->done = done;
	discovery->ctx = ctx;
	discovery->now_ns = clock_ns();
	if (!options->persistent) {
		int r = attempt(discovery);

		if (r < 0) {
			remote_discovery_free(discovery);
			return error_set(err, DPU_E_IO, "address", "Cannot connect: %s.", strerror(-r));
		}
	}
	*ret = discovery;
	return 0;
}
