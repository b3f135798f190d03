/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client writes to its command ring, and frames of members through whatever rules come of it.
 *
 * The first byte says how the input is read. Bit 2 clear: rules as struct eswitch_rule has them, as many as the lower
 * two bits say (two at most), then a frame. Bit 2 set: rules and frames that are made of a few bytes each, so that most
 * rules are good and most frames match: tags, tunnels, chains, requests, other ways in. What comes out of a good frame
 * must be a good frame then, when its requests are met. */
#include <stdlib.h>
#include <string.h>
#include "device/flow/flow_world.h"
#include "device/packet/segment.h"
#include "packet_input.h"

enum { RULES = 4, FRAMES = 6, PORTS = WORLD_PORTS + 2, SEGMENTS_MAX = 128 };

static struct flow_world *w;

/* ---- rules made of a few bytes ---- */

static struct tunnel_spec input_tunnel(struct input *in)
{
	uint8_t kind = input_byte(in);

	return (struct tunnel_spec){
		.src = kind & 1 ? "2001:db8::a" : NULL,
		.dst = kind & 1 ? "2001:db8::b" : NULL,
		.geneve = kind & 2,
		.vlan = kind & 4 ? 30 : 0,
		.geneve_options = kind & 2 ? kind >> 5 : 0,
		.vni = input_byte(in),
	};
}

static void input_encap(struct input *in, struct eswitch_rule *rule)
{
	struct tunnel_spec spec = input_tunnel(in);
	static struct frame header;
	uint8_t change = input_byte(in);

	flow_world_encap(&spec, &header);
	if (change & 1) { /* GRE in the place of UDP */
		uint32_t l3 = spec.vlan ? 18 : 14, l4 = l3 + (spec.src ? 40 : 20);
		header.bytes[l3 + (spec.src ? 6 : 9)] = IPPROTO_GRE;
		memcpy(header.bytes + l4, "\x20\0\x65\x58\0\0\0\1", 8);
		header.length = l4 + 8;
	}
	if (change & 2)
		input_mutate(in, &header);
	rule->encap_bytes = (uint16_t)RTE_MIN(header.length, (uint32_t)ESWITCH_MAX_ENCAP_BYTES);
	memcpy(rule->encap, header.bytes, rule->encap_bytes);
}

/* No op makes a frame one of a tunnel to whoever checks it: ports up to 255. */
static void input_op(struct input *in, struct eswitch_rule *rule)
{
	struct eswitch_op *op = &rule->ops[rule->op_count++];

	*op = (struct eswitch_op){ .code = (uint16_t)(input_byte(in) % (ESWITCH_OP_ENCAP + 2)),
				   .value = input_byte(in) };
	op->port = (uint16_t)(op->value % (PORTS + 1));
	switch (op->code) {
	case ESWITCH_OP_PUSH_VLAN:
		op->value = op->value & 1 ? 0x88a8 : 0x8100;
		break;
	case ESWITCH_OP_ENCAP:
		input_encap(in, rule);
		break;
	case ESWITCH_OP_UPCALL:
		op->port &= 1;
		break;
	default:
		input_bytes(in, op->bytes, op->code == ESWITCH_OP_SET_IP6_SRC ? 16 : 6);
	}
}

