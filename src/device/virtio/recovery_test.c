/* SPDX-License-Identifier: BSD-3-Clause */
/* What survives the back end: in-flight regions, records of packed rings, and a process that is killed at any moment.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "device/virtio/queue_record.h"
#include "device/virtio/test_device.h"
#include "device/virtio/virtq_inflight.h"
#include "device/virtio/virtqueue_priv.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))
#define PACKED (MODERN | VHOST_BIT(34))

static int inflight_fd_get(struct frontend *frontend, struct vhost_inflight *place)
{
	int fd;

	frontend_send(frontend, VHOST_GET_INFLIGHT_FD, 1, place, VHOST_INFLIGHT_BYTES, NULL, 0);
	frontend_reply(frontend, VHOST_GET_INFLIGHT_FD, place, sizeof(*place), &fd);
	return fd;
}

static void inflight_fd_set(struct frontend *frontend, const struct vhost_inflight *place, int fd)
{
	frontend_send(frontend, VHOST_SET_INFLIGHT_FD, 1, place, VHOST_INFLIGHT_BYTES, &fd, 1);
}

/* ---- in-flight, step by step ---- */

/* A front end that listens, and its device with an in-flight region: its descriptor. */
static int inflight_begin(struct test_device *device, struct frontend *frontend, struct vhost_inflight *place,
			  uint64_t features)
{
	test_device_open(device, VHOST_CLIENT, false);
	frontend_init(frontend, 1 << 20, test_device_pump, device);
	frontend_listen(frontend, device->path);
	frontend_accept(frontend);
	frontend_negotiate(frontend, features, TEST_PROTOCOL);
	int fd = inflight_fd_get(frontend, place);
	inflight_fd_set(frontend, place, fd);
	frontend_share_memory(frontend);
	return fd;
}

/* Seven are popped, three completed out of order, the back end goes; what is left comes again in order of submission,
 * then what is new. */
