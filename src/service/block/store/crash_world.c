// SPDX-License-Identifier: BSD-3-Clause
/* The workload that crashes: requests to a few volumes, several at a time, and one command beside them. */
#include "service/block/store/crash_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "service/block/store/store_priv.h"
#include "service/block/store/store_rig.h"

enum {
	KILL_EVERY = 50,
	QUIET_WRITES = 250,
	FEW_FRAMES = 15,
	RECOVERY_FRAMES = 24,
	FEW_VOLUMES = 5,
	MANY_VOLUMES = 20, /* with more maps than that */
};

/* Fewer than any pool has: it is of this size that no operation needs more. */
void world_limit_frames(const struct world *world, struct store *store)
{
	if (!world->few_frames)
		return;
	store->frame_limit = FEW_FRAMES;
	store->op_pages = FEW_FRAMES / 3;
}

void world_limit_recovery(struct store *store)
{
	if (store->frame_limit > RECOVERY_FRAMES) {
		store->frame_limit = RECOVERY_FRAMES;
		store->op_pages = 2;
	}
}

/* ---- requests ---- */

/* While others write to the same blocks, snapshot and discard them. */
static void check_read(struct op *op)
{
	assert_int_equal(op->request.status, DPU_BLOCK_OK);
	for (unsigned i = 0; !op->volume->unknown && i < op->count; i++)
		assert_true(model_may_read(op->volume, op->first + i, op->data + (size_t)i * DPU_BLOCK_BYTES,
					   op->submitted));
}

/* It was cut off, deleted or cancelled while it was under way. */
static bool may_be_refused(const struct op *op)
{
	const struct model_volume *volume = op->volume;

	if (op->request.status == DPU_BLOCK_GONE)
		return op->cancelled || volume->deleted[0] > op->submitted;
	return op->request.status == DPU_BLOCK_RANGE && volume->size[volume->sizes - 1].submitted > op->submitted;
}

static void op_done(struct dpu_block_request *request)
{
	struct op *op = (struct op *)request;
	struct world *world = op->world;
	uint64_t now = ++world->clock.now;

	op->busy = false;
	world->cancelled += op->cancelled && request->status == DPU_BLOCK_GONE;
	if (may_be_refused(op))
		return; /* of a write, nothing or a part is there */
	if (request->op == DPU_BLOCK_READ) {
		check_read(op);
		return;
	}
	if (request->status == DPU_BLOCK_NO_SPACE) {
		op->volume->unknown = true;
		return;
	}
	assert_int_equal(request->status, DPU_BLOCK_OK);
	if (request->op == DPU_BLOCK_FLUSH)
		model_flushed(world->model, op->submitted, now);
	for (unsigned i = 0; request->op != DPU_BLOCK_FLUSH && i < op->count; i++) {
		struct model_state *state = &op->volume->block[op->first + i].state[op->state[i]];
		state->acknowledged = now;
		state->durable = request->flags & DPU_BLOCK_FUA;
	}
}

static bool overlaps(const struct world *world, const struct model_volume *volume, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		const struct op *op = &world->op[i];
		if (op->busy && op->volume == volume && op->request.op != DPU_BLOCK_FLUSH &&
		    op->request.op != DPU_BLOCK_READ && first < op->first + op->count && op->first < first + count)
			return true;
	}
	return false;
}

/* The states that a write of these sectors leads to, and its data. */
static void foresee(struct world *world, struct op *op, uint64_t offset, uint64_t bytes)
{
	uint32_t version = op->request.op == DPU_BLOCK_WRITE ? ++world->model->version : 0;

	for (unsigned i = 0; i < op->count; i++) {
		struct model_state state = *model_last(op->volume, op->first + i);
		state.submitted = op->submitted;
		state.acknowledged = 0;
		state.durable = false;
		for (unsigned sector = 0; sector < MODEL_SECTORS; sector++) {
			uint64_t at = (uint64_t)(op->first + i) * DPU_BLOCK_BYTES + sector * DPU_BLOCK_SECTOR;
			if (at < offset || at >= offset + bytes)
				continue;
			state.version[sector] = version;
			rig_fill(op->data + (at - offset), version, DPU_BLOCK_SECTOR);
		}
		op->state[i] = model_add(op->volume, op->first + i, &state);
	}
}

