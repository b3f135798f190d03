/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the rings of a port through the lives of dpuds, against one of the test's own that dies when the test wants
 * it to, while queues are polled. */
#include "rings.h"

#include <errno.h>
#include <string.h>
#include "test_dpud.h"

enum { SLOTS = 64 };

struct port {
	struct link *link;
	struct rings rings;
	struct link_listener listener;
	atomic_uint opened, complaints;
	atomic_int complaint;
};

static void opened(void *ctx, const struct eswitch_port_info *info)
{
	atomic_fetch_add(&((struct port *)ctx)->opened, 1);
}

static void lost(void *ctx)
{
	rings_lost(&((struct port *)ctx)->rings);
}

static void gone(void *ctx, uint32_t number)
{
	rings_lost(&((struct port *)ctx)->rings);
}

static bool attend(void *ctx)
{
	struct port *port = ctx;
	char sentence[LINK_SENTENCE_BYTES];
	int status = rings_reopen(&port->rings, sentence);

	atomic_store(&port->complaint, status);
	atomic_fetch_add(&port->complaints, status < 0);
	return status < 0;
}

static void port_new(struct port *port)
{
	char sentence[LINK_SENTENCE_BYTES] = "";

	memset(port, 0, sizeof(*port));
	if (link_get(dpud.path, "", &port->link, sentence) < 0)
		fail_msg("%s", sentence);
	rings_init(&port->rings, port->link, opened, port);
	port->listener = (struct link_listener){ .lost = lost, .gone = gone, .attend = attend, .ctx = port };
	link_listen(port->link, &port->listener);
}

static void port_free(struct port *port)
{
	link_unlisten(port->link, &port->listener);
	rings_stop(&port->rings);
	rings_fini(&port->rings);
	link_put(port->link);
}

static int start(struct port *port)
{
	const struct rings_wanted wanted = {
		.representor = "web", .number = PORT_NUMBER, .queue_pairs = 1, .to_host = 1, .slots = SLOTS
	};
	char sentence[LINK_SENTENCE_BYTES] = "";

	return rings_start(&port->rings, &wanted, sentence);
}

/* Between two bursts of who polls. */
static void keep_up(struct port *port, struct rings_place *place, struct eswitch_ring_end *end, bool producer)
{
	if (port->rings.turn != place->turn)
		rings_move(&port->rings, place, end, 0, producer);
}

static void queues_follow(void **state)
{
	struct rings_place rx = { 0 }, tx = { 0 };
	struct eswitch_ring_end to_host = { .faults = 7 }, from_host = { 0 };
	struct port port;

	port_new(&port);
	keep_up(&port, &rx, &to_host, false);
	keep_up(&port, &tx, &from_host, true);
	assert_false(eswitch_ring_look(&to_host)); /* nothing is open: nothing to take, no room, nothing to publish */
	assert_int_equal(eswitch_ring_room(&from_host), 0);
	assert_false(eswitch_ring_look(&from_host) || eswitch_ring_publish(&from_host) || eswitch_ring_arm(&to_host));
	assert_int_equal(start(&port), 0);
	assert_int_equal(port.opened, 1);
	for (unsigned round = 1; round <= 4; round++) {
		WAIT_FOR(port.opened == round);
		keep_up(&port, &rx, &to_host, false);
		keep_up(&port, &tx, &from_host, true);
		assert_true(eswitch_ring_look(&to_host) && eswitch_ring_look(&from_host));
		assert_int_equal(eswitch_ring_room(&from_host), SLOTS);
		assert_int_equal(to_host.faults, 7);
		struct rings_open *old = rx.open;
		assert_ptr_equal(old, tx.open);
		dpud_die();
		WAIT_FOR(port.opened == round + 1);
		/* Who has not looked yet holds memory that is there still. */
		assert_int_equal(atomic_load(&from_host.ring->tail), 0);
		keep_up(&port, &tx, &from_host, true);
		assert_ptr_not_equal(tx.open, old);
		assert_int_equal(atomic_load(&to_host.ring->head), 0);
	}
	rings_leave(&port.rings, &rx);
	rings_leave(&port.rings, &tx);
	port_free(&port);
}

