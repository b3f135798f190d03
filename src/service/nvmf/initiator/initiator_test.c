// SPDX-License-Identifier: BSD-3-Clause
/* The initiator against a target in the same thread: requests of all kinds with everything that the two may agree on;
 * lost paths, and writes that a lost path carries out late; controllers that break the protocol; changes of the
 * namespace and of ANA; discovery. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/clock.h"
#include "service/nvmf/initiator/fake_target.h"
#include "service/nvmf/initiator/initiator.h"

enum { BYTES = 4 << 20, SLOTS = 24, SLOT_BYTES = 192 << 10 };

static struct uring *uring;
static struct stream_group *streams;
static struct fake_target target;
static struct remote *remote;
static struct dpu_block_device *device;
static struct remote_options options;
static unsigned ups, gones, losses, changes;
static char last_why[REMOTE_WHY_BYTES];
static uint64_t seed = 88172645463325252ull;

static unsigned roll(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % below);
}

static void on_changed(void *ctx)
{
	changes++;
}

static void on_up(void *ctx, struct dpu_block_device *up)
{
	ups++;
	device = up;
	device->changed = on_changed;
}

static void on_gone(void *ctx)
{
	gones++;
}

static void on_path(void *ctx, unsigned path, bool live, const char *why)
{
	losses += !live;
	if (!live)
		snprintf(last_why, sizeof(last_why), "%s", why);
}

static const struct remote_events events = { on_up, on_gone, on_path };

static void step(void)
{
	uring_poll(uring);
	if (remote)
		remote_source(remote)->tick(remote_source(remote), NULL, clock_ns());
}

#define wait_for(condition)                                                                                            \
	do {                                                                                                           \
		for (uint64_t end_ = clock_ns() + 5 * CLOCK_NS_PER_S; !(condition) && clock_ns() < end_;)              \
			step();                                                                                        \
		if (!(condition))                                                                                      \
			print_error("paths: %s\n", last_why);                                                          \
		assert_true(condition);                                                                                \
	} while (0)

static void run_ms(unsigned ms)
{
	for (uint64_t end = clock_ns() + ms * CLOCK_NS_PER_MS; clock_ns() < end;)
		step();
}

/* ---- the stage ---- */

static void stage(unsigned shift)
{
	ups = gones = losses = changes = 0;
	last_why[0] = 0;
	remote = NULL;
	device = NULL;
	assert_int_equal(uring_new(256, &uring, NULL), 0);
	assert_int_equal(stream_group_new(&(struct stream_group_options){ .uring = uring }, &streams, NULL), 0);
	fake_open(&target, streams, BYTES, shift);
	memset(&options, 0, sizeof(options));
	options.streams = streams;
	options.path_count = FAKE_PORTS;
	for (unsigned i = 0; i < FAKE_PORTS; i++) {
		memcpy(&options.paths[i].address, &target.ports[i].address, sizeof(target.ports[i].address));
		options.paths[i].bytes = sizeof(target.ports[i].address);
	}
	strcpy(options.subnqn, "nqn.2026-01.test:subsystem");
	strcpy(options.hostnqn, "nqn.2026-01.test:host");
	options.queues = 2;
	options.depth = 8;
	options.retry_ms = 10;
	options.keep_alive_ms = 1000;
	options.quiesce_ms = 100;
}

