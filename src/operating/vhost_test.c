/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user port with workers: two guests over a wire, queues that come and go under traffic. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_net.h>
#include "operating/net_rig.h"
#include "tests/lib/vhost_frontend.h"

#define BIT(n)   (UINT64_C(1) << (n))
#define MODERN   (BIT(32) | BIT(30) | BIT(29) | BIT(VIRTIO_NET_F_MRG_RXBUF))
#define PACKED   (MODERN | BIT(34))
#define PROTOCOL (BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4)) /* MQ, LOG_SHMFD, RARP, REPLY_ACK, MTU */

enum { SIZE = 128, BUFFER = 2048, SET_FEATURES = 2, SET_LOG_BASE = 6, VRING_CALL = 13, MTU = 20, RARP = 19 };
enum { MEMORY = 4 << 20, PAGE = 4096, MOVED_FRAMES = 20000 };

/* A guest with receive buffers always posted. */
struct guest {
	struct frontend frontend;
	struct port *port;
	struct frontend_queue *rx[2], *tx[2];
	uint64_t rx_place[2], tx_place[2];
	uint64_t received, sent[2];
	uint8_t last[BUFFER];
	uint32_t last_length;
	char path[64], state_path[64];
};

static void pump(void *ctx)
{
	struct rig *rig = ctx;

	assert_int_equal(loop_once(rig->loop, 1), 0);
}

