/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest of the tests of network queues. */
#include "device/virtio/test_net.h"

struct rte_mempool *test_net_pool;

void test_net_up(struct test_net *net, uint64_t features, unsigned size)
{
	test_device_init(&net->device, true);
	net->device.ops.features = virtio_net_features();
	test_device_start(&net->device, VHOST_SERVER);
	frontend_init(&net->guest, 8 << 20, test_device_pump, &net->device);
	net->guest.regions = 2;
	frontend_connect(&net->guest, net->device.path);
	frontend_negotiate(&net->guest, features, TEST_PROTOCOL);
	frontend_share_memory(&net->guest);
	net->rx = frontend_queue_new(&net->guest, RX, size);
	net->tx = frontend_queue_new(&net->guest, TX, size);
	frontend_queue_start(net->rx, frontend_queue_base(net->rx));
	frontend_queue_start(net->tx, frontend_queue_base(net->tx));
	net->header = features & (VHOST_BIT(32) | MERGE) ? 12 : 10;
}

void test_net_down(struct test_net *net)
{
	frontend_fini(&net->guest);
	test_device_close(&net->device);
	assert_int_equal(rte_mempool_in_use_count(test_net_pool), 0);
}

void test_net_fill(uint8_t *bytes, uint32_t length, unsigned seed)
{
	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

void test_net_send(struct test_net *net, const struct virtio_net_hdr *header, const uint8_t *frame, uint32_t length,
		   uint32_t piece, bool indirect)
{
	static struct frontend_buffer buffers[1024];
	uint64_t place = frontend_alloc(&net->guest, net->header + length, 64);
	uint8_t *at = frontend_at(&net->guest, place);
	uint32_t total = net->header + length;
	unsigned count = 0;

	memcpy(at, header, sizeof(*header));
	memcpy(at + net->header, frame, length);
	for (uint32_t done = 0; done < total; done += piece, count++) {
		uint32_t here = total - done < piece ? total - done : piece;
		buffers[count] = (struct frontend_buffer){ place + done, here, false };
	}
	assert_true(frontend_offer(net->tx, buffers, count, indirect) >= 0);
}

void test_net_reclaim(struct test_net *net, struct frontend_queue *queue, unsigned expected)
{
	uint16_t id;
	uint32_t length;

	for (unsigned i = 0; i < expected; i++)
		assert_true(frontend_take(queue, &id, &length));
	assert_false(frontend_take(queue, &id, &length));
}

uint64_t test_net_receive(struct test_net *net, unsigned n, uint32_t bytes, unsigned pieces, bool indirect)
{
	uint64_t place = frontend_alloc(&net->guest, (uint64_t)n * bytes, 64);

	for (unsigned i = 0; i < n; i++) {
		struct frontend_buffer buffers[8];
		uint32_t at = 0;
		for (unsigned p = 0; p < pieces; p++) {
			uint32_t here = p + 1 < pieces ? bytes / pieces : bytes - at;
			buffers[p] = (struct frontend_buffer){ place + (uint64_t)i * bytes + at, here, true };
			at += here;
		}
		assert_true(frontend_offer(net->rx, buffers, pieces, indirect) >= 0);
	}
	return place;
}

struct rte_mbuf *test_net_frame(const uint8_t *frame, uint32_t length)
{
	struct rte_mbuf *first = rte_pktmbuf_alloc(test_net_pool), *last = first;

	for (uint32_t done = 0; done < length;) {
		uint32_t room = rte_pktmbuf_tailroom(last), here = length - done < room ? length - done : room;
		memcpy(rte_pktmbuf_append(last, (uint16_t)here), frame + done, here);
		done += here;
		if (last != first) {
			first->nb_segs++;
			first->pkt_len += here;
		}
		if (done < length)
			last = last->next = rte_pktmbuf_alloc(test_net_pool);
	}
	return first;
}

uint32_t test_net_take(struct test_net *net, uint64_t place, uint32_t bytes, unsigned *taken,
		       struct virtio_net_hdr_mrg_rxbuf *header, uint8_t *frame)
{
	uint32_t length, total = 0;
	uint16_t id;
	unsigned buffers = 1;

	for (unsigned i = 0; i < buffers; i++, ++*taken) {
		assert_true(frontend_take(net->rx, &id, &length));
		const uint8_t *at = frontend_at(&net->guest, place + (uint64_t)*taken * bytes);
		uint32_t skip = 0;
		if (i == 0) {
			memcpy(header, at, net->header);
			skip = net->header;
			if (net->guest.features & MERGE)
				buffers = header->num_buffers;
		}
		assert_true(length >= skip && length <= bytes);
		memcpy(frame + total, at + skip, length - skip);
		total += length - skip;
	}
	return total;
}

void test_net_assert_frame(struct rte_mbuf *m, const uint8_t *frame, uint32_t length)
{
	static uint8_t copy[VIRTIO_NET_MAX_FRAME];
	uint32_t data = 0;
	unsigned segments = 0;

	assert_int_equal(m->pkt_len, length);
	for (const struct rte_mbuf *s = m; s; s = s->next, segments++)
		data += s->data_len;
	assert_int_equal(data, length);
	assert_int_equal(segments, m->nb_segs);
	const uint8_t *bytes = rte_pktmbuf_read(m, 0, length, copy);
	assert_memory_equal(bytes, frame, length);
}
