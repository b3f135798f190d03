/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net queues: frames of all sizes both ways, buffers of all shapes, good and bad. */
#include "device/virtio/test_net.h"

static void test_guest_to_device(void **state)
{
	static const uint64_t features[] = { MODERN | MERGE, VHOST_BIT(30), VHOST_BIT(30) | MERGE, PACKED,
					     PACKED | VHOST_BIT(28) | VHOST_BIT(29) };
	static const uint32_t lengths[] = { 14, 15, 60, 64, 1514, 2040, 2049, 9014, 65549, VIRTIO_NET_MAX_FRAME };
	static const uint32_t pieces[] = { 1 << 20, 10, 12, 13, 4096, 300 };
	static uint8_t frame[VIRTIO_NET_MAX_FRAME];
	const struct virtio_net_hdr header = { 0 };

	for (unsigned f = 0; f < 5; f++) {
		struct test_net net;
		test_net_up(&net, features[f], 1024);
		uint64_t start = net.guest.allocated;
		for (unsigned i = 0; i < 10; i++) {
			for (unsigned p = 0; p < 6; p++) {
				struct virtio_net_rx_drops drops = { 0 };
				struct rte_mbuf *packets[32];
				bool indirect = features[f] & VHOST_BIT(28) && p % 2;
				if ((lengths[i] + 12) / pieces[p] + 1 > 1000)
					continue;
				net.guest.allocated = start;
				test_net_fill(frame, lengths[i], i + p);
				test_net_send(&net, &header, frame, lengths[i], pieces[p], indirect);
				assert_int_equal(
					virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 32, &drops), 1);
				assert_int_equal(drops.bad_header + drops.too_long + drops.no_buffer, 0);
				test_net_assert_frame(packets[0], frame, lengths[i]);
				assert_int_equal(packets[0]->ol_flags, 0);
				assert_int_equal(rte_pktmbuf_headroom(packets[0]), VIRTIO_NET_HEADROOM);
				rte_pktmbuf_free(packets[0]);
				test_net_reclaim(&net, net.tx, 1);
			}
		}
		test_net_down(&net);
	}
}

/* More frames than one burst, in order; a full test_net_pool; frames without room for a header. */
static void test_bursts_and_shortage(void **state)
{
	struct test_net net;
	const struct virtio_net_hdr header = { 0 };
	struct virtio_net_rx_drops drops = { 0 };
	struct rte_mbuf *packets[128], *hog[2048];
	uint8_t frame[64];

	test_net_up(&net, PACKED, 256);
	for (unsigned i = 0; i < 100; i++) {
		test_net_fill(frame, 64, i);
		test_net_send(&net, &header, frame, 64, 1 << 20, false);
	}
	assert_int_equal(virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 128, &drops), 100);
	for (unsigned i = 0; i < 100; i++) {
		test_net_fill(frame, 64, i);
		test_net_assert_frame(packets[i], frame, 64);
		rte_pktmbuf_free(packets[i]);
	}
	test_net_reclaim(&net, net.tx, 100);

	/* Ten buffers left for twelve frames, one of which needs four. */
	unsigned taken = 0;
	while (taken < 2048 && rte_mempool_avail_count(test_net_pool) > 10)
		hog[taken++] = rte_pktmbuf_alloc(test_net_pool);
	static uint8_t large[8000];
	for (unsigned i = 0; i < 12; i++)
		test_net_send(&net, &header, i == 3 ? large : frame, i == 3 ? sizeof(large) : 64, 1 << 20, false);
	unsigned got = virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 128, &drops);
	assert_in_range(got, 6, 10);
	assert_int_equal(got + drops.no_buffer, 12);
	test_net_reclaim(&net, net.tx, 12);
	rte_pktmbuf_free_bulk(packets, got);
	rte_pktmbuf_free_bulk(hog, taken);

	test_net_send(&net, &header, frame, 13, 1 << 20, false);
	test_net_send(&net, &header, frame, 1, 1 << 20, false);
	static uint8_t huge[VIRTIO_NET_MAX_FRAME + 1];
	test_net_send(&net, &header, huge, sizeof(huge), 1 << 20, false);
	struct frontend_buffer none = { 4096, 0, false };
	frontend_offer(net.tx, &none, 1, false);
	memset(&drops, 0, sizeof(drops));
	assert_int_equal(virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 128, &drops), 0);
	assert_int_equal(drops.bad_header, 3);
	assert_int_equal(drops.too_long, 1);
	test_net_reclaim(&net, net.tx, 4);
	test_net_down(&net);
}

/* ---- to the guest ---- */

