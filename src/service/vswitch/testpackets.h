/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets about packets, for the tests of the switch: fragments (RFC 791, RFC 8200 4.5) and ICMP errors. */
#pragma once

#include "device/packet/testlib.h"

/* A fragment of the IP packet in `whole`: `bytes` of what can be cut, from `offset` on, wherever they lie, also behind
 * its end (zeros). unfragmentable: bytes of IPv6 extension headers in front of the fragment header, in every piece. */
struct piece_spec {
	uint32_t id;
	uint32_t offset, bytes;
	bool more;
	uint32_t unfragmentable;
};
void frame_piece(struct frame *ret, const struct frame *whole, const struct piece_spec *spec);

/* An ICMP error from `from` to `to` that quotes the first quoted_bytes of the IP packet in `quoted`; value: the second
 * word of the message (MTU, pointer), in host order. */
struct error_spec {
	const char *src_mac;
	const char *from, *to;
	uint8_t type, code;
	uint32_t value;
	const struct frame *quoted;
	uint32_t quoted_bytes;
};
void frame_icmp_error(struct frame *ret, const struct error_spec *spec);
