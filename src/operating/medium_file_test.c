// SPDX-License-Identifier: BSD-3-Clause
/* Files as media: requests of all kinds against an array in memory, on a disk's file system and in memory; what is
 * wrong; registered memory, and where it is refused; a file cut off; the lock, and a predecessor that is killed with
 * I/O under way; in a worker that sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "operating/medium_file.h"
#include "operating/uring_fixed.h"
#include "operating/uring_needed.h"

enum { FILE_BYTES = 4 << 20, DEPTH = 32, ROUNDS = 3000 };

static char disk_path[64], memory_path[64];
static struct uring *uring;

static void file_make(const char *path, off_t bytes)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
}

static int set_up(void **state)
{
	snprintf(disk_path, sizeof(disk_path), "/var/tmp/sdpu-medium-%d", getpid());
	snprintf(memory_path, sizeof(memory_path), "/dev/shm/sdpu-medium-%d", getpid());
	file_make(disk_path, FILE_BYTES);
	file_make(memory_path, FILE_BYTES);
	return uring_new(64, &uring, NULL);
}

static int tear_down(void **state)
{
	uring_free(uring);
	unlink(disk_path);
	unlink(memory_path);
	return 0;
}

/* Another io_uring, as if the kernel lacked these. */
static void without_set(unsigned without)
{
	uring_free(uring);
	assert_int_equal(uring_new_without(64, without, &uring, NULL), 0);
}

static struct dpu_block_device *medium_open(const char *path, bool cached)
{
	struct medium_file_options options = { .path = path, .uring = uring, .cached = cached };
	struct dpu_block_device *device;
	struct dpu_error err = { 0 };

	if (medium_file_open(&options, &device, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
	return device;
}

static void on_flag(void *arg)
{
	*(bool *)arg = true;
}

static void medium_close(struct dpu_block_device *device)
{
	bool closed = false;

	device->ops->close(device, on_flag, &closed);
	for (uint64_t end = clock_ns() + CLOCK_NS_PER_S; !closed && clock_ns() < end;)
		uring_poll(uring);
	assert_true(closed);
}

/* ---- requests ---- */

struct waited {
	struct dpu_block_request request; /* first */
	struct iovec iov;
	bool done;
};

static void on_done(struct dpu_block_request *request)
{
	((struct waited *)request)->done = true;
}

static enum dpu_block_status carry_out(struct dpu_block_device *device, uint8_t op, uint8_t flags, uint64_t offset,
				       void *data, uint64_t length)
{
	struct waited waited = {
		.request = { .op = op, .flags = flags, .offset = offset, .length = length, .done = on_done },
		.iov = { data, length }
	};

	waited.request.iov = &waited.iov;
	waited.request.segments = data ? 1 : 0;
	device->ops->submit(device, &waited.request);
	assert_false(waited.done);
	for (uint64_t end = clock_ns() + 10 * CLOCK_NS_PER_S; !waited.done && clock_ns() < end;)
		uring_poll(uring);
	assert_true(waited.done);
	return waited.request.status;
}

static void round_trip(const char *path, bool cached)
{
	struct dpu_block_device *device = medium_open(path, cached);
	uint8_t *buffer = aligned_alloc(4096, 65536), zero[8192] = { 0 };

	memset(buffer, 0x5a, 65536);
	assert_int_equal(carry_out(device, DPU_BLOCK_WRITE, DPU_BLOCK_FUA, 8192, buffer, 32768), DPU_BLOCK_OK);
	memset(buffer, 0, 65536);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 8192, buffer + 3, 32768), DPU_BLOCK_OK);
	assert_int_equal(buffer[2], 0);
	assert_int_equal(buffer[3], 0x5a);
	assert_int_equal(buffer[32770], 0x5a);
	assert_int_equal(buffer[32771], 0);
	assert_int_equal(carry_out(device, DPU_BLOCK_FLUSH, 0, 0, NULL, 0), DPU_BLOCK_OK);
	assert_int_equal(carry_out(device, DPU_BLOCK_DISCARD, DPU_BLOCK_FUA, 8192, NULL, 8192), DPU_BLOCK_OK);
	assert_int_equal(carry_out(device, DPU_BLOCK_WRITE_ZEROES, DPU_BLOCK_KEEP, 24576, NULL, 8192), DPU_BLOCK_OK);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 8192, buffer, 32768), DPU_BLOCK_OK);
	assert_memory_equal(buffer, zero, 8192);
	assert_int_equal(buffer[8192], 0x5a);
	assert_memory_equal(buffer + 16384, zero, 8192);
	assert_int_equal(buffer[24576], 0x5a);
	assert_int_equal(carry_out(device, DPU_BLOCK_COMPARE, 0, 0, buffer, 4096), DPU_BLOCK_UNSUPPORTED);
	free(buffer);
	medium_close(device);
}

