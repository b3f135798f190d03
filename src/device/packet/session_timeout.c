/* SPDX-License-Identifier: BSD-3-Clause */
/* How long a session may be silent. */
#include <netinet/in.h>
#include "device/packet/session_priv.h"

/* TCP: established as RFC 5382 REQ-5 wants (2 h 4 min). Half-open connections are held no longer than a handshake
 * takes, for they cost an attacker one packet; a retransmitted SYN opens the session again. */
static const uint32_t tcp_seconds[] = {
	[TCP_NONE] = 30,      [TCP_SYN_SENT] = 30, [TCP_SYN_RECEIVED] = 60, [TCP_ESTABLISHED] = 7440,
	[TCP_FIN_WAIT] = 120, [TCP_CLOSING] = 30,  [TCP_TIME_WAIT] = 60,    [TCP_CLOSED] = 10,
};

/* UDP: RFC 4787 REQ-5 asks for two minutes at least; a single question and answer needs not that much. SCTP: above its
 * heartbeat interval of 30 s. */
static const struct {
	uint8_t proto;
	uint16_t initial, stream; /* seconds: until answered, and after */
} protocols[] = {
	{ IPPROTO_UDP, 30, 180 },   { IPPROTO_UDPLITE, 30, 180 }, { IPPROTO_ICMP, 30, 30 },
	{ IPPROTO_ICMPV6, 30, 30 }, { IPPROTO_SCTP, 30, 210 },    { IPPROTO_DCCP, 30, 480 },
};
enum { OTHER_SECONDS = 600, FRAGMENT_SECONDS = 10 };

uint32_t session_timeout_seconds(uint8_t proto, enum tcp_state state, bool reply_seen)
{
	if (proto == IPPROTO_TCP)
		return (unsigned)state <= TCP_CLOSED ? tcp_seconds[state] : tcp_seconds[TCP_NONE];
	for (unsigned i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (protocols[i].proto == proto)
			return reply_seen ? protocols[i].stream : protocols[i].initial;
	return OTHER_SECONDS;
}

uint32_t session_initial_timeout(const struct flow_key *key)
{
	uint32_t seconds = key->flags & FLOW_KEY_F_FRAGMENT ? FRAGMENT_SECONDS
							    : session_timeout_seconds(key->proto, TCP_SYN_SENT, false);
	return seconds * SESSION_TICKS_PER_SECOND;
}

uint32_t session_stream_timeout(uint8_t proto)
{
	return session_timeout_seconds(proto, TCP_NONE, true) * SESSION_TICKS_PER_SECOND;
}
