/* SPDX-License-Identifier: BSD-3-Clause */
/* The dirty log is complete: after each turn of the device every page that has changed is marked. The driver writes
 * between the turns only, so that what changes in one is the device's. */
#include <stdlib.h>
#include <sys/mman.h>
#include "device/virtio/test_net.h"

enum {
	PAGE = 4096,
	SIZE = 512, /* a used ring and a packed ring have several pages */
	BUFFERS = 256,
	BUFFER_BYTES = 6000, /* most lie in two pages, some in three */
	ROUNDS = 300,
	MEMORY = 8 << 20, /* in two regions */
};

#define LOG_BYTES ((FRONTEND_GPA + MEMORY) / PAGE / 8)
#define LOG_GUARD PAGE /* behind the log; stays as it is */
#define LOG_ALL   VHOST_BIT(VHOST_F_LOG_ALL_BIT)

struct logged {
	struct test_net net;
	uint64_t features, given;
	int log_fd;
	uint8_t *log, *before;
	uint64_t received;                 /* where receive buffers are */
	uint64_t sent;                     /* what the guest sends: a page that only the driver writes */
	uint16_t owner[FRONTEND_MAX_SIZE]; /* which receive buffer the element with this id is */
	uint16_t spare[BUFFERS], spares;   /* those that are not offered */
	unsigned seed, changed;
};

static unsigned dice(struct logged *logged, unsigned sides)
{
	return (unsigned)rand_r(&logged->seed) % sides;
}

/* ---- the log ---- */

static void log_give(struct logged *logged, uint64_t bytes)
{
	struct vhost_log place = { .size = bytes };
	uint64_t none;

	frontend_send(&logged->net.guest, VHOST_SET_LOG_BASE, 1, &place, sizeof(place), &logged->log_fd, 1);
	frontend_reply(&logged->net.guest, VHOST_SET_LOG_BASE, &none, sizeof(none), NULL);
	logged->given = bytes;
}

/* In QEMU's order. */
static void logging_set(struct logged *logged, bool on)
{
	uint64_t features = logged->features | (on ? LOG_ALL : 0);
	struct frontend_queue *queues[2] = { logged->net.rx, logged->net.tx };

	assert_int_equal(frontend_acked(&logged->net.guest, VHOST_SET_FEATURES, &features, sizeof(features), NULL, 0),
			 0);
	for (unsigned i = 0; i < 2; i++)
		frontend_queue_addr(queues[i], on, FRONTEND_GPA + queues[i]->device);
	frontend_sync(&logged->net.guest);
}

static bool is_marked(const struct logged *logged, uint64_t offset)
{
	uint64_t page = (FRONTEND_GPA + offset) / PAGE;

	return logged->log[page / 8] >> page % 8 & 1;
}

static void log_forget(struct logged *logged)
{
	memset(logged->log + FRONTEND_GPA / PAGE / 8, 0, MEMORY / PAGE / 8);
	memcpy(logged->before, logged->net.guest.memory, MEMORY);
}

/* What the log has no room for is not looked at. */
static void log_check(struct logged *logged, const char *turn)
{
	const uint8_t *now = logged->net.guest.memory;
	uint64_t end = logged->given * 8 * PAGE - FRONTEND_GPA;

	for (uint64_t at = 0; at < end; at += PAGE) {
		if (memcmp(now + at, logged->before + at, PAGE) == 0)
			continue;
		logged->changed++;
		if (!is_marked(logged, at))
			fail_msg("%s: the page at 0x%llx has changed and is not marked", turn, (unsigned long long)at);
	}
	assert_false(is_marked(logged, logged->sent));
	for (uint64_t at = logged->given; at < LOG_BYTES + LOG_GUARD; at++)
		assert_int_equal(logged->log[at], 0);
	log_forget(logged);
}