static void test_requests(void **state)
{
	round_trip(disk_path, false);
	round_trip(disk_path, true);
	round_trip(memory_path, false);
	round_trip(memory_path, true);
}

/* ---- many at once, against an array ---- */

struct job {
	struct dpu_block_request request; /* first */
	struct iovec iov[3];
	uint8_t *buffer;
	bool busy;
};

static uint8_t *expected;
static unsigned completed;

static void on_job(struct dpu_block_request *request)
{
	struct job *job = (struct job *)request;

	assert_int_equal(request->status, DPU_BLOCK_OK);
	if (request->op == DPU_BLOCK_READ)
		assert_memory_equal(job->buffer, expected + request->offset, request->length);
	job->busy = false;
	completed++;
}

/* Jobs work on stripes of their own, so that any order is right. */
static void job_start(struct dpu_block_device *device, struct job *job, unsigned stripe, unsigned seed)
{
	static const uint8_t ops[] = { DPU_BLOCK_READ,         DPU_BLOCK_READ,    DPU_BLOCK_WRITE, DPU_BLOCK_WRITE,
				       DPU_BLOCK_WRITE_ZEROES, DPU_BLOCK_DISCARD, DPU_BLOCK_FLUSH };
	uint64_t bytes = FILE_BYTES / DEPTH, sector = device->sector;
	uint64_t offset = (uint64_t)rand() % (bytes / sector) * sector;
	uint64_t length = (1 + (uint64_t)rand() % ((bytes - offset) / sector)) * sector;
	struct dpu_block_request *request = &job->request;

	*request = (struct dpu_block_request){ .op = ops[(unsigned)rand() % sizeof(ops)],
					       .iov = job->iov,
					       .done = on_job };
	job->busy = true;
	if (request->op != DPU_BLOCK_FLUSH) {
		request->offset = stripe * bytes + offset;
		request->length = length;
	}
	if (rand() % 8 == 0 && request->op != DPU_BLOCK_READ && request->op != DPU_BLOCK_FLUSH)
		request->flags = DPU_BLOCK_FUA;
	if (request->op <= DPU_BLOCK_WRITE) {
		uint64_t a = length / 3 + (uint64_t)rand() % 5, b = length / 2 + 5;

		if (length < 64)
			a = b = 0;
		job->iov[0] = (struct iovec){ job->buffer, a };
		job->iov[1] = (struct iovec){ job->buffer + a, b - a };
		job->iov[2] = (struct iovec){ job->buffer + b, length - b };
		request->segments = 3;
	}
	if (request->op == DPU_BLOCK_WRITE) {
		memset(job->buffer, (int)(seed & 0xff), length);
		memcpy(expected + request->offset, job->buffer, length);
	} else if (request->op == DPU_BLOCK_WRITE_ZEROES || request->op == DPU_BLOCK_DISCARD) {
		memset(expected + request->offset, 0, length);
	}
	device->ops->submit(device, request);
}

