/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the packet path share. */
#include "device/packet/path_fixture.h"

struct harness *h;
struct frame frame, inner, expected, result;

int path_setup(void **state)
{
	h = harness_new();
	return 0;
}

int path_teardown(void **state)
{
	harness_free(h);
	return test_pool_used() ? -1 : 0;
}

void expect_drops(enum drop_reason reason, uint64_t count)
{
	if (path_drops(h->path, reason) != count) {
		for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
			if (path_drops(h->path, i))
				fprintf(stderr, "%s: %lu\n", drop_reason_name(i), path_drops(h->path, i));
		fail_msg("expected %lu of %s", count, drop_reason_name(reason));
	}
}

void expect_out(unsigned count, uint16_t iface)
{
	assert_int_equal(h->out_count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(h->out_iface[i], iface);
}

void expect_frame(void)
{
	assert_true(h->out_count > 0);
	frame_read(&result, h->out[h->out_count - 1]);
	if (!frame_equal(&result, &expected)) {
		frame_dump(&expected);
		frame_dump(&result);
		fail_msg("frames differ");
	}
}

struct session *the_session(const struct frame *f, unsigned *ret_direction)
{
	struct packet_info info = { 0 };
	struct rte_mbuf *m = frame_mbuf(f);

	assert_int_equal(packet_parse(m, HARNESS_VPC, &info), DROP_NONE);
	rte_pktmbuf_free(m);
	uint32_t hash = flow_key_hash(&info.key, path_seed(h->path));
	return session_find(path_table(h->path, &info.key, hash), &info.key, hash, ret_direction);
}