static void guest_open(struct guest *guest, struct rig *rig, struct wire *wire, unsigned side, unsigned pairs)
{
	struct port_callbacks callbacks;
	struct dpu_error err;

	memset(guest, 0, sizeof(*guest));
	snprintf(guest->path, sizeof(guest->path), "/tmp/sdpu-port-%d-%u.sock", getpid(), side);
	snprintf(guest->state_path, sizeof(guest->state_path), "/dev/shm/sdpu-port-%d-%u", getpid(), side);
	struct port_vhost_options options = { .socket_path = guest->path,
					      .server = side == 0,
					      .queue_pairs = (uint16_t)pairs,
					      .mtu = 1500,
					      .state_path = guest->state_path,
					      .reconnect_ms = 10 };
	wire_callbacks(wire, rig, side, &callbacks);
	if (side == 1) {
		frontend_init(&guest->frontend, MEMORY, pump, rig);
		frontend_listen(&guest->frontend, guest->path);
	}
	if (port_vhost_open(&options, side ? "b" : "a", rig->loop, test_pool(), &callbacks, &guest->port, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
	if (side == 0)
		frontend_init(&guest->frontend, MEMORY, pump, rig);
}

static void post(struct guest *guest, unsigned pair, unsigned slot)
{
	struct frontend_buffer buffer = { guest->rx_place[pair] + (uint64_t)slot * BUFFER, BUFFER, true };

	assert_int_equal(frontend_offer(guest->rx[pair], &buffer, 1, false), slot);
}

static void guest_start_pair(struct guest *guest, unsigned pair)
{
	struct frontend *frontend = &guest->frontend;

	guest->rx[pair] = frontend_queue_new(frontend, 2 * pair, SIZE);
	guest->tx[pair] = frontend_queue_new(frontend, 2 * pair + 1, SIZE);
	guest->rx_place[pair] = frontend_alloc(frontend, SIZE * BUFFER, 64);
	guest->tx_place[pair] = frontend_alloc(frontend, SIZE * BUFFER, 64);
	for (unsigned i = 0; i < SIZE; i++)
		post(guest, pair, i);
	frontend_queue_start(guest->rx[pair], frontend_queue_base(guest->rx[pair]));
	frontend_queue_start(guest->tx[pair], frontend_queue_base(guest->tx[pair]));
}

static void guest_boot(struct guest *guest, uint64_t features, unsigned pairs)
{
	if (guest->frontend.listen_fd >= 0)
		frontend_accept(&guest->frontend);
	else
		frontend_connect(&guest->frontend, guest->path);
	guest->frontend.allocated = 0;
	frontend_negotiate(&guest->frontend, features, PROTOCOL);
	frontend_share_memory(&guest->frontend);
	for (unsigned i = 0; i < pairs; i++)
		guest_start_pair(guest, i);
}

static void guest_close(struct guest *guest, struct rig *rig)
{
	atomic_bool closed = false;

	guest->port->ops->close(guest->port, set_flag, &closed);
	WAIT_FOR(rig, closed);
	frontend_fini(&guest->frontend);
	unlink(guest->path);
	unlink(guest->state_path);
}

/* Sends one frame and kicks if asked to; false when the ring is full. */
static bool guest_send(struct guest *guest, unsigned pair, uint32_t length, uint8_t mark)
{
	struct frontend_queue *queue = guest->tx[pair];
	struct frontend_buffer buffer = { guest->tx_place[pair] + guest->sent[pair] % SIZE * BUFFER, 12 + length,
					  false };
	uint16_t id;
	uint32_t used;

	while (frontend_take(queue, &id, &used))
		;
	if (queue->free_count == 0)
		return false;
	uint8_t *at = frontend_at(&guest->frontend, buffer.offset);
	memset(at, 0, 12);
	memset(at + 12, mark, length);
	assert_true(frontend_offer(queue, &buffer, 1, false) >= 0);
	guest->sent[pair]++;
	if (frontend_wants_kick(queue, 1))
		frontend_kick(queue);
	return true;
}

static void guest_receive(struct guest *guest, unsigned pair)
{
	uint16_t id;
	uint32_t length;

	while (frontend_take(guest->rx[pair], &id, &length)) {
		const uint8_t *at = frontend_at(&guest->frontend, guest->rx_place[pair] + (uint64_t)id * BUFFER);
		guest->received++;
		guest->last_length = length - 12;
		memcpy(guest->last, at + 12, length - 12);
		for (uint32_t i = 0; i < length - 12; i++)
			assert_int_equal(at[12 + i], at[12]);
		post(guest, pair, id);
	}
}

static void wait_received(struct rig *rig, struct guest *guest, uint64_t count)
{
	uint64_t deadline = clock_ns() + PATIENCE_NS;

	while (guest->received < count) {
		loop_once(rig->loop, 0);
		for (unsigned i = 0; i < 2; i++)
			if (guest->rx[i])
				guest_receive(guest, i);
		if (clock_ns() > deadline)
			fail_msg("%llu of %llu frames", (unsigned long long)guest->received, (unsigned long long)count);
	}
	assert_int_equal(guest->received, count);
}

struct pair_of_guests {
	struct rig rig;
	struct wire wire;
	struct guest a, b;
};

static void both_up(struct pair_of_guests *both, uint64_t features, unsigned pairs, enum worker_policy policy)
{
	memset(both, 0, sizeof(*both));
	rig_up(&both->rig, 2, policy);
	guest_open(&both->a, &both->rig, &both->wire, 0, pairs);
	guest_open(&both->b, &both->rig, &both->wire, 1, pairs);
	guest_boot(&both->a, features, pairs);
	guest_boot(&both->b, features, pairs);
	WAIT_FOR(&both->rig, both->wire.attached[0] == pairs && both->wire.attached[1] == pairs);
	assert_true(both->a.port->up);
	assert_true(both->b.port->up);
}

static void both_down(struct pair_of_guests *both)
{
	guest_close(&both->a, &both->rig);
	guest_close(&both->b, &both->rig);
	assert_int_equal(both->wire.attached[0] + both->wire.attached[1], 0);
	rig_down(&both->rig);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
}

/* Bursts both ways, then single frames to workers that sleep. */
static void test_traffic(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct pair_of_guests *both = malloc(sizeof(*both));
		both_up(both, packed ? PACKED : MODERN, 1, WORKER_POWER_SAVE);
		for (unsigned round = 0; round < 200; round++) {
			unsigned burst = round % 60;
			for (unsigned i = 0; i < burst; i++) {
				assert_true(guest_send(&both->a, 0, 60 + round, (uint8_t)round));
				assert_true(guest_send(&both->b, 0, 1514, (uint8_t)i));
			}
			wait_received(&both->rig, &both->b, both->a.sent[0]);
			wait_received(&both->rig, &both->a, both->b.sent[0]);
		}
		assert_int_equal(both->a.last_length, 1514);
		for (unsigned round = 0; round < 20; round++) {
			run_for(&both->rig, 2 * CLOCK_NS_PER_MS);
			frontend_want_interrupt(both->b.rx[0], true, 0);
			frontend_interrupted(both->b.rx[0]);
			guest_send(&both->a, 0, 100, (uint8_t)round);
			wait_received(&both->rig, &both->b, both->a.sent[0]);
			WAIT_FOR(&both->rig, frontend_interrupted(both->b.rx[0]));
		}
		assert_int_equal(both->wire.full + both->wire.failed + both->wire.too_long + both->wire.misrouted, 0);
		assert_true(stats_of(&both->rig, 0).sleeps > 10);
		both_down(both);
		free(both);
	}
}

static void test_multi_queue(void **state)
{
	struct pair_of_guests *both = malloc(sizeof(*both));

	both_up(both, MODERN, 2, WORKER_BALANCED);
	for (unsigned i = 0; i < 100; i++)
		for (unsigned pair = 0; pair < 2; pair++)
			guest_send(&both->a, pair, 100, (uint8_t)i);
	wait_received(&both->rig, &both->b, both->a.sent[0] + both->a.sent[1]);
	/* One pair is switched off: the other carries all, and the link stays up. */
	frontend_queue_stop(both->b.rx[1]);
	assert_int_equal(both->wire.attached[1], 1);
	for (unsigned i = 0; i < 60; i++) /* both fit into one ring */
		for (unsigned pair = 0; pair < 2; pair++)
			guest_send(&both->a, pair, 100, (uint8_t)i);
	wait_received(&both->rig, &both->b, both->a.sent[0] + both->a.sent[1]);
	assert_true(both->b.port->up);
	both_down(both);
	free(both);
}

/* Guests vanish and come back, in both roles; packed rings go on where they were. */
static void test_reconnect_under_traffic(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct pair_of_guests *both = malloc(sizeof(*both));
		uint64_t features = packed ? PACKED : MODERN;
		both_up(both, features, 1, WORKER_BALANCED);
		for (unsigned round = 0; round < 10; round++) {
			struct guest *victim = round % 2 ? &both->a : &both->b;
			struct guest *other = round % 2 ? &both->b : &both->a;
			for (unsigned i = 0; i < 20; i++)
				guest_send(other, 0, 200, (uint8_t)i);
			frontend_disconnect(&victim->frontend);
			WAIT_FOR(&both->rig, !victim->port->up);
			/* The same guest, its rings as they are: a connection that broke. */
			if (victim->frontend.listen_fd >= 0)
				frontend_accept(&victim->frontend);
			else
				frontend_connect(&victim->frontend, victim->path);
			frontend_negotiate(&victim->frontend, features, PROTOCOL);
			frontend_share_memory(&victim->frontend);
			frontend_queue_start(victim->rx[0], frontend_queue_base(victim->rx[0]));
			frontend_queue_start(victim->tx[0], frontend_queue_base(victim->tx[0]));
			WAIT_FOR(&both->rig, victim->port->up);
			/* What was under way may be lost, what is sent now is not. */
			run_for(&both->rig, 5 * CLOCK_NS_PER_MS);
			guest_receive(victim, 0);
			uint64_t base_victim = victim->received, base_other;
			guest_receive(other, 0);
			base_other = other->received;
			for (unsigned i = 0; i < 30; i++) {
				guest_send(other, 0, 200, (uint8_t)i);
				guest_send(victim, 0, 300, (uint8_t)i);
			}
			wait_received(&both->rig, victim, base_victim + 30);
			wait_received(&both->rig, other, base_other + 30);
		}
		both_down(both);
		free(both);
	}
}