static void test_device_to_guest(void **state)
{
	static const uint64_t features[] = { MODERN | MERGE, PACKED | MERGE, VHOST_BIT(30),
					     MODERN,         PACKED,         PACKED | MERGE | VHOST_BIT(28) };
	static const uint32_t lengths[] = { 14, 60, 1514, 1515, 1600, 3000, 9014, 65549 };
	static uint8_t frame[VIRTIO_NET_MAX_FRAME], seen[VIRTIO_NET_MAX_FRAME];

	for (unsigned f = 0; f < 6; f++) {
		bool merge = features[f] & MERGE;
		uint32_t bytes = merge ? 1536 : 70000;
		unsigned count = merge ? 64 : 1, pieces = 1 + f % 3;
		struct test_net net;
		test_net_up(&net, features[f], 256);
		uint64_t start = net.guest.allocated;
		for (unsigned i = 0; i < 8; i++) {
			struct virtio_net_hdr_mrg_rxbuf header;
			struct virtio_net_tx_result result = { 0 };
			unsigned taken = 0;
			uint16_t id;
			uint32_t length;
			net.guest.allocated = start;
			uint64_t place = test_net_receive(&net, count, bytes, pieces, features[f] & VHOST_BIT(28));
			test_net_fill(frame, lengths[i], i);
			struct rte_mbuf *m = test_net_frame(frame, lengths[i]);
			assert_int_equal(virtio_net_tx(net.device.queues[RX], &m, 1, &result), 1);
			assert_int_equal(result.too_long, 0);
			assert_int_equal(result.bytes, lengths[i]);
			assert_int_equal(test_net_take(&net, place, bytes, &taken, &header, seen), lengths[i]);
			assert_memory_equal(seen, frame, lengths[i]);
			assert_int_equal(header.hdr.flags | header.hdr.gso_type, 0);
			assert_int_equal(taken, merge ? (lengths[i] + 12 + bytes - 1) / bytes : 1);
			assert_false(frontend_take(net.rx, &id, &length));
			/* The rest is still the guest's: use it up with small frames. */
			for (unsigned more = taken; more < count; more++) {
				m = test_net_frame(frame, 60);
				assert_int_equal(virtio_net_tx(net.device.queues[RX], &m, 1, &result), 1);
				assert_int_equal(test_net_take(&net, place, bytes, &taken, &header, seen), 60);
			}
			m = test_net_frame(frame, 60);
			assert_int_equal(virtio_net_tx(net.device.queues[RX], &m, 1, &result), 0);
			rte_pktmbuf_free(m);
		}
		test_net_down(&net);
	}
}

/* A burst ends where the guest's buffers end; what was not taken stays the caller's. */
static void test_burst_to_guest(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		static uint8_t frame[9000], seen[9000];
		struct rte_mbuf *packets[40];
		struct virtio_net_hdr_mrg_rxbuf header;
		struct virtio_net_tx_result result = { 0 };
		unsigned taken = 0;
		struct test_net net;
		test_net_up(&net, (packed ? PACKED : MODERN) | MERGE, 256);
		uint64_t place = test_net_receive(&net, 50, 1024, 1, false);
		for (unsigned i = 0; i < 40; i++) {
			test_net_fill(frame, 1500, i);
			packets[i] = test_net_frame(frame, i % 4 ? 100 : 1500);
		}
		/* Of four frames one takes two buffers: 40 of them need 50. */
		assert_int_equal(virtio_net_tx(net.device.queues[RX], packets, 40, &result), 40);
		for (unsigned i = 0; i < 40; i++) {
			uint32_t length = i % 4 ? 100 : 1500;
			test_net_fill(frame, 1500, i);
			assert_int_equal(test_net_take(&net, place, 1024, &taken, &header, seen), length);
			assert_memory_equal(seen, frame, length);
		}
		net.guest.allocated = place;
		test_net_receive(&net, 9, 1024, 1, false);
		for (unsigned i = 0; i < 10; i++)
			packets[i] = test_net_frame(frame, 1500);
		assert_int_equal(virtio_net_tx(net.device.queues[RX], packets, 10, &result), 4);
		assert_int_equal(result.too_long, 0);
		rte_pktmbuf_free_bulk(packets + 4, 6);
		test_net_down(&net);
	}
}

static void test_too_long_for_the_guest(void **state)
{
	for (unsigned merge = 0; merge < 2; merge++) {
		static uint8_t frame[65000];
		struct virtio_net_tx_result result = { 0 };
		struct rte_mbuf *packets[3];
		struct test_net net;
		test_net_up(&net, MODERN | (merge ? MERGE : 0), 16);
		test_net_receive(&net, 16, 1526, 1, false);
		packets[0] = test_net_frame(frame, 60);
		packets[1] = test_net_frame(frame, 40000); /* more than the whole ring holds */
		packets[2] = test_net_frame(frame, 60);
		unsigned sent = virtio_net_tx(net.device.queues[RX], packets, 3, &result);
		if (merge) { /* not known before the ring is full of free buffers again */
			assert_int_equal(sent, 1);
			test_net_reclaim(&net, net.rx, 1);
			test_net_receive(&net, 1, 1526, 1, false);
			sent += virtio_net_tx(net.device.queues[RX], packets + 1, 2, &result);
		}
		assert_int_equal(sent, 3);
		assert_int_equal(result.too_long, 1);
		test_net_down(&net);
	}
}