static void input_rule(struct input *in, uint32_t index, struct eswitch_rule *ret)
{
	uint8_t kind = input_byte(in), more = input_byte(in);
	struct eswitch_fields *match = &ret->match, *mask = &ret->mask;
	uint16_t type = kind & 1 ? RTE_BE16(0x86dd) : RTE_BE16(0x0800);

	*ret = (struct eswitch_rule){ .index = index, .generation = 1 + input_byte(in) };
	match->in_port = kind >> 1 & 3;
	match->eth_type = kind & 8 ? (kind & 16 ? RTE_BE16(0x88a8) : RTE_BE16(0x8100)) : type;
	mask->eth_type = UINT16_MAX;
	match->inner_type = kind & 8 ? (kind & 32 ? RTE_BE16(0x8100) : type) : 0;
	mask->inner_type = kind & 8 ? UINT16_MAX : 0;
	match->flags = mask->flags = kind & 8 ? ESWITCH_FIELD_VLAN : 0;
	match->ip_proto = more & 1 ? IPPROTO_TCP : IPPROTO_UDP;
	mask->ip_proto = more & 2 ? UINT8_MAX : 0;
	mask->flags |= more & 4 ? ESWITCH_FIELD_FRAGMENT : 0;
	match->flags |= more & 8 ? ESWITCH_FIELD_FRAGMENT : 0;
	mask->ip_ttl = more & 16 ? UINT8_MAX : 0;
	match->ip_ttl = 64;
	for (unsigned n = 1 + input_byte(in) % 8; n > 0; n--)
		input_op(in, ret);
}

/* ---- frames ---- */

/* A frame, and what may be said of it. */
struct made {
	struct frame frame;
	bool good; /* all lengths and checksums are right */
	bool tunnel;
	uint32_t l3;
};

static void input_made(struct input *in, struct made *ret)
{
	static struct frame inner;
	uint8_t kind = input_byte(in);

	input_spec_frame(in, &ret->frame);
	ret->tunnel = kind & 4;
	if (ret->tunnel) {
		struct tunnel_spec spec = input_tunnel(in);
		inner = ret->frame;
		frame_tunnel(&ret->frame, &spec, &inner);
	}
	ret->l3 = 14;
	for (unsigned tags = kind & 3; tags > 0; tags--, ret->l3 += 4) {
		uint16_t tci = input_byte(in);
		const uint8_t tag[] = { tci & 128 ? 0x88 : 0x81, tci & 128 ? 0xa8 : 0, 0, tci & 15 };
		memmove(ret->frame.bytes + 16, ret->frame.bytes + 12, ret->frame.length - 12);
		memcpy(ret->frame.bytes + 12, tag, 4);
		ret->frame.length += 4;
	}
	if (kind & 8)
		input_mutate(in, &ret->frame);
	ret->good = !(kind & 8) && !frame_fault(ret->frame.bytes, ret->frame.length);
}

/* Asks for the checksum, or segments, of TCP or UDP in a good frame; lengths that lie in
 * others, of which nothing may be said then. */
static void request(struct input *in, struct made *made, struct rte_mbuf *m)
{
	const uint8_t *ip = made->frame.bytes + made->l3;
	bool v6 = ip[0] >> 4 == 6, segment = input_byte(in) & 1;
	uint8_t proto = v6 ? ip[6] : ip[9];
	uint32_t l3_bytes = v6 ? 40 : (ip[0] & 15) * 4u;

	if (made->good && (proto == IPPROTO_TCP || proto == IPPROTO_UDP)) {
		m->l2_len = made->l3 & 0x7f;
		m->l3_len = l3_bytes & 0x1ff;
		m->l4_len = proto == IPPROTO_TCP ? 20 : 8;
	} else {
		made->good = false;
		m->tx_offload = (uint64_t)input_long(in) << 32 | input_long(in);
	}
	m->tso_segsz = input_word(in) % 1500;
	m->ol_flags |= v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
	m->ol_flags |= proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	made->good &= !(segment && made->tunnel); /* segments of what is in a tunnel are nothing */
	if (segment)
		m->ol_flags |= proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
}

static struct rte_mbuf *input_mbuf(struct input *in, struct made *made)
{
	uint8_t shape = input_byte(in);
	uint32_t ends[4] = { 0 }, end = 0;

	for (unsigned i = 0; i < (shape & 3u); i++)
		ends[i] = end += 1 + input_byte(in) % 60;
	struct rte_mbuf *m = frame_mbuf_split(&made->frame, ends);
	if (shape & 4) { /* no headroom */
		memmove(m->buf_addr, rte_pktmbuf_mtod(m, void *), m->data_len);
		m->data_off = 0;
	}
	if (shape & 8)
		request(in, made, m);
	return m;
}

