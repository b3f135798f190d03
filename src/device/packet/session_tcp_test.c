/* SPDX-License-Identifier: BSD-3-Clause */
/* The TCP state machine of sessions: whole connections, and what single packets must not achieve. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "device/packet/session_test_util.h"

enum { F = RTE_TCP_FIN_FLAG, S = RTE_TCP_SYN_FLAG, R = RTE_TCP_RST_FLAG, P = RTE_TCP_PSH_FLAG, A = RTE_TCP_ACK_FLAG };
enum { CLIENT, SERVER };

struct connection {
	struct session_table *table;
	struct session *session;
	unsigned client; /* direction */
};

static struct connection begin(void)
{
	struct session_table_options options = { .max_sessions = 10, .seed = TEST_SEED, .now = 1000 };
	struct connection c;
	struct flow_key key = test_key(1, false, IPPROTO_TCP);

	assert_int_equal(session_table_open(&options, &c.table, NULL, NULL), 0);
	c.session = session_new(c.table, &key, flow_key_hash(&key, TEST_SEED), 1000);
	c.client = flow_key_direction(&key);
	c.session->dir[0].epoch = c.session->dir[1].epoch = 9;
	assert_int_equal(c.session->tcp_state, TCP_NONE);
	assert_int_equal(session_tcp_advance(c.table, c.session, c.client, S), TCP_VERDICT_OK);
	session_publish(c.table, c.session, c.session->timeout_ticks);
	return c;
}

static enum tcp_verdict send_segment(struct connection *c, unsigned who, uint8_t flags)
{
	return session_tcp_advance(c->table, c->session, who == CLIENT ? c->client : !c->client, flags);
}

static void expect(struct connection *c, unsigned who, uint8_t flags, enum tcp_state state)
{
	assert_int_equal(send_segment(c, who, flags), TCP_VERDICT_OK);
	assert_int_equal(c->session->tcp_state, state);
	assert_int_equal(c->session->timeout_ticks, 16 * session_timeout_seconds(IPPROTO_TCP, state, true));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(c->session->dir[i].ops & SESSION_OP_TRACK,
				 state == TCP_ESTABLISHED ? 0 : SESSION_OP_TRACK);
}

static void refuse(struct connection *c, unsigned who, uint8_t flags)
{
	struct session before = *c->session;

	assert_int_equal(send_segment(c, who, flags), TCP_VERDICT_INVALID);
	assert_memory_equal(&before, c->session, sizeof(before));
}

static struct connection established(void)
{
	struct connection c = begin();

	assert_int_equal(c.session->tcp_state, TCP_SYN_SENT);
	expect(&c, SERVER, S | A, TCP_SYN_RECEIVED);
	expect(&c, CLIENT, A, TCP_ESTABLISHED);
	return c;
}

static void end(struct connection *c)
{
	session_table_close(c->table);
}

static void ordinary_connection(void **state)
{
	struct connection c = established();

	expect(&c, CLIENT, P | A, TCP_ESTABLISHED);
	expect(&c, SERVER, A, TCP_ESTABLISHED);
	expect(&c, CLIENT, F | A, TCP_FIN_WAIT);
	expect(&c, SERVER, A, TCP_FIN_WAIT);
	expect(&c, SERVER, P | A, TCP_FIN_WAIT);
	expect(&c, CLIENT, F | A, TCP_FIN_WAIT); /* retransmitted */
	expect(&c, SERVER, F | A, TCP_CLOSING);
	expect(&c, CLIENT, A, TCP_TIME_WAIT);
	expect(&c, SERVER, F | A, TCP_TIME_WAIT);
	expect(&c, CLIENT, R, TCP_TIME_WAIT);
	end(&c);
}

