// SPDX-License-Identifier: BSD-3-Clause
/* What a guest's requests to a remote namespace cost with data digests: cycles a request of the whole loop of a disk's
 * filter, the initiator and a target of the tests in one thread, and those of them that go into check sums and into the
 * filter's copy on our side. Prints one JSON object.
 *   initiator_bench [REQUESTS] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cycles.h"
#include "base/stage.h"
#include "service/block/ingress/ingress.h"
#include "service/nvmf/initiator/fake_target.h"
#include "service/nvmf/initiator/initiator.h"

enum { DEPTH = 16, TARGET_BYTES = 64 << 20, GUEST_BYTES = 64 << 20 };

static struct uring *uring;
static struct fake_target target;
static struct remote *remote;
static struct dpu_block_device *device;
static uint8_t *guest;

static void on_up(void *ctx, struct dpu_block_device *up)
{
	device = up;
}

static void on_gone(void *ctx)
{
	abort();
}

static void step(void)
{
	enum cycle_stage before = stage_enter(STAGE_KERNEL);

	uring_poll(uring);
	remote_source(remote)->tick(remote_source(remote), NULL, clock_ns());
	stage_enter(before);
}

static void remote_open(struct stream_group *streams, bool digests)
{
	static const struct remote_events events = { .up = on_up, .gone = on_gone };
	struct remote_options options = { .streams = streams, .path_count = 1, .depth = DEPTH, .data_digest = digests };
	struct dpu_error err;

	memcpy(&options.paths[0].address, &target.ports[0].address, sizeof(target.ports[0].address));
	options.paths[0].bytes = sizeof(target.ports[0].address);
	strcpy(options.subnqn, "nqn.2026-01.test:subsystem");
	strcpy(options.hostnqn, "nqn.2026-01.test:host");
	device = NULL;
	if (remote_new(&options, &events, NULL, &remote, &err) < 0)
		abort();
	while (!device)
		step();
}

/* ---- load ---- */

static struct slot {
	struct dpu_block_request request; /* first */
	struct iovec iov;
	bool busy;
} slots[DEPTH];

static unsigned completed;

static void on_done(struct dpu_block_request *request)
{
	if (request->status != DPU_BLOCK_OK)
		abort();
	((struct slot *)request)->busy = false;
	completed++;
}

static void start(struct dpu_block_device *to, struct slot *slot, enum dpu_block_op op, uint64_t index, uint32_t bytes)
{
	slot->iov = (struct iovec){ guest + index * bytes % GUEST_BYTES, bytes };
	slot->request = (struct dpu_block_request){
		.op = (uint8_t)op,
		.segments = 1,
		.offset = index * bytes % TARGET_BYTES,
		.length = bytes,
		.iov = &slot->iov,
		.done = on_done,
	};
	slot->busy = true;
	enum cycle_stage before = stage_enter(STAGE_SUBMIT);
	to->ops->submit(to, &slot->request);
	stage_enter(before);
}

static void load(struct dpu_block_device *to, const char *name, enum dpu_block_op op, uint32_t bytes, unsigned count)
{
	struct stage_clock clock;
	unsigned started = 0;

	for (unsigned warm = 0; warm < 2; warm++) {
		completed = started = 0;
		stage_clock_begin(&clock);
		while (completed < count) {
			for (unsigned i = 0; i < DEPTH && started < count; i++)
				if (!slots[i].busy)
					start(to, &slots[i], op, started++, bytes);
			step();
		}
		stage_clock_end();
	}
	uint64_t all = 0;

	for (unsigned i = 0; i < STAGES; i++)
		all += clock.cycles[i];
	printf("\"%s-%s-%u\": {\"cycles\": %llu, \"submit\": %llu, \"crc\": %llu}", name,
	       op == DPU_BLOCK_READ ? "read" : "write", bytes, (unsigned long long)(all / count),
	       (unsigned long long)(clock.cycles[STAGE_SUBMIT] / count),
	       (unsigned long long)(clock.cycles[STAGE_CRC] / count));
}

static void set(void *arg)
{
	*(bool *)arg = true;
}

static void disk(struct stream_group *streams, const char *name, bool digests, unsigned count)
{
	struct ingress_arena *arena;
	struct ingress_account *account;
	struct dpu_block_device *top;
	bool closed = false;

	remote_open(streams, digests);
	if (ingress_arena_new(INGRESS_MIN_ARENA_BYTES, &arena) != 0 ||
	    ingress_account_new(arena, UINT64_MAX / 2, &account) != 0 || ingress_new(device, account, &top) != 0)
		abort();
	ingress_start(top);
	for (uint32_t bytes = 4096; bytes <= 65536; bytes *= 16)
		for (enum dpu_block_op op = DPU_BLOCK_READ; op <= DPU_BLOCK_WRITE; op++) {
			load(top, name, op, bytes, bytes == 4096 ? count : count / 8);
			printf("%s", digests && bytes == 65536 && op == DPU_BLOCK_WRITE ? "" : ", ");
		}
	top->ops->close(top, set, &closed);
	closed = false;
	remote_close(remote, set, &closed);
	while (!closed)
		step();
	remote_free(remote);
	ingress_account_free(account);
	ingress_arena_free(arena);
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100000;
	struct stream_group *streams;

	guest = malloc(GUEST_BYTES);
	memset(guest, 7, GUEST_BYTES);
	if (uring_new(256, &uring, NULL) != 0 ||
	    stream_group_new(&(struct stream_group_options){ .uring = uring }, &streams, NULL) != 0)
		abort();
	fake_open(&target, streams, TARGET_BYTES, 12);
	printf("{");
	disk(streams, "plain", false, count);
	disk(streams, "digest", true, count);
	printf("}\n");
	return 0;
}
