// SPDX-License-Identifier: BSD-3-Clause
/* What the store costs: cycles a request of 4 KiB at random of a bare medium, a volume as large as that and a clone of
 * depth 10, and the time that recovery takes for a pool of a million extents. Prints one JSON object.
 *   store_bench [REQUESTS [DIRECTORY [recovery]]]
 * The medium is memory, or files that are made in DIRECTORY (a tmpfs, a disk) and reached by io_uring. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>
#include "base/clock.h"
#include "device/block/ram.h"
#include "engine/crc32c/crc32c.h"
#include "operating/medium_file.h"
#include "service/block/store/recorder.h"
#include "service/block/store/store.h"
#include "service/block/store/store_rig.h"

enum { ROUNDS = 25, DEPTH = 32, POOL_BLOCKS = 1 << 18, VOLUME_BLOCKS = POOL_BLOCKS * 3 / 4, CLONES = 10 };

static const char *directory;
static struct uring *uring;
static struct dpu_block_ops file_ops; /* of a file, and its io_uring is polled */

struct slot {
	struct dpu_block_request request;
	struct iovec iov;
	unsigned *free_count;
	struct slot **free_list;
	uint8_t *data;
};

static void finished(struct dpu_block_request *request)
{
	struct slot *slot = (struct slot *)request;

	if (request->status != DPU_BLOCK_OK)
		abort();
	slot->free_list[(*slot->free_count)++] = slot;
}

/* Cycles a request. */
static uint64_t load(struct dpu_block_device *device, enum dpu_block_op op, unsigned count, uint64_t blocks,
		     uint64_t *seed, bool in_order)
{
	static struct slot slots[DEPTH];
	static uint8_t data[DEPTH][DPU_BLOCK_BYTES] __attribute__((aligned(DPU_BLOCK_BYTES)));
	struct slot *free_list[DEPTH];
	unsigned free_count = 0;

	for (unsigned i = 0; i < DEPTH; i++) {
		slots[i] = (struct slot){ .free_count = &free_count, .free_list = free_list, .data = data[i] };
		free_list[free_count++] = &slots[i];
	}
	uint64_t begin = __rdtsc();
	for (unsigned submitted = 0; submitted < count || free_count < DEPTH;) {
		while (free_count && submitted < count) {
			struct slot *slot = free_list[--free_count];
			slot->iov = (struct iovec){ slot->data, DPU_BLOCK_BYTES };
			slot->request = (struct dpu_block_request){
				.op = (uint8_t)op,
				.segments = 1,
				.offset = (in_order ? submitted : random_below(seed, blocks)) * DPU_BLOCK_BYTES,
				.length = DPU_BLOCK_BYTES,
				.iov = &slot->iov,
				.done = finished,
			};
			device->ops->submit(device, &slot->request);
			submitted++;
		}
		device->ops->poll(device);
	}
	return (__rdtsc() - begin) / count;
}

static unsigned file_poll(struct dpu_block_device *device)
{
	return uring_poll(uring) + (uring_under_way(uring) > 0);
}

static struct dpu_block_device *file_new(const char *name, uint64_t bytes)
{
	struct dpu_block_device *device;
	struct dpu_error error = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "%s/store-bench-%d-%s", directory, getpid(), name);
	int fd = open(path, O_CREAT | O_RDWR, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    medium_file_open(&(struct medium_file_options){ .path = path, .uring = uring }, &device, &error) < 0) {
		fprintf(stderr, "%s: %s\n", path, error.message);
		exit(1);
	}
	close(fd);
	unlink(path);
	file_ops = *device->ops;
	file_ops.poll = file_poll;
	device->ops = &file_ops;
	return device;
}

static struct dpu_block_device *medium_new(const char *name, uint64_t bytes)
{
	struct dpu_block_device *device;

	if (directory)
		return file_new(name, bytes);
	if (block_ram_new(name, bytes, 512, &device) < 0)
		abort();
	return device;
}

static struct store *make(struct dpu_block_device **medium, uint64_t bytes, uint64_t log_bytes)
{
	struct store_command format = { .op = STORE_FORMAT, .log_bytes = log_bytes };
	struct store_options options = { .name = "bench", .cache_pages = 131072 };
	struct dpu_error error;
	struct store *store;

	*medium = medium_new("pool", bytes);
	if (store_new(&options, medium, 1, &store, &error) < 0 || rig_command(store, &format) != DPU_OK)
		abort();
	return store;
}

/* What each of them has to compute at least. */
static uint64_t crc_cycles(unsigned count)
{
	static uint8_t block[64][DPU_BLOCK_BYTES];
	uint64_t begin = __rdtsc();
	uint32_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum ^= crc32c(sum, block[i % 64], DPU_BLOCK_BYTES);
	return (__rdtsc() - begin + (sum & 1)) / count;
}

static void print_load(const char *name, struct dpu_block_device *device, enum dpu_block_op op, unsigned count,
		       uint64_t *seed)
{
	printf("\"%s\":%llu,", name, (unsigned long long)load(device, op, count, VOLUME_BLOCKS, seed, false));
}

/* The volume fills its pool but for a seventh, and the bare medium has as many blocks as the volume. Memory that the
 * system has yet to give would be measured instead: all of it is touched first. */
