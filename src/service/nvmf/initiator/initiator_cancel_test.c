// SPDX-License-Identifier: BSD-3-Clause
/* Requests that nobody waits for any more: what was never sent ends, what may still be carried out ends when it cannot
 * be any more, what is under way on a live path is answered. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static void cancel(struct slot *slot)
{
	assert_non_null(device->ops->cancel);
	device->ops->cancel(device, &slot->request);
	assert_true(slot->busy); /* never from within */
}

static void paths_refuse(bool refuse)
{
	target.ports[0].refuses = target.ports[1].refuses = refuse;
}

static void paths_drop(void)
{
	fake_drop(&target, 0);
	fake_drop(&target, 1);
}

static void assert_gone(struct slot *slot)
{
	wait_for(!slot->busy);
	assert_int_equal(slot->request.status, DPU_BLOCK_GONE);
	assert_int_equal(slot->done, 1);
	slot->done = 0;
}

static uint64_t ms_since(uint64_t start_ns)
{
	return (clock_ns() - start_ns) / CLOCK_NS_PER_MS;
}

static void write_submit(struct slot *slot, uint64_t offset, uint8_t value)
{
	fill(slot, 4096, value);
	submit(slot, DPU_BLOCK_WRITE, offset, 4096, 0);
}

/* Without a path: from wherever they stand, twice, and nothing of them is sent when there is a path again. */
static void test_never_sent(void **state)
{
	struct slot slots[6];

	memset(slots, 0, sizeof(slots));
	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	paths_refuse(true);
	paths_drop();
	wait_for(live_paths() == 0);
	for (unsigned i = 0; i < 6; i++)
		write_submit(&slots[i], i * UINT64_C(4096), 1);
	uint64_t start = clock_ns();
	for (unsigned i = 0; i < 6; i++)
		if (i != 1 && i != 4)
			cancel(&slots[i]);
	cancel(&slots[0]);
	for (unsigned i = 0; i < 6; i++)
		if (i != 1 && i != 4)
			assert_gone(&slots[i]);
	assert_in_range(ms_since(start), 0, 500);
	assert_true(slots[1].busy && slots[4].busy);
	assert_int_equal(run(&slots[0], DPU_BLOCK_WRITE_ZEROES, 0, 0, 0), DPU_BLOCK_OK);
	paths_refuse(false);
	wait_for(!slots[1].busy && !slots[4].busy);
	assert_int_equal(slots[1].request.status, DPU_BLOCK_OK);
	assert_int_equal(target.writes_by_port[0] + target.writes_by_port[1], 2);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(target.memory[i * 4096], i == 1 || i == 4);
		free(slots[i].memory);
	}
	unstage();
}

enum when { UNDER_WAY, CLOSING, REPEATED };

/* A write that went with its path ends when the old association is dead, and is not repeated, with a path or without;
 * one that waits behind it was never sent. A later one is not overtaken by it. */
static void in_doubt(enum when when)
{
	struct slot first = { 0 }, behind = { 0 }, later = { 0 }, reader = { 0 }, stays = { 0 };
	struct remote_status status;

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	target.holds_writes = true;
	write_submit(&first, 0, 1);
	wait_for(target.held_count == 1);
	target.holds_writes = false;
	if (when == UNDER_WAY)
		cancel(&first);
	paths_refuse(true);
	paths_drop();
	uint64_t start = clock_ns();
	wait_for(losses == 2);
	submit(&stays, DPU_BLOCK_READ, 8192, 4096, 0);
	if (when == REPEATED)
		do {
			step();
			remote_status(remote, &status);
		} while (status.repeated == 0);
	if (when != UNDER_WAY) {
		submit(&reader, DPU_BLOCK_READ, 8192, 4096, 0);
		write_submit(&behind, 0, 2);
		cancel(&first);
		cancel(&reader);
		cancel(&behind);
		assert_gone(&reader);
		assert_gone(&behind);
	}
	write_submit(&later, 0, 3);
	assert_in_range(ms_since(start), 0, 900);
	clock_stands(start, 1099);
	assert_true(first.busy && later.busy);
	fake_release(&target, false); /* it was carried out all the same */
	assert_int_equal(target.memory[0], 1);
	if (when == CLOSING)
		paths_refuse(false);
	ahead_ns = 1101 * CLOCK_NS_PER_MS;
	assert_gone(&first);
	paths_refuse(false);
	wait_for(!later.busy && !stays.busy);
	assert_int_equal(later.request.status, DPU_BLOCK_OK);
	assert_int_equal(target.memory[0], 3);
	assert_int_equal(target.writes_by_port[0] + target.writes_by_port[1], 1);
	free(first.memory);
	free(behind.memory);
	free(later.memory);
	free(reader.memory);
	free(stays.memory);
	unstage();
}

