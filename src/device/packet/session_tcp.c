/* SPDX-License-Identifier: BSD-3-Clause */
/* The TCP state machine of sessions: RFC 9293 as a middle box sees it, from flags alone.
 *
 * Without sequence numbers a forged segment cannot be told from a true one, so nothing that a single packet can say
 * ends an established connection: a SYN is passed for the endpoint to challenge (RFC 5961 section 4), and after an RST
 * the session remains for a while; if the side that is said to have reset sends on, the reset was not its own and the
 * former state returns. */
#include <netinet/in.h>
#include "device/packet/session_priv.h"

enum segment { SEGMENT_SYN, SEGMENT_SYN_ACK, SEGMENT_ACK, SEGMENT_FIN, SEGMENT_RST, SEGMENT_INVALID };

/* What a segment does in a state: next state, or one of these. */
enum { KEEP = 0x40, BAD, CLOSE, RESET, RESTART };

enum { NO = TCP_NONE, SS = TCP_SYN_SENT, SR = TCP_SYN_RECEIVED, ES = TCP_ESTABLISHED, TW = TCP_TIME_WAIT };

static const uint8_t transitions[2][5][TCP_CLOSED + 1] = {
	{
		/* from the initiator */
		/*                       NONE  SYN_SENT SYN_RECV ESTAB  FIN_WAIT CLOSING TIME_WAIT CLOSED */
		[SEGMENT_SYN] = { SS, KEEP, KEEP, KEEP, KEEP, KEEP, RESTART, RESTART },
		[SEGMENT_SYN_ACK] = { BAD, BAD, ES, KEEP, KEEP, KEEP, KEEP, KEEP },
		[SEGMENT_ACK] = { BAD, BAD, ES, KEEP, KEEP, TW, KEEP, KEEP },
		[SEGMENT_FIN] = { BAD, BAD, CLOSE, CLOSE, CLOSE, KEEP, KEEP, KEEP },
		[SEGMENT_RST] = { BAD, RESET, RESET, RESET, RESET, RESET, KEEP, RESET },
	},
	{
		/* from the responder; SYN in SYN_SENT: simultaneous open (RFC 9293 3.5), ACK: of a former connection */
		[SEGMENT_SYN] = { SS, SR, KEEP, KEEP, KEEP, KEEP, RESTART, RESTART },
		[SEGMENT_SYN_ACK] = { BAD, SR, KEEP, KEEP, KEEP, KEEP, KEEP, KEEP },
		[SEGMENT_ACK] = { BAD, KEEP, KEEP, KEEP, KEEP, TW, KEEP, KEEP },
		[SEGMENT_FIN] = { BAD, BAD, CLOSE, CLOSE, CLOSE, KEEP, KEEP, KEEP },
		[SEGMENT_RST] = { BAD, RESET, RESET, RESET, RESET, RESET, KEEP, RESET },
	},
};

/* Only combinations that RFC 9293 knows; PSH, ECE, CWR and AE say nothing here. */
static enum segment classify(uint8_t flags)
{
	switch (flags &
		(RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG | RTE_TCP_URG_FLAG)) {
	case RTE_TCP_SYN_FLAG:
	case RTE_TCP_SYN_FLAG | RTE_TCP_URG_FLAG:
		return SEGMENT_SYN;
	case RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG:
		return SEGMENT_SYN_ACK;
	case RTE_TCP_ACK_FLAG:
	case RTE_TCP_ACK_FLAG | RTE_TCP_URG_FLAG:
		return SEGMENT_ACK;
	case RTE_TCP_FIN_FLAG | RTE_TCP_ACK_FLAG:
	case RTE_TCP_FIN_FLAG | RTE_TCP_ACK_FLAG | RTE_TCP_URG_FLAG:
		return SEGMENT_FIN;
	case RTE_TCP_RST_FLAG:
	case RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG:
		return SEGMENT_RST;
	default:
		return SEGMENT_INVALID;
	}
}

static void set_state(struct session_table *table, struct session *session, enum tcp_state state)
{
	uint16_t track = state == TCP_ESTABLISHED ? 0 : SESSION_OP_TRACK;

	session->tcp_state = state;
	for (unsigned i = 0; i < 2; i++)
		session->dir[i].ops = (session->dir[i].ops & ~SESSION_OP_TRACK) | track;
	session_set_timeout(table, session,
			    session_timeout_seconds(IPPROTO_TCP, state, true) * SESSION_TICKS_PER_SECOND);
}

static void reset(struct session_table *table, struct session *session, unsigned direction)
{
	if (session->tcp_state != TCP_CLOSED)
		session->tcp_seen = (session->tcp_seen & (TCP_SEEN_FIN | TCP_SEEN_FIN << 1)) |
				    session->tcp_state << TCP_SEEN_BEFORE_SHIFT;
	session->tcp_seen |= TCP_SEEN_RST << direction;
	set_state(table, session, TCP_CLOSED);
}

static void close_direction(struct session_table *table, struct session *session, unsigned direction)
{
	const unsigned both = TCP_SEEN_FIN | TCP_SEEN_FIN << 1;

	session->tcp_seen |= TCP_SEEN_FIN << direction;
	set_state(table, session, (session->tcp_seen & both) == both ? TCP_CLOSING : TCP_FIN_WAIT);
}

/* A new connection between the same endpoints. What was compiled for the old one no longer holds. */
static void restart(struct session_table *table, struct session *session, unsigned direction)
{
	session->dir[0].epoch = session->dir[1].epoch = 0;
	session->initiator = direction;
	session->tcp_seen = 0;
	set_state(table, session, TCP_SYN_SENT);
}

/* The side that is said to have reset goes on: back to where the connection was. */
static void undo_false_reset(struct session_table *table, struct session *session, unsigned direction,
			     enum segment segment)
{
	if (session->tcp_state != TCP_CLOSED || segment == SEGMENT_RST || segment == SEGMENT_SYN ||
	    !(session->tcp_seen & TCP_SEEN_RST << direction))
		return;
	enum tcp_state before = session->tcp_seen >> TCP_SEEN_BEFORE_SHIFT;
	session->tcp_seen &= TCP_SEEN_FIN | TCP_SEEN_FIN << 1;
	set_state(table, session, before);
}

enum tcp_verdict session_tcp_advance(struct session_table *table, struct session *session, unsigned direction,
				     uint8_t tcp_flags)
{
	enum segment segment = classify(tcp_flags);

	if (segment == SEGMENT_INVALID || session->tcp_state > TCP_CLOSED)
		return TCP_VERDICT_INVALID;
	/* To an endpoint that has only sent a SYN a reset means nothing unless it acknowledges (RFC 9293 3.10.7.3). */
	if (session->tcp_state == TCP_SYN_SENT && segment == SEGMENT_RST && direction != session->initiator &&
	    !(tcp_flags & RTE_TCP_ACK_FLAG))
		return TCP_VERDICT_OK;
	undo_false_reset(table, session, direction, segment);

	uint8_t next = transitions[direction != session->initiator][segment][session->tcp_state];

	switch (next) {
	case KEEP:
		return TCP_VERDICT_OK;
	case BAD:
		return TCP_VERDICT_INVALID;
	case CLOSE:
		close_direction(table, session, direction);
		return TCP_VERDICT_OK;
	case RESET:
		reset(table, session, direction);
		return TCP_VERDICT_OK;
	case RESTART:
		restart(table, session, direction);
		return TCP_VERDICT_RESTART;
	default:
		if (session->tcp_state == TCP_NONE)
			session->initiator = direction;
		set_state(table, session, next);
		return TCP_VERDICT_OK;
	}
}
