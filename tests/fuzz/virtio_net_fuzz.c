/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes virtio-net queues and their headers: frames good and spoilt, under headers that are right, lie, or ask for
 * what was not negotiated, go from one guest's ring to another's, as a switch would send them, and as the kernel's
 * ports use the header. A frame that was good and is taken arrives good, once whoever receives it does what its header
 * says. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "device/packet/segment.h"
#include "device/virtio/virtio_net_priv.h"
#include "device/virtio/virtqueue_priv.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MEMORY_BYTES = 1 << 20,
	SIZE = 64,
	TX_AT = 0, /* the rings, as the guests call them: descriptors, then available, then used */
	RX_AT = 0x4000,
	AVAIL = 0x1000,
	USED = 0x2000,
	FRAME_AT = 0x10000,
	BUFFERS_AT = 0x40000,
	SEGMENTS_MAX = 64,
};
#define GPA  UINT64_C(0x40000000)
#define USER UINT64_C(0x7f0000000000)

static struct guest_memory *memory;
static uint8_t *guest; /* the guest's view of it */
static struct virtqueue *tx, *rx;

static void rig_once(void)
{
	const struct guest_range range = { .gpa = GPA, .size = MEMORY_BYTES, .user = USER };
	const char *why;

	if (memory)
		return;
	test_pool();
	int fd = memfd_create("guest", MFD_CLOEXEC);
	input_require(fd >= 0 && ftruncate(fd, MEMORY_BYTES) == 0 && guest_memory_new(&memory) == 0);
	input_require(guest_memory_add(memory, &range, fd, &why) == 0);
	guest = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	input_require(guest != MAP_FAILED && virtqueue_new(&tx) == 0 && virtqueue_new(&rx) == 0);
}

static void queue_start(struct virtqueue *queue, uint32_t at, uint64_t features)
{
	const struct virtqueue_config config = {
		.features = features,
		.size = SIZE,
		.desc = USER + at,
		.driver = USER + at + AVAIL,
		.device = USER + at + USED,
		.memory = memory,
		.in_order = true,
		.kick_fd = -1,
		.call_fd = -1,
		.alarm_fd = -1,
	};
	const char *why;

	memset(guest + at, 0, 0x4000);
	input_require(virtqueue_setup(queue, &config, &why) == 0);
}

static uint64_t some_features(struct input *in)
{
	static const uint8_t bits[] = { VIRTIO_NET_F_CSUM,           VIRTIO_NET_F_HOST_TSO4,
					VIRTIO_NET_F_HOST_TSO6,      VIRTIO_NET_F_HOST_USO_BIT,
					VIRTIO_NET_F_GUEST_CSUM,     VIRTIO_NET_F_GUEST_TSO4,
					VIRTIO_NET_F_GUEST_TSO6,     VIRTIO_NET_F_GUEST_USO4_BIT,
					VIRTIO_NET_F_GUEST_USO6_BIT, VIRTIO_NET_F_GUEST_ECN,
					VIRTIO_NET_F_MRG_RXBUF,      VIRTIO_F_VERSION_1 };
	uint16_t missing = input_word(in);
	uint64_t features = 0;

	for (unsigned i = 0; i < RTE_DIM(bits); i++)
		features |= missing >> i & 1 ? 0 : VIRTIO_NET_BIT(bits[i]);
	return features;
}

/* Where the upper layer begins, as whoever made the header should know. */
static uint16_t some_start(struct input *in, uint32_t packet)
{
	static const uint8_t starts[] = { 34, 54, 42, 62, 34 + 8, 14 };
	uint8_t kind = input_byte(in);

	return kind < 192 ? (uint16_t)(packet + starts[kind % 6]) : input_word(in);
}

static struct virtio_net_hdr some_header(struct input *in, uint32_t packet)
{
	static const uint8_t offsets[] = { 16, 6, 8, 2 };
	static const uint8_t types[] = { 0, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_GSO_UDP_L4 };
	uint8_t shape = input_byte(in);
	struct virtio_net_hdr header = { .flags = shape & 3, .csum_start = some_start(in, packet) };

	header.csum_offset = shape & 0x80 ? input_word(in) : offsets[shape >> 2 & 3];
	header.gso_type = shape & 0x40 ? input_byte(in) : types[shape >> 4 & 3];
	header.gso_size = header.gso_type ? input_word(in) : 0;
	header.hdr_len = shape & 0x40 ? input_word(in) : 0;
	return header;
}

