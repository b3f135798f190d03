// SPDX-License-Identifier: BSD-3-Clause
/* The stage of the initiator's tests. */
#include "service/nvmf/initiator/initiator_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "engine/crc32c/crc32c.h"

struct uring *uring;
struct stream_group *streams;
struct fake_target target;
struct remote *remote;
struct dpu_block_device *device;
struct remote_options options;
unsigned ups, gones, losses, changes, failures, expected_digest_errors;
char last_why[REMOTE_WHY_BYTES];
uint64_t ahead_ns;
static uint64_t seed = 88172645463325252ull;

unsigned roll(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % below);
}

static void device_changed(void *ctx)
{
	changes++;
}

static void on_up(void *ctx, struct dpu_block_device *up)
{
	ups++;
	device = up;
	device->changed = device_changed;
}

static void on_gone(void *ctx)
{
	gones++;
}

static void on_path(void *ctx, const struct remote_address *address, bool live, const char *why)
{
	losses += !live;
	if (!live)
		snprintf(last_why, sizeof(last_why), "%s", why);
}

const struct remote_events events = { on_up, on_gone, on_path };

void step(void)
{
	uring_poll(uring);
	if (remote)
		remote_source(remote)->tick(remote_source(remote), NULL, clock_ns() + ahead_ns);
}

void run_ms(unsigned ms)
{
	for (uint64_t end = clock_ns() + ms * CLOCK_NS_PER_MS; clock_ns() < end;)
		step();
}

void clock_stands(uint64_t since_ns, unsigned ms)
{
	for (uint64_t end = clock_ns() + 20 * CLOCK_NS_PER_MS; clock_ns() < end;) {
		uring_poll(uring);
		remote_source(remote)->tick(remote_source(remote), NULL, since_ns + ms * CLOCK_NS_PER_MS);
	}
}

/* ---- the stage ---- */

void stage(unsigned shift)
{
	ups = gones = losses = changes = 0;
	expected_digest_errors = 0;
	ahead_ns = 0;
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

void remote_open(void)
{
	struct dpu_error err = { 0 };

	if (remote_new(&options, &events, NULL, &remote, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
}

unsigned live_paths(void)
{
	struct remote_status status;
	unsigned live = 0;

	remote_status(remote, &status);
	for (unsigned i = 0; i < status.path_count; i++)
		live += status.paths[i].state == REMOTE_PATH_LIVE;
	return live;
}

void on_flag(void *arg)
{
	*(bool *)arg = true;
}

void unstage(void)
{
	bool closed = false;

	if (remote) {
		remote_close(remote, on_flag, &closed);
		wait_for(closed);
		remote_free(remote);
		remote = NULL;
	}
	assert_int_equal(target.digest_errors, expected_digest_errors);
	fake_close(&target);
	run_ms(2);
	wait_for(target.open == 0 && uring_under_way(uring) == 0);
	fake_free(&target);
	stream_group_free(streams);
	uring_free(uring);
}

/* ---- requests ---- */

static struct slot slots[SLOTS];
static uint8_t model[BYTES];

static void on_done(struct dpu_block_request *request)
{
	struct slot *slot = (struct slot *)request;

	assert_true(slot->busy);
	slot->busy = false;
	slot->done++;
}

void submit(struct slot *slot, enum dpu_block_op op, uint64_t offset, uint64_t length, uint8_t flags)
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
		.crc = slot->crc,
		.done = on_done,
	};
	slot->busy = true;
	assert_int_equal(dpu_block_check(device, &slot->request), DPU_BLOCK_OK);
	device->ops->submit(device, &slot->request);
	assert_true(slot->busy); /* never from within */
}

void crcs_make(struct slot *slot, uint64_t length)
{
	for (uint64_t at = 0; at < length; at += DPU_BLOCK_BYTES)
		slot->crc[at / DPU_BLOCK_BYTES] = crc32c(0, slot->memory + at, DPU_BLOCK_BYTES);
}

void fill(struct slot *slot, uint64_t length, uint8_t value)
{
	if (!slot->memory)
		slot->memory = malloc(SLOT_BYTES);
	memset(slot->memory, value, length);
}

uint8_t run(struct slot *slot, enum dpu_block_op op, uint64_t offset, uint64_t length, uint8_t flags)
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
	uint8_t flags = op == DPU_BLOCK_WRITE && roll(2) ? DPU_BLOCK_FUA : 0;
	if ((device->features & DPU_BLOCK_F_CRC) && (offset | length) % DPU_BLOCK_BYTES == 0 && roll(4)) {
		flags |= DPU_BLOCK_CRC;
		crcs_make(slot, op == DPU_BLOCK_WRITE || op == DPU_BLOCK_COMPARE ? length : 0);
	}
	submit(slot, op, offset, length, flags);
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
	if (request->op == DPU_BLOCK_READ && request->status == DPU_BLOCK_OK && (request->flags & DPU_BLOCK_CRC))
		assert_true(crc32c_blocks_hold(slot->crc, request->iov, request->length));
	slot->done = 0;
}

/* Load until `count` requests are done; `disturb` is called now and then. */
void load(unsigned count, void (*disturb)(unsigned at))
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