static void remote_open(void)
{
	struct dpu_error err = { 0 };

	if (remote_new(&options, &events, NULL, &remote, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
}

static unsigned live_paths(void)
{
	struct remote_status status;
	unsigned live = 0;

	remote_status(remote, &status);
	for (unsigned i = 0; i < status.path_count; i++)
		live += status.paths[i].state == REMOTE_PATH_LIVE;
	return live;
}

static void on_flag(void *arg)
{
	*(bool *)arg = true;
}

static void unstage(void)
{
	bool closed = false;

	if (remote) {
		remote_close(remote, on_flag, &closed);
		wait_for(closed);
		remote_free(remote);
		remote = NULL;
	}
	fake_close(&target);
	run_ms(2);
	wait_for(target.open == 0 && uring_under_way(uring) == 0);
	fake_free(&target);
	stream_group_free(streams);
	uring_free(uring);
}

/* ---- requests ---- */

struct slot {
	struct dpu_block_request request; /* first */
	struct iovec iov[3];
	uint8_t *memory;
	uint64_t offset;
	bool busy;
	unsigned done;
};

static struct slot slots[SLOTS];
static uint8_t model[BYTES];
static unsigned failures;

static void on_done(struct dpu_block_request *request)
{
	struct slot *slot = (struct slot *)request;

	assert_true(slot->busy);
	slot->busy = false;
	slot->done++;
}

static void submit(struct slot *slot, enum dpu_block_op op, uint64_t offset, uint64_t length, uint8_t flags)
{
	uint64_t cut = length / 3;

	if (!slot->memory)
		slot->memory = malloc(SLOT_BYTES);
	slot->iov[0] = (struct iovec){ slot->memory, cut };
	slot->iov[1] = (struct iovec){ slot->memory + cut, cut };
	slot->iov[2] = (struct iovec){ slot->memory + 2 * cut, length - 2 * cut };
	slot->request = (struct dpu_block_request){
		.op = op,
		.flags = flags,
		.offset = offset,
		.length = length,
		.iov = slot->iov,
		.segments = 3,
		.done = on_done,
	};
	slot->busy = true;
	assert_int_equal(dpu_block_check(device, &slot->request), DPU_BLOCK_OK);
	device->ops->submit(device, &slot->request);
	assert_true(slot->busy); /* never from within */
}

static void fill(struct slot *slot, uint64_t length, uint8_t value)
{
	if (!slot->memory)
		slot->memory = malloc(SLOT_BYTES);
	memset(slot->memory, value, length);
}

static uint8_t run(struct slot *slot, enum dpu_block_op op, uint64_t offset, uint64_t length, uint8_t flags)
{
	submit(slot, op, offset, length, flags);
	wait_for(!slot->busy);
	return slot->request.status;
}

/* Each slot has a part of the device for itself, so that the model knows what is right at any time. */
static void slot_start(unsigned index)
{
	struct slot *slot = &slots[index];
	uint64_t part = BYTES / SLOTS / 4096 * 4096, sector = device->sector;
	uint64_t offset = roll((unsigned)(part / sector)) * sector, most = part - offset;
	uint64_t length = (1 + roll((unsigned)(roll(2) ? 8 : most / sector))) * sector;
	enum dpu_block_op op = roll(12);

	length = length < most ? length : most;
	offset += index * part;
	fill(slot, length, 0);
	for (uint64_t i = 0; i < length; i += 64)
		slot->memory[i] = (uint8_t)roll(256);
	op = op < 4 ? DPU_BLOCK_READ : op < 8 ? DPU_BLOCK_WRITE : (enum dpu_block_op)(op - 6);
	if (op == DPU_BLOCK_COMPARE && roll(2))
		memcpy(slot->memory, model + offset, length);
	if (op == DPU_BLOCK_COMPARE)
		slot->done = memcmp(slot->memory, model + offset, length) != 0;
	if (op == DPU_BLOCK_WRITE)
		memcpy(model + offset, slot->memory, length);
	if (op == DPU_BLOCK_DISCARD || op == DPU_BLOCK_WRITE_ZEROES)
		memset(model + offset, 0, length);
	bool miscompare = slot->done && op == DPU_BLOCK_COMPARE;
	submit(slot, op, offset, length, op == DPU_BLOCK_WRITE && roll(2) ? DPU_BLOCK_FUA : 0);
	slot->request.tag = miscompare;
	slot->done = 0;
}

static void slot_check(struct slot *slot)
{
	const struct dpu_block_request *request = &slot->request;
	uint8_t right = request->op == DPU_BLOCK_COMPARE && request->tag ? DPU_BLOCK_MISCOMPARE : DPU_BLOCK_OK;

	failures += request->status != right;
	if (request->op == DPU_BLOCK_READ && request->status == DPU_BLOCK_OK)
		assert_memory_equal(slot->memory, model + request->offset, request->length);
	slot->done = 0;
}

/* Load until `count` requests are done; `disturb` is called now and then. */
static void load(unsigned count, void (*disturb)(unsigned at))
{
	unsigned done = 0, started = 0;

	failures = 0;
	memset(slots, 0, sizeof(slots));
	memcpy(model, target.memory, BYTES);
	for (uint64_t end = clock_ns() + 40 * CLOCK_NS_PER_S; done < count;) {
		for (unsigned i = 0; i < SLOTS; i++) {
			if (slots[i].busy)
				continue;
			if (slots[i].done) {
				slot_check(&slots[i]);
				done++;
			}
			if (started < count) {
				slot_start(i);
				started++;
			}
		}
		if (disturb && done > 0)
			disturb(done);
		step();
		assert_true(clock_ns() < end);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		free(slots[i].memory);
	memset(slots, 0, sizeof(slots));
	assert_memory_equal(model, target.memory, BYTES);
}

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
		target.maxh2cdata = i & 2 ? 4096 : 128 << 10;
		target.r2t_bytes = i & 4 ? 12288 : 0;
		target.c2h_bytes = i & 8 ? 20000 : 0;
		target.ioccsz = i & 1 ? 4 : 0;
		target.mdts = i & 4 ? 3 : 0; /* requests are split at 32 KiB */
		remote_open();
		wait_for(live_paths() == 2);
		assert_int_equal(device->bytes, BYTES);
		assert_int_equal(device->sector, i % 2 ? 4096 : 512);
		assert_int_equal(device->features, DPU_BLOCK_F_FLUSH | DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_ZERO_DISCARD);
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

/* ---- lost paths ---- */

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
		run_ms(50);
		assert_true(second.busy && both[0].busy && both[1].busy);
		fake_release(&target, backwards);
		assert_int_equal(target.memory[0], 1);
		assert_int_equal(target.memory[8192], 3);
		wait_for(!second.busy && !both[0].busy && !both[1].busy);
		assert_true(clock_ns() - start >= 1100 * CLOCK_NS_PER_MS);
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
	assert_true(slot.busy && clock_ns() - start < 900 * CLOCK_NS_PER_MS);
	wait_for(!slot.busy);
	assert_true(clock_ns() - start >= 1100 * CLOCK_NS_PER_MS);
	unstage();

	stage(12);
	options.fenced = true;
	start = clock_ns();
	remote_open();
	wait_for(live_paths() == 2);
	assert_int_equal(run(&slot, DPU_BLOCK_WRITE, 0, 4096, 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start >= 2100 * CLOCK_NS_PER_MS);
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

/* ---- controllers that fail ---- */

static void refused(const char *why)
{
	remote_open();
	wait_for(losses > 0);
	if (!strstr(last_why, why))
		fail_msg("\"%s\", not \"%s\"", last_why, why);
	assert_int_equal(ups, 0);
	unstage();
}

static void test_refusals(void **state)
{
	stage(12);
	strcpy(options.hostnqn, "nqn.2026-01.test:stranger");
	refused("this host is not allowed");
	stage(12);
	target.no_ready = true;
	refused("does not become ready");
	stage(12);
	options.header_digest = true;
	target.digests = 0;
	refused("no header digests");
	stage(12);
	target.digests = NVME_TCP_DGST_DATA;
	refused("digests that nobody asked for");
	stage(12);
	target.cpda = 32;
	refused("alignment");
	stage(12);
	target.maxh2cdata = 4094;
	refused("MAXH2CDATA");
	stage(12);
	options.nsid = 9;
	refused("no such namespace");
	stage(12);
	memset(options.uuid, 0x43, 16);
	refused("no such namespace");
	stage(12);
	target.shift = 10;
	refused("2^10");
	stage(12);
	target.ports[0].refuses = target.ports[1].refuses = true;
	refused("connection");
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

static void test_digest_errors(void **state)
{
	struct remote_status status;
	struct slot slot = { 0 };

	stage(12);
	options.header_digest = options.data_digest = true;
	options.path_count = 1;
	remote_open();
	wait_for(live_paths() == 1);
	memset(target.memory, 7, BYTES);
	/* Wrong data is read again, but not for ever. */
	target.bad_data_digests = 3;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 65536, 0), DPU_BLOCK_OK);
	assert_int_equal(slot.memory[65535], 7);
	remote_status(remote, &status);
	assert_int_equal(status.paths[0].digest_errors, 3);
	assert_int_equal(losses, 0);
	target.bad_data_digests = 100;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 65536, 0), DPU_BLOCK_IO_ERROR);
	target.bad_data_digests = 0;
	/* A wrong header ends the connection; the request lives on. */
	target.bad_header_digests = 1;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
	assert_int_equal(losses, 1);
	assert_int_equal(target.fes, NVME_TCP_FES_HEADER_DIGEST);
	free(slot.memory);
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

/* ---- what a controller may not send ---- */

static unsigned hostile;

static void raw_pdu(struct fake_connection *connection, uint8_t type, uint8_t hlen, uint8_t pdo, uint32_t plen,
		    uint8_t flags, const void *rest, size_t bytes)
{
	uint8_t pdu[160] = { type, flags, hlen, pdo };

	memcpy(pdu + 4, &plen, 4);
	memcpy(pdu + 8, rest, bytes);
	fake_send(connection, pdu, 8 + bytes < sizeof(pdu) ? 8 + bytes : sizeof(pdu));
}

static const struct {
	const char *why;
	uint16_t fes;
	uint8_t type, hlen, pdo, flags;
	uint32_t plen;
	uint32_t offset, length; /* of data, R2T */
	int cid;                 /* added to the right one */
	bool write;
} hostile_cases[] = {
	{ "unknown PDU type", 1, 0x08, 24, 0, 0, 24, 0, 0, 0, false },
	{ "unknown PDU type", 1, 0xff, 24, 0, 0, 24, 0, 0, 0, false },
	{ "may not come now", 2, NVME_TCP_ICRESP, 128, 0, 0, 128, 0, 0, 0, false },
	{ "length of a header", 1, NVME_TCP_CAPSULE_RESP, 23, 0, 0, 24, 0, 0, 0, false },
	{ "length of a PDU", 1, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 28, 0, 0, 0, false },
	{ "length of a PDU", 1, NVME_TCP_C2H_DATA, 24, 24, 0, 8, 0, 4096, 0, false },
	{ "header digest", 1, NVME_TCP_CAPSULE_RESP, 24, 0, NVME_TCP_HDGSTF, 28, 0, 0, 0, false },
	{ "response to no command", 1, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 24, 0, 0, 1024, false },
	{ "response to no command", 1, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 24, 0, 0, 500, false },
	{ "success without all data", 2, NVME_TCP_CAPSULE_RESP, 24, 0, 0, 24, 0, 0, 0, false },
	{ "data for no command", 1, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 4096, 0, 4096, 1024, false },
	{ "data for no command", 1, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 4096, 0, 4096, 0, true },
	{ "out of order or too much", 4, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 8192, 0, 8192, 0, false },
	{ "out of order or too much", 4, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 2048, 2048, 2048, 0, false },
	{ "out of order or too much", 4, NVME_TCP_C2H_DATA, 24, 24, 4, 24, 0, 0, 0, false },
	{ "place or length", 1, NVME_TCP_C2H_DATA, 24, 20, 4, 20 + 4096, 0, 4096, 0, false },
	{ "place or length", 1, NVME_TCP_C2H_DATA, 24, 24, 4, 24 + 4000, 0, 4096, 0, false },
	{ "flag of the data digest", 1, NVME_TCP_C2H_DATA, 24, 24, 6, 28 + 4096, 0, 4096, 0, false },
	{ "success before the last", 1, NVME_TCP_C2H_DATA, 24, 24, 8, 24 + 4096, 0, 4096, 0, false },
	{ "R2T for no command", 1, NVME_TCP_R2T, 24, 0, 0, 24, 0, 4096, 0, false },
	{ "R2T for no command", 1, NVME_TCP_R2T, 24, 0, 0, 24, 0, 4096, 1024, true },
	{ "R2T beyond the data", 4, NVME_TCP_R2T, 24, 0, 0, 24, 4096, 4096, 0, true },
	{ "R2T beyond the data", 4, NVME_TCP_R2T, 24, 0, 0, 24, 0xfffff000u, 0x2000, 0, true },
	{ "R2T beyond the data", 4, NVME_TCP_R2T, 24, 0, 0, 24, 0, 0, 0, true },
	{ "ends the connection", 0, NVME_TCP_C2H_TERM_REQ, 24, 0, 0, 24, 3, 0, 0, false },
};

static bool on_hostile(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	unsigned at = hostile;
	uint16_t rest[60] = { 0 };

	if (fake_queue(connection) == 0 || sqe->opcode == NVME_FABRICS || at == UINT32_MAX)
		return false;
	hostile = UINT32_MAX;
	uint16_t cid = (uint16_t)(sqe->cid + hostile_cases[at].cid);
	if (hostile_cases[at].type == NVME_TCP_CAPSULE_RESP) {
		rest[6] = cid;
	} else {
		rest[0] = cid;
		memcpy(&rest[2], &hostile_cases[at].offset, 4);
		memcpy(&rest[4], &hostile_cases[at].length, 4);
	}
	raw_pdu(connection, hostile_cases[at].type, hostile_cases[at].hlen, hostile_cases[at].pdo,
		hostile_cases[at].plen, hostile_cases[at].flags, rest, sizeof(rest));
	return true;
}

static void test_hostile(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.path_count = 1;
	target.ioccsz = 4;
	hostile = UINT32_MAX;
	remote_open();
	wait_for(live_paths() == 1);
	fill(&slot, 4096, 9);
	for (unsigned i = 0; i < sizeof(hostile_cases) / sizeof(hostile_cases[0]); i++) {
		unsigned terminations = target.terminations;

		wait_for(live_paths() == 1);
		losses = 0;
		hostile = i;
		target.command = on_hostile;
		/* The request survives on the next connection. */
		assert_int_equal(run(&slot, hostile_cases[i].write ? DPU_BLOCK_WRITE : DPU_BLOCK_READ, 0, 4096, 0),
				 DPU_BLOCK_OK);
		assert_int_equal(losses, 1);
		if (!strstr(last_why, hostile_cases[i].why))
			fail_msg("case %u: \"%s\", not \"%s\"", i, last_why, hostile_cases[i].why);
		if (hostile_cases[i].fes) {
			wait_for(target.terminations == terminations + 1);
			assert_int_equal(target.fes, hostile_cases[i].fes);
		}
		if (hostile_cases[i].write)
			run_ms(1150); /* its fence */
	}
	free(slot.memory);
	unstage();
}

/* A second R2T for a command while the first is not satisfied. */
static bool on_two_r2ts(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode != NVME_WRITE || fake_queue(connection) == 0)
		return false;
	struct nvme_tcp_r2t r2t[3] = {
		{ .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2to = 0, .r2tl = 32768 },
		{ .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2to = 32768, .r2tl = 32768 },
		{ .header = { NVME_TCP_R2T, 0, 24, 0, 24 }, .cccid = sqe->cid, .r2to = 65536, .r2tl = 32768 },
	};
	fake->command = NULL;
	fake->maxh2cdata = UINT32_MAX; /* what comes now is not looked at */
	fake_send(connection, r2t, sizeof(r2t));
	return true;
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
	wait_for(target.aborts == 1);
	wait_for(losses == 1);
	assert_non_null(strstr(last_why, "not answered"));
	target.command = NULL;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	wait_for(live_paths() == 1);
	target.no_keep_alive = true;
	losses = 0;
	wait_for(losses == 1);
	assert_non_null(strstr(last_why, "Keep Alive"));
	free(slot.memory);
	unstage();
}

/* ---- changes ---- */

static void test_resize_and_gone(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	run_ms(20); /* until it has got our requests for events */
	target.blocks /= 2;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
	wait_for(changes == 1);
	assert_int_equal(device->bytes, BYTES / 2);
	/* While it is away it may change, too. */
	target.blocks *= 2;
	fake_drop(&target, 0);
	fake_drop(&target, 1);
	wait_for(changes == 2);
	assert_int_equal(device->bytes, BYTES);
	wait_for(live_paths() == 2);
	run_ms(20);
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	target.nsid = 0;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
	wait_for(gones == 1 && !slot.busy);
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_GONE);
	assert_int_equal(gones, 1);
	free(slot.memory);
	unstage();
}