/* A queue that is only set up anew is no link change. */
static void test_queue_bounce(void **state)
{
	struct pair_of_guests *both = malloc(sizeof(*both));

	both_up(both, MODERN, 1, WORKER_BALANCED);
	unsigned changes = both->wire.changes;
	for (unsigned i = 0; i < 10; i++) {
		uint64_t index = i % 2;
		frontend_send(&both->a.frontend, VRING_CALL, 1, &index, sizeof(index),
			      index ? &both->a.tx[0]->call_fd : &both->a.rx[0]->call_fd, 1);
		frontend_sync(&both->a.frontend);
		guest_send(&both->a, 0, 64, (uint8_t)i);
		wait_received(&both->rig, &both->b, both->a.sent[0]);
	}
	run_for(&both->rig, 50 * CLOCK_NS_PER_MS);
	assert_int_equal(both->wire.changes, changes);
	frontend_disconnect(&both->a.frontend);
	WAIT_FOR(&both->rig, both->wire.changes == changes + 1);
	assert_false(both->a.port->up);
	both_down(both);
	free(both);
}

/* ---- a guest that is migrated while frames come ---- */

#define LOG_BYTES ((FRONTEND_GPA + MEMORY) / PAGE / 8)

struct migration {
	struct guest *guest;
	int log_fd;
	_Atomic uint64_t *log; /* of the guest's memory; what is below its first page is not looked at */
	uint8_t *mapped, *copy;
};