/* A frame, perhaps within a tunnel; returns where the packet in question begins. */
static uint32_t some_frame(struct input *in, struct frame *ret)
{
	static struct frame inner;
	uint8_t options = input_byte(in);
	uint32_t packet = 0;

	if (options & 1) {
		input_spec_frame(in, &inner);
		frame_tunnel(ret,
			     &(struct tunnel_spec){ .vni = 7,
						    .geneve = options & 2,
						    .udp_checksum = options & 4,
						    .src = options & 8 ? "2001:db8::1" : NULL,
						    .dst = options & 8 ? "2001:db8::2" : NULL },
			     &inner);
		packet = ret->length - inner.length;
	} else {
		input_spec_frame(in, ret);
	}
	if (options & 16)
		input_mutate(in, ret);
	return packet;
}

/* ---- the sending guest ---- */

static void guest_sends(struct input *in, const struct virtio_net_hdr *header, const struct frame *frame,
			unsigned header_bytes)
{
	struct vring_desc *desc = (struct vring_desc *)(guest + TX_AT);
	uint16_t *avail = (uint16_t *)(guest + TX_AT + AVAIL);
	uint32_t total = header_bytes + frame->length, done = 0;
	unsigned count = 0;

	memset(guest + FRAME_AT, 0, header_bytes);
	memcpy(guest + FRAME_AT, header, sizeof(*header));
	memcpy(guest + FRAME_AT + header_bytes, frame->bytes, frame->length);
	while (done < total) {
		uint32_t part = input_byte(in);
		part = part == 0 || count == SIZE - 1 ? total - done : RTE_MIN(part, total - done);
		desc[count] = (struct vring_desc){ .addr = GPA + FRAME_AT + done, .len = part };
		done += part;
		desc[count].flags = done < total ? VRING_DESC_F_NEXT : 0;
		desc[count].next = (uint16_t)(count + 1);
		count++;
	}
	avail[2] = 0;
	avail[1] = 1;
}

/* ---- the receiving guest ---- */

static unsigned guest_offers(struct input *in, bool big)
{
	struct vring_desc *desc = (struct vring_desc *)(guest + RX_AT);
	uint16_t *avail = (uint16_t *)(guest + RX_AT + AVAIL);
	uint32_t bytes = big ? 12000 : 64 + input_byte(in) * 8u;

	for (unsigned i = 0; i < SIZE; i++) {
		desc[i] = (struct vring_desc){ .addr = GPA + BUFFERS_AT + i * 12000u,
					       .len = bytes,
					       .flags = VRING_DESC_F_WRITE };
		avail[2 + i] = (uint16_t)i;
	}
	avail[1] = SIZE;
	return bytes;
}

/* What the header asks for is done; NULL, or what is wrong with the header. */
static const char *complete(struct frame *frame, const struct virtio_net_hdr *header)
{
	if (header->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return "flags";
	if (header->gso_type && (!header->gso_size || !header->flags || header->hdr_len > frame->length))
		return "segmentation";
	if (!header->flags)
		return NULL;
	uint32_t at = header->csum_start + header->csum_offset;
	if (at + 2 > frame->length)
		return "checksum beyond the frame";
	if (header->gso_type)
		return NULL;
	uint16_t sum = reference_checksum(frame->bytes + header->csum_start, frame->length - header->csum_start, 0);
	sum = sum ? sum : 0xffff;
	frame->bytes[at] = (uint8_t)(sum >> 8);
	frame->bytes[at + 1] = (uint8_t)sum;
	return NULL;
}

/* Reads what came, frame by frame. good: each must be a good frame. */
static unsigned guest_receives(unsigned header_bytes, bool merge, bool good)
{
	static struct frame frame;
	const uint8_t *used = guest + RX_AT + USED;
	uint16_t index, buffers = 1;
	unsigned frames = 0;

	memcpy(&index, used + 2, 2);
	for (unsigned i = 0; i < index; frames++) {
		struct virtio_net_hdr_mrg_rxbuf header = { 0 };
		frame.length = 0;
		for (unsigned part = 0; part < buffers || part == 0; part++, i++) {
			struct vring_used_elem element;
			input_require(i < index);
			memcpy(&element, used + 4 + i * sizeof(element), sizeof(element));
			const uint8_t *buffer = guest + BUFFERS_AT + element.id * 12000u;
			uint32_t skip = part == 0 ? header_bytes : 0;
			input_require(element.len >= skip && element.len <= 12000);
			if (part == 0) {
				memcpy(&header, buffer, header_bytes);
				buffers = merge ? header.num_buffers : 1;
				input_require(buffers > 0);
			}
			memcpy(frame.bytes + frame.length, buffer + skip, element.len - skip);
			frame.length += element.len - skip;
		}
		input_require(!complete(&frame, &header.hdr));
		const char *fault = good && !header.hdr.gso_type ? frame_fault(frame.bytes, frame.length) : NULL;
		if (fault) {
			frame_dump(&frame);
			fprintf(stderr, "%s\n", fault);
		}
		input_require(!fault);
	}
	return frames;
}

/* As a port does before it transmits: what the receiver does not take is completed. Returns frames. */
static unsigned prepare(struct rte_mbuf *m, uint64_t offloads, struct rte_mbuf **ret)
{
	const uint64_t requests = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
	unsigned count = 0;

	*ret = m;
	if (!(m->ol_flags & requests & ~offloads))
		return 1;
	if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) {
		if (!packet_segment(m, test_pool(), ret, SEGMENTS_MAX, &count))
			return count;
	} else if (!packet_checksum(m)) {
		return 1;
	}
	rte_pktmbuf_free(m);
	return 0;
}

