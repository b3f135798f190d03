// SPDX-License-Identifier: BSD-3-Clause
/* The initiator against a target in the same thread: requests of all kinds with everything that the two may agree on,
 * what a controller answers, discovery. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static void test_requests(void **state)
{
	for (unsigned i = 0; i < 12; i++) {
		stage(i % 2 ? 12 : 9);
		options.header_digest = i & 1;
		options.data_digest = i & 2;
		options.policy = i & 1 ? REMOTE_QUEUE_DEPTH : REMOTE_ROUND_ROBIN;
		target.success_flag = i & 1;
		target.no_flow_control_refused = i & 4;
		target.cpda = i % 3 == 0 ? 31 : i % 3 == 1 ? 0 : 3;
		target.maxh2cdata = i & 2 ? 4096 + 4 * i : 128 << 10;
		target.r2t_bytes = i & 4 ? 12288 + 512 * i : 0;
		target.c2h_bytes = i & 8 ? 20000 : 0;
		target.ioccsz = i & 1 ? 4 : 0;
		target.mdts = i & 4 ? 3 : 0; /* requests are split at 32 KiB */
		remote_open();
		wait_for(live_paths() == 2);
		assert_int_equal(device->bytes, BYTES);
		assert_int_equal(device->sector, i % 2 ? 4096 : 512);
		assert_int_equal(device->features, DPU_BLOCK_F_FLUSH | DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD |
							   (options.data_digest ? DPU_BLOCK_F_CRC : 0));
		assert_int_equal(device->max_bytes, 1 << 20);
		load(600, NULL);
		assert_int_equal(failures, 0);
		for (unsigned j = 0; j < FAKE_PORTS; j++)
			assert_true(target.reads_by_port[j] > 50);
		unstage();
		assert_int_equal(target.shutdowns, 2);
		assert_int_equal(losses, 0);
	}
}

static void test_options(void **state)
{
	struct dpu_error err = { 0 };

	stage(12);
	options.depth = 5000;
	assert_true(remote_new(&options, &events, NULL, &remote, &err) < 0);
	assert_string_equal(err.path, "depth");
	options.depth = 0;
	options.keep_alive_ms = 10;
	assert_true(remote_new(&options, &events, NULL, &remote, &err) < 0);
	assert_string_equal(err.path, "keep_alive");
	options.keep_alive_ms = 0;
	options.subnqn[0] = 0;
	assert_true(remote_new(&options, &events, NULL, &remote, &err) < 0);
	assert_string_equal(err.path, "nqn");
	remote = NULL;
	unstage();
}

static void test_statuses(void **state)
{
	static const struct {
		uint16_t status;
		unsigned count;
		uint8_t expected;
	} cases[] = {
		{ NVME_RESERVATION_CONFLICT | NVME_DNR, 1, DPU_BLOCK_CONFLICT },
		{ NVME_CAPACITY_EXCEEDED | NVME_DNR, 1, DPU_BLOCK_NO_SPACE },
		{ NVME_WRITE_PROTECTED | NVME_DNR, 1, DPU_BLOCK_READ_ONLY },
		{ NVME_GUARD_CHECK | NVME_DNR, 1, DPU_BLOCK_INTEGRITY },
		{ NVME_WRITE_FAULT | NVME_DNR, 1, DPU_BLOCK_IO_ERROR },
		{ NVME_NAMESPACE_NOT_READY, 2, DPU_BLOCK_OK },
		{ NVME_INVALID_NAMESPACE | NVME_DNR, 1, DPU_BLOCK_OK }, /* it is there when we look */
		{ NVME_INTERNAL_ERROR, 100, DPU_BLOCK_IO_ERROR },
	};
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	fill(&slot, 4096, 1);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		target.fail_status = cases[i].status;
		target.fail_count = cases[i].count;
		assert_int_equal(run(&slot, DPU_BLOCK_WRITE, 0, 4096, 0), cases[i].expected);
		target.fail_count = 0;
	}
	free(slot.memory);
	unstage();
}

/* ---- discovery ---- */

static unsigned discovered;
static bool discovered_alike;
static char discovery_error[REMOTE_WHY_BYTES], discovered_nqn[NVME_NQN_BYTES];

static void on_discovered(void *ctx, const struct nvme_discovery_entry *entries, unsigned count, const char *error)
{
	discovered = count;
	snprintf(discovery_error, sizeof(discovery_error), "%s", error ? error : "");
	discovered_alike = true; /* of one generation */
	for (unsigned i = 1; i < count; i++)
		discovered_alike &= entries[i].portid == entries[0].portid;
	if (count > 0)
		snprintf(discovered_nqn, sizeof(discovered_nqn), "%s", entries[count - 1].subnqn);
}

static bool on_log(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode == NVME_ADMIN_GET_LOG_PAGE && sqe->cdw12 > 4096) { /* it changes in the middle */
		fake->genctr++;
		fake->entry_count = 7;
		fake->command = NULL;
	}
	return false;
}

static unsigned changes_left;

/* All entries are other ones after the first part was read, and only GENCTR tells. */
static bool on_part(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode != NVME_ADMIN_GET_LOG_PAGE || sqe->cdw12 <= 4096 || changes_left == 0)
		return false;
	changes_left--;
	fake->genctr++;
	for (unsigned i = 0; i < fake->entry_count; i++)
		fake->entries[i].portid++;
	return false;
}

