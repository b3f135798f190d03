// SPDX-License-Identifier: BSD-3-Clause
/* Paths that are lost: requests that are repeated, writes that a lost path carries out late, and what happens without
 * any path. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static void drop_paths(unsigned at)
{
	static unsigned next;

	next = at < next ? 0 : next;
	if (at / 40 > next) {
		next = at / 40;
		fake_drop(&target, roll(FAKE_PORTS));
	}
}

static void test_lost_paths(void **state)
{
	struct remote_status status;

	stage(9);
	remote_open();
	wait_for(live_paths() == 2);
	load(1000, drop_paths);
	assert_int_equal(failures, 0);
	remote_status(remote, &status);
	assert_true(status.paths[0].losses + status.paths[1].losses > 5);
	assert_true(status.repeated > 0);
	unstage();
}

/* Writes whose path is lost with them are carried out there late, in any order: what was acknowledged since stands. */
static void test_stale_writes(void **state)
{
	for (unsigned backwards = 0; backwards < 2; backwards++) {
		struct slot first = { 0 }, second = { 0 }, apart = { 0 }, both[2];
		uint64_t start;

		memset(both, 0, sizeof(both));
		stage(12);
		remote_open();
		wait_for(live_paths() == 2);
		target.holds_writes = true;
		fill(&first, 8192, 1);
		submit(&first, DPU_BLOCK_WRITE, 0, 8192, 0);
		fill(&both[0], 4096, 5);
		fill(&both[1], 4096, 6);
		submit(&both[0], DPU_BLOCK_WRITE, 65536, 4096, 0);
		submit(&both[1], DPU_BLOCK_WRITE, 65536, 4096, 0);
		wait_for(target.held_count == 3);
		target.holds_writes = false;
		fake_drop(&target, 0);
		fake_drop(&target, 1);
		start = clock_ns();
		/* The write in doubt is repeated at once … */
		wait_for(!first.busy);
		assert_true(clock_ns() - start < 800 * CLOCK_NS_PER_MS);
		/* … one beside it goes, too, one that overlaps it waits, and so do those that overlap each other. */
		fill(&second, 4096, 2);
		submit(&second, DPU_BLOCK_WRITE, 4096, 4096, 0);
		fill(&apart, 4096, 3);
		assert_int_equal(run(&apart, DPU_BLOCK_WRITE, 8192, 4096, 0), DPU_BLOCK_OK);
		assert_true(clock_ns() - start < 900 * CLOCK_NS_PER_MS);
		clock_stands(start, 1099);
		assert_true(second.busy && both[0].busy && both[1].busy);
		fake_release(&target, backwards);
		assert_int_equal(target.memory[0], 1);
		assert_int_equal(target.memory[8192], 3);
		ahead_ns = 1101 * CLOCK_NS_PER_MS;
		wait_for(!second.busy && !both[0].busy && !both[1].busy);
		assert_int_equal(target.memory[0], 1);
		assert_int_equal(target.memory[4096], 2);
		assert_true(target.memory[65536] == 5 || target.memory[65536] == 6);
		free(first.memory);
		free(second.memory);
		free(apart.memory);
		free(both[0].memory);
		free(both[1].memory);
		unstage();
	}
}

/* A repeated write that waits, though no fence stops it, does not pass what another has become in doubt of meanwhile.
 */
static void test_repeated_waits(void **state)
{
	struct slot early = { 0 }, late = { 0 };

	stage(12);
	options.path_count = 1;
	remote_open();
	wait_for(live_paths() == 1);
	target.holds_writes = true;
	fill(&early, 4096, 1);
	submit(&early, DPU_BLOCK_WRITE, 0, 4096, 0);
	wait_for(target.held_count == 1);
	fake_release(&target, false);
	target.ports[0].refuses = true;
	fake_drop(&target, 0);
	wait_for(live_paths() == 0);
	ahead_ns = 1101 * CLOCK_NS_PER_MS; /* the old association is dead, and there is no new one yet */
	run_ms(5);
	ahead_ns = 0;
	fill(&late, 4096, 2);
	submit(&late, DPU_BLOCK_WRITE, 0, 4096, 0);
	target.fail_status = NVME_INTERNAL_ERROR; /* of the early one, which waits for a while then */
	target.fail_count = 1;
	target.ports[0].refuses = false;
	wait_for(target.held_count == 1);
	target.holds_writes = false;
	fake_drop(&target, 0);
	uint64_t start = clock_ns();
	wait_for(!late.busy);
	clock_stands(start, 1099);
	assert_true(early.busy);
	fake_release(&target, false);
	assert_int_equal(target.memory[0], 2);
	ahead_ns = 1101 * CLOCK_NS_PER_MS;
	wait_for(!early.busy);
	assert_int_equal(early.request.status, DPU_BLOCK_OK);
	assert_int_equal(target.memory[0], 1);
	free(early.memory);
	free(late.memory);
	unstage();
}