static void handshakes(void **state)
{
	struct connection c = begin();

	expect(&c, CLIENT, S, TCP_SYN_SENT); /* retransmitted */
	expect(&c, SERVER, S | A, TCP_SYN_RECEIVED);
	expect(&c, SERVER, S | A, TCP_SYN_RECEIVED);
	expect(&c, CLIENT, S, TCP_SYN_RECEIVED);
	expect(&c, CLIENT, A | P, TCP_ESTABLISHED);
	end(&c);

	c = begin(); /* simultaneous open */
	expect(&c, SERVER, S, TCP_SYN_RECEIVED);
	expect(&c, CLIENT, S | A, TCP_ESTABLISHED);
	expect(&c, SERVER, S | A, TCP_ESTABLISHED);
	end(&c);

	c = begin(); /* the server answers for a connection that it thinks it has (RFC 9293 figure 9) */
	expect(&c, SERVER, A, TCP_SYN_SENT);
	expect(&c, CLIENT, R, TCP_CLOSED);
	end(&c);

	c = begin(); /* refused */
	expect(&c, SERVER, R | A, TCP_CLOSED);
	end(&c);
}

static void impossible_segments(void **state)
{
	static const uint8_t impossible[] = { 0, F, P, S | F, S | R, F | R, S | F | A, F | S | R | P | A | 0x20, 0x20 };
	struct connection c = established();

	for (unsigned i = 0; i < sizeof(impossible); i++)
		for (unsigned who = 0; who < 2; who++)
			refuse(&c, who, impossible[i]);
	/* ECE and CWR (RFC 3168) are none of our business. */
	expect(&c, CLIENT, A | 0xc0, TCP_ESTABLISHED);
	end(&c);

	c = begin();
	refuse(&c, CLIENT, A);
	refuse(&c, CLIENT, S | A);
	refuse(&c, CLIENT, F | A);
	refuse(&c, SERVER, F | A);
	end(&c);
}

static void only_a_syn_opens(void **state)
{
	for (unsigned flags = 0; flags < 256; flags++) {
		struct connection c = begin();
		c.session->tcp_state = TCP_NONE;
		bool syn = (flags & (F | S | R | A)) == S;
		assert_int_equal(send_segment(&c, CLIENT, flags), syn ? TCP_VERDICT_OK : TCP_VERDICT_INVALID);
		end(&c);
	}
}

static void no_single_packet_ends_a_connection(void **state)
{
	/* SYNs do nothing at all. */
	struct connection c = established();
	for (unsigned who = 0; who < 2; who++) {
		expect(&c, who, S, TCP_ESTABLISHED);
		expect(&c, who, S | A, TCP_ESTABLISHED);
	}
	/* Resets are believed, until their supposed sender goes on. */
	for (unsigned who = 0; who < 2; who++) {
		expect(&c, who, R, TCP_CLOSED);
		expect(&c, !who, A, TCP_CLOSED); /* was on its way */
		expect(&c, who, P | A, TCP_ESTABLISHED);
	}
	assert_int_equal(c.session->dir[0].epoch, 9);
	/* The same while closing. */
	expect(&c, CLIENT, F | A, TCP_FIN_WAIT);
	expect(&c, SERVER, R | A, TCP_CLOSED);
	expect(&c, SERVER, R | A, TCP_CLOSED);
	expect(&c, SERVER, A, TCP_FIN_WAIT);
	expect(&c, SERVER, F | A, TCP_CLOSING);
	end(&c);

	/* And in the handshake: a reset that the client would not believe, and one that it would. */
	c = begin();
	expect(&c, SERVER, R, TCP_SYN_SENT);
	expect(&c, SERVER, R | A, TCP_CLOSED);
	expect(&c, SERVER, S | A, TCP_SYN_RECEIVED);
	expect(&c, CLIENT, A, TCP_ESTABLISHED);
	end(&c);
}

static void true_resets_stay(void **state)
{
	struct connection c = established();

	expect(&c, SERVER, R, TCP_CLOSED);
	expect(&c, CLIENT, A | P, TCP_CLOSED);
	expect(&c, SERVER, R, TCP_CLOSED);
	expect(&c, CLIENT, A, TCP_CLOSED);
	session_table_expire(c.table, 1000 + 10 * 16 + SESSION_LATE_TICKS, 10);
	assert_int_equal(session_table_count(c.table), 0);
	end(&c);
}