/* For a while nobody makes anything durable, so what was freed and lost piles up. */
static bool is_quiet(const struct world *world)
{
	return world->model->version / QUIET_WRITES % 2 == 1;
}

static void submit(struct world *world, struct op *op, enum dpu_block_op kind, uint64_t offset, uint64_t bytes)
{
	struct dpu_block_device *device = store_device(world->store, op->volume->id);
	uint64_t cut = kind <= DPU_BLOCK_WRITE ? pick(world, bytes / 512 + 1) * 512 : 0;

	op->busy = true;
	op->cancelled = false;
	op->world = world;
	op->submitted = ++world->clock.now;
	op->iov[0] = (struct iovec){ op->data, cut };
	op->iov[1] = (struct iovec){ op->data + cut, bytes - cut };
	op->request = (struct dpu_block_request){
		.op = (uint8_t)kind,
		.flags = pick(world, 8) == 0 && !is_quiet(world) && kind != DPU_BLOCK_FLUSH ? DPU_BLOCK_FUA : 0,
		.segments = kind <= DPU_BLOCK_WRITE ? 2 : 0,
		.offset = offset,
		.length = bytes,
		.iov = op->iov,
		.done = op_done,
	};
	if (kind != DPU_BLOCK_FLUSH && kind != DPU_BLOCK_READ)
		foresee(world, op, offset, bytes);
	op->device = device;
	device->ops->submit(device, &op->request);
}

/* What a command needs to be still. */
static bool is_held(const struct world *world, const struct model_volume *volume)
{
	return world->commanding && (world->source == volume || world->target == volume);
}

static bool usable(const struct world *world, const struct model_volume *volume)
{
	return volume->used && volume->made[1] && !volume->unknown && !volume->deleted[0] && !is_held(world, volume);
}

static struct model_volume *any_volume(struct world *world, bool writable)
{
	for (unsigned tries = 0; tries < 200 && world->model->volumes; tries++) {
		struct model_volume *volume = &world->model->volume[pick(world, world->model->volumes)];
		if (usable(world, volume) && !(writable && volume->snapshot))
			return volume;
	}
	return NULL;
}

/* Some of it may be so or so, because it was under way when a copy was made or something was cut off. A part of it can
 * be foretold only when all of it was written anew. */
static bool is_uncertain(const struct model_volume *volume, unsigned first, unsigned count)
{
	for (unsigned block = first; block < first + count; block++)
		if (volume->block[block].count && !model_last(volume, block)->acknowledged)
			return true;
	return false;
}

static void start_op(struct world *world, struct op *op)
{
	struct model_volume *volume = any_volume(world, true);
	uint64_t kind = pick(world, 20);

	if (!volume || model_bytes(volume) == 0)
		return;
	op->volume = volume;
	if (kind == 0 && !is_quiet(world)) {
		submit(world, op, DPU_BLOCK_FLUSH, 0, 0);
		return;
	}
	uint64_t sectors = model_bytes(volume) / 512, most = pick(world, 3) ? 24 : MAX_RUN * 8;
	uint64_t first = pick(world, pick(world, 2) ? sectors : (sectors < 400 ? sectors : 400));
	uint64_t count = 1 + pick(world, most);
	if (pick(world, 2)) {
		first = first / 8 * 8;
		count = (count + 7) / 8 * 8;
	}
	if (count > sectors - first)
		count = sectors - first;
	op->first = (unsigned)(first / 8);
	op->count = (unsigned)((first + count + 7) / 8) - op->first;
	if (kind >= 16) {
		submit(world, op, DPU_BLOCK_READ, (uint64_t)op->first * DPU_BLOCK_BYTES, (count / 8) * DPU_BLOCK_BYTES);
		op->count = (unsigned)(count / 8);
		return;
	}
	if (overlaps(world, volume, op->first, op->count))
		return;
	if (is_uncertain(volume, op->first, op->count)) {
		first = (uint64_t)op->first * 8;
		count = sectors - first < op->count * 8 ? sectors - first : op->count * 8;
	}
	enum dpu_block_op what = kind < 12 ? DPU_BLOCK_WRITE : kind < 14 ? DPU_BLOCK_DISCARD : DPU_BLOCK_WRITE_ZEROES;
	submit(world, op, what, first * 512, count * 512);
}

