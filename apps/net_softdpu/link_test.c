/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the connection against a dpud of the test's own, which says what the test wants: greeting, ports, events,
 * loss and return, nonsense. */
#include "link.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include "test_dpud.h"

enum { SLOTS = 64 };

struct heard {
	struct link_listener listener;
	atomic_uint lost, back, changed, gone;
	struct eswitch_port_info info;
	struct link *link;
	atomic_uint attended;
};

static void lost(void *ctx)
{
	atomic_fetch_add(&((struct heard *)ctx)->lost, 1);
}

static void back(void *ctx)
{
	atomic_fetch_add(&((struct heard *)ctx)->back, 1);
}

static void changed(void *ctx, const struct eswitch_port_info *info)
{
	((struct heard *)ctx)->info = *info;
	atomic_fetch_add(&((struct heard *)ctx)->changed, 1);
}

static void gone(void *ctx, uint32_t number)
{
	atomic_fetch_add(&((struct heard *)ctx)->gone, number);
}

static struct link *get(void)
{
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link = NULL;

	if (link_get(dpud.path, "", &link, sentence) < 0)
		fail_msg("%s", sentence);
	return link;
}

/* ---- tests ---- */

static void one_connection_for_all(void **state)
{
	struct link *link = get(), *same = get();
	const struct link_region *region = link_region(link);

	assert_ptr_equal(link, same);
	assert_int_equal(dpud.greeted, 1);
	assert_int_equal(region->max_rules, RULES);
	assert_int_equal(region->workers, WORKERS);
	assert_int_equal(region->rings[RINGS - 1].slots, COMMANDS);
	link_put(link);
	assert_true(link_is_up(same));
	link_put(same);
	WAIT_FOR(dpud.connection < 0);
}

static void ports_and_events(void **state)
{
	struct heard heard = { .listener = { lost, back, changed, gone, NULL, &heard, NULL } };
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct eswitch_message event = { .type = ESWITCH_PORT_CHANGED, .port = { .number = 7, .mtu = 9000 } };
	struct link *link = get();
	struct link_port port;

	link_listen(link, &heard.listener);
	assert_int_equal(link_open_port(link, "web", 2, 2, SLOTS, 0, &port, sentence), 0);
	assert_string_equal(port.info.name, "web");
	assert_int_equal(port.info.number, 7);
	assert_int_equal(port.queue_pairs, 2);
	assert_int_equal(port.region->rings[0].head, 0);
	dpud_say(&event);
	WAIT_FOR(heard.changed == 1);
	assert_int_equal(heard.info.mtu, 9000);
	event = (struct eswitch_message){ .type = ESWITCH_PORT_GONE, .number = 7 };
	dpud_say(&event);
	WAIT_FOR(heard.gone == 7);
	link_close_port(link, &port);
	assert_int_equal(dpud.closed, 1);
	link_unlisten(link, &heard.listener);
	link_put(link);
	assert_int_equal(heard.lost, 0);
}

/* dpud dies and is back: both are told, the old region can still be read, a port of the old one is not closed at the
 * new one. */
static void loss_and_return(void **state)
{
	struct heard heard = { .listener = { lost, back, changed, gone, NULL, &heard, NULL } };
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link = get();
	struct link_port port, again;
	const struct link_region *old = link_region(link);

	link_listen(link, &heard.listener);
	atomic_store(&old->counters[3].packets, 4711);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), 0);
	for (unsigned round = 1; round <= 5; round++) {
		assert_true(link_is_up(link));
		old = link_region(link);
		dpud_die();
		WAIT_FOR(heard.lost == round);
		WAIT_FOR(heard.back == round);
		assert_true(link_is_up(link));
		assert_ptr_not_equal(link_region(link), old);
		assert_int_equal(old->counters[3].packets, round == 1 ? 4711 : 0);
		assert_int_equal(link_region(link)->counters[3].packets, 0);
	}
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &again, sentence), 0);
	link_close_port(link, &port);
	assert_int_equal(dpud.closed, 0);
	link_close_port(link, &again);
	assert_int_equal(dpud.closed, 1);
	link_put(link);
}

static bool attend_thrice(void *ctx)
{
	struct heard *heard = ctx;
	char sentence[LINK_SENTENCE_BYTES];
	struct link_port port;

	/* It may call the link. */
	if (link_open_port(heard->link, "web", 1, 1, SLOTS, 0, &port, sentence) < 0)
		return true;
	link_close_port(heard->link, &port);
	return atomic_fetch_add(&heard->attended, 1) + 1 < 3;
}

