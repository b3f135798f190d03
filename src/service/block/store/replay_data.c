// SPDX-License-Identifier: BSD-3-Clause
/* Data that the log says is written, and that may not be there because it was never flushed: read, many blocks at a
 * time since most follow each other, and compared with the CRCs of their records. */
#include "service/block/store/recovery.h"

#include <stdlib.h>
#include "engine/crc32c/crc32c.h"

enum { RUNS = 32, RUN_BLOCKS = 64 };

struct data_run {
	struct dpu_block_request medium; /* first */
	struct iovec iov;
	struct store *store;
	uint8_t *buffer;
	uint64_t place; /* of the first block */
	unsigned count;
	unsigned at; /* the first that is being read, */
	bool single; /* alone, because all together failed */
	bool busy;
	struct {
		uint32_t crc, record;
		uint8_t block; /* of the record */
	} of[RUN_BLOCKS];
};

struct data_check {
	struct data_run run[RUNS];
	struct data_run *open; /* that grows */
	unsigned busy;
	uint8_t *memory;
};

static void run_read(struct data_run *run);

static void judge(struct data_run *run, unsigned first, unsigned count)
{
	struct recovery *recovery = run->store->recovery;

	for (unsigned i = 0; i < count; i++)
		if (crc32c(0, run->buffer + (size_t)i * STORE_BLOCK, STORE_BLOCK) != run->of[first + i].crc)
			recovery->skip[run->of[first + i].record] |= UINT64_C(1) << run->of[first + i].block;
}

/* One that cannot be read may be there: reading it fails then, rather than giving what was there before. */
static void run_done(struct dpu_block_request *request)
{
	struct data_run *run = (struct data_run *)request;
	bool failed = request->status != DPU_BLOCK_OK;

	medium_answered(run->store);
	store_count_error(run->store, request);
	if (!failed)
		judge(run, run->at, run->single ? 1 : run->count);
	if (failed && !run->single && run->count > 1)
		run->single = true;
	else
		run->at += run->single ? 1 : run->count;
	if (run->at < run->count) {
		run_read(run);
		return;
	}
	run->busy = false;
	run->store->recovery->data->busy--;
	run->store->wake = true;
}

static void run_read(struct data_run *run)
{
	uint64_t offset;
	struct medium *medium = medium_of_place(run->store, run->place + run->at, &offset);
	uint64_t bytes = (run->single ? 1 : (uint64_t)run->count) * STORE_BLOCK;

	run->iov = (struct iovec){ run->buffer, bytes };
	run->medium = (struct dpu_block_request){
		.op = DPU_BLOCK_READ,
		.segments = 1,
		.offset = offset,
		.length = bytes,
		.iov = &run->iov,
		.done = run_done,
	};
	medium_ask(run->store, medium, &run->medium);
}

static void close_run(struct data_check *check)
{
	struct data_run *run = check->open;

	check->open = NULL;
	if (run)
		run_read(run);
}

static struct data_run *free_run(struct data_check *check)
{
	for (unsigned i = 0; i < RUNS; i++)
		if (!check->run[i].busy)
			return &check->run[i];
	return NULL;
}

static bool follows(struct store *store, const struct data_run *run, uint64_t place)
{
	uint64_t offset;

	return run->count < RUN_BLOCKS && place == run->place + run->count &&
	       medium_of_place(store, place, &offset) == medium_of_place(store, run->place, &offset);
}

bool data_check_add(struct store *store, uint64_t place, uint32_t crc, uint32_t record, uint32_t block)
{
	struct data_check *check = store->recovery->data;
	struct data_run *run = check->open;

	if (run && !follows(store, run, place))
		close_run(check);
	run = check->open;
	if (!run) {
		run = free_run(check);
		if (!run)
			return false;
		run->place = place;
		run->count = run->at = 0;
		run->single = false;
		run->busy = true;
		check->busy++;
		check->open = run;
	}
	run->of[run->count].crc = crc;
	run->of[run->count].record = record;
	run->of[run->count++].block = (uint8_t)block;
	return true;
}

bool data_check_end(struct store *store)
{
	close_run(store->recovery->data);
	return store->recovery->data->busy == 0;
}

struct data_check *data_check_new(struct store *store)
{
	struct data_check *check = calloc(1, sizeof(*check));

	if (!check)
		return NULL;
	check->memory = aligned_alloc(STORE_BLOCK, (size_t)RUNS * RUN_BLOCKS * STORE_BLOCK);
	if (!check->memory) {
		free(check);
		return NULL;
	}
	for (unsigned i = 0; i < RUNS; i++) {
		check->run[i].store = store;
		check->run[i].buffer = check->memory + (size_t)i * RUN_BLOCKS * STORE_BLOCK;
	}
	return check;
}

void data_check_free(struct data_check *check)
{
	if (check)
		free(check->memory);
	free(check);
}