static void cancel_some(struct world *world)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		struct op *op = &world->op[i];
		if (!op->busy || pick(world, 2))
			continue;
		op->cancelled = true;
		op->device->ops->cancel(op->device, &op->request);
	}
}

/* ---- commands ---- */

static void command_ended(struct store_command *command)
{
	struct world *world = command->ctx;
	uint64_t now = ++world->clock.now;

	world->commanding = false;
	if (command->error.code)
		fprintf(stderr, "command %u: %s\n", command->op, command->error.message);
	assert_int_equal(command->error.code, DPU_OK);
	model_flushed(world->model, world->command_submitted, now);
	switch (command->op) {
	case STORE_RESIZE:
		world->source->size[world->source->sizes - 1].acknowledged = now;
		model_cut(world->source, world->command_submitted, now);
		break;
	case STORE_DELETE:
		world->source->deleted[1] = now;
		break;
	case STORE_GROW:
		world->grown = now;
		world_limit_frames(world, world->store); /* it is reckoned anew with each medium */
		break;
	case STORE_CLOSE:
		break;
	default:
		world->target->made[1] = now;
		world->target->id = command->ret_volume;
	}
}

/* What a shrink cuts off is zeroes from then on. */
static void foresee_resize(struct world *world, struct model_volume *volume, uint64_t bytes)
{
	uint64_t before = model_bytes(volume);
	unsigned last = volume->sizes++, sectors = bytes % DPU_BLOCK_BYTES / DPU_BLOCK_SECTOR;

	volume->size[last].bytes = bytes;
	volume->size[last].submitted = world->command_submitted;
	volume->size[last].acknowledged = 0;
	for (unsigned block = (unsigned)(bytes / DPU_BLOCK_BYTES); bytes < before && block < MODEL_BLOCKS; block++) {
		struct model_state state = *model_last(volume, block);
		unsigned kept = block == bytes / DPU_BLOCK_BYTES ? sectors : 0;
		if (!volume->block[block].count)
			continue;
		state.submitted = world->command_submitted;
		state.acknowledged = 0;
		state.durable = false;
		memset(state.version + kept, 0, (MODEL_SECTORS - kept) * sizeof(*state.version));
		model_add(volume, block, &state);
	}
}

/* Of the pool as a whole. */
static void start_whole(struct world *world, enum store_op op)
{
	world->command = (struct store_command){ .op = (uint8_t)op,
						 .medium = recorder_device(world->media[MEDIA - 1]),
						 .done = command_ended,
						 .ctx = world };
	world->source = world->target = NULL;
	world->command_submitted = ++world->clock.now;
	world->commanding = true;
	store_submit(world->store, &world->command);
}

static void start_command(struct world *world)
{
	uint64_t kind = pick(world, 10);
	struct model_volume *volume = any_volume(world, false);
	struct store_command *command = &world->command;

	memset(command, 0, sizeof(*command));
	command->done = command_ended;
	command->ctx = world;
	command->name = world->name;
	snprintf(world->name, sizeof(world->name), "v%u", world->model->volumes);
	command->op = kind < 2   ? STORE_CREATE
		      : kind < 4 ? STORE_SNAPSHOT
		      : kind < 6 ? STORE_CLONE
		      : kind < 8 ? STORE_RESIZE
				 : STORE_DELETE;
	bool makes = command->op <= STORE_CLONE;
	unsigned alive = 0, most = world->few_frames ? MANY_VOLUMES : FEW_VOLUMES;
	for (unsigned i = 0; i < world->model->volumes; i++)
		alive += !world->model->volume[i].deleted[0] && !world->model->volume[i].unknown;
	if ((makes && (world->model->volumes == MODEL_VOLUMES || alive > most)) || (!makes && alive < most - 1) ||
	    (command->op != STORE_CREATE && !volume) ||
	    (command->op == STORE_RESIZE && (volume->snapshot || volume->sizes == 32)))
		return;
	world->command_submitted = ++world->clock.now;
	world->source = volume;
	world->target = NULL;
	command->volume = volume ? volume->id : 0;
	command->bytes = (1 + pick(world, pick(world, 2) ? 64 : MODEL_BLOCKS)) * DPU_BLOCK_BYTES;
	if (pick(world, 2) && !(volume && is_uncertain(volume, (unsigned)(command->bytes / DPU_BLOCK_BYTES) - 1, 1)))
		command->bytes -= pick(world, MODEL_SECTORS) * DPU_BLOCK_SECTOR;
	if (makes) {
		struct model_volume *source = command->op == STORE_CREATE ? NULL : volume;
		world->target = model_make(world->model, world->name, command->bytes, source, world->command_submitted);
		world->target->snapshot = command->op == STORE_SNAPSHOT;
	} else if (command->op == STORE_RESIZE) {
		foresee_resize(world, volume, command->bytes);
	} else {
		volume->deleted[0] = world->command_submitted;
	}
	world->commanding = true;
	store_submit(world->store, command);
}

