/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the frame parser: two places to cut the chain, then the frame. It must not change the frame, and must find the
 * same in a chain as in one piece. */
#include "device/packet/parse_fast.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_info(const struct rte_mbuf *m, const struct packet_info *info)
{
	input_require(info->l4_offset <= m->data_len && info->l3_offset <= info->l4_offset);
	if (info->flags & PACKET_F_L4)
		input_require(info->payload_offset <= m->data_len && info->payload_offset >= info->l4_offset);
	if (info->flags & (PACKET_F_IPV4 | PACKET_F_IPV6))
		input_require((uint32_t)info->l3_offset + info->l3_length <= m->pkt_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame frame, after;
	struct input in = { data, data + size };
	struct packet_info whole = { 0 }, cut = { 0 }, hot = { 0 };
	struct flow_key key, key_cut;
	unsigned families = 0;

	test_pool();
	uint32_t ends[3] = { input_byte(&in), input_byte(&in), 0 };
	uint8_t options = input_byte(&in);
	input_frame(&in, 4000, &frame);
	if (options & 1)
		input_fix_ipv4(&frame, ETHER_BYTES);
	ends[0] = ends[0] ? ends[0] : 1;
	ends[1] = RTE_MAX(ends[0], ends[1]);

	struct rte_mbuf *m = frame_mbuf(&frame), *chain = frame_mbuf_split(&frame, ends);
	bool hot_ok = packet_parse_hot(m, packet_at(m, 0), 5, &hot, &families);
	enum drop_reason drop = packet_parse(m, 5, &whole), drop_cut = packet_parse(chain, 5, &cut);
	input_require(drop == drop_cut);
	frame_read(&after, chain);
	input_require(frame_equal(&frame, &after));
	if (!drop) {
		input_require(memcmp(&whole, &cut, sizeof(whole)) == 0);
		check_info(chain, &cut);
		bool found = packet_parse_icmp_error(m, &whole, &key);
		input_require(found == packet_parse_icmp_error(chain, &cut, &key_cut));
		input_require(!found || flow_key_equal(&key, &key_cut));
	}
	if (hot_ok)
		input_require(!drop && flow_key_equal(&hot.key, &whole.key) && hot.tcp_flags == whole.tcp_flags);
	rte_pktmbuf_free(m);
	rte_pktmbuf_free(chain);
	input_require(test_pool_used() == 0);
	return 0;
}
