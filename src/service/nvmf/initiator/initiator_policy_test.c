// SPDX-License-Identifier: BSD-3-Clause
/* Which path a request takes by the policy, how long a lost one is left alone, and what becomes of an answer that was
 * spoilt on the way. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "service/nvmf/initiator/initiator_priv.h"

/* ---- policies ---- */

enum { READS = 200, DEPTH = 8, SLOW_MS = 20 };

static struct late {
	struct fake_connection *connection;
	struct nvme_sqe sqe;
	uint64_t due_ns;
} late[DEPTH];
static unsigned late_count, most_late;

/* What comes to the second port is answered late. */
static bool on_slow_port(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (fake_port_of(connection) != 1 || fake_queue(connection) == 0 || sqe->opcode != NVME_READ)
		return false;
	assert_true(late_count < DEPTH);
	late[late_count++] = (struct late){ connection, *sqe, clock_ns() + SLOW_MS * CLOCK_NS_PER_MS };
	most_late = late_count > most_late ? late_count : most_late;
	fake->reads_by_port[1]++;
	return true;
}

static void late_answer(void)
{
	if (late_count == 0 || clock_ns() < late[0].due_ns)
		return;
	fake_data(late[0].connection, &late[0].sqe, target.memory, 4096);
	memmove(late, late + 1, --late_count * sizeof(*late));
}

/* Reads, DEPTH at a time. */
static void reads_over(enum remote_policy policy)
{
	static struct slot slots[DEPTH];
	unsigned started = 0, done = 0;

	stage(12);
	options.policy = policy;
	remote_open();
	wait_for(live_paths() == 2);
	late_count = most_late = 0;
	memset(target.reads_by_port, 0, sizeof(target.reads_by_port));
	target.command = on_slow_port;
	memset(slots, 0, sizeof(slots));
	while (done < READS) {
		for (unsigned i = 0; i < DEPTH; i++) {
			if (slots[i].busy)
				continue;
			done += slots[i].done;
			slots[i].done = 0;
			if (started < READS) {
				submit(&slots[i], DPU_BLOCK_READ, 0, 4096, 0);
				started++;
			}
		}
		step();
		late_answer();
	}
	for (unsigned i = 0; i < DEPTH; i++)
		free(slots[i].memory);
	target.command = NULL;
	unstage();
}

/* A path that answers late has its share of what is under way, and no more is sent to it before it answers: so the
 * other one does the work. In turns, both get the same. */
static void test_policies(void **state)
{
	reads_over(REMOTE_QUEUE_DEPTH);
	assert_int_equal(target.reads_by_port[0] + target.reads_by_port[1], READS);
	assert_true(target.reads_by_port[0] > 2 * target.reads_by_port[1]);
	assert_true(target.reads_by_port[1] > 0);
	assert_in_range(most_late, 1, DEPTH / 2);
	reads_over(REMOTE_ROUND_ROBIN);
	assert_int_equal(target.reads_by_port[0], READS / 2);
	assert_int_equal(target.reads_by_port[1], READS / 2);
}

/* ---- back-off ---- */

/* One attempt that fails; returns the pause after it, at least and at most so long, since the clock goes on meanwhile.
 */
static void pause_after_attempt(uint64_t *ret_least_ns, uint64_t *ret_most_ns)
{
	struct path *path = &remote->paths[0];
	unsigned attempts = path->attempts;
	uint64_t before, due_ns;

	assert_int_equal(path->step, PATH_DOWN);
	ahead_ns = path->due_ns > clock_ns() ? path->due_ns - clock_ns() : 0;
	step(); /* its time has come */
	ahead_ns = 0;
	do {
		before = clock_ns();
		step();
	} while (path->attempts == attempts);
	due_ns = path->due_ns;
	*ret_most_ns = due_ns - before;
	uint64_t now_ns = clock_ns();
	*ret_least_ns = due_ns > now_ns ? due_ns - now_ns : 0;
}

/* Twice the pause after each attempt, up to the cap, half of it by chance; from the beginning after a success. */
static void test_back_off(void **state)
{
	enum { RETRY_MS = 200, MAX_MS = 3000, ATTEMPTS = 12 };
	uint64_t least_ns, most_ns, shortest = UINT64_MAX, longest = 0;

	stage(12);
	options.path_count = 1;
	options.retry_ms = RETRY_MS;
	options.retry_max_ms = MAX_MS;
	target.ports[0].refuses = true;
	remote_open();
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		uint64_t pause_ns = (i < 4 ? RETRY_MS << i : MAX_MS) * CLOCK_NS_PER_MS;

		pause_after_attempt(&least_ns, &most_ns);
		assert_true(least_ns <= pause_ns && most_ns >= pause_ns / 2);
		if (i >= 4) {
			shortest = most_ns < shortest ? most_ns : shortest;
			longest = most_ns > longest ? most_ns : longest;
		}
	}
	assert_true(longest - shortest > 50 * CLOCK_NS_PER_MS); /* not all hosts at once */
	target.ports[0].refuses = false;
	ahead_ns = MAX_MS * CLOCK_NS_PER_MS;
	wait_for(live_paths() == 1);
	ahead_ns = 0;
	target.ports[0].refuses = true;
	fake_drop(&target, 0);
	wait_for(losses > 0 && remote->paths[0].step == PATH_DOWN);
	assert_true(remote->paths[0].due_ns < clock_ns() + RETRY_MS * CLOCK_NS_PER_MS);
	unstage();
}

/* ---- how long a lost association lives ---- */

static uint64_t told_ms;
static bool notes;