static void requests(unsigned count)
{
	struct dpu_block_device *medium, *bare = medium_new("bare", (uint64_t)VOLUME_BLOCKS * DPU_BLOCK_BYTES);
	struct store *store = make(&medium, (uint64_t)POOL_BLOCKS * DPU_BLOCK_BYTES, 0);
	uint64_t id = rig_create(store, "v", (uint64_t)VOLUME_BLOCKS * DPU_BLOCK_BYTES), seed = 1, copy = id;
	struct dpu_block_device *volume = store_device(store, id), *clone;
	char name[16];

	load(bare, DPU_BLOCK_WRITE, VOLUME_BLOCKS, VOLUME_BLOCKS, &seed, true);
	load(volume, DPU_BLOCK_WRITE, VOLUME_BLOCKS, VOLUME_BLOCKS, &seed, true);
	load(volume, DPU_BLOCK_WRITE, POOL_BLOCKS, VOLUME_BLOCKS, &seed, false);
	printf("\"rounds\":[");
	for (unsigned i = 0; i < ROUNDS; i++) {
		printf("%s{", i ? "," : "");
		print_load("read_medium", bare, DPU_BLOCK_READ, count, &seed);
		print_load("read_volume", volume, DPU_BLOCK_READ, count, &seed);
		print_load("write_medium", bare, DPU_BLOCK_WRITE, count, &seed);
		print_load("write_volume", volume, DPU_BLOCK_WRITE, count, &seed);
		printf("\"crc\":%llu}", (unsigned long long)crc_cycles(count));
	}
	for (unsigned i = 0; i < CLONES; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		copy = rig_copy(store, STORE_CLONE, copy, name);
	}
	clone = store_device(store, copy);
	printf("],\"clones\":[");
	for (unsigned i = 0; i < ROUNDS; i++) {
		printf("%s{", i ? "," : "");
		print_load("read_volume", volume, DPU_BLOCK_READ, count, &seed);
		print_load("read_clone10", clone, DPU_BLOCK_READ, count, &seed);
		printf("\"depth\":%d}", CLONES);
	}
	printf("]");
	store_free(store);
	medium->ops->close(medium, NULL, NULL);
	bare->ops->close(bare, NULL, NULL);
}

struct extents {
	uint64_t next, count, under_way;
};

struct extent_request {
	struct dpu_block_request request;
	struct extents *extents;
};

static void extent_written(struct dpu_block_request *request)
{
	if (request->status != DPU_BLOCK_OK)
		abort();
	((struct extent_request *)request)->extents->under_way--;
}

/* Every other block, so that each is an extent of its own. */
static void write_extents(struct store *store, struct dpu_block_device *device, uint64_t count)
{
	static struct extent_request requests[DEPTH];
	static uint8_t data[DPU_BLOCK_BYTES] __attribute__((aligned(DPU_BLOCK_BYTES)));
	static const struct iovec iov = { data, sizeof(data) };
	struct extents extents = { .count = count };

	while (extents.next < count || extents.under_way > 0) {
		bool all_done = extents.under_way == 0;
		for (unsigned i = 0; all_done && i < DEPTH && extents.next < count; i++, extents.next++) {
			requests[i].extents = &extents;
			requests[i].request = (struct dpu_block_request){
				.op = DPU_BLOCK_WRITE,
				.segments = 1,
				.offset = extents.next * 2 * DPU_BLOCK_BYTES,
				.length = sizeof(data),
				.iov = &iov,
				.done = extent_written,
			};
			extents.under_way++;
			device->ops->submit(device, &requests[i].request);
		}
		store_poll(store);
	}
}

/* in_log: they are recovered from records, else from pages. */
static void recovery(uint64_t extents, bool in_log)
{
	struct dpu_block_device *medium;
	struct store *store = make(&medium, UINT64_C(6) << 30, in_log ? 256 << 20 : 0);
	uint64_t volume = rig_create(store, "v", extents * 2 * DPU_BLOCK_BYTES), begin;
	struct store_options options = { .name = "bench", .cache_pages = 131072 };
	struct store_stats stats;
	struct dpu_error error = { 0 };

	write_extents(store, store_device(store, volume), extents);
	if (in_log)
		rig_io(store, volume, DPU_BLOCK_FLUSH, 0, NULL, 0, 0);
	else
		rig_command(store, &(struct store_command){ .op = STORE_CHECKPOINT });
	store_free(store);
	begin = clock_ns();
	store = rig_open(&options, &medium, 1, STORE_OPEN, &error);
	if (!store) {
		fprintf(stderr, "%s\n", error.message);
		abort();
	}
	store_stats(store, &stats);
	printf("{\"extents\":%llu,\"replayed\":%llu,\"seconds\":%.3f}", (unsigned long long)extents,
	       (unsigned long long)stats.replayed_records, (double)(clock_ns() - begin) / 1e9);
	store_free(store);
	medium->ops->close(medium, NULL, NULL);
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 20000;

	directory = argc > 2 ? argv[2] : NULL;
	if (directory && uring_new(256, &uring, NULL) < 0)
		abort();
	printf("{");
	requests(count);
	printf(",\"recovery\":[");
	if (argc > 3) {
		recovery(UINT64_C(1) << 20, true);
		printf(",");
		recovery(UINT64_C(1) << 20, false);
	}
	printf("]}\n");
	uring_free(uring);
	return 0;
}