static void discover(void)
{
	struct discovery_options how = { .streams = streams, .address = options.paths[0] };
	struct remote_discovery *discovery;
	bool closed = false;

	discovered = UINT32_MAX;
	strcpy(how.hostnqn, options.hostnqn);
	assert_int_equal(remote_discovery_start(&how, on_discovered, NULL, &discovery, NULL), 0);
	for (uint64_t end = clock_ns() + 15 * CLOCK_NS_PER_S; discovered == UINT32_MAX && clock_ns() < end;) {
		uring_poll(uring);
		remote_discovery_source(discovery)->tick(remote_discovery_source(discovery), NULL, clock_ns());
	}
	remote_discovery_close(discovery, on_flag, &closed);
	wait_for(closed);
	remote_discovery_free(discovery);
}

static void test_discovery(void **state)
{
	stage(12);
	target.entry_count = 9;
	for (unsigned i = 0; i < 9; i++)
		snprintf(target.entries[i].subnqn, NVME_NQN_BYTES, "nqn.2026-01.test:%u", i);
	target.command = on_log;
	discover();
	assert_string_equal(discovery_error, "");
	assert_int_equal(discovered, 7);
	assert_string_equal(discovered_nqn, "nqn.2026-01.test:6");
	target.entry_count = 9;
	target.command = on_part;
	changes_left = 3;
	discover();
	assert_string_equal(discovery_error, "");
	assert_int_equal(discovered, 9);
	assert_true(discovered_alike);
	assert_int_equal(changes_left, 0);
	changes_left = UINT_MAX; /* it never stands still */
	discover();
	assert_non_null(strstr(discovery_error, "changes all the time"));
	target.command = NULL;
	target.entry_count = 1 << 20;
	discover();
	assert_non_null(strstr(discovery_error, "too long"));
	target.ports[0].refuses = true;
	discover();
	assert_non_null(strstr(discovery_error, "connection"));
	unstage();
}

/* ---- discovery that stays ---- */

static unsigned readings, discovery_failures;

static void on_read(void *ctx, const struct nvme_discovery_entry *entries, unsigned count, const char *error)
{
	readings += !error;
	discovery_failures += error != NULL;
	on_discovered(ctx, entries, count, error);
}

static uint64_t discovery_ahead_ns; /* its clock goes ahead of ours */

#define discovery_wait(condition)                                                                                      \
	do {                                                                                                           \
		for (uint64_t end_ = clock_ns() + 5 * CLOCK_NS_PER_S; !(condition) && clock_ns() < end_;) {            \
			uring_poll(uring);                                                                             \
			remote_discovery_source(discovery)->tick(remote_discovery_source(discovery), NULL,             \
								 clock_ns() + discovery_ahead_ns);                     \
		}                                                                                                      \
		assert_true(condition);                                                                                \
	} while (0)

static bool has_event_request(void)
{
	return target.commands[NVME_ADMIN_ASYNC_EVENT_REQUEST] >= readings;
}

static void test_discovery_stays(void **state)
{
	struct remote_discovery *discovery;
	bool closed = false;

	readings = discovery_failures = 0;
	stage(12);
	struct discovery_options how = {
		.streams = streams, .address = options.paths[0], .persistent = true, .keep_alive_ms = 1000
	};
	strcpy(how.hostnqn, options.hostnqn);
	target.entry_count = 2;
	memset(target.commands, 0, sizeof(target.commands));
	assert_int_equal(remote_discovery_start(&how, on_read, NULL, &discovery, NULL), 0);
	discovery_wait(readings == 1 && discovered == 2);
	for (unsigned i = 0; i < 3; i++) { /* it changes */
		target.entry_count++;
		target.genctr++;
		fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
		discovery_wait(readings == 2 + i && has_event_request());
		assert_int_equal(discovered, 3 + i);
	}
	/* It is kept alive, connected again, and what has changed meanwhile is seen. */
	unsigned alive = target.commands[NVME_ADMIN_KEEP_ALIVE];
	discovery_wait(target.commands[NVME_ADMIN_KEEP_ALIVE] > alive);
	target.ports[0].refuses = true;
	target.entry_count = 7;
	fake_drop(&target, 0);
	discovery_wait(discovery_failures >= 2);
	assert_int_equal(readings, 4);
	target.ports[0].refuses = false;
	discovery_wait(readings == 5);
	assert_int_equal(discovered, 7);
	remote_discovery_close(discovery, on_flag, &closed);
	wait_for(closed);
	assert_int_equal(readings, 5);
	remote_discovery_free(discovery);
	unstage();
}

static bool no_events(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode != NVME_ADMIN_ASYNC_EVENT_REQUEST)
		return false;
	fake_respond(connection, sqe->cid, 0, NVME_AER_LIMIT | NVME_DNR);
	return true;
}

/* A controller that says that it has events, and refuses to tell them: its log is read every 30 s. */
static void test_discovery_without_events(void **state)
{
	struct remote_discovery *discovery;
	bool closed = false;

	readings = discovery_failures = 0;
	stage(12);
	struct discovery_options how = {
		.streams = streams, .address = options.paths[0], .persistent = true, .timeout_ms = 100000
	};
	strcpy(how.hostnqn, options.hostnqn);
	target.command = no_events;
	target.entry_count = 1;
	assert_int_equal(remote_discovery_start(&how, on_read, NULL, &discovery, NULL), 0);
	discovery_wait(readings == 1 && discovered == 1);
	target.entry_count = 2;
	target.genctr++;
	discovery_ahead_ns = 31 * CLOCK_NS_PER_S;
	discovery_wait(readings == 2 && discovered == 2);
	discovery_ahead_ns = 0;
	assert_int_equal(discovery_failures, 0);
	remote_discovery_close(discovery, on_flag, &closed);
	wait_for(closed);
	remote_discovery_free(discovery);
	unstage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),        cmocka_unit_test(test_options),
		cmocka_unit_test(test_statuses),        cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_discovery_stays), cmocka_unit_test(test_discovery_without_events),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