static bool on_outlives(void *ctx, uint64_t ms)
{
	told_ms = ms;
	return notes;
}

static void on_up(void *ctx, struct dpu_block_device *up)
{
	events.up(ctx, up);
}

static void on_path(void *ctx, const struct remote_address *address, bool live, const char *why)
{
	events.path(ctx, address, live, why);
}

static void kas_open(uint16_t kas, bool can_note)
{
	static const struct remote_events with_notes = { .up = on_up, .outlives = on_outlives, .path = on_path };
	struct dpu_error err;

	stage(12);
	target.kas = kas;
	options.path_count = 1;
	told_ms = 0;
	notes = can_note;
	assert_int_equal(remote_new(&options, &with_notes, NULL, &remote, &err), 0);
}

/* A controller may round the keep-alive time-out up: for so much longer it may carry out what was lost with it, and a
 * successor is told before anything is sent that it could. */
static void test_rounded_keep_alive(void **state)
{
	struct slot slot = { 0 };

	kas_open(7, true); /* 1.4 s out of 1 s */
	wait_for(live_paths() == 1);
	assert_int_equal(told_ms, 0); /* twice 1 s are enough for that */
	target.holds_writes = true;
	fill(&slot, 4096, 1);
	submit(&slot, DPU_BLOCK_WRITE, 0, 4096, 0);
	wait_for(target.held_count == 1);
	target.holds_writes = false;
	uint64_t before = clock_ns();
	fake_drop(&target, 0);
	wait_for(remote->fence_count == 1);
	assert_true(remote->fences[0].dead_ns >= before + 1500 * CLOCK_NS_PER_MS);
	assert_true(remote->fences[0].dead_ns <= clock_ns() + 1500 * CLOCK_NS_PER_MS);
	wait_for(!slot.busy);
	unstage();

	kas_open(100, true);
	wait_for(live_paths() == 1);
	assert_int_equal(told_ms, 10100);
	unstage();
	kas_open(100, false);
	wait_for(losses > 0);
	assert_non_null(strstr(last_why, "cannot be noted"));
	assert_int_equal(ups, 0);
	unstage();
	kas_open(0, true);
	wait_for(losses > 0);
	assert_non_null(strstr(last_why, "does not support keep-alive"));
	unstage();
	kas_open(601, true);
	wait_for(losses > 0);
	assert_non_null(strstr(last_why, "in steps of 60100 ms"));
	unstage();
	free(slot.memory);
}

/* ---- answers that are spoilt ---- */

static uint8_t compare(struct slot *slot, uint8_t value)
{
	fill(slot, 4096, value);
	return run(slot, DPU_BLOCK_COMPARE, 0, 4096, 0);
}

/* The answer to a compare is wrong by its digest: its connection ends, and it is done again, on what is there then. Its
 * user sees what the second one says, never the first. */
static void test_spoilt_compare(void **state)
{
	struct remote_status status;
	struct slot slot = { 0 };

	stage(12);
	options.header_digest = true;
	options.path_count = 1;
	remote_open();
	wait_for(live_paths() == 1);
	for (unsigned i = 0; i < 4; i++) {
		bool equal = i & 1;
		unsigned compares = target.commands[NVME_COMPARE];

		wait_for(live_paths() == 1);
		losses = 0;
		target.memory[0] = 0;
		target.bad_header_digests = 1;
		assert_int_equal(compare(&slot, equal ? 0 : 7), equal ? DPU_BLOCK_OK : DPU_BLOCK_MISCOMPARE);
		assert_int_equal(target.commands[NVME_COMPARE], compares + 2);
		assert_int_equal(losses, 1);
		assert_int_equal(target.fes, NVME_TCP_FES_HEADER_DIGEST);
	}
	remote_status(remote, &status);
	assert_int_equal(status.digest_errors, 4);
	free(slot.memory);
	unstage();
}

/* The controller got it spoilt (00/22h): repeated, for it has changed nothing, but not for ever. That is an error of
 * the way, not of the data: no miscompare. */
static void test_compare_that_came_spoilt(void **state)
{
	static const struct {
		uint16_t status;
		unsigned count, tries;
		uint8_t expected;
	} cases[] = {
		{ NVME_TRANSIENT_TRANSPORT, 3, 4, DPU_BLOCK_OK },
		{ NVME_TRANSIENT_TRANSPORT, 100, 1 + RETRIES_MAX, DPU_BLOCK_IO_ERROR },
		{ NVME_TRANSIENT_TRANSPORT | NVME_DNR, 100, 1, DPU_BLOCK_IO_ERROR },
		{ NVME_COMPARE_FAILURE | NVME_DNR, 1, 1, DPU_BLOCK_MISCOMPARE },
		{ NVME_COMPARE_FAILURE, 1, 1,
		  DPU_BLOCK_MISCOMPARE }, /* an answer, whether it is to be tried again or not */
	};
	struct slot slot = { 0 };

	stage(12);
	options.data_digest = true;
	remote_open();
	wait_for(live_paths() == 2);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned compares = target.commands[NVME_COMPARE];

		target.fail_status = cases[i].status;
		target.fail_count = cases[i].count;
		assert_int_equal(compare(&slot, 0), cases[i].expected);
		assert_int_equal(target.commands[NVME_COMPARE], compares + cases[i].tries);
		target.fail_count = 0;
	}
	assert_int_equal(losses, 0);
	free(slot.memory);
	unstage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_back_off),
		cmocka_unit_test(test_rounded_keep_alive),
		cmocka_unit_test(test_spoilt_compare),
		cmocka_unit_test(test_compare_that_came_spoilt),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
