/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the packet path as a whole: bursts of frames, good and spoilt, from vNICs and the uplink, plain and tunnelled,
 * with offload requests, over sessions with any action; epochs move, capture goes on and off. No packet may get lost or
 * come out twice, and what comes out can be segmented and checksummed. */
#include "base/clock.h"
#include "device/packet/path_harness.h"
#include "device/packet/segment.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void choose_actions(struct input *in, struct harness *h)
{
	uint8_t choice = input_byte(in);
	struct session_dir forward = choice & 1 ? harness_encap(HARNESS_A, 1 + (choice >> 1) % HARNESS_TUNNELS)
						: harness_local(HARNESS_A, HARNESS_B);
	struct session_dir reverse = harness_local(choice & 0x40 ? HARNESS_UPLINK : HARNESS_B, HARNESS_A);

	forward.in_iface = choice & 0x80 ? HARNESS_UPLINK : HARNESS_A;
	forward.ops ^= input_byte(in) & (SESSION_OP_SET_MACS | SESSION_OP_DEC_TTL | SESSION_OP_KEEP_SRC_MAC);
	forward.mtu = choice & 0x20 ? input_word(in) : 1500;
	harness_set_actions(h, forward, reverse);
	h->open_sessions = choice != 0xff;
	h->timeout_ticks = 1 + input_byte(in);
}

static struct rte_mbuf *make_packet(struct input *in, bool uplink)
{
	static struct frame inner, outer;
	uint8_t options = input_byte(in);
	struct frame *frame = &inner;

	input_spec_frame(in, &inner);
	input_mutate(in, &inner);
	if (uplink && options & 3) {
		struct tunnel_spec spec = { .vni = 5000,
					    .geneve = options & 4,
					    .udp_checksum = options & 8,
					    .tos = options >> 6,
					    .dst_mac = "02:00:00:00:01:02",
					    .src = options & 16 ? "2001:db8::1" : NULL,
					    .dst = options & 16 ? "2001:db8::2" : NULL };
		frame_tunnel(&outer, &spec, &inner);
		frame = &outer;
		if (options & 2)
			input_mutate(in, &outer);
	}
	struct rte_mbuf *m = frame_mbuf_split(frame, (uint32_t[]){ options & 32 ? input_byte(in) : 0, 0 });
	if (!uplink && options & 1) {
		m->ol_flags = options & 2 ? RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4
					  : RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4;
		m->l2_len = 14;
		m->l3_len = 20;
		m->l4_len = 20;
		m->tso_segsz = 1 + input_byte(in);
	}
	return m;
}

/* Finishes what came out as a port would. */
static void finish_output(struct harness *h)
{
	static struct rte_mbuf *segments[256];
	static struct frame frame;

	for (unsigned i = 0; i < h->out_count; i++) {
		unsigned count;
		frame_read(&frame, h->out[i]);
		if (h->out[i]->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) {
			if (packet_segment(h->out[i], test_pool(), segments, RTE_DIM(segments), &count))
				continue;
			rte_pktmbuf_free_bulk(segments, count);
			h->out[i] = NULL;
		} else {
			packet_checksum(h->out[i]);
		}
	}
	unsigned kept = 0;
	for (unsigned i = 0; i < h->out_count; i++)
		if (h->out[i])
			h->out[kept++] = h->out[i];
	h->out_count = kept;
}

static uint64_t all_drops(const struct path *path)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
		sum += path_drops(path, i);
	return sum;
}

static void remove_session(void *arg, struct session *session)
{
	session_remove(arg, session);
}

/* So that the next input finds the same path. */
static void remove_sessions(struct harness *h)
{
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		struct session_table *table = path_table_at(h->path, i);
		uint32_t cursor = 0;
		while (session_table_scan(table, &cursor, 1000, remove_session, table))
			;
		input_require(session_table_count(table) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct harness *h;
	struct rte_mbuf *burst[PATH_BURST];
	struct input in = { data, data + size };

	if (!h)
		h = harness_new();
	while (in.at < in.end) {
		uint8_t header = input_byte(&in);
		uint16_t iface = header & 1 ? HARNESS_UPLINK : header & 2 ? HARNESS_B : HARNESS_A;
		unsigned count = 1 + (header >> 2) % 16;
		choose_actions(&in, h);
		if (header & 0x40)
			atomic_fetch_add(&h->vpc.epoch, 1);
		path_set_capture(h->path, header & 0x80);
		for (unsigned i = 0; i < count; i++)
			burst[i] = make_packet(&in, iface == HARNESS_UPLINK);
		uint64_t before = all_drops(h->path);
		path_input(h->path, iface, burst, count);
		/* Fragmentation makes several of one. */
		input_require(h->out_count + h->handed_count + all_drops(h->path) - before >= count);
		finish_output(h);
		harness_clear(h);
		input_require(test_pool_used() == 0);
	}
	path_tick(h->path, clock_ns());
	remove_sessions(h);
	return 0;
}