/* A target that starts again and has no namespaces yet has not deleted them. */
static void test_restarting_target(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	target.nsid = 0;
	fake_drop(&target, 0);
	fake_drop(&target, 1);
	wait_for(losses >= 3);
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	run_ms(50);
	assert_true(slot.busy && gones == 0);
	target.nsid = 3;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	free(slot.memory);
	unstage();
}

static void ana_set(unsigned port, enum nvme_ana_state state)
{
	run_ms(20);
	target.ports[port].ana = state;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_ANA, NVME_LOG_ANA));
	run_ms(30);
	memset(target.reads_by_port, 0, sizeof(target.reads_by_port));
}

static void reads(unsigned count)
{
	struct slot slot = { 0 };

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
	free(slot.memory);
}

static void test_ana(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	reads(10);
	assert_int_equal(target.reads_by_port[0], 5);
	ana_set(0, NVME_ANA_NON_OPTIMIZED);
	reads(10);
	assert_int_equal(target.reads_by_port[1], 10);
	ana_set(1, NVME_ANA_STATE_INACCESSIBLE);
	reads(10);
	assert_int_equal(target.reads_by_port[0], 10);
	/* None can be used: requests wait. */
	ana_set(0, NVME_ANA_STATE_CHANGE);
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	run_ms(100);
	assert_true(slot.busy);
	/* Without an event, too, the end of a transition is noticed. */
	target.ports[0].ana = NVME_ANA_OPTIMIZED;
	wait_for(!slot.busy);
	/* The status of a command tells before any event. */
	target.ports[1].ana = NVME_ANA_OPTIMIZED;
	target.fail_status = NVME_ANA_INACCESSIBLE;
	target.fail_count = 1;
	reads(1);
	free(slot.memory);
	unstage();
}