static void reopened(struct connection *c, unsigned who)
{
	assert_int_equal(send_segment(c, who, S), TCP_VERDICT_RESTART);
	assert_int_equal(c->session->tcp_state, TCP_SYN_SENT);
	assert_int_equal(c->session->initiator, who == CLIENT ? c->client : !c->client);
	assert_int_equal(c->session->tcp_seen, 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(c->session->dir[i].epoch, 0);
		assert_int_equal(c->session->dir[i].ops & SESSION_OP_TRACK, SESSION_OP_TRACK);
	}
	expect(c, !who, S | A, TCP_SYN_RECEIVED);
	expect(c, who, A, TCP_ESTABLISHED);
}

static void ports_can_be_used_again(void **state)
{
	struct connection c = established();

	for (unsigned who = 0; who < 2; who++) {
		expect(&c, CLIENT, F | A, TCP_FIN_WAIT);
		expect(&c, SERVER, F | A, TCP_CLOSING);
		expect(&c, CLIENT, S, TCP_CLOSING); /* not yet over */
		expect(&c, CLIENT, A, TCP_TIME_WAIT);
		reopened(&c, who);
		expect(&c, SERVER, R, TCP_CLOSED);
		reopened(&c, who);
	}
	end(&c);
}

/* Any sequence of segments leaves the session in a state that a restarted process accepts. */
static void random_segments_keep_it_sane(void **state)
{
	struct random random = { 42 };
	struct connection c = established();

	for (unsigned i = 0; i < 100000; i++) {
		send_segment(&c, random64(&random) & 1, random64(&random));
		assert_in_range(c.session->tcp_state, TCP_SYN_SENT, TCP_CLOSED);
		assert_in_range(c.session->initiator, 0, 1);
		if (c.session->tcp_state == TCP_CLOSED)
			assert_in_range(c.session->tcp_seen >> TCP_SEEN_BEFORE_SHIFT, TCP_SYN_SENT, TCP_CLOSING);
		else
			assert_int_equal(c.session->tcp_seen >> TCP_SEEN_BEFORE_SHIFT, 0);
		assert_int_equal(c.session->timeout_ticks,
				 16 * session_timeout_seconds(IPPROTO_TCP, c.session->tcp_state, true));
	}
	end(&c);
}

static void timeouts(void **state)
{
	struct flow_key fragment = test_key(1, false, IPPROTO_UDP);

	assert_int_equal(session_timeout_seconds(IPPROTO_TCP, TCP_SYN_SENT, false), 30);
	assert_int_equal(session_timeout_seconds(IPPROTO_TCP, TCP_ESTABLISHED, true), 7440);
	assert_int_equal(session_timeout_seconds(IPPROTO_TCP, 200, true), 30);
	assert_int_equal(session_timeout_seconds(IPPROTO_UDP, TCP_NONE, false), 30);
	assert_int_equal(session_timeout_seconds(IPPROTO_UDP, TCP_NONE, true), 180);
	assert_int_equal(session_timeout_seconds(IPPROTO_ICMP, TCP_NONE, true), 30);
	assert_int_equal(session_timeout_seconds(IPPROTO_ESP, TCP_NONE, false), 600);
	assert_int_equal(session_initial_timeout(&fragment), 30 * 16);
	fragment.flags |= FLOW_KEY_F_FRAGMENT;
	assert_int_equal(session_initial_timeout(&fragment), 10 * 16);
	fragment.proto = IPPROTO_TCP;
	fragment.flags = 0;
	assert_int_equal(session_initial_timeout(&fragment), 30 * 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_connection),
		cmocka_unit_test(handshakes),
		cmocka_unit_test(impossible_segments),
		cmocka_unit_test(only_a_syn_opens),
		cmocka_unit_test(no_single_packet_ends_a_connection),
		cmocka_unit_test(true_resets_stay),
		cmocka_unit_test(ports_can_be_used_again),
		cmocka_unit_test(random_segments_keep_it_sane),
		cmocka_unit_test(timeouts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