static void model(const char *path, bool cached)
{
	static struct job jobs[DEPTH];

	file_make(path, FILE_BYTES);
	struct dpu_block_device *device = medium_open(path, cached);
	expected = calloc(1, FILE_BYTES);
	completed = 0;
	for (unsigned i = 0; i < DEPTH; i++) {
		jobs[i].buffer = aligned_alloc(4096, FILE_BYTES / DEPTH + 4096);
		jobs[i].busy = false;
	}
	for (unsigned started = 0; completed < ROUNDS; uring_poll(uring))
		for (unsigned i = 0; i < DEPTH && started < ROUNDS; i++)
			if (!jobs[i].busy)
				job_start(device, &jobs[i], i, started++);
	for (unsigned i = 0; i < DEPTH; i++)
		free(jobs[i].buffer);
	free(expected);
	medium_close(device);
}

static void test_model(void **state)
{
	srand(3);
	model(disk_path, false);
	model(memory_path, true);
	model(memory_path, false);
	without_set(URING_ALL);
	model(disk_path, false);
	model(memory_path, true);
	without_set(0);
}

/* ---- registered memory ---- */

enum { REGION_BYTES = 2 * FIXED_WINDOW_BYTES + 65536 };

static uint8_t *region_map(int protection)
{
	uint8_t *region = mmap(NULL, REGION_BYTES, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(region != MAP_FAILED);
	return region;
}

/* Writes and reads back at a place of the region; how many of the two were in registered memory. */
static uint64_t transfers(struct dpu_block_device *device, uint8_t *at, size_t bytes, uint8_t flags)
{
	struct medium_file_stats before, after;
	static uint8_t seed;

	seed++;
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(i / 7 + seed);
	medium_file_stats(device, &before);
	assert_int_equal(carry_out(device, DPU_BLOCK_WRITE, flags, 8192, at, bytes), DPU_BLOCK_OK);
	memset(at, 0, bytes);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 8192, at, bytes), DPU_BLOCK_OK);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(at[i], (uint8_t)(i / 7 + seed));
	medium_file_stats(device, &after);
	assert_int_equal(after.errors, 0);
	return after.fixed - before.fixed;
}

static void registered(const char *path, bool cached, unsigned without)
{
	without_set(without);
	struct dpu_block_device *device = medium_open(path, cached);
	uint8_t *region = region_map(PROT_READ | PROT_WRITE), *other = region_map(PROT_READ | PROT_WRITE);
	uint64_t both = uring_has(uring) & URING_FIXED_BUFFERS ? 2 : 0;

	assert_int_equal(transfers(device, region, 4096, 0), 0); /* nobody has named it yet */
	fixed_memory_set(uring_fixed(uring), region, REGION_BYTES);
	assert_int_equal(transfers(device, region, 4096, 0), both);
	assert_int_equal(transfers(device, region + FIXED_WINDOW_BYTES - 65536, 65536, DPU_BLOCK_FUA), both);
	assert_int_equal(transfers(device, region + REGION_BYTES - 8192, 8192, 0), both);
	/* Across windows; outside. */
	assert_int_equal(transfers(device, region + FIXED_WINDOW_BYTES - 4096, 8192, 0), 0);
	assert_int_equal(transfers(device, other, 8192, 0), 0);
	medium_close(device);
	without_set(0);
	munmap(region, REGION_BYTES);
	munmap(other, REGION_BYTES);
}

static void test_registered(void **state)
{
	registered(disk_path, false, 0);
	registered(memory_path, true, 0);
	registered(disk_path, false, URING_FIXED_BUFFERS);
	registered(memory_path, true, URING_FIXED_BUFFERS | URING_FIXED_FILES);
}