static void test_two_r2ts(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.path_count = 1;
	target.ioccsz = 4;
	remote_open();
	wait_for(live_paths() == 1);
	fill(&slot, 98304, 4);
	target.command = on_two_r2ts;
	submit(&slot, DPU_BLOCK_WRITE, 0, 98304, 0);
	wait_for(losses == 1);
	assert_non_null(strstr(last_why, "more R2Ts"));
	target.maxh2cdata = 65536;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	free(slot.memory);
	unstage();
}

/* ---- discovery ---- */

static unsigned discovered;
static char discovery_error[REMOTE_WHY_BYTES], discovered_nqn[NVME_NQN_BYTES];

static void on_discovered(void *ctx, const struct nvme_discovery_entry *entries, unsigned count, const char *error)
{
	discovered = count;
	snprintf(discovery_error, sizeof(discovery_error), "%s", error ? error : "");
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
	target.entry_count = 1 << 20;
	discover();
	assert_non_null(strstr(discovery_error, "too long"));
	target.ports[0].refuses = true;
	discover();
	assert_non_null(strstr(discovery_error, "connection"));
	unstage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_lost_paths),
		cmocka_unit_test(test_stale_writes),
		cmocka_unit_test(test_shared_and_fenced),
		cmocka_unit_test(test_no_path),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_digest_errors),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_two_r2ts),
		cmocka_unit_test(test_time_outs),
		cmocka_unit_test(test_resize_and_gone),
		cmocka_unit_test(test_restarting_target),
		cmocka_unit_test(test_ana),
		cmocka_unit_test(test_discovery),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
