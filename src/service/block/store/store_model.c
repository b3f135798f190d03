// SPDX-License-Identifier: BSD-3-Clause
/* The model of what a pool may hold. */
#include "service/block/store/store_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/block/store/store_rig.h"

struct model *model_new(void)
{
	struct model *model = calloc(1, sizeof(*model));

	if (!model)
		abort();
	return model;
}

void model_free(struct model *model)
{
	for (unsigned i = 0; i < model->volumes; i++)
		for (unsigned block = 0; block < MODEL_BLOCKS; block++)
			free(model->volume[i].block[block].state);
	free(model);
}

const struct model_state *model_last(const struct model_volume *volume, unsigned block)
{
	static const struct model_state zeroes;

	return volume->block[block].count ? &volume->block[block].state[volume->block[block].count - 1] : &zeroes;
}

unsigned model_add(struct model_volume *volume, unsigned block, const struct model_state *state)
{
	if (volume->block[block].count == volume->block[block].room) {
		volume->block[block].room = volume->block[block].room * 2 + 4;
		volume->block[block].state =
			realloc(volume->block[block].state, volume->block[block].room * sizeof(*state));
		if (!volume->block[block].state)
			abort();
	}
	volume->block[block].state[volume->block[block].count] = *state;
	return volume->block[block].count++;
}

void model_cut(struct model_volume *volume, uint64_t submitted, uint64_t now)
{
	for (unsigned block = 0; block < MODEL_BLOCKS; block++) {
		unsigned count = volume->block[block].count;
		if (count && volume->block[block].state[count - 1].submitted == submitted)
			volume->block[block].state[count - 1].acknowledged = now;
	}
}

void model_flushed(struct model *model, uint64_t submitted, uint64_t acknowledged)
{
	if (model->flushes == MODEL_HISTORY)
		abort();
	model->flush[model->flushes][0] = submitted;
	model->flush[model->flushes++][1] = acknowledged;
}

uint64_t model_bytes(const struct model_volume *volume)
{
	return volume->size[volume->sizes - 1].bytes;
}

struct model_volume *model_make(struct model *model, const char *name, uint64_t bytes,
				const struct model_volume *source, uint64_t submitted)
{
	if (model->volumes == MODEL_VOLUMES)
		abort();
	struct model_volume *volume = &model->volume[model->volumes++];
	snprintf(volume->name, sizeof(volume->name), "%s", name);
	volume->used = true;
	volume->unknown = source && source->unknown;
	volume->made[0] = submitted;
	volume->size[0].bytes = source ? model_bytes(source) : bytes;
	volume->size[0].submitted = volume->size[0].acknowledged = submitted;
	volume->sizes = 1;
	/* Its past is the source's: before it is acknowledged, any of that may be what was copied. */
	for (unsigned block = 0; source && block < MODEL_BLOCKS; block++)
		for (unsigned i = 0; i < source->block[block].count; i++)
			model_add(volume, block, &source->block[block].state[i]);
	return volume;
}

/* ---- verifying ---- */

/* A flush that began after it was acknowledged had ended by then. */
static bool is_durable(const struct model *model, const struct model_state *state, uint64_t time, bool killed)
{
	if (!state->acknowledged || state->acknowledged > time)
		return false;
	if (killed || state->durable)
		return true;
	for (unsigned i = model->flushes; i-- > 0;)
		if (model->flush[i][1] <= time && model->flush[i][0] >= state->acknowledged)
			return true;
	return false;
}

static bool is_state(const uint8_t *data, const struct model_state *state)
{
	uint8_t sector[DPU_BLOCK_SECTOR];

	for (unsigned i = 0; i < MODEL_SECTORS; i++) {
		rig_fill(sector, state->version[i], sizeof(sector));
		if (memcmp(data + i * DPU_BLOCK_SECTOR, sector, sizeof(sector)) != 0)
			return false;
	}
	return true;
}

static bool block_may_be(const struct model *model, const struct model_volume *volume, unsigned block,
			 const uint8_t *data, uint64_t time, bool killed)
{
	static const struct model_state zeroes;

	for (unsigned i = volume->block[block].count; i-- > 0;) {
		const struct model_state *state = &volume->block[block].state[i];
		if (state->submitted > time)
			continue;
		if (is_state(data, state))
			return true;
		if (is_durable(model, state, time, killed))
			return false;
	}
	return is_state(data, &zeroes);
}

