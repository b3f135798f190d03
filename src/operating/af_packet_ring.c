/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_PACKET sockets: receive ring, batched transmission (packet(7), Documentation/networking/packet_mmap.rst). */
#include "operating/af_packet_ring.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <rte_branch_prediction.h>
#include "operating/mbuf_chain.h"
#include "operating/port_priv.h"
#include "operating/vnet_header.h"

enum {
	BLOCK_BYTES = 1 << 16,
	RING_BYTES = 1 << 21, /* with slots for an MTU of 1500: 1,024 of them */
	SLOTS_MIN = 256,
	VNET_BYTES = sizeof(struct virtio_net_hdr),
	VLAN_BYTES = 4,
	MACS_BYTES = 12,
	COPY_BUFFER_BYTES = 4 << 20, /* frames longer than a slot wait here */
	COPY_SEGMENTS = 255,         /* iovec elements for one frame */
	TX_BATCH = 32,
	TX_SEGMENTS = 512, /* in one batch */
};

/* ---- opening ---- */

static int set_option(int fd, int name, int value)
{
	return setsockopt(fd, SOL_PACKET, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_options(int fd)
{
	static const struct {
		int name, value;
		bool required;
	} options[] = {
		{ PACKET_VERSION, TPACKET_V2, true }, { PACKET_VNET_HDR, 1, true },
		{ PACKET_COPY_THRESH, 1, true },      { PACKET_IGNORE_OUTGOING, 1, true },
		{ PACKET_QDISC_BYPASS, 1, false },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int status = set_option(fd, options[i].name, options[i].value);
		if (status < 0 && options[i].required)
			return status;
	}
	int bytes = COPY_BUFFER_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return 0;
}

static int map_ring(struct af_packet_ring *ring, unsigned mtu)
{
	/* Before the frame: header, link-layer address, alignment, virtio header; see tpacket_rcv() for the order. */
	uint32_t front = TPACKET_ALIGN(TPACKET2_HDRLEN + 16) + VNET_BYTES;

	ring->slot_bytes = TPACKET_ALIGN(front + ETH_HLEN + VLAN_BYTES + mtu);
	if (ring->slot_bytes < 2048)
		ring->slot_bytes = 2048;
	ring->slots_per_block = BLOCK_BYTES / ring->slot_bytes;
	if (ring->slots_per_block == 0) /* an MTU near 64 KiB */
		return -EINVAL;
	uint32_t blocks = RING_BYTES / BLOCK_BYTES, least = (SLOTS_MIN - 1) / ring->slots_per_block + 1;
	if (blocks < least)
		blocks = least;
	struct tpacket_req request = {
		.tp_block_size = BLOCK_BYTES,
		.tp_block_nr = blocks,
		.tp_frame_size = ring->slot_bytes,
		.tp_frame_nr = blocks * ring->slots_per_block,
	};
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0)
		return -errno;
	ring->slots = request.tp_frame_nr;
	ring->map_bytes = (size_t)blocks * BLOCK_BYTES;
	void *map = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	ring->map = map;
	return 0;
}

int af_packet_ring_open(struct af_packet_ring *ring, int ifindex, unsigned mtu)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = ifindex,
	};
	struct packet_mreq promiscuous = { .mr_ifindex = ifindex, .mr_type = PACKET_MR_PROMISC };

	*ring = (struct af_packet_ring){ .fd = -1 };
	/* Protocol 0: it receives nothing before it is bound, so no frame of another interface. */
	ring->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int status = ring->fd < 0 ? -errno : set_options(ring->fd);
	if (status == 0)
		status = map_ring(ring, mtu);
	if (status == 0 && bind(ring->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		status = -errno;
	/* Not all interfaces can; then frames to other addresses than its own do not arrive. */
	if (status == 0)
		setsockopt(ring->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous));
	if (status < 0)
		af_packet_ring_close(ring);
	return status;
}

int af_packet_ring_join(struct af_packet_ring *ring, uint16_t *group)
{
	int value = *group | PACKET_FANOUT_HASH << 16;

	if (*group == 0)
		value |= PACKET_FANOUT_FLAG_UNIQUEID << 16;
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_FANOUT, &value, sizeof(value)) < 0)
		return -errno;
	if (*group != 0)
		return 0;
	socklen_t length = sizeof(value);
	if (getsockopt(ring->fd, SOL_PACKET, PACKET_FANOUT, &value, &length) < 0)
		return -errno;
	*group = (uint16_t)value;
	return 0;
}

void af_packet_ring_close(struct af_packet_ring *ring)
{
	if (ring->map)
		munmap(ring->map, ring->map_bytes);
	if (ring->fd >= 0)
		close(ring->fd);
	*ring = (struct af_packet_ring){ .fd = -1 };
}

/* ---- receiving ---- */

static struct tpacket2_hdr *slot_at(const struct af_packet_ring *ring, uint32_t index)
{
	return (struct tpacket2_hdr *)(ring->map + (size_t)(index / ring->slots_per_block) * BLOCK_BYTES +
				       (size_t)(index % ring->slots_per_block) * ring->slot_bytes);
}