static void migration_begin(struct migration *migration, struct guest *guest, uint64_t features)
{
	uint64_t place[2] = { LOG_BYTES, 0 }, logged = features | BIT(26), none;

	migration->guest = guest;
	migration->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(migration->log_fd, LOG_BYTES), 0);
	migration->mapped = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, migration->log_fd, 0);
	assert_ptr_not_equal(migration->mapped, MAP_FAILED);
	migration->log = (_Atomic uint64_t *)(migration->mapped + FRONTEND_GPA / PAGE / 8);
	frontend_send(&guest->frontend, SET_LOG_BASE, 1, place, sizeof(place), &migration->log_fd, 1);
	frontend_reply(&guest->frontend, SET_LOG_BASE, &none, sizeof(none), NULL);
	assert_int_equal(frontend_acked(&guest->frontend, SET_FEATURES, &logged, sizeof(logged), NULL, 0), 0);
	migration->copy = malloc(MEMORY);
	memcpy(migration->copy, guest->frontend.memory, MEMORY);
}

/* Copies what is marked since the last time, while workers write. */
static void migration_sync(struct migration *migration)
{
	for (unsigned word = 0; word < MEMORY / PAGE / 64; word++) {
		uint64_t bits = atomic_exchange(&migration->log[word], 0);

		for (; bits; bits &= bits - 1) {
			uint64_t at = (word * UINT64_C(64) + (unsigned)__builtin_ctzll(bits)) * PAGE;
			memcpy(migration->copy + at, migration->guest->frontend.memory + at, PAGE);
		}
	}
}

static void assert_moved(const struct migration *migration, uint64_t place, uint64_t bytes)
{
	assert_memory_equal(migration->copy + place, migration->guest->frontend.memory + place, bytes);
}

/* What only the device writes is there. */
static void migration_check(const struct migration *migration)
{
	const struct guest *guest = migration->guest;

	assert_moved(migration, guest->rx_place[0], SIZE * BUFFER);
	if (guest->rx[0]->packed)
		return;
	assert_moved(migration, guest->rx[0]->device, 6 + SIZE * 8);
	assert_moved(migration, guest->tx[0]->device, 6 + SIZE * 8);
}

static void migration_end(struct migration *migration)
{
	munmap(migration->mapped, LOG_BYTES);
	close(migration->log_fd);
	free(migration->copy);
}

static void send_some(struct guest *guest, unsigned round)
{
	for (unsigned i = 0; i < 1 + round % 30; i++)
		guest_send(guest, 0, 60 + round * 97 % 1400, (uint8_t)(round + i));
}

static void test_migration(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct pair_of_guests *both = malloc(sizeof(*both));
		struct migration migration;

		both_up(both, packed ? PACKED : MODERN, 1, WORKER_BALANCED);
		migration_begin(&migration, &both->b, packed ? PACKED : MODERN);
		for (unsigned round = 0; both->b.received < MOVED_FRAMES; round++) {
			send_some(&both->a, round);
			send_some(&both->b, round);
			loop_once(both->rig.loop, 0);
			guest_receive(&both->a, 0);
			guest_receive(&both->b, 0);
			if (round % 8 == 0)
				migration_sync(&migration);
		}
		/* Its rings stop under traffic. Then nothing is written any more. */
		send_some(&both->a, 29);
		frontend_queue_stop(both->b.rx[0]);
		frontend_queue_stop(both->b.tx[0]);
		migration_sync(&migration);
		migration_check(&migration);
		send_some(&both->a, 29);
		run_for(&both->rig, 20 * CLOCK_NS_PER_MS);
		migration_check(&migration);
		migration_end(&migration);
		both_down(both);
		free(both);
	}
}

static unsigned times(const char *notices, const char *name)
{
	unsigned count = 0;

	while ((notices = strstr(notices, name)) != NULL) {
		notices += strlen(name);
		count++;
	}
	return count;
}