/* ---- a world ---- */

struct world *world_new(uint64_t seed, bool few_frames)
{
	struct world *world = calloc(1, sizeof(*world));
	struct dpu_block_device *devices[MEDIA];
	struct store_options options = { .name = "p", .tail_path = world->tail, .cache_pages = CACHE };
	struct store_command format = { .op = STORE_FORMAT, .log_bytes = 512 << 10, .max_volumes = 31 };
	struct dpu_error error;

	world->seed = seed;
	world->few_frames = few_frames;
	world->clock.seed = seed * 7919;
	world->model = model_new();
	snprintf(world->tail, sizeof(world->tail), "/dev/shm/store-crash-%d", getpid());
	snprintf(world->killed_tail, sizeof(world->killed_tail), "/dev/shm/store-crash-%d-killed", getpid());
	for (unsigned i = 0; i < MEDIA; i++) {
		world->media[i] = recorder_new(MEDIUM_BYTES, NULL, &world->clock);
		devices[i] = recorder_device(world->media[i]);
	}
	assert_int_equal(store_new(&options, devices, MEDIA - 1, &world->store, &error), 0);
	assert_int_equal(rig_command(world->store, &format), DPU_OK);
	world_limit_frames(world, world->store);
	return world;
}

void world_free(struct world *world)
{
	while (!store_drained(world->store))
		store_poll(world->store);
	store_free(world->store);
	for (unsigned i = 0; i < MEDIA; i++)
		recorder_free(world->media[i]);
	unlink(world->tail);
	unlink(world->killed_tail);
	model_free(world->model);
	free(world);
}

static bool anything_busy(const struct world *world)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (world->op[i].busy)
			return true;
	return world->commanding;
}

/* Written, and not yet flushed. */
static bool root_is_loose(const struct world *world)
{
	return world->store->checkpoint.state == CHECKPOINT_LAST;
}

void world_work(struct world *world, unsigned ops)
{
	unsigned rounds = 0;

	for (unsigned done = 0; done < ops;) {
		struct op *op = &world->op[pick(world, DEPTH)];
		if (!op->busy && pick(world, 3) == 0) {
			start_op(world, op);
			done += op->busy;
			if (op->busy && pick(world, KILL_EVERY) == 0)
				world->kill(world);
		}
		if (done >= ops / 2 && !world->growth && !world->commanding) {
			start_whole(world, STORE_GROW);
			world->growth = world->command_submitted;
		}
		bool may_command = !is_quiet(world) || !any_volume(world, true);
		if (!world->commanding && may_command && pick(world, 40) == 0)
			start_command(world);
		if (world->cancels && pick(world, 60) == 0)
			cancel_some(world);
		store_poll(world->store);
		if (world->kill_at_roots && root_is_loose(world) && pick(world, world->kill_at_roots) == 0)
			world->kill(world);
		assert_true(++rounds < 10000000);
	}
	while (world->commanding)
		store_poll(world->store);
	start_whole(world, STORE_CLOSE); /* with requests under way */
	while (anything_busy(world))
		store_poll(world->store);
}