static void from_guest_to_guest(struct input *in)
{
	static struct frame frame, copy;
	struct virtio_net_rx_drops drops = { 0 };
	struct virtio_net_tx_result result = { 0 };
	struct rte_mbuf *m = NULL, *out[SEGMENTS_MAX];
	uint64_t features = some_features(in), theirs = some_features(in);
	struct virtio_net_hdr header = some_header(in, some_frame(in, &frame));
	bool good = frame.length <= 9000 && !frame_fault(frame.bytes, frame.length) && frame.length >= 60;

	queue_start(tx, TX_AT, features);
	queue_start(rx, RX_AT, theirs);
	guest_sends(in, &header, &frame, virtio_net_header_bytes(features));
	bool merge = theirs & VIRTIO_NET_BIT(VIRTIO_NET_F_MRG_RXBUF);
	guest_offers(in, !merge);
	unsigned taken = virtio_net_rx(tx, test_pool(), &m, 1, &drops);
	input_require(taken + drops.bad_header + drops.too_long + drops.no_buffer == 1);
	if (!taken)
		return;
	frame_read(&copy, m);
	input_require(copy.length == frame.length);
	/* Without a request the sums were right before; with one they are not looked at. */
	good = good && (!header.flags || m->ol_flags & RTE_MBUF_F_TX_L4_MASK);
	unsigned count = prepare(m, virtio_net_tx_offloads(rx), out);
	unsigned sent = virtio_net_tx(rx, out, count, &result);
	unsigned seen = guest_receives(virtio_net_header_bytes(theirs), merge, good);
	input_require(seen + result.too_long == sent && sent <= count);
	rte_pktmbuf_free_bulk(out + sent, count - sent);
}

/* The kernel's ports: tunnels, chains cut anywhere, and back again. */
static void through_the_kernel(struct input *in)
{
	const uint64_t features = UINT64_MAX;
	static struct frame frame;
	struct rte_mbuf *out[SEGMENTS_MAX];
	struct virtio_net_hdr header = some_header(in, some_frame(in, &frame)), back;
	uint32_t ends[] = { 1 + input_byte(in), 300, 0 };
	unsigned count = 0;

	struct rte_mbuf *m = frame_mbuf_split(&frame, ends);
	if (virtio_net_header_apply(m, &header, features) && virtio_net_header_make(m, features, &back)) {
		frame_read(&frame, m);
		input_require(!complete(&frame, &back));
		if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG) &&
		    !packet_segment(m, test_pool(), out, SEGMENTS_MAX, &count))
			m = NULL;
	}
	rte_pktmbuf_free_bulk(out, count);
	rte_pktmbuf_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	rig_once();
	if (input_byte(&in) & 1)
		through_the_kernel(&in);
	else
		from_guest_to_guest(&in);
	input_require(test_pool_used() == 0);
	return 0;
}
