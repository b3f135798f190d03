/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: translation, dirty log, and front ends that truncate what they shared. */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "device/virtio/dirty_log.h"
#include "device/virtio/guest_memory.h"
#include "device/virtio/memory_fault.h"
#include "device/virtio/test_device.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))

static int memory_file(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static void test_translation(void **state)
{
	struct guest_memory *memory;
	const struct guest_region *region;
	const char *why;
	int fd = memory_file(1 << 20);
	unsigned hint = 0;
	uint64_t room, gpa;

	assert_int_equal(guest_memory_new(&memory), 0);
	assert_null(guest_memory_at(memory, &hint, 0, &room));
	/* Added out of order; the file's order is another. */
	struct guest_range ranges[3] = { { 0x300000, 0x10000, 0x7000300000, 0x0 },
					 { 0x100000, 0x20000, 0x7000100000, 0x40000 },
					 { 0x200000, 0x10000, 0x7000200000, 0x20000 } };
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(guest_memory_add(memory, &ranges[i], fd, &why), 0);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *host = guest_memory_at(memory, &hint, ranges[i].gpa + 10, &room);
		assert_non_null(host);
		assert_int_equal(room, ranges[i].size - 10);
		*host = (uint8_t)(i + 1);
		uint8_t byte;
		assert_int_equal(pread(fd, &byte, 1, (off_t)ranges[i].file_offset + 10), 1);
		assert_int_equal(byte, i + 1);
		assert_true(guest_memory_gpa(memory, host, &gpa));
		assert_int_equal(gpa, ranges[i].gpa + 10);
		assert_ptr_equal(guest_memory_from_user(memory, ranges[i].user + 10, ranges[i].size - 10, &region),
				 host);
		assert_null(guest_memory_from_user(memory, ranges[i].user + 10, ranges[i].size - 9, &region));
		assert_null(guest_memory_at(memory, &hint, ranges[i].gpa - 1, &room));
		assert_null(guest_memory_at(memory, &hint, ranges[i].gpa + ranges[i].size, &room));
	}
	hint = 2;
	assert_int_equal(guest_memory_remove(memory, &ranges[0]), 0);
	assert_int_equal(guest_memory_remove(memory, &ranges[0]), -ENOENT);
	assert_null(guest_memory_at(memory, &hint, ranges[0].gpa, &room)); /* an old hint does no harm */
	assert_non_null(guest_memory_at(memory, &hint, ranges[1].gpa, &room));
	guest_memory_free(memory);
	close(fd);
}

static void test_slots_run_out(void **state)
{
	struct guest_memory *memory;
	const char *why;
	int fd = memory_file(4096);

	assert_int_equal(guest_memory_new(&memory), 0);
	for (unsigned i = 0; i <= GUEST_MEMORY_MAX_REGIONS; i++) {
		struct guest_range range = { i * 4096, 4096, i * 4096, 0 };
		assert_int_equal(guest_memory_add(memory, &range, fd, &why),
				 i < GUEST_MEMORY_MAX_REGIONS ? 0 : -ENOSPC);
	}
	guest_memory_free(memory);
	close(fd);
}

/* ---- dirty log ---- */

static bool page_dirty(const uint8_t *log, uint64_t gpa)
{
	return log[gpa / 4096 / 8] & 1 << (gpa / 4096 % 8);
}

static void test_log_marks(void **state)
{
	struct dirty_log *log;
	_Atomic bool faulted = false;
	const char *why;
	int fd = memory_file(3 * 4096);

	assert_int_equal(dirty_log_open(fd, 4096 + 16, 64, &faulted, &log, &why), 0);
	uint8_t bits[64];
	dirty_log_mark(log, 0x1fff, 2);
	dirty_log_mark(log, 0x9000, 0x1000);
	dirty_log_mark(log, 0xb000, 0);
	dirty_log_mark(log, 64 * 8 * 4096 - 1, 4096); /* half of it beyond the end */
	dirty_log_mark(log, UINT64_MAX - 10, 5);
	assert_int_equal(pread(fd, bits, sizeof(bits), 4096 + 16), sizeof(bits));
	assert_int_equal(bits[0], 1 << 1 | 1 << 2);
	assert_int_equal(bits[1], 1 << 1);
	assert_int_equal(bits[63], 0x80);
	dirty_log_close(log);
	close(fd);
}