/* A start that finds no dpud is carried out when there is one, however often dpud dies in the middle. */
static void started_while_away(void **state)
{
	struct rings_place rx = { 0 };
	struct eswitch_ring_end to_host = { 0 };
	struct port port;

	port_new(&port);
	atomic_store(&dpud.fault, FAULT_HANG_UP); /* says nothing, and dies at any question */
	assert_int_equal(start(&port), 0);
	WAIT_FOR(!link_is_up(port.link));
	assert_int_equal(start(&port), 0);
	assert_int_equal(port.opened, 0);
	atomic_store(&dpud.fault, FAULT_DIE_AT_OPEN); /* each that comes up, before it has opened the port */
	WAIT_FOR(port.complaints >= 3);
	assert_int_equal(port.opened, 0);
	atomic_store(&dpud.fault, FAULT_NONE);
	WAIT_FOR(port.opened == 1);
	keep_up(&port, &rx, &to_host, false);
	assert_true(eswitch_ring_look(&to_host));
	rings_leave(&port.rings, &rx);
	port_free(&port);
}

/* One that is refused is tried again; a representor with another number is another one. */
static void refused(void **state)
{
	struct port port;

	port_new(&port);
	atomic_store(&dpud.fault, FAULT_REFUSE_OPEN);
	assert_int_equal(start(&port), -ENODEV);
	atomic_store(&dpud.fault, FAULT_NONE);
	assert_int_equal(start(&port), 0);
	atomic_store(&dpud.fault, FAULT_REFUSE_OPEN);
	dpud_die();
	WAIT_FOR(port.complaints >= 2);
	assert_int_equal(port.complaint, -ENODEV);
	atomic_store(&dpud.fault, FAULT_OTHER_NUMBER);
	WAIT_FOR(port.complaint == -ESTALE);
	assert_int_equal(port.opened, 1);
	atomic_store(&dpud.fault, FAULT_NONE);
	WAIT_FOR(port.opened == 2);
	/* The representor is deleted and made again. */
	dpud_say(&(struct eswitch_message){ .type = ESWITCH_PORT_GONE, .number = PORT_NUMBER });
	WAIT_FOR(port.opened == 3);
	port_free(&port);
}

/* ---- threads that poll while dpuds die ---- */

struct poller {
	struct port *port;
	pthread_t thread;
	bool producer;
	atomic_bool stop;
	atomic_uint moves;
};

static void *poll_rings(void *arg)
{
	struct poller *poller = arg;
	struct rings_place place = { 0 };
	struct eswitch_ring_end end = { 0 };

	while (!atomic_load(&poller->stop)) {
		unsigned turn = place.turn;
		keep_up(poller->port, &place, &end, poller->producer);
		if (place.turn != turn)
			atomic_fetch_add(&poller->moves, 1);
		eswitch_ring_look(&end);
		if (poller->producer && eswitch_ring_room(&end) > 0) {
			end.slots[end.own++ & end.mask].length = 1;
			eswitch_ring_publish(&end);
		}
	}
	rings_leave(&poller->port->rings, &place);
	return NULL;
}

static void polled_meanwhile(void **state)
{
	struct poller pollers[2] = { 0 };
	struct port port;

	port_new(&port);
	assert_int_equal(start(&port), 0);
	for (unsigned i = 0; i < 2; i++) {
		pollers[i].port = &port;
		pollers[i].producer = i;
		assert_int_equal(pthread_create(&pollers[i].thread, NULL, poll_rings, &pollers[i]), 0);
	}
	for (unsigned round = 1; round <= 4; round++) {
		WAIT_FOR(port.opened == round);
		unsigned moved[2] = { pollers[0].moves, pollers[1].moves };
		dpud_die();
		WAIT_FOR(pollers[0].moves > moved[0] && pollers[1].moves > moved[1]);
	}
	WAIT_FOR(port.opened == 5);
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&pollers[i].stop, true);
		pthread_join(pollers[i].thread, NULL);
	}
	port_free(&port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(queues_follow, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(started_while_away, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(refused, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(polled_meanwhile, dpud_start, dpud_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
