/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames made from the input of a fuzzer of the packet path. */
#pragma once

#include <netinet/in.h>
#include "device/packet/packet_priv.h"
#include "device/packet/testlib.h"
#include "input.h"

/* Up to max of the remaining bytes as a frame. */
static inline void input_frame(struct input *in, uint32_t max, struct frame *ret)
{
	ret->length = (uint32_t)RTE_MIN((size_t)(in->end - in->at), (size_t)max);
	if (ret->length)
		memcpy(ret->bytes, in->at, ret->length);
	in->at += ret->length;
}

/* A packet of so many bytes, in as many segments as that takes. */
static inline struct rte_mbuf *input_packet(uint32_t length)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(test_pool()), *last = head;

	input_require(head);
	while (length > 0) {
		uint16_t part = (uint16_t)RTE_MIN(length, rte_pktmbuf_tailroom(last));
		if (part == 0) {
			last->next = rte_pktmbuf_alloc(test_pool());
			last = last->next;
			input_require(last);
			head->nb_segs++;
			continue;
		}
		memset(rte_pktmbuf_mtod_offset(last, void *, last->data_len), 0x5a, part);
		last->data_len = (uint16_t)(last->data_len + part);
		head->pkt_len += part;
		length -= part;
	}
	return head;
}

/* The right checksum for the IPv4 header at l3, which nobody finds by chance. */
static inline void input_fix_ipv4(struct frame *frame, uint32_t l3)
{
	uint8_t *ip = frame->bytes + l3;

	if (frame->length < l3 + IPV4_BYTES || ip[0] >> 4 != 4 || frame->length < l3 + (ip[0] & 15) * 4u)
		return;
	memset(ip + 10, 0, 2);
	store_be16(ip + 10, reference_checksum(ip, (ip[0] & 15) * 4u, 0));
}

/* A frame of some kind, good but for what later bytes change in it. */
static inline void input_spec_frame(struct input *in, struct frame *ret)
{
	static const uint8_t protos[] = { IPPROTO_UDP,  IPPROTO_TCP, IPPROTO_ICMP, IPPROTO_ICMPV6,
					  IPPROTO_SCTP, IPPROTO_ESP, IPPROTO_GRE,  IPPROTO_DCCP };
	static const uint8_t zeros[64];
	static uint8_t extension[16];
	uint8_t kind = input_byte(in);
	struct frame_spec spec = {
		.src = kind & 1 ? "fd00::1" : NULL,
		.dst = kind & 1 ? "fd00::2" : NULL,
		.proto = protos[kind >> 1 & 7],
		.src_port = input_byte(in),
		.dst_port = kind & 0x80 ? input_word(in) : 2000,
		.tcp_flags = input_byte(in),
		.payload = kind & 0x40 ? input_word(in) % 4000 : input_byte(in),
		.options = zeros,
		.ip_options_length = kind & 0x20 && !(kind & 1) ? 8 : 0,
		.fragment = kind & 0x10 ? input_word(in) : 0,
		.ttl = 64,
	};

	if (kind & 0x20 && kind & 1) {
		spec.first_extension = kind & 0x10 ? IPPROTO_FRAGMENT : IPPROTO_DSTOPTS;
		extension[0] = spec.proto;
		for (unsigned i = 1; i < 8; i++)
			extension[i] = kind & 0x10 ? input_byte(in) : 0;
		spec.extensions = extension;
		spec.extensions_length = 8;
	}
	frame_build(ret, &spec);
}

/* Changes some bytes, and perhaps the length. */
static inline void input_mutate(struct input *in, struct frame *frame)
{
	uint8_t changes = input_byte(in);

	for (unsigned n = changes & 7; n > 0; n--) {
		uint16_t offset = input_byte(in);
		if (offset < frame->length)
			frame->bytes[offset] = input_byte(in);
	}
	if (changes & 8)
		frame->length -= RTE_MIN(frame->length - 1, (uint32_t)input_byte(in));
	if (changes & 16)
		frame->length += input_byte(in);
	if (changes & 32)
		input_fix_ipv4(frame, ETHER_BYTES);
}