/* Receive buffers that are readable, or nowhere, come back empty with the small one before them, in order; the frame
 * goes into those behind. */
static void bad_receive_buffers(uint64_t features)
{
	const struct frontend_buffer small = { 4096, 100, true }, large = { 8192, 2000, true };
	const struct frontend_buffer bad[] = { { 4096, 2000, false }, { UINT64_C(1) << 40, 2000, true } };
	const uint32_t expected[] = { 0, 0, 0, 1012, 1012, 0 };
	const struct frontend_buffer *first = features & MERGE ? &small : &bad[0];
	static uint8_t frame[1000];
	struct test_net net;

	test_net_up(&net, features, 16);
	test_net_fill(frame, sizeof(frame), 3);
	for (unsigned round = 0; round < 20; round++) {
		const struct frontend_buffer *offer[] = { first, &bad[0], &bad[1], &large, &large, &bad[round % 2] };
		struct virtio_net_tx_result result = { 0 };
		struct rte_mbuf *packets[3] = { test_net_frame(frame, 1000), test_net_frame(frame, 1000),
						test_net_frame(frame, 1000) };
		uint32_t length;
		uint16_t id;
		int ids[6];
		for (unsigned i = 0; i < 6; i++)
			ids[i] = frontend_offer(net.rx, offer[i], 1, false);
		assert_int_equal(virtio_net_tx(net.device.queues[RX], packets, 3, &result), 2);
		assert_int_equal(result.bad_buffers, first == &small ? 3 : 4);
		assert_int_equal(result.too_long, 0);
		rte_pktmbuf_free(packets[2]);
		for (unsigned i = 0; i < 6; i++) {
			assert_true(frontend_take(net.rx, &id, &length));
			assert_int_equal(id, ids[i]);
			assert_int_equal(length, expected[i]);
		}
		assert_memory_equal(frontend_at(&net.guest, 8192 + 12), frame, 1000);
	}
	assert_int_equal(net.device.notices, 0);
	test_net_down(&net);
}

static void test_bad_receive_buffers(void **state)
{
	bad_receive_buffers(MODERN | MERGE);
	bad_receive_buffers(MODERN);
	bad_receive_buffers(PACKED | MERGE);
}

/* What a guest offers is looked at in pieces, however much of it is bad. */
static void test_nothing_but_bad(void **state)
{
	struct frontend_buffer buffer = { UINT64_C(1) << 40, 2000, false };
	struct virtio_net_tx_result result = { 0 };
	struct virtio_net_rx_drops drops = { 0 };
	struct rte_mbuf *packets[64];
	uint8_t frame[60] = { 0 };
	struct test_net net;

	test_net_up(&net, MODERN | MERGE, 1024);
	for (unsigned i = 0; i < 128; i++) {
		assert_true(frontend_offer(net.tx, &buffer, 1, false) >= 0);
		buffer.offset = i % 2 ? UINT64_C(1) << 40 : 4096;
		buffer.length = 10;
	}
	for (unsigned i = 1; i <= 2; i++) {
		assert_int_equal(virtio_net_rx(net.device.queues[TX], test_net_pool, packets, 64, &drops), 0);
		assert_int_equal(drops.bad_descriptor, 32 * i);
		assert_int_equal(drops.bad_header, 32 * i);
		test_net_reclaim(&net, net.tx, 64);
	}
	for (unsigned i = 0; i < 1000; i++)
		assert_true(frontend_offer(net.rx, &buffer, 1, false) >= 0);
	test_net_receive(&net, 1, 2000, 1, false);
	struct rte_mbuf *m = test_net_frame(frame, 60);
	for (unsigned left = 1000; left > 256; left -= 256) {
		result.bad_buffers = 0;
		assert_int_equal(virtio_net_tx(net.device.queues[RX], &m, 1, &result), 0);
		assert_int_equal(result.bad_buffers, 256);
		test_net_reclaim(&net, net.rx, 256);
	}
	assert_int_equal(virtio_net_tx(net.device.queues[RX], &m, 1, &result), 1);
	test_net_down(&net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_to_device),        cmocka_unit_test(test_bursts_and_shortage),
		cmocka_unit_test(test_device_to_guest),        cmocka_unit_test(test_burst_to_guest),
		cmocka_unit_test(test_too_long_for_the_guest), cmocka_unit_test(test_bad_receive_buffers),
		cmocka_unit_test(test_nothing_but_bad),
	};
	test_net_pool = test_eal_pool(2047);
	if (!test_net_pool)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	test_eal_end(test_net_pool);
	return failed;
}