/* Migration: what the device writes is logged, buffers and rings; and only while logging is on. */
static void test_migration(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		uint64_t features = MODERN | (packed ? VHOST_BIT(34) : 0);
		struct test_device device;
		struct frontend frontend;
		struct vhost_log place = { .size = (FRONTEND_GPA + (1 << 20)) / 4096 / 8, .offset = 0 };
		uint16_t id;
		uint32_t length, reply;
		int log_fd = memory_file(place.size);

		test_device_open(&device, VHOST_SERVER, false);
		frontend_init(&frontend, 1 << 20, test_device_pump, &device);
		frontend_connect(&frontend, device.path);
		frontend_negotiate(&frontend, features, TEST_PROTOCOL);
		frontend_share_memory(&frontend);
		frontend_alloc(&frontend, 4096, 4096);
		struct frontend_queue *queue = frontend_queue_new(&frontend, 0, 16);
		frontend_queue_start(queue, frontend_queue_base(queue));
		uint8_t *log = mmap(NULL, place.size, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
		struct frontend_buffer buffers[2] = { { 0x40000, 3000, false }, { 0x50000, 10000, true } };

		frontend_send(&frontend, VHOST_SET_LOG_BASE, 1, &place, sizeof(place), &log_fd, 1);
		assert_int_equal(frontend_reply(&frontend, VHOST_SET_LOG_BASE, &reply, sizeof(reply), NULL), 0);
		frontend_offer(queue, buffers, 2, false);
		assert_int_equal(test_device_echo(&device, 0), 1);
		assert_true(frontend_take(queue, &id, &length));
		assert_false(page_dirty(log, FRONTEND_GPA + 0x50000));

		frontend_set_u64(&frontend, VHOST_SET_FEATURES, features | VHOST_BIT(VHOST_F_LOG_ALL_BIT));
		frontend_queue_addr(queue, VHOST_VRING_FLAG_LOG, FRONTEND_GPA + queue->device);
		frontend_sync(&frontend);
		frontend_offer(queue, buffers, 2, false);
		assert_int_equal(test_device_echo(&device, 0), 1);
		assert_true(frontend_take(queue, &id, &length));
		assert_int_equal(length, 3000);
		assert_false(page_dirty(log, FRONTEND_GPA + 0x40000));
		assert_true(page_dirty(log, FRONTEND_GPA + 0x50000)); /* 3000 bytes: one page of the three offered */
		assert_false(page_dirty(log, FRONTEND_GPA + 0x51000));
		assert_true(page_dirty(log, FRONTEND_GPA + (packed ? queue->desc : queue->device)));

		memset(log, 0, place.size);
		frontend_set_u64(&frontend, VHOST_SET_FEATURES, features);
		frontend_sync(&frontend);
		frontend_offer(queue, buffers, 2, false);
		assert_int_equal(test_device_echo(&device, 0), 1);
		assert_false(page_dirty(log, FRONTEND_GPA + 0x50000));
		munmap(log, place.size);
		close(log_fd);
		frontend_fini(&frontend);
		test_device_close(&device);
	}
}

/* ---- truncation ---- */

/* The front end takes its memory away while the device works: this device rests, the other goes on. */
static void test_truncated_memory(void **state)
{
	struct test_device devices[2];
	struct frontend frontends[2];
	struct frontend_queue *queues[2];
	struct frontend_buffer buffers[2] = { { 0x40000, 100, false }, { 0x50000, 100, true } };
	uint16_t id;
	uint32_t length;

	for (unsigned i = 0; i < 2; i++) {
		test_device_open(&devices[i], VHOST_SERVER, false);
		frontend_init(&frontends[i], 1 << 20, test_device_pump, &devices[i]);
		frontend_connect(&frontends[i], devices[i].path);
		frontend_negotiate(&frontends[i], MODERN, TEST_PROTOCOL);
		frontend_share_memory(&frontends[i]);
		queues[i] = frontend_queue_new(&frontends[i], 0, 16);
		frontend_queue_start(queues[i], 0);
		frontend_offer(queues[i], buffers, 2, false);
		assert_int_equal(test_device_echo(&devices[i], 0), 1);
		assert_true(frontend_take(queues[i], &id, &length));
		frontend_offer(queues[i], buffers, 2, false);
	}
	assert_int_equal(ftruncate(frontends[0].memory_fd, 0), 0);
	/* The first touch meets the missing page, or zeroes in its place; the next pop says why. */
	test_device_echo(&devices[0], 0);
	assert_int_equal(test_device_echo(&devices[0], 0), -EPIPE);
	assert_non_null(strstr(virtqueue_broken_reason(devices[0].queues[0]), "taken memory away"));
	test_device_expect(&devices[0], "memory-fault");
	assert_false(devices[0].running[0]);
	assert_int_equal(test_device_echo(&devices[1], 0), 1);

	/* New memory revives it. */
	assert_int_equal(ftruncate(frontends[0].memory_fd, 1 << 20), 0);
	frontends[0].allocated = 0;
	frontend_share_memory(&frontends[0]);
	queues[0] = frontend_queue_new(&frontends[0], 0, 16);
	frontend_queue_start(queues[0], 0);
	frontend_offer(queues[0], buffers, 2, false);
	assert_int_equal(test_device_echo(&devices[0], 0), 1);
	for (unsigned i = 0; i < 2; i++) {
		frontend_fini(&frontends[i]);
		test_device_close(&devices[i]);
	}
}