bool model_may_read(const struct model_volume *volume, unsigned block, const uint8_t *data, uint64_t since)
{
	static const struct model_state zeroes;

	for (unsigned i = volume->block[block].count; i-- > 0;) {
		const struct model_state *state = &volume->block[block].state[i];
		if (is_state(data, state))
			return true;
		if (state->acknowledged && state->acknowledged <= since)
			return false;
	}
	return is_state(data, &zeroes);
}

static int wrong(const struct model_volume *volume, const char *what, uint64_t at, uint64_t found, uint64_t time)
{
	fprintf(stderr, "%s: %s %llu: %llu, at %llu\n", volume->name, what, (unsigned long long)at,
		(unsigned long long)found, (unsigned long long)time);
	return -1;
}

static int verify_size(const struct model_volume *volume, uint64_t bytes, uint64_t time)
{
	for (unsigned i = volume->sizes; i-- > 0;) {
		if (volume->size[i].submitted > time)
			continue;
		if (volume->size[i].bytes == bytes)
			return 0;
		if (volume->size[i].acknowledged && volume->size[i].acknowledged <= time)
			break;
	}
	return wrong(volume, "size", 0, bytes, time);
}

static int verify_volume(const struct model *model, const struct model_volume *volume, struct store *store,
			 const struct store_volume_info *info, uint64_t time, bool killed)
{
	static uint8_t data[MODEL_BLOCKS * DPU_BLOCK_BYTES];

	if (info->snapshot != volume->snapshot || info->quarantined)
		return wrong(volume, "kind", info->snapshot, info->quarantined, time);
	if (verify_size(volume, info->bytes, time) < 0)
		return -1;
	memset(data, 0, sizeof(data));
	enum dpu_block_status status = rig_io(store, info->id, DPU_BLOCK_READ, 0, data, info->bytes, 0);
	if (status != DPU_BLOCK_OK)
		return wrong(volume, "a read fails", 0, status, time);
	unsigned blocks = (unsigned)((info->bytes + DPU_BLOCK_BYTES - 1) / DPU_BLOCK_BYTES);
	for (unsigned block = 0; !volume->unknown && block < blocks; block++)
		if (!block_may_be(model, volume, block, data + (size_t)block * DPU_BLOCK_BYTES, time, killed))
			return wrong(volume, "block", block, *(uint64_t *)(data + (size_t)block * DPU_BLOCK_BYTES),
				     time);
	return 0;
}

static bool find(struct store *store, const char *name, struct store_volume_info *info)
{
	for (uint64_t id = 0; store_next(store, id, info); id = info->id)
		if (!info->deleting && strcmp(info->name, name) == 0)
			return true;
	return false;
}

int model_verify(const struct model *model, struct store *store, uint64_t time, bool killed)
{
	struct store_volume_info info;
	struct dpu_error error = { 0 };
	unsigned found = 0;

	for (unsigned i = 0; i < model->volumes; i++) {
		const struct model_volume *volume = &model->volume[i];
		bool must = volume->made[1] && volume->made[1] <= time &&
			    (!volume->deleted[0] || volume->deleted[0] > time);
		bool may_not = volume->made[0] > time || (volume->deleted[1] && volume->deleted[1] <= time);
		bool there = find(store, volume->name, &info);
		if ((must && !there) || (may_not && there))
			return wrong(volume, there ? "is there" : "is not there", 0, 0, time);
		found += there;
		if (there && verify_volume(model, volume, store, &info, time, killed) < 0)
			return -1;
	}
	for (uint64_t id = 0; store_next(store, id, &info); id = info.id)
		found -= !info.deleting && strncmp(info.name, "extra", 5) != 0;
	if (found != 0)
		return wrong(&model->volume[0], "unknown volumes", 0, found, time);
	rig_settle(store);
	if (store_check(store, &error) < 0) {
		fprintf(stderr, "%s, at %llu\n", error.message, (unsigned long long)time);
		return -1;
	}
	return 0;
}
