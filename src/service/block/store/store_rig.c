// SPDX-License-Identifier: BSD-3-Clause
/* Commands and requests that are waited for. */
#include "service/block/store/store_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A worker sleeps when nothing was done, the media have nothing and nothing is due: then nothing may be waited for, not
 * even a medium that was asked in this very poll. (The media of tests are busy as long as they have requests.) */
static void wait_for(struct store *store, bool (*finished)(const void *arg), const void *arg, const char *what)
{
	bool idle = false;

	while (!finished(arg) && !idle)
		idle = store_poll(store) == 0 && store_due_ns(store) == UINT64_MAX;
	if (finished(arg))
		return;
	fprintf(stderr, "a %s does not end\n", what);
	abort();
}

static void command_finished(struct store_command *command)
{
	command->ctx = command; /* it has ended */
}

void rig_start(struct store *store, struct store_command *command)
{
	command->done = command_finished;
	command->ctx = NULL;
	store_submit(store, command);
}

static bool command_ended(const void *command)
{
	return ((const struct store_command *)command)->ctx;
}

enum dpu_error_code rig_end(struct store *store, struct store_command *command)
{
	wait_for(store, command_ended, command, "command");
	return command->error.code;
}

enum dpu_error_code rig_command(struct store *store, struct store_command *command)
{
	rig_start(store, command);
	return rig_end(store, command);
}

static void must(const struct store_command *command)
{
	if (command->error.code == DPU_OK)
		return;
	fprintf(stderr, "command %u: %s\n", command->op, command->error.message);
	abort();
}

uint64_t rig_create(struct store *store, const char *name, uint64_t bytes)
{
	struct store_command command = { .op = STORE_CREATE, .name = name, .bytes = bytes };

	rig_command(store, &command);
	must(&command);
	return command.ret_volume;
}

uint64_t rig_copy(struct store *store, enum store_op op, uint64_t volume, const char *name)
{
	struct store_command command = { .op = (uint8_t)op, .name = name, .volume = volume };

	rig_command(store, &command);
	must(&command);
	return command.ret_volume;
}

struct waited_request {
	struct dpu_block_request request;
	bool finished;
};

static void request_finished(struct dpu_block_request *request)
{
	((struct waited_request *)request)->finished = true;
}

static bool request_ended(const void *waited)
{
	return ((const struct waited_request *)waited)->finished;
}

static enum dpu_block_status wait_request(struct store *store, uint64_t volume, struct dpu_block_request request)
{
	struct dpu_block_device *device = store_device(store, volume);
	struct waited_request waited = { .request = request };

	if (!device)
		return DPU_BLOCK_GONE;
	waited.request.done = request_finished;
	device->ops->submit(device, &waited.request);
	wait_for(store, request_ended, &waited, "request");
	return (enum dpu_block_status)waited.request.status;
}

enum dpu_block_status rig_io(struct store *store, uint64_t volume, enum dpu_block_op op, uint64_t offset, void *data,
			     uint64_t length, unsigned flags)
{
	struct iovec iov = { data, length };

	return wait_request(store, volume,
			    (struct dpu_block_request){ .op = (uint8_t)op,
							.flags = (uint8_t)flags,
							.segments = data ? 1 : 0,
							.offset = offset,
							.length = length,
							.iov = &iov });
}

enum dpu_block_status rig_iov(struct store *store, uint64_t volume, enum dpu_block_op op, uint64_t offset,
			      const struct iovec *iov, unsigned segments, unsigned flags, uint32_t *crc)
{
	struct dpu_block_request request = { .op = (uint8_t)op,
					     .flags = (uint8_t)flags,
					     .segments = (uint16_t)segments,
					     .offset = offset,
					     .iov = iov,
					     .crc = crc };

	for (unsigned i = 0; i < segments; i++)
		request.length += iov[i].iov_len;
	return wait_request(store, volume, request);
}

void rig_settle(struct store *store)
{
	for (unsigned idle = 0; idle < 10;)
		idle = store_poll(store) ? 0 : idle + 1;
}

struct store *rig_open(const struct store_options *options, struct dpu_block_device *const *media, unsigned count,
		       enum store_op op, struct dpu_error *ret_error)
{
	struct store_command command = { .op = (uint8_t)op };
	struct store *store;

	if (store_new(options, media, count, &store, ret_error) < 0)
		return NULL;
	if (rig_command(store, &command) == DPU_OK)
		return store;
	*ret_error = command.error;
	while (!store_drained(store))
		store_poll(store);
	store_free(store);
	return NULL;
}

void rig_fill(void *block, uint64_t version, unsigned bytes)
{
	uint64_t *words = block;

	for (unsigned i = 0; i < bytes / 8; i++)
		words[i] = version ? version * UINT64_C(0x9e3779b97f4a7c15) + i * version : 0;
	if (version)
		words[0] = version;
}