static void inflight_round(uint64_t features)
{
	struct test_device device;
	struct frontend frontend;
	struct vhost_inflight place = { .queues = 1, .queue_size = 16 };
	struct virtq_element elements[16];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	uint32_t written[16] = { 0 }, length;
	uint16_t id;
	int ids[8];

	int fd = inflight_begin(&device, &frontend, &place, features);
	struct frontend_queue *queue = frontend_queue_new(&frontend, 0, 16);
	frontend_queue_start(queue, frontend_queue_base(queue));
	for (unsigned i = 0; i < 7; i++) {
		struct frontend_buffer buffers[2] = { { 0x10000 + i * 64, 64, false }, { 0x20000, 64, true } };
		ids[i] = frontend_offer(queue, buffers, 2, false);
	}
	assert_int_equal(virtqueue_pop(device.queues[0], elements, 16, iov, VIRTQ_MAX_SEGMENTS), 7);
	const unsigned order[3] = { 5, 0, 3 };
	for (unsigned i = 0; i < 3; i++)
		virtqueue_push(device.queues[0], &elements[order[i]], written, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(frontend_take(queue, &id, &length));
		assert_int_equal(id, ids[order[i]]);
	}
	/* Slots that are free again are overwritten meanwhile. */
	for (unsigned i = 0; i < 3; i++) {
		struct frontend_buffer buffer = { 0x30000, 1, false };
		ids[order[i]] = frontend_offer(queue, &buffer, 1, false);
	}
	uint32_t base = queue->packed ? 0x80008000 : 3;
	test_device_stop(&device);
	frontend_disconnect(&frontend);

	test_device_start(&device, VHOST_CLIENT);
	frontend_accept(&frontend);
	frontend_negotiate(&frontend, features, TEST_PROTOCOL);
	inflight_fd_set(&frontend, &place, fd);
	frontend_share_memory(&frontend);
	frontend_queue_start(queue, base);
	const unsigned left[4] = { 1, 2, 4, 6 };
	assert_true(virtqueue_arm(device.queues[0]));
	assert_int_equal(virtqueue_pop(device.queues[0], elements, 16, iov, VIRTQ_MAX_SEGMENTS), 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(elements[i].id, ids[left[i]]);
		assert_int_equal(elements[i].readable, 1);
		assert_int_equal(elements[i].writable, 1);
		assert_ptr_equal((uint8_t *)elements[i].segments[0].iov_base -
					 (uint8_t *)elements[0].segments[0].iov_base,
				 (left[i] - left[0]) * 64);
	}
	/* Two of them are put back and come again. */
	virtqueue_unpop(device.queues[0], elements + 2, 2);
	virtqueue_push(device.queues[0], elements, written, 2);
	assert_int_equal(virtqueue_pop(device.queues[0], elements, 16, iov, VIRTQ_MAX_SEGMENTS), 2);
	assert_int_equal(elements[0].id, ids[4]);
	virtqueue_push(device.queues[0], elements, written, 2);
	assert_int_equal(virtqueue_pop(device.queues[0], elements, 16, iov, VIRTQ_MAX_SEGMENTS), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(elements[i].id, ids[order[i]]);
	virtqueue_push(device.queues[0], elements, written, 3);
	for (unsigned i = 0; i < 7; i++)
		assert_true(frontend_take(queue, &id, &length));
	assert_int_equal(queue->free_count, 16);
	close(fd);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void test_inflight(void **state)
{
	inflight_round(MODERN);
	inflight_round(PACKED);
}

/* Of five elements two are bad, one of them at the end; the back end goes with all or some of them in flight. Its
 * successor gets each of those once, the bad ones with their fault, and goes on behind them. */
static void inflight_bad(uint64_t features, unsigned returned)
{
	struct test_device device;
	struct frontend frontend;
	struct vhost_inflight place = { .queues = 1, .queue_size = 16 };
	const struct frontend_buffer good[2] = { { 0x10000, 64, false }, { 0x20000, 64, true } };
	const struct frontend_buffer bad[2] = { { UINT64_C(1) << 40, 64, false }, { 0x20000, 64, true } };
	struct virtq_element elements[16];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	uint32_t written[16] = { 0 }, length;
	uint16_t id;
	int ids[6];

	int fd = inflight_begin(&device, &frontend, &place, features);
	struct frontend_queue *queue = frontend_queue_new(&frontend, 0, 16);
	frontend_queue_start(queue, frontend_queue_base(queue));
	for (unsigned i = 0; i < 5; i++)
		ids[i] = frontend_offer(queue, i % 3 == 1 ? bad : good, 2, false);
	assert_int_equal(virtqueue_pop(device.queues[0], elements, 16, iov, VIRTQ_MAX_SEGMENTS), 5);
	virtqueue_push(device.queues[0], elements, written, returned);
	test_device_stop(&device);
	frontend_disconnect(&frontend);

	test_device_start(&device, VHOST_CLIENT);
	frontend_accept(&frontend);
	frontend_negotiate(&frontend, features, TEST_PROTOCOL);
	inflight_fd_set(&frontend, &place, fd);
	frontend_share_memory(&frontend);
	frontend_queue_start(queue, queue->packed ? 0x80008000 : returned);
	ids[5] = frontend_offer(queue, good, 2, false);
	unsigned left = 5 - returned;
	assert_int_equal(virtqueue_pop(device.queues[0], elements, 16, iov, VIRTQ_MAX_SEGMENTS), left);
	assert_int_equal(virtqueue_pop(device.queues[0], elements + left, 16 - left, iov, VIRTQ_MAX_SEGMENTS), 1);
	for (unsigned i = 0; i < left + 1; i++) {
		unsigned which = returned + i;
		assert_int_equal(elements[i].id, ids[which]);
		assert_int_equal(elements[i].fault, which < 5 && which % 3 == 1 ? VIRTQ_FAULT_OUTSIDE : 0);
	}
	virtqueue_push(device.queues[0], elements, written, left + 1);
	for (unsigned i = 0; i < 6; i++) {
		assert_true(frontend_take(queue, &id, &length));
		assert_int_equal(id, ids[i]);
	}
	assert_false(frontend_take(queue, &id, &length));
	assert_int_equal(queue->free_count, 16);
	close(fd);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void test_inflight_bad_elements(void **state)
{
	for (unsigned returned = 0; returned < 5; returned++) {
		inflight_bad(MODERN, returned);
		inflight_bad(PACKED, returned);
	}
}

/* A split region whose last batch was published but not settled. */
static void test_inflight_split_unsettled(void **state)
{
	struct inflight_split *region = calloc(1, sizeof(*region) + 8 * sizeof(region->desc[0]));
	struct virtq_inflight inflight = { 0 };

	region->version = 1;
	region->desc_num = 8;
	region->used_idx = 10;
	for (unsigned i = 0; i < 8; i++) {
		region->desc[i].inflight = i < 6;
		region->desc[i].counter = 100 - i;
	}
	region->last_batch_head = 4;
	region->desc[4].next = 2;
	region->desc[2].next = 5; /* of an older batch */
	assert_int_equal(inflight_split_setup(&inflight, region, 8, 12), 0);
	assert_int_equal(inflight.resubmit_count, 4);
	const uint16_t order[4] = { 5, 3, 1, 0 };
	assert_memory_equal(inflight.resubmit, order, sizeof(order));
	assert_int_equal(region->used_idx, 12);
	assert_true(inflight.counter == 101);
	virtq_inflight_fini(&inflight);
	/* A lying list ends; nothing outside is touched. */
	region->used_idx = 4;
	region->last_batch_head = 65535;
	assert_int_equal(inflight_split_setup(&inflight, region, 8, 12), 0);
	virtq_inflight_fini(&inflight);
	free(region);
}

/* Whatever the front end writes into a packed region: it is used if it makes sense, else it counts as new. */
static void test_inflight_packed_garbage(void **state)
{
	enum { SIZE = 8, BYTES = sizeof(struct inflight_packed) + SIZE * sizeof(struct inflight_packed_desc) };
	struct inflight_packed *region = calloc(1, BYTES);
	struct vring_packed_desc ring[SIZE] = { 0 };
	unsigned seed = 3, sane = 0;

	for (unsigned round = 0; round < 20000; round++) {
		struct virtq_inflight inflight = { 0 };
		uint16_t used = 3;
		bool wrap = true;
		uint8_t *bytes = (uint8_t *)region;
		/* From a sane one, a few bytes are changed. */
		memset(region, 0, BYTES);
		assert_int_equal(inflight_packed_setup(&inflight, region, SIZE, ring, &used, &wrap),
				 INFLIGHT_NEW_REGION);
		inflight_packed_take(&inflight, ring, 3, 2);
		inflight_packed_take(&inflight, ring, 5, 1);
		virtq_inflight_fini(&inflight);
		for (unsigned i = 0; i < 1 + round % 4; i++)
			bytes[rand_r(&seed) % BYTES] =
				(uint8_t)(rand_r(&seed) % 3 ? rand_r(&seed) % SIZE : rand_r(&seed));
		int slots = inflight_packed_setup(&inflight, region, SIZE, ring, &used, &wrap);
		assert_true(slots == INFLIGHT_NEW_REGION || (slots >= 0 && slots <= SIZE));
		sane += slots != INFLIGHT_NEW_REGION;
		assert_true(used < SIZE);
		unsigned free_entries = 0;
		for (uint16_t at = inflight.free_head; at < SIZE; at = inflight.entries[at].next)
			free_entries++;
		assert_int_equal(free_entries, slots == INFLIGHT_NEW_REGION ? SIZE : SIZE - slots);
		virtq_inflight_fini(&inflight);
	}
	assert_true(sane > 1000);
	free(region);
}

/* ---- records of packed rings, step by step ---- */

struct record_rig {
	struct queue_records *records;
	struct queue_record *record;
	struct queue_record_key key;
	struct vring_packed_desc ring[8];
	char path[64];
};

static void rig_up(struct record_rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	snprintf(rig->path, sizeof(rig->path), "/dev/shm/sdpu-record-%d", getpid());
	unlink(rig->path);
	rig->key = (struct queue_record_key){ .gpa = 0x1000, .device = 1, .inode = 2, .size = 8 };
}

static bool rig_begin(struct record_rig *rig, uint32_t given, uint16_t *used, bool *wrap)
{
	queue_records_close(rig->records); /* as a new process would find the file */
	assert_int_equal(queue_records_open(rig->path, 2, 8, &rig->records), 0);
	rig->record = queue_records_get(rig->records, 1);
	*used = given & 7;
	*wrap = given >> 15 & 1;
	return queue_record_begin(rig->record, &rig->key, given, rig->ring, used, wrap);
}

/* The driver makes a slot available in the round of this wrap counter. */
static void rig_offer(struct record_rig *rig, unsigned at, bool wrap)
{
	rig->ring[at].flags = wrap ? VIRTQ_PACKED_AVAIL : VIRTQ_PACKED_USED;
}

static void rig_batch(struct record_rig *rig, uint16_t used, bool wrap, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		queue_record_redo(rig->record)[i] =
			(struct queue_redo){ .id = (uint16_t)(7 - i), .slots = 1, .length = 10 + i };
	queue_record_commit(rig->record, used, wrap, (uint16_t)n);
}

static void test_record(void **state)
{
	struct record_rig rig;
	uint16_t used;
	bool wrap;

	rig_up(&rig);
	for (unsigned i = 0; i < 8; i++)
		rig_offer(&rig, i, true);
	assert_false(rig_begin(&rig, 0x8000, &used, &wrap));
	assert_int_equal(used, 0);

	/* Died before anything was used. */
	rig_begin(&rig, 0x8000, &used, &wrap);
	assert_true(used == 0 && wrap);

	/* Died between commit and publishing: the batch is finished by the next. */
	rig_batch(&rig, 0, true, 3);
	rig.ring[1].flags |= VIRTQ_PACKED_USED; /* the second had been written already */
	assert_true(rig_begin(&rig, 0x8000, &used, &wrap));
	assert_true(used == 3 && wrap);
	assert_int_equal(rig.ring[0].id, 7);
	assert_int_equal(rig.ring[2].id, 5);
	assert_int_equal(rig.ring[2].len, 12);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rig.ring[i].flags, VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED | VRING_DESC_F_WRITE);

	/* Died after publishing, before noting it; the driver has taken the batch and offers the slots again. */
	rig_batch(&rig, 3, true, 2);
	virtq_packed_ring_used(rig.ring, 8, 3, true, queue_record_redo(rig.record), 2);
	for (unsigned i = 0; i < 5; i++)
		rig_offer(&rig, i, false);
	struct vring_packed_desc offered = rig.ring[3];
	assert_true(rig_begin(&rig, 0x8000, &used, &wrap));
	assert_true(used == 5 && wrap);
	assert_memory_equal(&rig.ring[3], &offered, sizeof(offered));

	/* Over the ring's end. */
	rig_batch(&rig, 5, true, 3);
	virtq_packed_ring_used(rig.ring, 8, 5, true, queue_record_redo(rig.record), 3);
	queue_record_done(rig.record, 0, false);
	assert_true(rig_begin(&rig, 0x8000, &used, &wrap));
	assert_true(used == 0 && !wrap);

	/* The front end knows better: another base, another ring, a graceful stop. */
	assert_false(rig_begin(&rig, 0x8004, &used, &wrap));
	assert_int_equal(used, 4);
	assert_true(rig_begin(&rig, 0x8004, &used, &wrap)); /* from now on this is the base */
	rig.key.inode++;
	assert_false(rig_begin(&rig, 0x8004, &used, &wrap));
	queue_record_end(rig.record);
	assert_false(rig_begin(&rig, 0x8004, &used, &wrap));
	queue_records_close(rig.records);
	unlink(rig.path);
}

/* A guest that was reset while we were dead has a new ring in the same place. */
static void test_record_of_a_ring_made_anew(void **state)
{
	struct record_rig rig;
	uint16_t used;
	bool wrap;

	rig_up(&rig);
	assert_false(rig_begin(&rig, 0x8000, &used, &wrap));
	rig_batch(&rig, 0, true, 5);
	virtq_packed_ring_used(rig.ring, 8, 0, true, queue_record_redo(rig.record), 5);
	queue_record_done(rig.record, 5, true);
	memset(rig.ring, 0, sizeof(rig.ring));
	for (unsigned i = 0; i < 8; i++)
		rig_offer(&rig, i, true);
	assert_false(rig_begin(&rig, 0x8000, &used, &wrap));
	assert_true(used == 0 && wrap);
	queue_records_close(rig.records);
	unlink(rig.path);
}

/* A file that is not ours, or of another shape, is replaced. */
static void test_record_file(void **state)
{
	struct record_rig rig;
	struct queue_records *records;
	uint16_t used;
	bool wrap;

	rig_up(&rig);
	int fd = open(rig.path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "something else", 14), 14);
	close(fd);
	assert_false(rig_begin(&rig, 0x8000, &used, &wrap));
	rig_batch(&rig, 0, true, 1);
	virtq_packed_ring_used(rig.ring, 8, 0, true, queue_record_redo(rig.record), 1);
	queue_record_done(rig.record, 1, true);
	assert_int_equal(queue_records_open(rig.path, 2, 16, &records), 0);
	queue_records_close(records);
	assert_false(rig_begin(&rig, 0x8000, &used, &wrap));
	queue_records_close(rig.records);
	unlink(rig.path);
}

/* ---- kill -9 ---- */

struct murder {
	const char *name;
	uint64_t features;
	bool inflight; /* the device completes in any order and needs the region */
};

/* The back end's process: echoes until it is killed. Out of order it holds some back. */
static void victim(struct test_device *device, const struct murder *murder)
{
	struct virtq_element held[64];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	unsigned count = 0, seed = (unsigned)getpid();

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	test_device_start(device, VHOST_CLIENT);
	for (;;) {
		loop_once(device->loop, 0);
		if (!device->running[0]) {
			count = 0;
			continue;
		}
		if (!murder->inflight) {
			test_device_echo(device, 0);
			continue;
		}
		/* Segments are kept apart: four per element. */
		while (count < 64) {
			int n = virtqueue_pop(device->queues[0], &held[count], 1, iov + count * 4, 4);
			if (n <= 0)
				break;
			count++;
		}
		if (count && rand_r(&seed) % 4) {
			unsigned pick = rand_r(&seed) % count;
			uint32_t written = 16;
			struct iovec *s = held[pick].segments;
			memcpy(s[held[pick].readable].iov_base, s[0].iov_base, 16);
			virtqueue_push(device->queues[0], &held[pick], &written, 1);
			virtqueue_notify(device->queues[0]);
			held[pick] = held[--count];
			memcpy(iov + pick * 4, iov + count * 4, sizeof(*iov) * 4);
			held[pick].segments = iov + pick * 4;
		}
	}
}

struct traffic {
	struct frontend_queue *queue;
	uint64_t sequence, completed;
	uint64_t expected[FRONTEND_MAX_SIZE];
};

enum { KILL_RING = 64, KILL_ROUNDS = 30, SLOT = 64 };

static void traffic_offer(struct traffic *traffic)
{
	struct frontend *frontend = traffic->queue->frontend;

	for (unsigned i = 0; i < 8; i++) {
		/* A place that no offered element has: by sequence, twice the ring. */
		uint64_t place = 0x10000 + traffic->sequence % (2 * FRONTEND_MAX_SIZE) * SLOT;
		struct frontend_buffer buffers[2] = { { place, 16, false }, { place + 32, 16, true } };
		uint64_t *words = frontend_at(frontend, place);
		words[0] = words[1] = traffic->sequence;
		words[4] = words[5] = UINT64_MAX;
		int id = frontend_offer(traffic->queue, buffers, 2, false);
		if (id < 0)
			return;
		traffic->expected[id] = traffic->sequence++;
	}
}

static bool traffic_take(struct traffic *traffic)
{
	uint16_t id;
	uint32_t length;

	if (!frontend_take(traffic->queue, &id, &length))
		return false;
	uint64_t sequence = traffic->expected[id];
	uint64_t *words = frontend_at(traffic->queue->frontend, 0x10000 + sequence % (2 * FRONTEND_MAX_SIZE) * SLOT);
	assert_int_equal(length, 16);
	assert_true(words[4] == sequence && words[5] == sequence);
	traffic->completed++;
	return true;
}

static void kill_now(pid_t *child)
{
	int status;

	kill(*child, SIGKILL);
	waitpid(*child, &status, 0);
	*child = 0;
}

static pid_t victim_start(struct test_device *device, const struct murder *murder)
{
	pid_t child = fork();

	if (child == 0) {
		victim(device, murder);
		_exit(0);
	}
	return child;
}

static void murder_rounds(const struct murder *murder)
{
	struct test_device device;
	struct frontend frontend;
	struct traffic traffic = { 0 };
	struct vhost_inflight place = { .queues = 1, .queue_size = KILL_RING };
	unsigned seed = 11;
	int inflight_fd = -1;

	test_device_init(&device, !murder->inflight);
	device.use_state_path = true;
	frontend_init(&frontend, 1 << 20, NULL, NULL);
	frontend_listen(&frontend, device.path);
	frontend.features = murder->features;
	traffic.queue = frontend_queue_new(&frontend, 0, KILL_RING);
	uint32_t base = frontend_queue_base(traffic.queue);
	for (unsigned round = 0; round <= KILL_ROUNDS; round++) {
		pid_t child = victim_start(&device, murder);
		frontend_accept(&frontend);
		frontend_negotiate(&frontend, murder->features, TEST_PROTOCOL);
		if (murder->inflight) {
			if (inflight_fd < 0)
				inflight_fd = inflight_fd_get(&frontend, &place);
			inflight_fd_set(&frontend, &place, inflight_fd);
		}
		frontend_share_memory(&frontend);
		frontend_queue_start(traffic.queue, base);
		uint64_t goal = traffic.completed + 50 + rand_r(&seed) % 500;
		while (traffic.completed < goal) {
			traffic_offer(&traffic);
			for (unsigned i = 0; i < 1000000 && !traffic_take(&traffic); i++)
				if (i > 1000)
					usleep(10);
		}
		if (round == KILL_ROUNDS) {
			for (unsigned i = 0; i < 100000 && traffic.completed < traffic.sequence; i++)
				if (!traffic_take(&traffic))
					usleep(10);
			kill_now(&child);
			break;
		}
		traffic_offer(&traffic);
		kill_now(&child);
		frontend_disconnect(&frontend);
		/* What a front end such as QEMU tells the next: for split rings the used index, for packed ones what
		 * it knew at the start. */
		if (!traffic.queue->packed)
			base = ((uint16_t *)frontend_at(&frontend, traffic.queue->device))[1];
		if (round % 2) {
			while (traffic_take(&traffic))
				;
			traffic_offer(&traffic);
		}
	}
	if (traffic.completed != traffic.sequence)
		fail_msg("%s: %llu of %llu completed", murder->name, (unsigned long long)traffic.completed,
			 (unsigned long long)traffic.sequence);
	if (inflight_fd >= 0)
		close(inflight_fd);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void test_killed_at_any_moment(void **state)
{
	static const struct murder murders[] = {
		{ "split, in order", MODERN, false },
		{ "packed, in order, with its record", PACKED, false },
		{ "split, in-flight region", MODERN, true },
		{ "packed, in-flight region", PACKED, true },
	};

	for (unsigned i = 0; i < sizeof(murders) / sizeof(murders[0]); i++)
		murder_rounds(&murders[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inflight),
		cmocka_unit_test(test_inflight_bad_elements),
		cmocka_unit_test(test_inflight_split_unsettled),
		cmocka_unit_test(test_inflight_packed_garbage),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_record_of_a_ring_made_anew),
		cmocka_unit_test(test_record_file),
		cmocka_unit_test(test_killed_at_any_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