static void logged_up(struct logged *logged, uint64_t features, uint64_t log_bytes)
{
	memset(logged, 0, sizeof(*logged));
	test_net_up(&logged->net, features, SIZE);
	logged->features = features;
	logged->seed = 7;
	logged->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(logged->log_fd, LOG_BYTES + LOG_GUARD), 0);
	logged->log = mmap(NULL, LOG_BYTES + LOG_GUARD, PROT_READ | PROT_WRITE, MAP_SHARED, logged->log_fd, 0);
	assert_ptr_not_equal(logged->log, MAP_FAILED);
	logged->before = malloc(MEMORY);
	logged->sent = frontend_alloc(&logged->net.guest, PAGE, PAGE);
	/* Half of them in each region, one in both. */
	logged->net.guest.allocated = MEMORY / 2 - BUFFERS / 2 * BUFFER_BYTES - BUFFER_BYTES / 2;
	logged->received = frontend_alloc(&logged->net.guest, (uint64_t)BUFFERS * BUFFER_BYTES, 4);
	for (unsigned i = 0; i < BUFFERS; i++)
		logged->spare[logged->spares++] = (uint16_t)i;
	log_give(logged, log_bytes);
	logging_set(logged, true);
	log_forget(logged);
}

static void logged_down(struct logged *logged)
{
	test_net_down(&logged->net);
	munmap(logged->log, LOG_BYTES + LOG_GUARD);
	close(logged->log_fd);
	free(logged->before);
}

/* ---- turns ---- */

static bool offer_receive(struct logged *logged)
{
	unsigned which = dice(logged, logged->spares), pieces = 1 + dice(logged, 3);
	uint16_t buffer = logged->spare[which];
	uint64_t at = logged->received + (uint64_t)buffer * BUFFER_BYTES;
	struct frontend_buffer buffers[3];

	for (unsigned i = 0; i < pieces; i++) {
		uint32_t length = 1 + dice(logged, BUFFER_BYTES / pieces);
		buffers[i] = (struct frontend_buffer){ at, length, true };
		at += length;
	}
	bool indirect = logged->features & VHOST_BIT(28) && dice(logged, 2);
	int id = frontend_offer(logged->net.rx, buffers, pieces, indirect);
	if (id < 0)
		return false;
	logged->owner[id] = buffer;
	logged->spare[which] = logged->spare[--logged->spares];
	return true;
}

static void driver_turn(struct logged *logged)
{
	const struct frontend_buffer frame = { logged->sent, 100, false };
	unsigned wanted = dice(logged, 100);
	uint16_t id;
	uint32_t length;

	while (frontend_take(logged->net.tx, &id, &length))
		;
	while (frontend_take(logged->net.rx, &id, &length))
		logged->spare[logged->spares++] = logged->owner[id];
	while (wanted-- > 0 && logged->spares && offer_receive(logged))
		;
	for (wanted = dice(logged, 40); wanted > 0; wanted--)
		if (frontend_offer(logged->net.tx, &frame, 1, false) < 0)
			break;
	memcpy(logged->before, logged->net.guest.memory, MEMORY);
}

static void turn_transmit(struct logged *logged)
{
	static uint8_t bytes[20000];
	struct virtio_net_tx_result result = { 0 };
	struct rte_mbuf *frames[16];
	unsigned count = 1 + dice(logged, 16), most = logged->features & MERGE ? sizeof(bytes) : BUFFER_BYTES;

	memset(bytes, (int)dice(logged, 256), sizeof(bytes));
	for (unsigned i = 0; i < count; i++)
		frames[i] = test_net_frame(bytes, 14 + dice(logged, most - 14));
	unsigned sent = virtio_net_tx(logged->net.device.queues[RX], frames, count, &result);
	rte_pktmbuf_free_bulk(frames + sent, count - sent);
}

static unsigned receive(struct logged *logged)
{
	struct virtio_net_rx_drops drops = { 0 };
	struct rte_mbuf *frames[32];

	unsigned count = virtio_net_rx(logged->net.device.queues[TX], test_net_pool, frames, 32, &drops);
	rte_pktmbuf_free_bulk(frames, count);
	return count;
}

static void turn_receive(struct logged *logged)
{
	receive(logged);
}

static void turn_sleep(struct logged *logged)
{
	while (receive(logged))
		;
	log_check(logged, "before sleep");
	assert_false(virtqueue_arm(logged->net.device.queues[TX]));
	log_check(logged, "sleep");
	virtqueue_disarm(logged->net.device.queues[TX]);
}