/* Who has more to do is called again, at each return of dpud, after its words, and no more once there is nothing. */
static void attending(void **state)
{
	struct heard heard = { .listener = { .attend = attend_thrice, .ctx = &heard }, .link = get() };
	struct eswitch_message event = { .type = ESWITCH_PORT_GONE, .number = PORT_NUMBER };

	link_listen(heard.link, &heard.listener);
	dpud_die();
	WAIT_FOR(heard.attended == 3);
	usleep(300000);
	assert_int_equal(heard.attended, 3);
	dpud_say(&event);
	WAIT_FOR(heard.attended == 4);
	link_unlisten(heard.link, &heard.listener);
	dpud_die();
	WAIT_FOR(dpud.greeted == 3);
	assert_int_equal(heard.attended, 4);
	link_put(heard.link);
}

/* While it is away calls fail at once, with a sentence. */
static void away(void **state)
{
	struct heard heard = { .listener = { lost, back, changed, gone, NULL, &heard, NULL } };
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link = get();
	struct link_port port;

	link_listen(link, &heard.listener);
	atomic_store(&dpud.fault, FAULT_HANG_UP);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), -ECONNRESET);
	WAIT_FOR(heard.lost == 1);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), -ENOTCONN);
	assert_non_null(strstr(sentence, dpud.path));
	atomic_store(&dpud.fault, FAULT_NONE);
	WAIT_FOR(heard.back == 1);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), 0);
	link_close_port(link, &port);
	link_put(link);
}

static void nonsense_in_the_greeting(void **state)
{
	static const struct {
		enum fault fault;
		int status;
	} cases[] = {
		{ FAULT_MAGIC, -EPROTO },    { FAULT_STATES, -EPROTO }, { FAULT_COUNTERS, -EPROTO },
		{ FAULT_COMMANDS, -EPROTO }, { FAULT_SMALL, -EPROTO },  { FAULT_NO_FDS, -EPROTO },
		{ FAULT_SHORT, -EPROTO },    { FAULT_REFUSE, -ENODEV }, { FAULT_HANG_UP, -ECONNRESET },
	};
	struct link *link;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char sentence[LINK_SENTENCE_BYTES] = "";
		atomic_store(&dpud.fault, cases[i].fault);
		assert_int_equal(link_get(dpud.path, "sw9", &link, sentence), cases[i].status);
		assert_true(sentence[0]);
		if (cases[i].fault == FAULT_REFUSE)
			assert_string_equal(sentence, "there is no eswitch \"sw9\"");
	}
	atomic_store(&dpud.fault, FAULT_NONE);
	link_put(get());
}

static void nonsense_about_ports(void **state)
{
	static const enum fault faults[] = { FAULT_PORT_SLOTS, FAULT_PORT_FDS };
	char sentence[LINK_SENTENCE_BYTES] = "", name[300];
	struct link *link = get();
	struct link_port port;

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		atomic_store(&dpud.fault, faults[i]);
		assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), -EPROTO);
		assert_true(link_is_up(link));
	}
	atomic_store(&dpud.fault, FAULT_NONE);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(link_open_port(link, name, 1, 1, SLOTS, 0, &port, sentence), -ENAMETOOLONG);
	assert_int_equal(link_open_port(link, "web", 17, 17, SLOTS, 0, &port, sentence), -EINVAL);
	link_put(link);
}

static void nobody_there(void **state)
{
	char sentence[LINK_SENTENCE_BYTES] = "", path[200];
	struct link *link;

	assert_int_equal(link_get("/nowhere/eswitch.sock", "", &link, sentence), -ENOENT);
	assert_non_null(strstr(sentence, "/nowhere/eswitch.sock"));
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(link_get(path, "", &link, sentence), -ENAMETOOLONG);
}

static void *start_late(void *arg)
{
	usleep(400000);
	dpud_listen();
	return NULL;
}

/* One that starts together with us is waited for; who has waited in vain does not wait again at once. */
static void starting(void **state)
{
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link;
	pthread_t starter;

	dpud_name();
	assert_int_equal(pthread_create(&starter, NULL, start_late, NULL), 0);
	link = get();
	pthread_join(starter, NULL);
	link_put(link);
	dpud_stop(NULL);
	time_t before = time(NULL);
	assert_true(link_get(dpud.path, "", &link, sentence) < 0);
	assert_in_range(time(NULL) - before, 2, 5);
	before = time(NULL);
	for (unsigned i = 0; i < 5; i++)
		assert_true(link_get(dpud.path, "", &link, sentence) < 0);
	assert_in_range(time(NULL) - before, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_connection_for_all, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(ports_and_events, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(loss_and_return, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(attending, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(away, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(nonsense_in_the_greeting, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(nonsense_about_ports, dpud_start, dpud_stop),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(starting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
