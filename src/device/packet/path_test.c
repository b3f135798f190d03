/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet path's sessions: misses, hits, what ends them; TTL, TCP, ageing, the memory behind them. */
#include "device/packet/path_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>
#include "device/packet/packet_priv.h"

static void miss_then_hit(void **state)
{
	frame_build(&frame, &a_to_b);
	frame_build(&expected, &a_to_b_routed);
	for (unsigned i = 0; i < 3; i++) {
		harness_input(h, HARNESS_A, &frame);
		assert_int_equal(h->misses, 1);
		expect_out(i + 1, HARNESS_B);
		expect_frame();
	}
	/* The reverse direction is in force, too. */
	frame_build(&frame, &b_to_a);
	harness_input(h, HARNESS_B, &frame);
	assert_int_equal(h->misses, 1);
	assert_int_equal(h->out_iface[3], HARNESS_A);

	const struct path_iface_counters *a = path_iface_counters(h->path, HARNESS_A);
	assert_int_equal(a->rx_packets, 3);
	assert_int_equal(a->rx_bytes, 3 * 142);
	assert_int_equal(a->misses, 1);
	assert_int_equal(a->tx_packets, 1);
	const struct path_vpc_counters *vpc = path_vpc_counters(h->path, HARNESS_VPC);
	assert_int_equal(vpc->packets, 4);
	assert_int_equal(vpc->bytes, 3 * 142 + 42);
	assert_int_equal(vpc->sessions_created, 1);
}

static void session_counters(void **state)
{
	unsigned direction;

	frame_build(&frame, &a_to_b);
	for (unsigned i = 0; i < 5; i++)
		harness_input(h, HARNESS_A, &frame);
	struct session *session = the_session(&frame, &direction);
	assert_non_null(session);
	assert_int_equal(session->dir[direction].packets, 5);
	assert_int_equal(session->dir[direction].bytes, 5 * 142);
	assert_int_equal(session->dir[!direction].packets, 0);
	uint64_t later = path_now_ns(h->path) + UINT64_C(10000000000);
	path_tick(h->path, later);
	harness_input(h, HARNESS_A, &frame);
	assert_true(session->dir[direction].last_seen >= 16 * (later / 1000000000));
}

static void burst_of_a_new_flow(void **state)
{
	struct rte_mbuf *burst[PATH_BURST];

	for (unsigned i = 0; i < PATH_BURST; i++) {
		struct frame_spec spec = a_to_b;
		spec.src_port = (uint16_t)(100 + i % 2);
		spec.payload = i;
		frame_build(&frame, &spec);
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 2);
	expect_out(PATH_BURST, HARNESS_B);
	for (unsigned i = 0; i < PATH_BURST; i++) /* in order */
		assert_int_equal(h->out[i]->pkt_len, 42 + i);
}

static void epoch_and_interface(void **state)
{
	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	atomic_store(&h->vpc.epoch, 2);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 2);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 2);
	/* The same flow by another interface. */
	h->open_sessions = false;
	memcpy(frame.bytes + 6, h->ifaces[2].mac.bytes, 6);
	harness_input(h, HARNESS_B, &frame);
	assert_int_equal(h->misses, 3);
	expect_out(3, HARNESS_B);
	/* A session that policy wants to see each packet of. */
	unsigned direction;
	struct session *session = the_session(&frame, &direction);
	session->dir[direction].ops |= SESSION_OP_SLOW;
	memcpy(frame.bytes + 6, h->ifaces[1].mac.bytes, 6);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 4);
}

static void interfaces(void **state)
{
	frame_build(&frame, &a_to_b);
	harness_input(h, 77, &frame);
	expect_drops(DROP_UNKNOWN_INTERFACE, 1);
	harness_input(h, HARNESS_B, &frame); /* A's MAC */
	expect_drops(DROP_SPOOFED_MAC, 1);
	assert_int_equal(path_iface_counters(h->path, HARNESS_B)->rx_drops, 1);
	assert_int_equal(path_vpc_counters(h->path, HARNESS_VPC)->drops, 1);
	h->ifaces[2].check_mac = false;
	h->forward.in_iface = HARNESS_B;
	harness_input(h, HARNESS_B, &frame);
	assert_int_equal(h->out_count, 1);
	atomic_store(&h->config->vpcs[HARNESS_VPC], NULL);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_UNKNOWN_INTERFACE, 2);
	frame.length = 20;
	atomic_store(&h->config->vpcs[HARNESS_VPC], &h->vpc);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_TRUNCATED, 1);
}

static void services_always_miss(void **state)
{
	struct rte_mbuf *burst[PATH_BURST];

	for (unsigned i = 0; i < PATH_BURST; i++) {
		frame_build(&frame, &(struct frame_spec){ .src_port = i % 3 ? 68 : 1, .dst_port = 67 });
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 21 + 1); /* 21 of DHCP; 11 of a flow that has nothing to do with it */
	expect_out(11, HARNESS_B);
	for (unsigned i = 0; i < PATH_BURST; i++) {
		frame_build(&frame, &(struct frame_spec){ .src_port = 68, .dst_port = 67 });
		burst[i] = frame_mbuf(&frame);
	}
	path_input(h->path, HARNESS_A, burst, PATH_BURST);
	assert_int_equal(h->misses, 22 + 32);
}

