/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes checksums, segmentation and fragmentation in software: offload requests with any lengths over any frame, or
 * over a good one, perhaps in a tunnel. */
#include "device/packet/segment.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SEGMENTS = 160 };

static const uint64_t flags_of[] = {
	RTE_MBUF_F_TX_TCP_CKSUM,
	RTE_MBUF_F_TX_UDP_CKSUM,
	RTE_MBUF_F_TX_TCP_SEG,
	RTE_MBUF_F_TX_UDP_SEG,
	RTE_MBUF_F_TX_IPV4,
	RTE_MBUF_F_TX_IPV6,
	RTE_MBUF_F_TX_IP_CKSUM,
	RTE_MBUF_F_TX_OUTER_IPV4,
	RTE_MBUF_F_TX_OUTER_IPV6,
	RTE_MBUF_F_TX_OUTER_IP_CKSUM,
	RTE_MBUF_F_TX_OUTER_UDP_CKSUM,
	RTE_MBUF_F_TX_TUNNEL_VXLAN,
};

static void make_frame(struct input *in, uint8_t options, struct frame *frame)
{
	static struct frame inner;

	if (options & 1) {
		input_frame(in, 9000, frame);
	} else if (options & 2) {
		input_spec_frame(in, &inner);
		frame_tunnel(frame,
			     &(struct tunnel_spec){ .vni = 1,
						    .geneve = options & 4,
						    .src = options & 8 ? "2001:db8::1" : NULL,
						    .dst = options & 8 ? "2001:db8::2" : NULL },
			     &inner);
	} else {
		input_spec_frame(in, frame);
	}
	input_mutate(in, frame);
}

static struct rte_mbuf *make_mbuf(const struct frame *frame, uint32_t end, uint16_t flags, uint64_t lengths)
{
	struct rte_mbuf *m = frame_mbuf_split(frame, (uint32_t[]){ end, end + 100, 0 });

	for (unsigned i = 0; i < RTE_DIM(flags_of); i++)
		if (flags >> i & 1)
			m->ol_flags |= flags_of[i];
	m->tx_offload = lengths;
	return m;
}

static void check_segments(struct rte_mbuf **segments, unsigned count)
{
	static struct frame segment;

	input_require(count > 0 && count <= MAX_SEGMENTS);
	for (unsigned i = 0; i < count; i++) {
		frame_read(&segment, segments[i]);
		rte_pktmbuf_free(segments[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame frame, after;
	static struct rte_mbuf *segments[MAX_SEGMENTS];
	struct input in = { data, data + size };
	struct rte_mbuf lengths;
	unsigned count = 0;

	test_pool();
	memset(&lengths, 0, sizeof(lengths));
	uint8_t options = input_byte(&in);
	uint16_t flags = input_word(&in), mtu = input_word(&in);
	uint32_t end = input_byte(&in);
	lengths.l2_len = input_byte(&in) & 0x7f;
	lengths.l3_len = input_word(&in) & 0x1ff;
	lengths.l4_len = input_byte(&in);
	lengths.tso_segsz = input_word(&in);
	lengths.outer_l2_len = input_byte(&in) & 0x7f;
	lengths.outer_l3_len = input_word(&in) & 0x1ff;
	make_frame(&in, options, &frame);

	struct rte_mbuf *m = make_mbuf(&frame, end, flags, lengths.tx_offload);
	if (!packet_checksum(m))
		frame_read(&after, m);
	rte_pktmbuf_free(m);
	m = make_mbuf(&frame, end, flags, lengths.tx_offload);
	if (!packet_segment(m, test_pool(), segments, MAX_SEGMENTS, &count)) {
		check_segments(segments, count);
	} else {
		frame_read(&after, m);
		input_require(frame_equal(&frame, &after));
		rte_pktmbuf_free(m);
	}
	m = make_mbuf(&frame, end, 0, 0);
	if (!packet_fragment_ipv4(m, mtu, test_pool(), segments, MAX_SEGMENTS, &count))
		check_segments(segments, count);
	else
		rte_pktmbuf_free(m);
	input_require(test_pool_used() == 0);
	return 0;
}