/* A front end cannot fill the log, whatever it says in turns. */
static void test_talkative_front_end(void **state)
{
	struct pair_of_guests *both = malloc(sizeof(*both));
	uint64_t mtu = 9000, mac = 2;

	both_up(both, MODERN, 1, WORKER_BALANCED);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(frontend_acked(&both->a.frontend, MTU, &mtu, sizeof(mtu), NULL, 0), 1);
		assert_int_equal(frontend_acked(&both->a.frontend, RARP, &mac, sizeof(mac), NULL, 0), 0);
	}
	assert_int_equal(times(both->wire.notices, "request-refused"), 1);
	assert_int_equal(times(both->wire.notices, "migrated-here"), 1);
	both_down(both);
	free(both);
}

/* What a guest does wrong is told and counted, and hurts nobody else. */
static void test_bad_guest(void **state)
{
	struct pair_of_guests *both = malloc(sizeof(*both));
	uint64_t value = 9000;

	both_up(both, MODERN, 1, WORKER_BALANCED);
	assert_int_equal(frontend_acked(&both->a.frontend, MTU, &value, sizeof(value), NULL, 0), 1);
	/* A header that lies. */
	struct frontend_buffer buffer = { both->a.tx_place[0], 12 + 100, false };
	uint8_t *at = frontend_at(&both->a.frontend, buffer.offset);
	memset(at, 0xff, 112);
	frontend_offer(both->a.tx[0], &buffer, 1, false);
	frontend_kick(both->a.tx[0]);
	WAIT_FOR(&both->rig, both->a.port->rx_drops[PORT_RX_BAD_HEADER] == 1);
	/* A frame that lies outside the guest's memory. */
	struct port_queue_state queue = { 0 };
	buffer.offset = UINT64_C(1) << 40;
	frontend_offer(both->a.tx[0], &buffer, 1, false);
	frontend_kick(both->a.tx[0]);
	WAIT_FOR(&both->rig, both->a.port->rx_drops[PORT_RX_BAD_DESCRIPTOR] == 1);
	both->a.port->ops->describe_queue(both->a.port, 0, &queue);
	assert_non_null(strstr(queue.fault, "outside the guest's memory"));
	assert_null(queue.broken);
	assert_true(both->a.port->up);
	/* A ring that lies. */
	((uint16_t *)frontend_at(&both->a.frontend, both->a.tx[0]->driver))[1] += 1000;
	frontend_kick(both->a.tx[0]);
	WAIT_FOR(&both->rig, strstr(both->wire.notices, "queue-broken") != NULL);
	WAIT_FOR(&both->rig, !both->a.port->up);
	assert_true(both->b.port->up);
	both_down(both);
	free(both);
}

static void test_options(void **state)
{
	struct rig rig;
	struct port *port;
	struct port_callbacks callbacks = { 0 };
	struct dpu_error err;
	struct port_vhost_options options = { .socket_path = "/tmp/x", .queue_pairs = 0, .mtu = 1500 };

	rig_up(&rig, 1, WORKER_BALANCED);
	assert_int_equal(port_vhost_open(&options, "x", rig.loop, test_pool(), &callbacks, &port, &err), -EINVAL);
	assert_string_equal(err.path, "queue_pairs");
	options.queue_pairs = 65;
	assert_int_equal(port_vhost_open(&options, "x", rig.loop, test_pool(), &callbacks, &port, &err), -EINVAL);
	options.queue_pairs = 1;
	options.mtu = 60;
	assert_int_equal(port_vhost_open(&options, "x", rig.loop, test_pool(), &callbacks, &port, &err), -EINVAL);
	assert_string_equal(err.path, "mtu");
	options.mtu = 1500;
	options.server = true;
	options.socket_path = "/nonexistent/directory/socket";
	assert_true(port_vhost_open(&options, "x", rig.loop, test_pool(), &callbacks, &port, &err) < 0);
	assert_string_equal(err.path, "socket_path");
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_multi_queue),
		cmocka_unit_test(test_reconnect_under_traffic),
		cmocka_unit_test(test_queue_bounce),
		cmocka_unit_test(test_migration),
		cmocka_unit_test(test_bad_guest),
		cmocka_unit_test(test_talkative_front_end),
		cmocka_unit_test(test_options),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
