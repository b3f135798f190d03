/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes established flows, from guests and from the underlay: packets of any size and shape, cut into buffers
 * anywhere, with partial checksums and segmentation left to us, in bursts, while policy changes. What was good on the
 * way in is good on the way out, and every byte of its payload arrives once and in order. */
#include "fuzz_world.h"

#include <netinet/in.h>
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_OPERATIONS = 24, MAX_PAYLOAD = 65000, ETHER_BYTES = 14, MTU = 1500, OUTER_BYTES = 50 };

/* Ends of flows: a vNIC, or a VTEP. */
static const struct end {
	unsigned vnic;
	const char *vtep, *mac;
	const char *address[2];
} ends[] = {
	{ 1, NULL, NULL, { "10.0.0.11", "fd00:a::11" } },
	{ 2, NULL, NULL, { "10.0.0.12", "fd00:a::12" } },
	{ 3, NULL, NULL, { "10.0.1.13", "fd00:b::13" } },
	{ 0, VTEP_2, MAC_REMOTE_21, { "10.0.0.21", "fd00:a::21" } },
	{ 0, VTEP_3, MAC_REMOTE_22, { "10.0.1.22", "fd00:b::22" } },
};

struct flow {
	const struct end *from, *to;
	bool v6;
	uint8_t proto;
	uint16_t ports[2]; /* of `from` and of `to` */
};

/* A packet on its way in. */
struct packet {
	struct frame frame; /* as its sender means it, checksums right */
	uint32_t l4, payload;
	bool partial;     /* its checksum is left to us */
	uint16_t segment; /* so is its segmentation */
	bool spoilt;
	bool fragmentable;
};

static struct flow some_flow(struct input *in)
{
	uint8_t choice = input_byte(in);
	const struct end *from = &ends[choice % 5], *to = &ends[(choice % 5 + 1 + (choice / 5) % 4) % 5];

	/* What comes from the underlay does not go back to it. */
	if (!from->vnic && !to->vnic)
		to = &ends[choice % 3];
	return (struct flow){ .from = from,
			      .to = to,
			      .v6 = choice & 0x80,
			      .proto = choice & 0x40 ? IPPROTO_UDP : IPPROTO_TCP,
			      .ports = { 1000 + (choice & 3), 80 } };
}

static struct flow turned(const struct flow *flow)
{
	struct flow back = *flow;

	back.from = flow->to;
	back.to = flow->from;
	back.ports[0] = flow->ports[1];
	back.ports[1] = flow->ports[0];
	return back;
}

static void packet_build(const struct flow *flow, const struct frame_spec *more, struct packet *ret)
{
	struct frame_spec spec = *more;

	spec.src = flow->from->address[flow->v6];
	spec.dst = flow->to->address[flow->v6];
	spec.proto = flow->proto;
	spec.src_port = flow->ports[0];
	spec.dst_port = flow->ports[1];
	spec.src_mac = flow->from->vnic ? mac_of(flow->from->vnic) : flow->from->mac;
	frame_build(&ret->frame, &spec);
	ret->l4 = ETHER_BYTES + (flow->v6 ? 40 + spec.extensions_length : 20 + spec.ip_options_length);
	ret->payload = ret->l4 + (flow->proto == IPPROTO_TCP ? 20u + spec.tcp_options_length : 8);
}

/* ---- in ---- */

/* The sum of the pseudo header in place of the checksum, as senders leave it. */
static void leave_checksum(struct packet *packet, uint8_t proto, struct rte_mbuf *m, bool v6)
{
	m->l2_len = ETHER_BYTES;
	m->l3_len = (packet->l4 - ETHER_BYTES) & 0x1ff;
	m->l4_len = (packet->payload - packet->l4) & 0xff;
	m->ol_flags |= v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
	m->ol_flags |= proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	if (!packet->segment)
		return;
	m->tso_segsz = packet->segment;
	m->ol_flags |= proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
	m->ol_flags |= v6 ? 0 : RTE_MBUF_F_TX_IP_CKSUM;
}

