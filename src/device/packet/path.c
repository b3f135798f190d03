/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a worker's path: its session tables, clock, ageing, and what others may read of it. */
#include "device/packet/path_priv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "device/packet/session_table_inline.h"

enum {
	TICK_BUDGET = 512, /* sessions looked at: some tens of microseconds */
	FILE_NAME_BYTES = 256,
};
static const uint64_t TICK_NS = CLOCK_NS_PER_S / SESSION_TICKS_PER_SECOND;
static const uint64_t IDLE_TICK_NS = CLOCK_NS_PER_S / 4;

void path_clock_set(struct path *path, uint64_t now_ns)
{
	path->now_ns = now_ns;
	path->now_tsc = rte_rdtsc();
	path->now = (session_tick_t)(now_ns / TICK_NS);
}

void path_clock_refresh(struct path *path)
{
	path_clock_set(path, clock_ns());
}

static void clock_start(struct path *path)
{
	uint64_t hz = rte_get_tsc_hz();

	if (hz == 0) /* no EAL */
		hz = CLOCK_NS_PER_S;
	path->refresh_cycles = hz / 200;
	path->ns_per_cycle_shifted = (CLOCK_NS_PER_S << 32) / hz;
	path_clock_refresh(path);
}

static void session_removed(void *ctx, struct session *session)
{
	struct path *path = ctx;

	if (path->service.session_removed)
		path->service.session_removed(path->service.ctx, path, session);
}

static int file_name(const char *state_dir, unsigned index, char name[FILE_NAME_BYTES])
{
	int length =
		snprintf(name, FILE_NAME_BYTES, "%s/sessions-%02u.v%c", state_dir, index / 2, index & 1 ? '6' : '4');

	return length < FILE_NAME_BYTES ? 0 : -ENAMETOOLONG;
}

int path_saved_seed(const char *state_dir, uint64_t *ret)
{
	char name[FILE_NAME_BYTES];

	for (unsigned i = 0; i < PATH_TABLES; i++)
		if (file_name(state_dir, i, name) == 0 && session_file_seed(name, ret) == 0)
			return 0;
	return -ENOENT;
}

static int table_open(struct path *path, const struct path_options *options, unsigned index, struct dpu_error *err)
{
	char file[FILE_NAME_BYTES];
	struct session_table_options table = {
		.path = options->state_dir ? file : NULL,
		.huge_pages = options->huge_pages,
		.v6 = index & 1,
		.max_sessions = options->max_sessions,
		.seed = options->seed,
		.on_remove = session_removed,
		.ctx = path,
	};
	uint32_t adopted = 0;

	if (options->state_dir && file_name(options->state_dir, index, file))
		return error_set(err, DPU_E_INVALID, options->state_dir, "the path is longer than %d bytes",
				 FILE_NAME_BYTES);
	int rc = session_table_open(&table, &path->tables[index], &adopted, err);
	if (rc)
		return rc;
	if (session_table_seed(path->tables[index]) != options->seed) {
		/* Hashed by another instance's key: not to be found by ours. */
		session_table_close(path->tables[index]);
		path->tables[index] = NULL;
		unlink(file);
		rc = session_table_open(&table, &path->tables[index], &adopted, err);
		if (rc)
			return rc;
	}
	path->adopted += adopted;
	return 0;
}

static int tables_open(struct path *path, const struct path_options *options, struct dpu_error *err)
{
	for (unsigned slot = 0; slot < PATH_SLOTS; slot++) {
		if (atomic_load(&options->config->slot_owner[slot]) != options->worker)
			continue;
		for (unsigned family = 0; family < 2; family++) {
			int rc = table_open(path, options, 2 * slot + family, err);
			if (rc)
				return rc;
		}
	}
	return 0;
}