static uint32_t slot_status(const struct tpacket2_hdr *slot)
{
	return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

bool af_packet_ring_waiting(const struct af_packet_ring *ring)
{
	return slot_status(slot_at(ring, ring->next)) & TP_STATUS_USER;
}

/* The VLAN tag that the kernel took out. */
static bool slot_tag(const struct tpacket2_hdr *slot, uint32_t status, rte_be16_t ret_tag[2])
{
	if (!(status & TP_STATUS_VLAN_VALID))
		return false;
	ret_tag[0] = rte_cpu_to_be_16(status & TP_STATUS_VLAN_TPID_VALID ? slot->tp_vlan_tpid : ETH_P_8021Q);
	ret_tag[1] = rte_cpu_to_be_16(slot->tp_vlan_tci);
	return true;
}

/* Offsets in the header count from the start of the frame, which the tag makes longer. */
static void shift_header(struct virtio_net_hdr *header)
{
	header->csum_start += VLAN_BYTES;
	header->hdr_len += VLAN_BYTES;
}

static struct rte_mbuf *finish(struct port *port, struct rte_mbuf *m, const struct virtio_net_hdr *header)
{
	if (likely(!header->flags && !header->gso_type) || vnet_to_mbuf(header, m, port->iface))
		return m;
	port_rx_drop(port, PORT_RX_BAD_HEADER, 1);
	rte_pktmbuf_free(m);
	return NULL;
}

static struct rte_mbuf *receive_slot(struct port *port, const struct tpacket2_hdr *slot, uint32_t status)
{
	const uint8_t *frame = (const uint8_t *)slot + slot->tp_mac;
	uint32_t length = slot->tp_snaplen, at = 0;
	struct virtio_net_hdr header;
	struct mbuf_chain chain;
	rte_be16_t tag[2];

	if (slot->tp_len != length || length < ETH_HLEN) { /* the copy buffer was full */
		port_rx_drop(port, PORT_RX_MISSED, 1);
		return NULL;
	}
	memcpy(&header, frame - VNET_BYTES, sizeof(header));
	bool copied = mbuf_chain_start(&chain, port->pool);
	if (copied && slot_tag(slot, status, tag)) {
		copied = mbuf_chain_append(&chain, frame, MACS_BYTES) && mbuf_chain_append(&chain, tag, VLAN_BYTES);
		at = MACS_BYTES;
		shift_header(&header);
	}
	if (!copied || !mbuf_chain_append(&chain, frame + at, length - at)) {
		port_rx_drop(port, PORT_RX_NO_BUFFER, 1);
		rte_pktmbuf_free(chain.head);
		return NULL;
	}
	return finish(port, chain.head, &header);
}

/* Buffers for length bytes, as an iovec besides; NULL if there are none. */
static struct rte_mbuf *prepare_chain(struct rte_mempool *pool, uint32_t length, struct iovec *iov, int *ret_count)
{
	struct rte_mbuf *head = NULL, **tail = &head;
	uint32_t left = length;
	int count = 0;

	while (left > 0) {
		struct rte_mbuf *m = count < COPY_SEGMENTS ? rte_pktmbuf_alloc(pool) : NULL;
		if (!m) {
			rte_pktmbuf_free(head);
			return NULL;
		}
		uint32_t part = RTE_MIN(left, rte_pktmbuf_tailroom(m));
		m->data_len = (uint16_t)part;
		left -= part;
		iov[count++] = (struct iovec){ rte_pktmbuf_mtod(m, void *), part };
		*tail = m;
		tail = &m->next;
	}
	head->nb_segs = (uint16_t)count;
	head->pkt_len = length;
	*ret_count = count;
	return head;
}

static bool insert_tag(struct rte_mbuf *m, const rte_be16_t tag[2])
{
	uint8_t *frame = (uint8_t *)rte_pktmbuf_prepend(m, VLAN_BYTES);

	if (!frame)
		return false;
	memmove(frame, frame + VLAN_BYTES, MACS_BYTES);
	memcpy(frame + MACS_BYTES, tag, VLAN_BYTES);
	return true;
}

/* A frame longer than its slot waits in the socket. */
static struct rte_mbuf *receive_copy(struct af_packet_ring *ring, struct port *port, const struct tpacket2_hdr *slot,
				     uint32_t status)
{
	struct iovec iov[1 + COPY_SEGMENTS];
	struct virtio_net_hdr header;
	rte_be16_t tag[2];
	int count = 0;
	struct rte_mbuf *m = prepare_chain(port->pool, slot->tp_len, iov + 1, &count);

	iov[0] = (struct iovec){ &header, sizeof(header) };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = m ? (size_t)count + 1 : 1 };
	ssize_t length = recvmsg(ring->fd, &message, MSG_DONTWAIT | MSG_TRUNC);
	if (!m) {
		port_rx_drop(port, PORT_RX_NO_BUFFER, 1);
		return NULL;
	}
	if (length != (ssize_t)(sizeof(header) + slot->tp_len)) {
		port_rx_drop(port, PORT_RX_MISSED, 1);
		rte_pktmbuf_free(m);
		return NULL;
	}
	if (slot_tag(slot, status, tag) && insert_tag(m, tag))
		shift_header(&header);
	return finish(port, m, &header);
}