/* Sparse files make memory out of nothing: what is mapped has an end, and what is removed makes room again. */
static void test_bytes_run_out(void **state)
{
	const uint64_t half = GUEST_MEMORY_MAX_BYTES / 2;
	struct guest_range ranges[] = { { 0, half, 0, 0 }, { half, half, half, 0 }, { 2 * half, 4096, 2 * half, 0 } };
	struct guest_range all = { 0, GUEST_MEMORY_MAX_BYTES + 4096, 0, 0 };
	struct guest_memory *memory;
	const char *why = "";
	int fd = memory_file(GUEST_MEMORY_MAX_BYTES + 4096);

	assert_int_equal(guest_memory_new(&memory), 0);
	assert_int_equal(guest_memory_add(memory, &all, fd, &why), -ENOSPC);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(guest_memory_add(memory, &ranges[i], fd, &why), 0);
	assert_int_equal(guest_memory_add(memory, &ranges[2], fd, &why), -ENOSPC);
	assert_string_equal(why, "a guest has at most 1 TiB of memory");
	assert_int_equal(guest_memory_remove(memory, &ranges[0]), 0);
	assert_int_equal(guest_memory_add(memory, &ranges[2], fd, &why), 0);
	guest_memory_free(memory);
	close(fd);
}

/* Many watches come and go, and a fault is found among them. */
static void test_many_watches(void **state)
{
	enum { COUNT = 1000 };
	static _Atomic bool faulted[COUNT];
	static struct shared_mapping mappings[COUNT];
	int fd = memory_file(4096), gone = memory_file(4096);
	const char *why;

	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(shared_mapping_open(i == 777 ? gone : fd, 0, 4096, &faulted[i], &mappings[i], &why),
				 0);
	for (unsigned i = 0; i < COUNT; i += 2)
		shared_mapping_close(&mappings[i]);
	assert_int_equal(ftruncate(gone, 0), 0);
	assert_int_equal(*mappings[777].data, 0);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(faulted[i], i == 777);
	for (unsigned i = 0; i < COUNT; i++)
		shared_mapping_close(&mappings[i]);
	close(fd);
	close(gone);
}

static volatile sig_atomic_t chained;

static void earlier_handler(int number)
{
	chained++;
	_exit(chained == 1 ? 42 : 43);
}

/* A fault elsewhere goes to the handler that was there before ours. Own process: handlers are the process's. */
static void chain_child(void)
{
	_Atomic bool faulted = false;
	struct shared_mapping mapping;
	const char *why;
	int fd = memory_file(4096), other = memory_file(4096);

	signal(SIGBUS, earlier_handler);
	assert_int_equal(shared_mapping_open(fd, 0, 4096, &faulted, &mapping, &why), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(*mapping.data, 0); /* ours: survived */
	assert_true(faulted);
	volatile uint8_t *unwatched = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 0);
	assert_int_equal(ftruncate(other, 0), 0);
	(void)*unwatched;
	_exit(1);
}

static void default_child(void)
{
	_Atomic bool faulted = false;
	struct shared_mapping mapping;
	const char *why;
	int fd = memory_file(4096), other = memory_file(4096);

	signal(SIGBUS, SIG_DFL);
	assert_int_equal(shared_mapping_open(fd, 0, 4096, &faulted, &mapping, &why), 0);
	volatile uint8_t *unwatched = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 0);
	assert_int_equal(ftruncate(other, 0), 0);
	(void)*unwatched;
	_exit(1);
}

int main(int argc, char **argv)
{
	/* Before any watch of this process. */
	for (unsigned i = 0; i < 2; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			if (i == 0)
				chain_child();
			else
				default_child();
		}
		waitpid(child, &status, 0);
		bool right = i == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 42
				    : WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
		if (!right) {
			fprintf(stderr, "a fault outside watched memory: child %u ended with 0x%x\n", i, status);
			return 1;
		}
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_run_out), cmocka_unit_test(test_translation),
		cmocka_unit_test(test_slots_run_out), cmocka_unit_test(test_log_marks),
		cmocka_unit_test(test_migration),     cmocka_unit_test(test_truncated_memory),
		cmocka_unit_test(test_many_watches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