static void *map_zeroed(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static const size_t IFACE_COUNTER_BYTES = PATH_MAX_IFACES * sizeof(struct path_iface_counters);
static const size_t IFACE_DROP_BYTES = PATH_MAX_IFACES * (size_t)DROP_REASON_COUNT * sizeof(uint64_t);
static const size_t VPC_COUNTER_BYTES = PATH_MAX_VPCS * sizeof(struct path_vpc_counters);

int path_new(const struct path_options *options, struct path **ret, struct dpu_error *err)
{
	struct path *path = aligned_alloc(alignof(struct path), sizeof(*path));

	if (!path)
		return error_set(err, DPU_E_INTERNAL, NULL, "no memory for a packet path");
	memset(path, 0, sizeof(*path));
	path->config = options->config;
	path->service = *options->service;
	path->seed = options->seed;
	path->worker = options->worker;
	path->iface_counters = map_zeroed(IFACE_COUNTER_BYTES);
	path->iface_drops = map_zeroed(IFACE_DROP_BYTES);
	path->vpc_counters = map_zeroed(VPC_COUNTER_BYTES);
	clock_start(path);
	int rc = path->iface_counters && path->iface_drops && path->vpc_counters
			 ? tables_open(path, options, err)
			 : error_set(err, DPU_E_INTERNAL, NULL, "no memory for a packet path's counters");
	if (rc) {
		path_free(path);
		return rc;
	}
	*ret = path;
	return 0;
}

void path_free(struct path *path)
{
	if (!path)
		return;
	for (unsigned i = 0; i < PATH_TABLES; i++)
		if (path->tables[i])
			session_table_close(path->tables[i]);
	if (path->iface_counters)
		munmap(path->iface_counters, IFACE_COUNTER_BYTES);
	if (path->iface_drops)
		munmap(path->iface_drops, IFACE_DROP_BYTES);
	if (path->vpc_counters)
		munmap(path->vpc_counters, VPC_COUNTER_BYTES);
	free(path);
}

int path_grow_ahead(struct path *path)
{
	int rc = 0;

	for (unsigned i = 0; i < PATH_TABLES; i++) {
		int table_rc = path->tables[i] ? session_table_grow_ahead(path->tables[i]) : 0;
		rc = table_rc ? table_rc : rc;
	}
	return rc;
}

void path_age(struct path *path, unsigned budget)
{
	struct session_table *table = path->tables[path->next_aged++ % PATH_TABLES];

	if (table && session_table_due(table, path->now))
		session_table_expire(table, path->now, budget);
}

uint64_t path_tick(struct path *path, uint64_t now_ns)
{
	unsigned budget = TICK_BUDGET;

	path_clock_set(path, now_ns);
	for (unsigned i = 0; i < PATH_TABLES && budget > 0; i++) {
		struct session_table *table = path->tables[path->next_aged++ % PATH_TABLES];
		if (table && session_table_due(table, path->now))
			budget -= RTE_MIN(budget, session_table_expire(table, path->now, budget));
	}
	return budget > 0 ? IDLE_TICK_NS : 0;
}

struct session_table *path_table(struct path *path, const struct flow_key *key, uint32_t hash)
{
	return path->tables[2 * path_slot(hash) + flow_key_is_v6(key)];
}

struct session_table *path_table_at(struct path *path, unsigned index)
{
	return index < PATH_TABLES ? path->tables[index] : NULL;
}

uint32_t path_adopted(const struct path *path)
{
	return path->adopted;
}

uint64_t path_seed(const struct path *path)
{
	return path->seed;
}

session_tick_t path_now(const struct path *path)
{
	return path->now;
}

uint64_t path_now_ns(const struct path *path)
{
	uint64_t cycles = rte_rdtsc() - path->now_tsc;

	return path->now_ns + (uint64_t)((unsigned __int128)cycles * path->ns_per_cycle_shifted >> 32);
}

void path_set_capture(struct path *path, bool on)
{
	path->capture = on && path->service.capture;
}

uint64_t path_iface_drops(const struct path *path, uint16_t iface, enum drop_reason reason)
{
	return __atomic_load_n(&path->iface_drops[iface * (size_t)DROP_REASON_COUNT + reason], __ATOMIC_RELAXED);
}

const struct path_iface_counters *path_iface_counters(const struct path *path, uint16_t iface)
{
	return &path->iface_counters[iface];
}

const struct path_vpc_counters *path_vpc_counters(const struct path *path, uint16_t vpc)
{
	return &path->vpc_counters[vpc];
}

uint64_t path_drops(const struct path *path, enum drop_reason reason)
{
	return __atomic_load_n(&path->drops[reason], __ATOMIC_RELAXED);
}

uint64_t path_busy_cycles(const struct path *path)
{
	return __atomic_load_n(&path->busy_cycles, __ATOMIC_RELAXED);
}