/* Pages that may not be written to are refused: their requests, and those of other windows, go the plain way. */
static void test_registering_refused(void **state)
{
	struct dpu_block_device *device = medium_open(disk_path, false);
	uint8_t *region = region_map(PROT_READ | PROT_WRITE);
	struct medium_file_stats stats;

	fixed_memory_set(uring_fixed(uring), region, REGION_BYTES);
	assert_int_equal(transfers(device, region, 4096, 0), uring_has(uring) & URING_FIXED_BUFFERS ? 2 : 0);
	medium_file_stats(device, &stats);
	uint8_t *second = region + FIXED_WINDOW_BYTES;
	memset(second, 0x3c, 4096);
	assert_int_equal(mprotect(second, FIXED_WINDOW_BYTES, PROT_READ), 0);
	uint64_t before = stats.fixed;
	assert_int_equal(carry_out(device, DPU_BLOCK_WRITE, 0, 0, second, 4096), DPU_BLOCK_OK);
	assert_int_equal(mprotect(second, FIXED_WINDOW_BYTES, PROT_READ | PROT_WRITE), 0);
	memset(second, 0, 4096);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 0, second, 4096), DPU_BLOCK_OK);
	assert_int_equal(second[0], 0x3c);
	assert_int_equal(second[4095], 0x3c);
	medium_file_stats(device, &stats);
	assert_int_equal(stats.fixed, before);
	/* What was registered stays so. */
	assert_int_equal(transfers(device, region, 4096, 0), uring_has(uring) & URING_FIXED_BUFFERS ? 2 : 0);
	medium_close(device);
	without_set(0);
	munmap(region, REGION_BYTES);
}

/* Memory that one may not lock: a process without privileges and with RLIMIT_MEMLOCK, as under systemd. */
static void test_memory_limit(void **state)
{
	pid_t child = fork();

	if (child == 0) {
		struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
		struct __user_cap_data_struct none[2] = { 0 };
		uint8_t *region = region_map(PROT_READ | PROT_WRITE);
		/* A ring of its own: nobody else's ring is polled here. */
		if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 65536, 65536 }) < 0 ||
		    syscall(SYS_capset, &header, none) < 0 || uring_new(64, &uring, NULL) < 0)
			_exit(2);
		fixed_memory_set(uring_fixed(uring), region, REGION_BYTES);
		_exit(transfers(medium_open(memory_path, true), region, 4096, 0) == 0 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* The kernel takes its ring apart in its own time, and the lock with it. */
	struct medium_file_options options = { .path = memory_path, .uring = uring };
	struct dpu_block_device *device;
	uint64_t begin = clock_ns();
	while (medium_file_open(&options, &device, NULL) < 0)
		assert_true(clock_ns() - begin < 5 * CLOCK_NS_PER_S);
	medium_close(device);
}

/* Its place in the table of descriptors is given back, and its lock with it. */
static void test_again_and_again(void **state)
{
	uint8_t *buffer = aligned_alloc(4096, 4096);

	for (unsigned i = 0; i < 3 * FIXED_FILES; i++) {
		struct dpu_block_device *device = medium_open(memory_path, true);

		assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 0, buffer, 4096), DPU_BLOCK_OK);
		medium_close(device);
	}
	free(buffer);
}

/* ---- what is wrong ---- */

static void refused(const char *path, enum dpu_error_code code, const char *words)
{
	struct medium_file_options options = { .path = path, .uring = uring };
	struct dpu_block_device *device;
	struct dpu_error err = { 0 };

	assert_true(medium_file_open(&options, &device, &err) < 0);
	assert_int_equal(err.code, code);
	assert_string_equal(err.path, path);
	if (!strstr(err.message, words))
		fail_msg("'%s' does not say '%s'", err.message, words);
}

static void test_refused(void **state)
{
	char odd[80];

	snprintf(odd, sizeof(odd), "%s-odd", memory_path);
	refused("/nonexistent/disk", DPU_E_NOT_FOUND, "no such file");
	refused("/tmp", DPU_E_IO, "cannot be opened");
	refused("/dev/null", DPU_E_INVALID, "neither a regular file");
	file_make(odd, 4097);
	refused(odd, DPU_E_INVALID, "4097 bytes is not a multiple of 4096");
	file_make(odd, 0);
	refused(odd, DPU_E_INVALID, "the file is empty: make it with `truncate -s`");
	unlink(odd);
	struct dpu_block_device *device = medium_open(disk_path, false);
	refused(disk_path, DPU_E_IN_USE, "another dpud");
	medium_close(device);
	medium_close(medium_open(disk_path, false));
}