static void keep_source_mac(void **state)
{
	struct session_dir dir = harness_local(HARNESS_A, HARNESS_B);

	dir.ops = SESSION_OP_SET_MACS | SESSION_OP_KEEP_SRC_MAC;
	harness_set_actions(h, dir, dir);
	frame_build(&frame, &a_to_b);
	frame_build(&expected, &(struct frame_spec){ .payload = 100, .dst_mac = "02:00:00:00:00:02" });
	harness_input(h, HARNESS_A, &frame);
	expect_frame();
	dir.ops = 0;
	atomic_fetch_add(&h->vpc.epoch, 1);
	harness_set_actions(h, dir, dir);
	harness_input(h, HARNESS_A, &frame);
	expected = frame;
	expect_frame();
}

static void ttl(void **state)
{
	struct frame_spec spec = a_to_b;

	for (unsigned v6 = 0; v6 < 2; v6++) {
		if (v6) {
			spec.src = "fd00::1";
			spec.dst = "fd00::2";
		}
		spec.ttl = 2;
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		assert_int_equal(result.bytes[v6 ? 21 : 22], 1);
		spec.ttl = 1;
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		assert_int_equal(h->ttl_expired, 1);
		assert_int_equal(h->misses, 1);
		expect_out(1, HARNESS_B);
		harness_clear(h);
	}
	expect_drops(DROP_TTL_EXPIRED, 2);
}

/* Every checksum that a header can have, through the short way of counting the TTL down. */
static void ttl_checksums(void **state)
{
	for (uint32_t id = 0; id < 65536; id += 7) {
		struct frame_spec spec = a_to_b;
		spec.payload = 0;
		spec.id = (uint16_t)id;
		frame_build(&frame, &spec);
		harness_input(h, HARNESS_A, &frame);
		frame_read(&result, h->out[0]);
		assert_null(frame_fault(result.bytes, result.length));
		harness_clear(h);
	}
}

static void tcp(void **state)
{
	struct frame_spec spec = { .proto = IPPROTO_TCP, .tcp_flags = 2 };
	struct frame_spec back = b_to_a;

	back.proto = IPPROTO_TCP;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	back.tcp_flags = 0x12;
	frame_build(&frame, &back);
	harness_input(h, HARNESS_B, &frame);
	spec.tcp_flags = 0x10;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->out_count, 3);
	unsigned direction;
	struct session *session = the_session(&frame, &direction);
	assert_int_equal(session->tcp_state, TCP_ESTABLISHED);
	assert_false(session->dir[0].ops & SESSION_OP_TRACK);
	/* SYN with FIN is no TCP. */
	spec.tcp_flags = 3;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	expect_drops(DROP_TCP_INVALID, 1);
	assert_int_equal(h->misses, 1);
	/* Closed by both sides, then opened again: policy is asked again. */
	spec.tcp_flags = back.tcp_flags = 0x11;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	frame_build(&frame, &back);
	harness_input(h, HARNESS_B, &frame);
	spec.tcp_flags = 0x10;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 1);
	spec.tcp_flags = 2;
	frame_build(&frame, &spec);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 2);
	assert_int_equal(h->out_count, 7);
	assert_int_equal(session->tcp_state, TCP_SYN_SENT);
}

static void memory_ahead(void **state)
{
	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(path_grow_ahead(h->path), 0);
	harness_input(h, HARNESS_A, &frame);
	assert_int_equal(h->misses, 1);
}

static struct path *open_path_in(const char *folder, uint64_t seed)
{
	static const struct path_service nothing;
	struct path_options options = {
		.config = h->config, .service = &nothing, .state_dir = folder, .max_sessions = 10, .seed = seed
	};
	struct path *path;

	assert_int_equal(path_new(&options, &path, NULL), 0);
	return path;
}

static void seed_is_found_again(void **state)
{
	char folder[] = "/tmp/softdpu-path-XXXXXX", file[100];
	uint64_t seed = 5;

	assert_non_null(mkdtemp(folder));
	assert_int_equal(path_saved_seed(folder, &seed), -ENOENT);
	assert_int_equal(seed, 5);
	path_free(open_path_in(folder, 4711));
	assert_int_equal(path_saved_seed(folder, &seed), 0);
	assert_int_equal(seed, 4711);
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		snprintf(file, sizeof(file), "%s/sessions-%02u.v%c", folder, i / 2, i & 1 ? '6' : '4');
		/* As long as one file is good. */
		assert_int_equal(path_saved_seed(folder, &seed), 0);
		assert_int_equal(truncate(file, 10), 0);
	}
	assert_int_equal(path_saved_seed(folder, &seed), -ENOENT);
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		snprintf(file, sizeof(file), "%s/sessions-%02u.v%c", folder, i / 2, i & 1 ? '6' : '4');
		assert_int_equal(unlink(file), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void ageing(void **state)
{
	unsigned direction;

	frame_build(&frame, &a_to_b);
	harness_input(h, HARNESS_A, &frame);
	assert_non_null(the_session(&frame, &direction));
	uint64_t now = path_now_ns(h->path);
	for (unsigned second = 0; second < 200; second++)
		path_tick(h->path, now + second * UINT64_C(1000000000));
	assert_int_equal(h->removed, 1);
	assert_null(the_session(&frame, &direction));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PATH_CASE(miss_then_hit),
		PATH_CASE(session_counters),
		PATH_CASE(burst_of_a_new_flow),
		PATH_CASE(epoch_and_interface),
		PATH_CASE(interfaces),
		PATH_CASE(services_always_miss),
		PATH_CASE(keep_source_mac),
		PATH_CASE(ttl),
		PATH_CASE(ttl_checksums),
		PATH_CASE(tcp),
		PATH_CASE(memory_ahead),
		PATH_CASE(seed_is_found_again),
		PATH_CASE(ageing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
