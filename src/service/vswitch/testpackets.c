/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments and ICMP errors, made byte by byte. */
#include "service/vswitch/testpackets.h"

#include <netinet/in.h>
#include <string.h>

enum { ETHER_BYTES = 14 };

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Appends spec's part of what is behind offset `from` of whole. */
static void append_part(struct frame *ret, const struct frame *whole, uint32_t from, const struct piece_spec *spec)
{
	uint32_t at = from + spec->offset;
	uint32_t there = at < whole->length ? RTE_MIN(whole->length - at, spec->bytes) : 0;
	memset(ret->bytes + ret->length, 0, spec->bytes);
	memcpy(ret->bytes + ret->length, whole->bytes + at, there);
	ret->length += spec->bytes;
}

static void piece_v4(struct frame *ret, const struct frame *whole, const struct piece_spec *spec)
{
	uint8_t *ip = ret->bytes + ETHER_BYTES;
	uint32_t header = (whole->bytes[ETHER_BYTES] & 15) * 4u;
	ret->length = ETHER_BYTES + header;
	memcpy(ret->bytes, whole->bytes, ret->length);
	append_part(ret, whole, ETHER_BYTES + header, spec);
	put16(ip + 2, header + spec->bytes);
	put16(ip + 4, spec->id);
	put16(ip + 6, spec->offset / 8 | (spec->more ? 0x2000 : 0));
	put16(ip + 10, 0);
	put16(ip + 10, reference_checksum(ip, header, 0));
}

/* Where the next-header byte of the last of the headers is that end at `end`, behind the IPv6 header. */
static uint8_t *last_next_header(uint8_t *ip, uint32_t end)
{
	uint8_t *next = ip + 6;
	for (uint32_t at = 40; at < end; at += (ip[at + 1] + 1) * 8u)
		next = ip + at;
	return next;
}

static void piece_v6(struct frame *ret, const struct frame *whole, const struct piece_spec *spec)
{
	uint8_t *ip = ret->bytes + ETHER_BYTES, *fragment;
	uint32_t header = 40 + spec->unfragmentable;
	ret->length = ETHER_BYTES + header;
	memcpy(ret->bytes, whole->bytes, ret->length);
	uint8_t *next = last_next_header(ip, header);
	fragment = ip + header;
	memset(fragment, 0, 8);
	fragment[0] = *next;
	*next = IPPROTO_FRAGMENT;
	put16(fragment + 2, spec->offset | spec->more);
	put16(fragment + 4, spec->id >> 16);
	put16(fragment + 6, spec->id & 0xffff);
	ret->length += 8;
	append_part(ret, whole, ETHER_BYTES + header, spec);
	put16(ip + 4, spec->unfragmentable + 8 + spec->bytes);
}

void frame_piece(struct frame *ret, const struct frame *whole, const struct piece_spec *spec)
{
	if (whole->bytes[ETHER_BYTES] >> 4 == 4)
		piece_v4(ret, whole, spec);
	else
		piece_v6(ret, whole, spec);
}

void frame_icmp_error(struct frame *ret, const struct error_spec *spec)
{
	bool v4 = test_ip(spec->from).family == IP_V4;
	struct frame_spec frame = {
		.src_mac = spec->src_mac,
		.src = spec->from,
		.dst = spec->to,
		.proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.dst_port = (uint16_t)(spec->type << 8 | spec->code),
		.payload = RTE_MIN(spec->quoted_bytes, spec->quoted->length - ETHER_BYTES),
	};
	uint8_t *value = ret->bytes + (v4 ? 38 : 58);
	frame_build(ret, &frame);
	memcpy(value + 4, spec->quoted->bytes + ETHER_BYTES, frame.payload);
	put16(value, spec->value >> 16);
	put16(value + 2, spec->value & 0xffff);
	frame_fix(ret, ETHER_BYTES);
}