/* Nothing is written once the base is told, until the ring is started again. */
static void turn_restart(struct logged *logged)
{
	struct frontend_queue *queue = dice(logged, 2) ? logged->net.rx : logged->net.tx;

	uint32_t base = frontend_queue_stop(queue);
	assert_false(logged->net.device.running[queue->index]);
	log_check(logged, "stop");
	frontend_queue_start(queue, base);
}

static void turn_disable(struct logged *logged)
{
	for (uint32_t on = 0; on < 2; on++)
		frontend_set_state(&logged->net.guest, VHOST_SET_VRING_ENABLE, RX, on);
	frontend_sync(&logged->net.guest);
}

static void turn_other_log(struct logged *logged)
{
	log_give(logged, logged->given);
}

static void turn_log_again(struct logged *logged)
{
	logging_set(logged, false);
	logging_set(logged, true);
}

static const struct turn {
	const char *name;
	void (*take)(struct logged *logged);
} turns[] = {
	{ "transmit", turn_transmit },   { "transmit", turn_transmit }, { "transmit", turn_transmit },
	{ "receive", turn_receive },     { "receive", turn_receive },   { "sleep", turn_sleep },
	{ "restart", turn_restart },     { "disable", turn_disable },   { "another log", turn_other_log },
	{ "log again", turn_log_again },
};

static void run(uint64_t features, uint64_t log_bytes)
{
	struct logged *logged = malloc(sizeof(*logged));

	logged_up(logged, features, log_bytes);
	for (unsigned round = 0; round < ROUNDS; round++) {
		const struct turn *turn = &turns[dice(logged, sizeof(turns) / sizeof(turns[0]))];

		driver_turn(logged);
		turn->take(logged);
		log_check(logged, turn->name);
	}
	assert_true(logged->changed > 200);
	logged_down(logged);
	free(logged);
}

static void test_every_changed_page(void **state)
{
	static const uint64_t rings[] = { MODERN, PACKED };
	static const uint64_t more[] = { 0, MERGE, MERGE | VHOST_BIT(28) | VHOST_BIT(29) };

	for (unsigned ring = 0; ring < 2; ring++)
		for (unsigned i = 0; i < 3; i++)
			run(rings[ring] | more[i], LOG_BYTES);
}

/* Pages that it has no room for are left out, and nothing is written behind it. */
static void test_short_log(void **state)
{
	run(MODERN | MERGE, LOG_BYTES - MEMORY / PAGE / 8 / 2);
}

/* A predecessor may have died between a write to the ring and its mark: the whole ring is marked by whoever goes on. */
static void predecessor_died(uint64_t features)
{
	struct logged *logged = malloc(sizeof(*logged));
	struct frontend *guest = &logged->net.guest;

	logged_up(logged, features, LOG_BYTES);
	driver_turn(logged);
	turn_transmit(logged);
	log_forget(logged);
	frontend_disconnect(guest);
	test_device_until_gone(&logged->net.device);
	frontend_connect(guest, logged->net.device.path);
	frontend_negotiate(guest, features, TEST_PROTOCOL);
	frontend_share_memory(guest);
	log_give(logged, LOG_BYTES);
	logging_set(logged, true);
	frontend_queue_start(logged->net.rx, frontend_queue_base(logged->net.rx));
	const struct frontend_queue *rx = logged->net.rx;
	uint64_t ring = rx->packed ? rx->desc : rx->device, bytes = rx->packed ? SIZE * 16 : 6 + SIZE * 8;
	for (uint64_t at = ring; at < ring + bytes; at += PAGE)
		assert_true(is_marked(logged, at));
	assert_true(is_marked(logged, ring + bytes - 1));
	logged_down(logged);
	free(logged);
}

static void test_predecessor_died(void **state)
{
	predecessor_died(MODERN | MERGE);
	predecessor_died(PACKED | MERGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_changed_page),
		cmocka_unit_test(test_short_log),
		cmocka_unit_test(test_predecessor_died),
	};

	test_net_pool = test_eal_pool(2047);
	if (!test_net_pool)
		return 77;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	test_eal_end(test_net_pool);
	return failed;
}
