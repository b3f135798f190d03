/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes what control takes from the underlay: ARP, neighbour discovery, ICMP to our addresses and whatever else passes
 * for it. The input is a list of frames, each with a byte of flags and its length in front: whether IP and ICMPv6
 * checksums are set right, and where the frame is split. What is answered is a right frame, from us, to one host. */
#include <netinet/in.h>
#include "fuzz_world.h"
#include "service/vswitch/underlay_rig.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIX_CHECKSUMS = 1, SPLIT = 2, FRAMES_MAX = 8, FRAME_BYTES_MAX = 2000 };

static struct underlay_rig rig;

/* What Ethernet pads it with is not the packet's. */
static void trim_padding(struct frame *frame)
{
	uint32_t l3 = load_be16(frame->bytes + 12) == RTE_ETHER_TYPE_VLAN ? 18 : 14;
	uint8_t version = frame->bytes[l3] >> 4;

	if (load_be16(frame->bytes + l3 - 2) != RTE_ETHER_TYPE_ARP)
		frame->length = RTE_MIN(frame->length, version == 4 ? l3 + load_be16(frame->bytes + l3 + 2)
								    : l3 + 40u + load_be16(frame->bytes + l3 + 4));
}

static void check_answer(struct rte_mbuf *answer)
{
	static struct frame frame;
	struct mac_addr ours = test_mac(UNDERLAY_RIG_MAC);

	input_require(answer->port == UNDERLAY_RIG_IFACE);
	rte_mbuf_sanity_check(answer, 1);
	frame_read(&frame, answer);
	rte_pktmbuf_free(answer);
	input_require(memcmp(frame.bytes + 6, ours.bytes, 6) == 0);
	/* To a host, or to all nodes that somebody tries our address. */
	input_require(!(frame.bytes[0] & 1) || memcmp(frame.bytes, "\x33\x33\0\0\0\1", 6) == 0);
	trim_padding(&frame);
	const char *fault = frame_fault(frame.bytes, frame.length);
	if (fault)
		frame_dump(&frame);
	input_require(!fault);
}

/* The frame ends where its packet does, so that nothing behind it is taken for it; checksums as a sender sets them. */
static void mend(struct frame *frame)
{
	uint32_t l3 = frame->length > 16 && load_be16(frame->bytes + 12) == RTE_ETHER_TYPE_VLAN ? 18 : 14;
	uint8_t version = frame->length > l3 + 40 ? frame->bytes[l3] >> 4 : 0;

	if (version == 4 || version == 6) {
		store_be16(frame->bytes + l3 + (version == 4 ? 2 : 4),
			   (uint16_t)(frame->length - l3 - (version == 4 ? 0 : 40)));
		if (version == 6 || frame->length >= l3 + (frame->bytes[l3] & 15) * 4u + 8)
			frame_fix(frame, l3);
	}
}

static void run_frame(struct input *in)
{
	static struct frame frame;
	uint8_t flags = input_byte(in);

	input_frame(in, RTE_MIN(input_word(in), (uint32_t)FRAME_BYTES_MAX), &frame);
	if (flags & FIX_CHECKSUMS)
		mend(&frame);
	const uint32_t parts[] = { flags & SPLIT ? 1 + flags / 4u : 0, 0 };
	struct rte_mbuf *answer = underlay_rig_input(&rig, fuzz_chain(frame.bytes, frame.length, 128, parts));
	if (answer)
		check_answer(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	if (!rig.config)
		underlay_rig_up(&rig);
	underlay_rig_forget(&rig);
	for (unsigned i = 0; i < FRAMES_MAX && input_left(&in); i++)
		run_frame(&in);
	for (unsigned i = 0; i < UNDERLAY_RIG_COUNT; i++) {
		const struct mac_addr *mac = neighbour_mac(rig.neighbour[i]);
		input_require(!mac || (!mac_is_zero(mac) && !mac_is_multicast(mac)));
	}
	input_require(test_pool_used() == 0);
	return 0;
}