static void test_in_doubt(void **state)
{
	for (enum when when = UNDER_WAY; when <= REPEATED; when++)
		in_doubt(when);
}

static struct fake_connection *asker;
static uint16_t asked[2];
static unsigned asked_count;

static bool keep_flushes(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (fake_queue(connection) == 0 || sqe->opcode != NVME_FLUSH)
		return false;
	asker = connection;
	asked[asked_count++] = sqe->cid;
	return true;
}

/* What a live path has is answered as ever; what waits for a command of it ends, and what would have to be repeated. */
static void test_live_path(void **state)
{
	struct slot under_way[2], waits = { 0 };

	memset(under_way, 0, sizeof(under_way));
	asked_count = 0;
	stage(12);
	options.path_count = options.queues = 1;
	options.depth = 2;
	remote_open();
	wait_for(live_paths() == 1);
	target.command = keep_flushes;
	submit(&under_way[0], DPU_BLOCK_FLUSH, 0, 0, 0);
	submit(&under_way[1], DPU_BLOCK_FLUSH, 0, 0, 0);
	submit(&waits, DPU_BLOCK_FLUSH, 0, 0, 0);
	wait_for(asked_count == 2);
	cancel(&waits);
	cancel(&under_way[0]);
	cancel(&under_way[0]);
	assert_gone(&waits);
	run_ms(50);
	assert_true(under_way[0].busy && under_way[1].busy);
	fake_respond(asker, asked[0], 0, NVME_OK);
	wait_for(!under_way[0].busy);
	assert_int_equal(under_way[0].request.status, DPU_BLOCK_OK);
	cancel(&under_way[1]);
	paths_refuse(true);
	paths_drop();
	assert_gone(&under_way[1]);
	assert_int_equal(asked_count, 2);
	free(waits.memory);
	free(under_way[0].memory);
	free(under_way[1].memory);
	unstage();
}

/* What the controller has asked a pause for, and then there is no path. */
static void test_refused(void **state)
{
	struct slot slot = { 0 }, stays = { 0 };

	for (unsigned early = 0; early < 2; early++) {
		stage(12);
		remote_open();
		wait_for(live_paths() == 2);
		target.fail_status = NVME_INTERNAL_ERROR;
		target.fail_count = 1;
		write_submit(&slot, 0, 1);
		if (early)
			cancel(&slot);
		wait_for(target.fail_count == 0);
		paths_refuse(true);
		run_ms(20);
		paths_drop();
		wait_for(losses == 2);
		if (!early)
			cancel(&slot);
		submit(&stays, DPU_BLOCK_READ, 0, 4096, 0);
		assert_gone(&slot);
		paths_refuse(false);
		wait_for(!stays.busy);
		assert_int_equal(target.writes_by_port[0] + target.writes_by_port[1], 0);
		unstage();
	}
	free(slot.memory);
	free(stays.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_sent),
		cmocka_unit_test(test_in_doubt),
		cmocka_unit_test(test_live_path),
		cmocka_unit_test(test_refused),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