/* With other hosts, and after a predecessor, nothing is written before what was before is dead. */
static void test_shared_and_fenced(void **state)
{
	struct slot slot = { 0 }, reader = { 0 };

	stage(12);
	options.shared = true;
	remote_open();
	wait_for(live_paths() == 2);
	target.holds_writes = true;
	fill(&slot, 4096, 1);
	submit(&slot, DPU_BLOCK_WRITE, 0, 4096, 0);
	wait_for(target.held_count == 1);
	target.holds_writes = false;
	fake_drop(&target, 0);
	fake_drop(&target, 1);
	uint64_t start = clock_ns();
	assert_int_equal(run(&reader, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start < 900 * CLOCK_NS_PER_MS);
	clock_stands(start, 1099);
	assert_true(slot.busy);
	ahead_ns = 1101 * CLOCK_NS_PER_MS;
	wait_for(!slot.busy);
	unstage();

	stage(12);
	options.fenced_ms = 2 * options.keep_alive_ms + options.quiesce_ms;
	start = clock_ns();
	remote_open();
	wait_for(live_paths() == 2);
	submit(&slot, DPU_BLOCK_WRITE, 0, 4096, 0);
	clock_stands(start, 2099);
	assert_true(slot.busy);
	ahead_ns = 2101 * CLOCK_NS_PER_MS;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	free(slot.memory);
	free(reader.memory);
	unstage();
}

/* Requests wait for a path for so long, then fail; when there is one again, they work again. */
static void test_no_path(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.loss_ms = 400;
	remote_open();
	wait_for(live_paths() == 2);
	target.ports[0].refuses = target.ports[1].refuses = true;
	fake_drop(&target, 0);
	fake_drop(&target, 1);
	wait_for(live_paths() == 0);
	uint64_t start = clock_ns();
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_IO_ERROR);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 300, 3000);
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_IO_ERROR);
	target.ports[1].refuses = false;
	wait_for(live_paths() == 1);
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
	assert_int_equal(ups, 1);
	free(slot.memory);
	unstage();
}

static bool ignore_io(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	return fake_queue(connection) != 0 && sqe->opcode != NVME_FABRICS;
}

/* What is not answered is aborted, then its path is given up. */
static void test_time_outs(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.path_count = 1;
	options.timeout_ms = 400;
	remote_open();
	wait_for(live_paths() == 1);
	target.command = ignore_io;
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	wait_for(target.aborts > 0);
	wait_for(losses > 0);
	assert_non_null(strstr(last_why, "not answered"));
	target.command = NULL;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	wait_for(live_paths() == 1);
	target.no_keep_alive = true;
	losses = 0;
	wait_for(losses > 0);
	assert_non_null(strstr(last_why, "Keep Alive"));
	free(slot.memory);
	unstage();
}

/* A machine that has just started: its clock says less than the time that a command may take. */
static void test_young_clock(void **state)
{
	stage(12);
	options.path_count = 1;
	target.silent = true;
	remote_open();
	wait_for(target.commands[NVME_FABRICS] == 1);
	remote_source(remote)->tick(remote_source(remote), NULL, 5 * CLOCK_NS_PER_S);
	assert_int_equal(losses, 0);
	unstage();
}

/* Whoever accepts a connection and does not greet, is asked again, on the admin queue as on an I/O queue. */
static bool on_admin_connect(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode == NVME_FABRICS && sqe->fctype == NVME_FABRICS_CONNECT)
		fake->ports[fake_port_of(connection)].mute = true; /* for the queues after it */
	return false;
}

static void test_no_greeting(void **state)
{
	struct slot slot = { 0 };

	for (unsigned io = 0; io < 2; io++) {
		stage(12);
		options.path_count = 1;
		target.ports[0].mute = io == 0;
		target.command = io ? on_admin_connect : NULL;
		remote_open();
		wait_for(target.ports[0].unanswered == (io ? options.queues : 1));
		run_ms(50);
		assert_int_equal(losses, 0);
		target.command = NULL;
		target.ports[0].mute = false;
		ahead_ns = 6 * CLOCK_NS_PER_S;
		step();
		ahead_ns = 0;
		assert_int_equal(losses, 1);
		assert_non_null(strstr(last_why, "does not greet"));
		wait_for(live_paths() == 1);
		assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
		unstage();
	}
	free(slot.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_paths),        cmocka_unit_test(test_stale_writes),
		cmocka_unit_test(test_shared_and_fenced), cmocka_unit_test(test_no_path),
		cmocka_unit_test(test_time_outs),         cmocka_unit_test(test_no_greeting),
		cmocka_unit_test(test_young_clock),       cmocka_unit_test(test_repeated_waits),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