static void test_cut_off(void **state)
{
	struct dpu_block_device *device = medium_open(memory_path, false);
	struct medium_file_stats stats;
	uint8_t buffer[8192];

	assert_int_equal(truncate(memory_path, 4096), 0);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 0, buffer, 4096), DPU_BLOCK_OK);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 0, buffer, 8192), DPU_BLOCK_IO_ERROR);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 65536, buffer, 4096), DPU_BLOCK_IO_ERROR);
	medium_file_stats(device, &stats);
	assert_int_equal(stats.errors, 2);
	assert_int_equal(stats.last_errno, EIO);
	assert_int_equal(stats.last_offset, 65536);
	assert_int_equal(medium_file_resized(device), 4096);
	assert_int_equal(truncate(memory_path, FILE_BYTES), 0);
	assert_int_equal(medium_file_resized(device), FILE_BYTES);
	medium_close(device);
}

/* A guest that takes its memory away under a request has done that: nothing is told of the medium. */
static void taken_away(const char *path, bool cached)
{
	struct dpu_block_device *device = medium_open(path, cached);
	struct medium_file_stats stats;
	static uint8_t buffer[4096] __attribute__((aligned(4096)));
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 8192), 0);
	uint8_t *gone = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(gone, MAP_FAILED);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 0, gone, 8192), DPU_BLOCK_IO_ERROR);
	assert_int_equal(carry_out(device, DPU_BLOCK_WRITE, 0, 0, gone, 8192), DPU_BLOCK_IO_ERROR);
	assert_int_equal(carry_out(device, DPU_BLOCK_READ, 0, 0, buffer, 4096), DPU_BLOCK_OK);
	medium_file_stats(device, &stats);
	assert_int_equal(stats.errors, 0);
	munmap(gone, 8192);
	close(fd);
	medium_close(device);
}

static void test_taken_away(void **state)
{
	taken_away(memory_path, true);
	taken_away(disk_path, true);
	taken_away(disk_path, false);
}

/* ---- a predecessor that is killed ---- */

/* Says on ready_fd when it has the file. */
static void write_for_ever(const char *path, int ready_fd)
{
	struct dpu_block_device *device;
	struct medium_file_options options = { .path = path };
	static struct job jobs[DEPTH];
	static uint8_t data[65536] __attribute__((aligned(4096)));

	if (uring_new(64, &options.uring, NULL) < 0 || medium_file_open(&options, &device, NULL) < 0)
		_exit(1);
	if (write(ready_fd, "", 1) != 1)
		_exit(1);
	for (unsigned n = 0;; uring_poll(options.uring)) {
		memset(data, (int)(++n & 0xff), sizeof(data));
		for (unsigned i = 0; i < DEPTH; i++) {
			if (jobs[i].busy)
				continue;
			jobs[i].busy = true;
			jobs[i].iov[0] = (struct iovec){ data, sizeof(data) };
			jobs[i].request = (struct dpu_block_request){ .op = DPU_BLOCK_WRITE,
								      .segments = 1,
								      .iov = jobs[i].iov,
								      .offset = (uint64_t)i * sizeof(data),
								      .length = sizeof(data),
								      .done = on_job };
			device->ops->submit(device, &jobs[i].request);
		}
	}
}

static void file_read(const char *path, uint8_t *to)
{
	int fd = open(path, O_RDONLY);

	assert_int_equal(read(fd, to, FILE_BYTES), FILE_BYTES);
	close(fd);
}

