/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes tunnel termination: two places to cut the chain, what the port says of checksums, then an underlay frame. What
 * comes out is the tail of what went in, but for the ECN field; the short way and the exact one agree. */
#include "device/packet/decap_fast.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VLAN = 100 };

static struct path_config *configuration(void)
{
	static struct path_config *config;
	struct ip_addr v4 = test_ip("192.0.2.2"), v6 = test_ip("2001:db8::2");
	struct ip_addr tagged_v4 = test_ip("192.0.2.100"), tagged_v6 = test_ip("2001:db8::100");

	if (config)
		return config;
	input_require(path_config_new(&config) == 0);
	path_local_set(config, &v4, 0, NULL, NULL);
	path_local_set(config, &v6, 0, NULL, NULL);
	path_local_set(config, &tagged_v4, VLAN, NULL, NULL);
	path_local_set(config, &tagged_v6, VLAN, NULL, NULL);
	path_vni_set(config, TUNNEL_VXLAN, 5000, 3, NULL, NULL);
	path_vni_set(config, TUNNEL_GENEVE, 5000, 3, NULL, NULL);
	return config;
}

/* The frame without what was stripped; where ECN was combined, the TOS byte and checksum may differ. */
static void check_tail(const struct frame *before, const struct frame *after, uint32_t stripped)
{
	input_require(stripped + after->length <= before->length && after->length >= ETHER_BYTES);
	for (uint32_t i = 0; i < after->length; i++)
		if (i != 15 && i != 24 && i != 25)
			input_require(after->bytes[i] == before->bytes[stripped + i]);
}

/* A tunnel packet by the rules, with any Geneve options, but for what later bytes change in it; true if nothing. */
static bool build(struct input *in, struct frame *inner, struct frame *ret)
{
	static const char *const ours[] = { "192.0.2.2", "192.0.2.100", "2001:db8::2", "2001:db8::100" };
	uint8_t shape = input_byte(in);
	const struct tunnel_spec spec = { .geneve = shape & 1,
					  .geneve_options = input_byte(in) & 63,
					  .udp_checksum = shape & 2,
					  .vni = 5000,
					  .vlan = shape & 4 ? VLAN : 0,
					  .src = shape & 8 ? "2001:db8::1" : NULL,
					  .dst = ours[shape >> 2 & 3] };

	input_spec_frame(in, inner);
	frame_tunnel(ret, &spec, inner);
	/* What is in the options is the sender's business, unless it is critical, which the header says. */
	uint32_t options = ret->length - inner->length;
	if (spec.geneve)
		input_bytes(in, ret->bytes + options - spec.geneve_options * 4u, spec.geneve_options * 4u);
	bool untouched = !input_left(in) && !spec.udp_checksum;
	input_mutate(in, ret);
	return untouched;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame inner;
	static struct frame frame, after;
	struct input in = { data, data + size };
	struct packet_info info = { 0 }, hot_info = { 0 };
	uint16_t vpc = 0;
	bool local = false;

	test_pool();
	uint32_t ends[3] = { input_byte(&in), input_byte(&in), 0 };
	uint8_t options = input_byte(&in);
	bool good = false;
	if (options & 4)
		good = build(&in, &inner, &frame);
	else
		input_frame(&in, 4000, &frame);
	if (options & 1)
		input_fix_ipv4(&frame, ETHER_BYTES);
	ends[0] = ends[0] ? ends[0] : 1;
	ends[1] = RTE_MAX(ends[0], ends[1]);

	struct rte_mbuf *m = frame_mbuf_split(&frame, ends), *hot = frame_mbuf(&frame);
	m->ol_flags = hot->ol_flags = options & 2 ? RTE_MBUF_F_RX_L4_CKSUM_GOOD : 0;
	enum drop_reason drop = packet_decap(configuration(), m, &vpc, &info, &local);
	int hot_vpc = hot->data_len >= DECAP_HOT_BYTES ? packet_decap_hot(configuration(), hot, &hot_info) : -1;
	frame_read(&after, m);
	if (!drop && !local) {
		input_require(vpc == 3 && m->data_len >= ETHER_BYTES);
		check_tail(&frame, &after, info.outer_length);
		if (!packet_parse(m, vpc, &info))
			input_require(info.l4_offset <= m->data_len);
		if (good) {
			frame_read(&after, m);
			input_require(frame_equal(&after, &inner));
		}
	} else {
		input_require(after.length == frame.length && !good);
	}
	if (hot_vpc >= 0)
		input_require(!drop && !local && hot_vpc == vpc && hot_info.outer_length == info.outer_length);
	rte_pktmbuf_free(m);
	rte_pktmbuf_free(hot);
	input_require(test_pool_used() == 0);
	return 0;
}
