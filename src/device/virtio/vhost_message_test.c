/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of a front end that are wrong: in form, in what they say, without their feature. Each ends its connection
 * with a notice, and the next front end is served. */
#include "device/virtio/test_device.h"
#include "tests/lib/emulated_kernel.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))

struct wrong {
	const char *name;
	uint32_t request, flags, size;
	uint64_t payload[6];
	unsigned fds; /* that many memory descriptors */
	bool socket_fd;
};

static const struct wrong wrongs[] = {
	{ "version 0", VHOST_GET_FEATURES, 0, 0, { 0 }, 0, false },
	{ "version 2", VHOST_GET_FEATURES, 2, 0, { 0 }, 0, false },
	{ "a reply", VHOST_GET_FEATURES, 5, 0, { 0 }, 0, false },
	{ "request 0", 0, 1, 0, { 0 }, 0, false },
	{ "request unknown", 26, 1, 0, { 0 }, 0, false },
	{ "request beyond", 0xffffffff, 1, 0, { 0 }, 0, false },
	{ "size of 4 GiB", VHOST_SET_MEM_TABLE, 1, 0xffffffff, { 0 }, 0, false },
	{ "size too small", VHOST_SET_FEATURES, 1, 7, { 0 }, 0, false },
	{ "size too large", VHOST_SET_FEATURES, 1, 9, { 0 }, 0, false },
	{ "payload where none is", VHOST_GET_FEATURES, 1, 8, { 0 }, 0, false },
	{ "features not offered", VHOST_SET_FEATURES, 1, 8, { UINT64_MAX }, 0, false },
	{ "protocol features not offered", VHOST_SET_PROTOCOL_FEATURES, 1, 8, { UINT64_C(1) << 40 }, 0, false },
	{ "descriptor where none is", VHOST_SET_FEATURES, 1, 8, { 0 }, 1, false },
	{ "too many descriptors", VHOST_SET_MEM_TABLE, 1, 8, { 0 }, 9, false },
	{ "regions without descriptors", VHOST_SET_MEM_TABLE, 1, 40, { 1, 0, 4096, 0, 0 }, 0, false },
	{ "descriptors without regions", VHOST_SET_MEM_TABLE, 1, 8, { 0 }, 1, false },
	{ "more regions than bytes", VHOST_SET_MEM_TABLE, 1, 8, { 1 }, 1, false },
	{ "4 Gi regions", VHOST_SET_MEM_TABLE, 1, 40, { 0xffffffff, 0, 4096, 0, 0 }, 1, false },
	{ "empty region", VHOST_SET_MEM_TABLE, 1, 40, { 1, 0, 0, 0, 0 }, 1, false },
	{ "region wraps", VHOST_SET_MEM_TABLE, 1, 40, { 1, UINT64_MAX - 4095, 8192, 0, 0 }, 1, false },
	{ "user address wraps", VHOST_SET_MEM_TABLE, 1, 40, { 1, 0, 8192, UINT64_MAX - 4095, 0 }, 1, false },
	{ "offset wraps", VHOST_SET_MEM_TABLE, 1, 40, { 1, 0, 8192, 0, UINT64_MAX - 4095 }, 1, false },
	{ "region larger than its file", VHOST_SET_MEM_TABLE, 1, 40, { 1, 0, 2 << 20, 0, 0 }, 1, false },
	{ "region is a socket", VHOST_SET_MEM_TABLE, 1, 40, { 1, 0, 4096, 0, 0 }, 0, true },
	{ "queue that is not", VHOST_SET_VRING_NUM, 1, 8, { UINT64_C(16) << 32 | TEST_QUEUES }, 0, false },
	{ "queue far away", VHOST_SET_VRING_BASE, 1, 8, { 0xffffffff }, 0, false },
	{ "address of a queue that is not", VHOST_SET_VRING_ADDR, 1, 40, { 250 }, 0, false },
	{ "kick of a queue that is not", VHOST_SET_VRING_KICK, 1, 8, { 0x1ff }, 0, false },
	{ "kick without descriptor", VHOST_SET_VRING_KICK, 1, 8, { 0 }, 0, false },
	{ "kick with one too many", VHOST_SET_VRING_KICK, 1, 8, { VHOST_VRING_NO_FD }, 1, false },
	{ "kick is a file", VHOST_SET_VRING_KICK, 1, 8, { 0 }, 1, false },
	{ "call is a socket", VHOST_SET_VRING_CALL, 1, 8, { 0 }, 0, true },
	{ "queue of size 0", VHOST_SET_VRING_NUM, 1, 8, { 0 }, 0, false },
	{ "queue too large", VHOST_SET_VRING_NUM, 1, 8, { UINT64_C(2048) << 32 }, 0, false },
	{ "enable 2", VHOST_SET_VRING_ENABLE, 1, 8, { UINT64_C(2) << 32 }, 0, false },
	{ "log without descriptor", VHOST_SET_LOG_BASE, 1, 16, { 4096, 0 }, 0, false },
	{ "log larger than its file", VHOST_SET_LOG_BASE, 1, 16, { 2 << 20, 0 }, 1, false },
	{ "log wraps", VHOST_SET_LOG_BASE, 1, 16, { 4096, UINT64_MAX - 100 }, 1, false },
	{ "config beyond its end", VHOST_GET_CONFIG, 1, 12 + 16, { UINT64_C(16) << 32 | 250, 0 }, 0, false },
	{ "config offset wraps", VHOST_SET_CONFIG, 1, 12 + 16, { UINT64_C(16) << 32 | 0xfffffff8, 0 }, 0, false },
	{ "config size lies", VHOST_GET_CONFIG, 1, 12 + 16, { UINT64_C(17) << 32, 0 }, 0, false },
	{ "in-flight region for no queue", VHOST_GET_INFLIGHT_FD, 1, 20, { 0, 0, 0x00400000 }, 0, false },
	{ "in-flight region for 65535", VHOST_GET_INFLIGHT_FD, 1, 20, { 0, 0, 0x0040ffff }, 0, false },
	{ "in-flight region too small", VHOST_SET_INFLIGHT_FD, 1, 20, { 64, 0, 0x00400002 }, 1, false },
	{ "in-flight region off its file", VHOST_SET_INFLIGHT_FD, 1, 20, { 1 << 20, 4096, 0x00400002 }, 1, false },
	{ "in-flight region unaligned", VHOST_SET_INFLIGHT_FD, 1, 20, { 8192, 3, 0x00400002 }, 1, false },
	{ "request channel is a file", VHOST_SET_BACKEND_REQ_FD, 1, 0, { 0 }, 1, false },
	{ "status of two bytes", VHOST_SET_STATUS, 1, 8, { 0x100 }, 0, false },
};