/* Reading the counter resets it, and the mark on the slots with it. */
static void count_missed(struct af_packet_ring *ring, struct port *port)
{
	struct tpacket_stats stats;
	socklen_t length = sizeof(stats);

	if (getsockopt(ring->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0)
		port_rx_drop(port, PORT_RX_MISSED, stats.tp_drops);
}

unsigned af_packet_ring_rx(struct af_packet_ring *ring, struct port *port, struct rte_mbuf **packets, unsigned max)
{
	uint32_t seen = 0;
	unsigned received = 0;

	for (unsigned i = 0; i < max; i++) {
		struct tpacket2_hdr *slot = slot_at(ring, ring->next);
		uint32_t status = slot_status(slot);
		if (!(status & TP_STATUS_USER))
			break;
		struct rte_mbuf *m = status & TP_STATUS_COPY ? receive_copy(ring, port, slot, status)
							     : receive_slot(port, slot, status);
		if (m)
			packets[received++] = m;
		seen |= status;
		__atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		if (++ring->next == ring->slots)
			ring->next = 0;
	}
	if (unlikely(seen & TP_STATUS_LOSING))
		count_missed(ring, port);
	return received;
}

/* ---- transmitting ---- */

struct tx_batch {
	struct mmsghdr messages[TX_BATCH];
	struct virtio_net_hdr headers[TX_BATCH];
	struct iovec iov[TX_SEGMENTS];
	unsigned count, segments;
};

/* False if it does not fit into this batch. */
static bool batch_add(struct tx_batch *batch, const struct rte_mbuf *m)
{
	struct iovec *iov = &batch->iov[batch->segments];
	unsigned segments = 0;

	if (batch->count == TX_BATCH || batch->segments + 1 + m->nb_segs > TX_SEGMENTS)
		return false;
	iov[segments++] = (struct iovec){ &batch->headers[batch->count], VNET_BYTES };
	for (const struct rte_mbuf *part = m; part; part = part->next)
		iov[segments++] = (struct iovec){ rte_pktmbuf_mtod(part, void *), part->data_len };
	batch->messages[batch->count++] = (struct mmsghdr){ .msg_hdr = { .msg_iov = iov, .msg_iovlen = segments } };
	batch->segments += segments;
	return true;
}

/* The packets from the front that can be sent in one call. */
static void batch_fill(struct tx_batch *batch, struct rte_mbuf **packets, unsigned count)
{
	batch->count = batch->segments = 0;
	for (unsigned i = 0; i < count && i < TX_BATCH; i++)
		if (!vnet_from_mbuf(packets[i], &batch->headers[i]) || !batch_add(batch, packets[i]))
			break;
}

static int batch_send(int fd, struct tx_batch *batch)
{
	if (batch->count > 0)
		return sendmmsg(fd, batch->messages, batch->count, MSG_DONTWAIT);
	errno = EINVAL; /* the first packet is impossible */
	return -1;
}

/* Why the first one was refused. True when it may go later; else it is counted. */
static bool refused(int error, struct port_tx_result *ret)
{
	switch (error) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return true;
	case EMSGSIZE:
		ret->too_long++;
		return false;
	default: /* interface down or gone, or a frame that the kernel finds impossible */
		ret->failed++;
		return false;
	}
}

/* Past the queueing discipline the kernel drops what it would have to segment itself: the interface cannot, or cannot
 * behind a tag. True when it was that way and no longer is. */
static bool stop_bypassing(struct af_packet_ring *ring, const struct rte_mbuf *m)
{
	if (ring->no_bypass || !(m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)))
		return false;
	ring->no_bypass = true;
	return set_option(ring->fd, PACKET_QDISC_BYPASS, 0) == 0;
}

unsigned af_packet_ring_tx(struct af_packet_ring *ring, struct rte_mbuf **packets, unsigned count,
			   struct port_tx_result *ret)
{
	struct tx_batch batch;
	unsigned taken = 0;
	bool was_down = false;

	while (taken < count) {
		batch_fill(&batch, packets + taken, count - taken);
		int sent = batch_send(ring->fd, &batch);
		/* The first call after the interface was down says so, even when it is up again. */
		if (sent < 0 && errno == ENETDOWN && !was_down) {
			was_down = true;
			continue;
		}
		if (sent < 0 && errno == ENOBUFS && stop_bypassing(ring, packets[taken]))
			continue;
		if (sent < 0 && refused(errno, ret))
			break;
		for (int i = 0; i < sent; i++)
			ret->bytes += packets[taken + (unsigned)i]->pkt_len;
		ret->packets += sent > 0 ? (unsigned)sent : 0;
		unsigned done = sent > 0 ? (unsigned)sent : 1;
		rte_pktmbuf_free_bulk(packets + taken, done);
		taken += done;
	}
	return taken;
}