/* Who has the lock sees no write of a predecessor any more. */
static void test_killed_predecessor(void **state)
{
	uint8_t *before = malloc(FILE_BYTES), *after = malloc(FILE_BYTES);

	for (unsigned round = 0; round < 20; round++) {
		struct medium_file_options options = { .path = disk_path, .uring = uring };
		struct dpu_block_device *device;
		int ready[2];
		char byte;

		assert_int_equal(pipe(ready), 0);
		pid_t child = fork();
		if (child == 0)
			write_for_ever(disk_path, ready[1]);
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		close(ready[0]);
		usleep(2000 + round * 500);
		assert_int_equal(medium_file_open(&options, &device, NULL), -EBUSY);
		kill(child, SIGKILL);
		uint64_t end = clock_ns() + 5 * CLOCK_NS_PER_S;
		while (medium_file_open(&options, &device, NULL) < 0)
			assert_true(clock_ns() < end);
		file_read(disk_path, before);
		usleep(5000);
		file_read(disk_path, after);
		assert_memory_equal(before, after, FILE_BYTES);
		medium_close(device);
		waitpid(child, NULL, 0);
	}
	free(before);
	free(after);
}

/* ---- in a worker ---- */

struct in_worker {
	struct dpu_block_device *device;
	struct waited waited;
	uint8_t data[4096];
	_Atomic bool done;
	bool closed;
};

static void on_worker_done(struct dpu_block_request *request)
{
	struct waited *waited = (struct waited *)request;

	((struct in_worker *)((char *)waited - offsetof(struct in_worker, waited)))->done = true;
}

static void submit_in_worker(void *arg, struct worker *worker)
{
	struct in_worker *in = arg;

	in->waited.iov = (struct iovec){ in->data, sizeof(in->data) };
	in->waited.request = (struct dpu_block_request){ .op = DPU_BLOCK_WRITE,
							 .flags = DPU_BLOCK_FUA,
							 .segments = 1,
							 .iov = &in->waited.iov,
							 .length = sizeof(in->data),
							 .done = on_worker_done };
	in->device->ops->submit(in->device, &in->waited.request);
}

static void close_in_worker(void *arg, struct worker *worker)
{
	struct in_worker *in = arg;

	in->device->ops->close(in->device, on_flag, &in->closed);
}

static void test_worker(void **state)
{
	struct workers_options options = { .count = 1, .policy = WORKER_POWER_SAVE };
	struct medium_file_options file = { .path = disk_path };
	struct workers *workers;
	struct in_worker in = { 0 };
	bool removed = false;

	assert_int_equal(loop_new(&options.loop), 0);
	assert_int_equal(workers_new(&options, &workers, NULL), 0);
	assert_int_equal(uring_new(64, &file.uring, NULL), 0);
	assert_int_equal(medium_file_open(&file, &in.device, NULL), 0);
	assert_int_equal(worker_add_source(workers_get(workers, 0), uring_source(file.uring)), 0);
	for (unsigned i = 0; i < 50; i++) {
		in.done = false;
		assert_int_equal(worker_call(workers_get(workers, 0), submit_in_worker, &in, NULL), 0);
		for (uint64_t end = clock_ns() + 5 * CLOCK_NS_PER_S; !in.done && clock_ns() < end;)
			loop_once(options.loop, 1);
		assert_true(in.done);
		usleep(i % 5 * 700);
	}
	worker_call(workers_get(workers, 0), close_in_worker, &in, NULL);
	worker_remove_source(workers_get(workers, 0), uring_source(file.uring), on_flag, &removed);
	while (!removed)
		loop_once(options.loop, 1);
	assert_true(in.closed);
	workers_free(workers);
	uring_free(file.uring);
	loop_free(options.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),     cmocka_unit_test(test_model),
		cmocka_unit_test(test_registered),   cmocka_unit_test(test_registering_refused),
		cmocka_unit_test(test_memory_limit), cmocka_unit_test(test_again_and_again),
		cmocka_unit_test(test_refused),      cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_worker),       cmocka_unit_test(test_killed_predecessor),
		cmocka_unit_test(test_taken_away),
	};

	uring_needed();
	return cmocka_run_group_tests_name("medium_file", tests, set_up, tear_down);
}