static void send_wrong(struct frontend *frontend, const struct wrong *wrong)
{
	int fds[16], sockets[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	for (unsigned i = 0; i < 16; i++)
		fds[i] = wrong->socket_fd ? sockets[0] : frontend->memory_fd;
	unsigned count = wrong->socket_fd ? 1 : wrong->fds;
	if (wrong->size <= sizeof(wrong->payload)) {
		frontend_send(frontend, wrong->request, wrong->flags, wrong->payload, wrong->size, fds, count);
	} else { /* the header alone says enough */
		uint32_t header[3] = { wrong->request, wrong->flags, wrong->size };
		assert_int_equal(write(frontend->fd, header, sizeof(header)), sizeof(header));
	}
	close(sockets[0]);
	close(sockets[1]);
}

static void test_wrong_messages(void **state)
{
	struct test_device device;
	struct frontend frontend;

	bool countable = kernel_closes_what_does_not_fit();
	if (!countable)
		print_message("not checked: this kernel loses descriptors that do not fit into a message\n");
	test_device_open(&device, VHOST_SERVER, false);
	for (unsigned i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		unsigned before = descriptors_open(), disconnects = device.disconnects;
		test_front_init(&frontend, &device);
		frontend_connect(&frontend, device.path);
		test_front_queue(&frontend, MODERN, 0);
		device.notice[0] = 0;
		send_wrong(&frontend, &wrongs[i]);
		if (!frontend_closed(&frontend))
			fail_msg("%s: the connection stays", wrongs[i].name);
		if (strcmp(device.notice, "protocol-error") && strcmp(device.notice, "request-refused"))
			fail_msg("%s: no notice", wrongs[i].name);
		assert_true(strlen(device.sentence) > 10);
		assert_false(device.running[0]);
		assert_int_equal(device.disconnects, disconnects + 1);
		frontend_fini(&frontend);
		if (countable && descriptors_open() != before)
			fail_msg("%s: a descriptor is left open", wrongs[i].name);
	}
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_device_serves(&device, test_front_queue(&frontend, MODERN, 0));
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* Requests of features that were not negotiated are violations. */
static void test_requests_need_their_feature(void **state)
{
	static const uint32_t requests[] = { VHOST_GET_CONFIG, VHOST_GET_INFLIGHT_FD, VHOST_RESET_DEVICE,
					     VHOST_GET_MAX_MEM_SLOTS, VHOST_GET_STATUS };
	static const uint32_t sizes[] = { 16, 20, 0, 0, 0 };
	struct test_device device;
	struct frontend frontend;

	test_device_open(&device, VHOST_SERVER, false);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t zero[8] = { 0 };
		test_front_init(&frontend, &device);
		frontend_connect(&frontend, device.path);
		frontend_negotiate(&frontend, MODERN, 0);
		frontend_send(&frontend, requests[i], 1, zero, sizes[i], NULL, 0);
		assert_true(frontend_closed(&frontend));
		assert_string_equal(device.notice, "protocol-error");
		frontend_fini(&frontend);
	}
	test_device_close(&device);
}

/* A refused request is told before the connection ends, where the front end asked for it. */
static void test_violation_is_acknowledged(void **state)
{
	struct test_device device;
	struct frontend frontend;
	uint64_t wrong = UINT64_MAX;

	test_device_open(&device, VHOST_SERVER, false);
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_front_queue(&frontend, MODERN, 0);
	assert_int_equal(frontend_acked(&frontend, VHOST_SET_FEATURES, &wrong, 8, NULL, 0), 1);
	assert_true(frontend_closed(&frontend));
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* Rings that cannot be: the queue does not start, with a notice; a right address later heals it. */
static void test_impossible_rings(void **state)
{
	struct test_device device;
	struct frontend frontend;

	for (unsigned packed = 0; packed < 2; packed++) {
		uint64_t features = MODERN | (packed ? VHOST_BIT(34) : 0);
		test_device_open(&device, VHOST_SERVER, false);
		test_front_init(&frontend, &device);
		frontend_connect(&frontend, device.path);
		struct frontend_queue *queue = test_front_queue(&frontend, features, 0);
		uint64_t *parts[3] = { &queue->desc, &queue->driver, &queue->device };
		for (unsigned i = 0; i < 3; i++) {
			uint64_t right = *parts[i];
			const uint64_t lies[] = { frontend.bytes, frontend.bytes - 2, UINT64_MAX - FRONTEND_USER,
						  right + 1 };
			for (unsigned lie = 0; lie < 4; lie++) {
				device.notice[0] = 0;
				*parts[i] = lies[lie];
				frontend_queue_addr(queue, 0, 0);
				frontend_sync(&frontend);
				assert_string_equal(device.notice, "queue-error");
				assert_false(device.running[0]);
				*parts[i] = right;
				frontend_queue_addr(queue, 0, 0);
				frontend_sync(&frontend);
				assert_true(device.running[0]);
			}
		}
		if (packed) /* a position outside the ring */
			frontend_set_state(&frontend, VHOST_SET_VRING_BASE, 0, 16);
		else /* no power of two */
			frontend_set_state(&frontend, VHOST_SET_VRING_NUM, 0, 15);
		frontend_sync(&frontend);
		assert_false(device.running[0]);
		frontend_fini(&frontend);
		test_device_close(&device);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_messages),
		cmocka_unit_test(test_requests_need_their_feature),
		cmocka_unit_test(test_violation_is_acknowledged),
		cmocka_unit_test(test_impossible_rings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