/* From a guest: any buffers. From the underlay: what a port's driver gives. */
static struct rte_mbuf *packet_mbuf(struct packet *packet, const struct flow *flow, struct input *in)
{
	static struct frame outer;
	uint8_t cuts = input_byte(in);
	uint32_t parts[5] = { 0 };
	const struct frame *frame = &packet->frame;
	struct tunnel_spec tunnel = { .src_mac = "02:bb:00:00:00:01",
				      .dst_mac = "02:aa:00:00:00:01",
				      .src = flow->from->vtep,
				      .dst = "192.0.2.1",
				      .udp_checksum = cuts & 0x10,
				      .vni = BLUE_VNI };

	if (!flow->from->vnic) {
		frame_tunnel(&outer, &tunnel, frame);
		frame = &outer;
		packet->partial = false;
		packet->segment = 0;
	}
	for (unsigned i = 0; i < (cuts & 3u); i++)
		parts[i] = 1 + input_byte(in) * (cuts & 4 ? 1u : 40u);
	if (frame->length > UINT16_MAX - RTE_PKTMBUF_HEADROOM && !parts[0])
		parts[0] = 2000;
	struct rte_mbuf *m = fuzz_chain(frame->bytes, frame->length, cuts & 8 ? 0 : RTE_PKTMBUF_HEADROOM, parts);
	if (packet->partial)
		leave_checksum(packet, flow->proto, m, flow->v6);
	return m;
}

static uint16_t iface_of(const struct flow *flow)
{
	return flow->from->vnic ? bed_iface(flow->from->vnic) : BED_UPLINK;
}

static void send_quietly(const struct flow *flow, uint8_t tcp_flags)
{
	static struct packet packet;
	struct input none = { NULL, NULL };

	packet = (struct packet){ .frame.length = 0 };
	packet_build(flow, &(struct frame_spec){ .tcp_flags = tcp_flags }, &packet);
	struct rte_mbuf *m = packet_mbuf(&packet, flow, &none);
	path_input(world.bed.dp.paths[0], iface_of(flow), &m, 1);
	fuzz_drain(true);
}

static void establish(const struct flow *flow)
{
	enum { SYN = 2, ACK = 16 };
	struct flow back = turned(flow);

	send_quietly(flow, SYN);
	send_quietly(&back, SYN | ACK);
	send_quietly(flow, ACK);
	send_quietly(&back, ACK);
}

/* ---- out ---- */

/* The payload that has arrived; of UDP that was fragmented, by offset. */
static struct arrival {
	uint8_t bytes[FRAME_MAX];
	uint32_t length;
	unsigned frames, fragments;
} arrival;

static void arrive(const struct frame *frame, const struct packet *packet)
{
	const uint8_t *ip = frame->bytes + ETHER_BYTES;
	uint32_t headers = packet->payload - packet->l4, end = frame->length, l4 = packet->l4;
	uint16_t word = ip[0] >> 4 == 4 ? (uint16_t)(ip[6] << 8 | ip[7]) : 0;
	uint32_t offset = (word & 0x1fff) * 8u;

	arrival.frames++;
	if (!(word & 0x3fff)) {
		input_require(l4 + headers <= end);
		memcpy(arrival.bytes + arrival.length, frame->bytes + l4 + headers, end - l4 - headers);
		arrival.length += end - l4 - headers;
		return;
	}
	/* Options may be left out of later fragments. */
	l4 = ETHER_BYTES + (ip[0] & 15) * 4u;
	arrival.fragments++;
	uint32_t skip = offset ? 0 : headers;
	offset = offset ? offset - headers : 0;
	input_require(offset + end - l4 - skip <= FRAME_MAX && (skip == 0 || l4 + skip <= end));
	memcpy(arrival.bytes + offset, frame->bytes + l4 + skip, end - l4 - skip);
	arrival.length += end - l4 - skip;
}

static void collect(const struct flow *flow, const struct packet *packet)
{
	static struct frame frame;

	arrival.length = arrival.frames = arrival.fragments = 0;
	while (!packet->spoilt) {
		bool more = flow->to->vnic ? bed_sent(&world.bed, bed_iface(flow->to->vnic), &frame)
					   : bed_sent_inner(&world.bed, flow->to->vtep, BLUE_VNI, &frame);
		if (!more)
			break;
		uint32_t mtu = flow->to->vnic ? world.vnic[flow->to->vnic]->iface.mtu : MTU - OUTER_BYTES;
		input_require(frame.length <= mtu + ETHER_BYTES);
		arrive(&frame, packet);
	}
	fuzz_drain(!packet->spoilt);
}