/* By a member, a representor or the trunk's. */
static void input_way(struct input *in, struct rte_mbuf *m)
{
	uint8_t way = input_byte(in), number = way % (WORLD_PORTS + 1);

	if (way & 128 || !number)
		flow_world_input_iface(w, flow_world_representor(number), m);
	else
		flow_world_input_mbuf(w, number, m);
}

/* ---- what comes out ---- */

static void check_frame(const struct rte_mbuf *m, bool good)
{
	static struct frame got;

	frame_read(&got, m);
	const char *fault = frame_fault(got.bytes, got.length);
	if (!good || !fault)
		return;
	fprintf(stderr, "%s\n", fault);
	frame_dump(&got);
	abort();
}

/* Meets the requests, as a port that can do nothing does it. */
static void check_out(struct rte_mbuf *m, bool good)
{
	static struct rte_mbuf *segments[SEGMENTS_MAX];
	static struct frame got;
	unsigned count = 0;

	frame_read(&got, m);
	if (!(m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))) {
		if (packet_checksum(m) == DROP_NONE)
			check_frame(m, good);
		rte_pktmbuf_free(m);
		return;
	}
	if (packet_segment(m, test_pool(), segments, SEGMENTS_MAX, &count) != DROP_NONE) {
		rte_pktmbuf_free(m);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		check_frame(segments[i], good);
	rte_pktmbuf_free_bulk(segments, count);
}

static void check_empty(void)
{
	struct flow_stats stats;

	flow_switch_stats(w->sw, &stats);
	if (stats.rules || test_pool_used())
		abort();
}

/* ---- the two kinds of inputs ---- */

static void run_made(struct input *in)
{
	static struct made made;
	struct eswitch_rule rules[RULES];
	unsigned count = 1 + input_byte(in) % RULES;

	for (unsigned i = 0; i < count; i++) {
		input_rule(in, i, &rules[i]);
		flow_world_command(w, ESWITCH_INSTALL, &rules[i]);
	}
	for (unsigned i = 0; i < FRAMES && input_left(in); i++) {
		input_made(in, &made);
		input_way(in, input_mbuf(in, &made));
		for (unsigned n = 0; n < w->out_count; n++)
			check_out(w->out[n], made.good);
		w->out_count = 0;
	}
	for (unsigned i = 0; i < count; i++)
		flow_world_command(w, ESWITCH_DESTROY, &rules[i]);
}

static void run_raw(struct input *in, unsigned want)
{
	static struct frame frame;
	struct eswitch_rule rules[2] = { 0 };
	unsigned count = 0;

	for (; count < want && count < 2 && input_left(in); count++) {
		input_bytes(in, &rules[count], sizeof(rules[0]));
		flow_world_command(w, ESWITCH_INSTALL, &rules[count]);
	}
	input_frame(in, 4096, &frame);
	for (unsigned port = 1; port <= WORLD_PORTS; port++)
		flow_world_input(w, port, &frame);
	flow_world_clear(w);
	for (unsigned i = 0; i < count; i++)
		flow_world_command(w, ESWITCH_DESTROY, &rules[i]);
}

static void begin(void)
{
	struct flow_port trunk = { .number = 0, .representor = flow_world_representor(0) };

	w = flow_world_new();
	flow_world_tunnel(w, WORLD_PORTS + 1, &(struct tunnel_spec){ .vni = 5 });
	flow_world_tunnel(
		w, WORLD_PORTS + 2,
		&(struct tunnel_spec){
			.src = "2001:db8::a", .dst = "2001:db8::b", .geneve = true, .udp_checksum = true, .vni = 6 });
	input_require(flow_port_set(w->sw, &trunk) == 0);
	input_require(flow_port_open(w->sw, 0, w->client) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	if (!w)
		begin();
	if (size < 1)
		return 0;
	uint8_t first = input_byte(&in);
	if (first & 4)
		run_made(&in);
	else
		run_raw(&in, first & 3);
	check_empty();
	return 0;
}