static uint64_t all_drops(void)
{
	return bed_all_drops(&world.bed);
}

/* ---- operations ---- */

static void packet_make(struct input *in, const struct flow *flow, struct packet *packet)
{
	static const uint8_t options[40] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	static const uint8_t extension[8] = { 0, 0, 1, 4, 0, 0, 0, 0 };
	uint8_t shape = input_byte(in), first[8];
	struct frame_spec spec = { .ttl = 64, .tcp_flags = 0x18, .options = options };

	memcpy(first, extension, sizeof(first));
	first[0] = flow->proto;
	spec.payload = shape & 1 ? input_word(in) % (MAX_PAYLOAD - 100) : input_byte(in);
	spec.ip_options_length = shape & 2 && !flow->v6 ? 8 : 0;
	spec.tcp_options_length = shape & 4 ? 12 : 0;
	spec.fragment = shape & 8 && !flow->v6 ? 0x4000 : 0;
	if (shape & 2 && flow->v6) {
		spec.extensions = first;
		spec.extensions_length = sizeof(first);
		spec.first_extension = IPPROTO_DSTOPTS;
	}
	spec.no_udp_checksum = shape & 16 && flow->proto == IPPROTO_UDP && !flow->v6;
	packet->spoilt = false;
	packet->partial = shape & 32 && !spec.no_udp_checksum;
	packet->segment = packet->partial && shape & 64 ? input_word(in) : 0;
	packet_build(flow, &spec, packet);
	packet->fragmentable = !flow->v6 && !spec.fragment;
	if (!(shape & 128))
		return;
	/* Anything but the MACs. */
	for (unsigned n = input_byte(in) & 7; n > 0; n--) {
		uint32_t at = 12 + input_byte(in);
		if (at < packet->frame.length)
			packet->frame.bytes[at] = input_byte(in);
	}
	packet->frame.length -= RTE_MIN(packet->frame.length - 1, (uint32_t)input_byte(in));
	packet->spoilt = true;
}

/* One packet, whose fate is known. */
static void send_one(struct input *in, const struct flow *flow)
{
	static struct packet packet;
	uint64_t before = all_drops();

	packet_make(in, flow, &packet);
	struct rte_mbuf *m = packet_mbuf(&packet, flow, in);
	path_input(world.bed.dp.paths[0], iface_of(flow), &m, 1);
	collect(flow, &packet);
	if (packet.spoilt)
		return;
	input_require(arrival.frames || all_drops() > before);
	if (!arrival.frames || all_drops() > before)
		return;
	uint32_t length = packet.frame.length - packet.payload;
	input_require(arrival.length == length);
	input_require(!memcmp(arrival.bytes, packet.frame.bytes + packet.payload, length));
	input_require(arrival.frames == 1 || packet.segment || packet.fragmentable);
}

static void send_burst(struct input *in, const struct flow *flow)
{
	static struct packet packets[PATH_BURST];
	struct rte_mbuf *burst[PATH_BURST];
	unsigned count = 1 + input_byte(in) % 8;
	bool spoilt = false;

	for (unsigned i = 0; i < count; i++) {
		packet_make(in, flow, &packets[i]);
		spoilt |= packets[i].spoilt;
		burst[i] = packet_mbuf(&packets[i], flow, in);
	}
	path_input(world.bed.dp.paths[0], iface_of(flow), burst, count);
	fuzz_drain(!spoilt);
}

static void change(uint8_t what)
{
	world.vnic[3]->iface.mtu = what & 1 ? 9000 : MTU;
	world.vnic[1]->iface.mtu = what & 2 ? 600 : MTU;
	bed_changed(&world.bed, world.blue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct flow flow, back;

	fuzz_world();
	flow = some_flow(&in);
	back = turned(&flow);
	establish(&flow);
	for (unsigned i = 0; i < MAX_OPERATIONS && input_left(&in); i++) {
		uint8_t operation = input_byte(&in);
		const struct flow *way = operation & 0x80 ? &back : &flow;
		switch (operation & 7) {
		case 0:
			change(operation >> 3);
			break;
		case 1:
			flow = some_flow(&in);
			back = turned(&flow);
			establish(&flow);
			break;
		case 2:
			send_burst(&in, way);
			break;
		default:
			send_one(&in, way);
		}
	}
	fuzz_audit();
	return 0;
}
