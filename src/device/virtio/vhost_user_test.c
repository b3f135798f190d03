/* SPDX-License-Identifier: BSD-3-Clause */
/* The endpoint: roles, reconnection, messages, negotiation, asynchronous stops, and messages that are wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "device/virtio/test_device.h"
#include "tests/lib/emulated_kernel.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))

static void front(struct frontend *frontend, struct test_device *device)
{
	frontend_init(frontend, 1 << 20, test_device_pump, device);
}

static struct frontend_queue *set_up(struct frontend *frontend, uint64_t features, unsigned index)
{
	frontend_negotiate(frontend, features, TEST_PROTOCOL);
	frontend_share_memory(frontend);
	struct frontend_queue *queue = frontend_queue_new(frontend, index, 16);
	frontend_queue_start(queue, frontend_queue_base(queue));
	return queue;
}

static void pump_until_gone(struct test_device *device)
{
	for (unsigned i = 0; i < 2000 && vhost_endpoint_connected(device->endpoint); i++)
		test_device_pump(device);
	assert_false(vhost_endpoint_connected(device->endpoint));
}

static void one_echo(struct test_device *device, struct frontend_queue *queue)
{
	struct frontend_buffer buffers[2] = { { 0x8000, 100, false }, { 0x9000, 100, true } };
	uint16_t id;
	uint32_t length;

	assert_true(frontend_offer(queue, buffers, 2, false) >= 0);
	assert_int_equal(test_device_echo(device, queue->index), 1);
	assert_true(frontend_take(queue, &id, &length));
	assert_int_equal(length, 100);
}

/* ---- roles ---- */

static void test_server_serves_one_after_another(void **state)
{
	struct test_device device;
	struct frontend frontend;

	test_device_open(&device, VHOST_SERVER, false);
	for (unsigned round = 1; round <= 3; round++) {
		front(&frontend, &device);
		frontend_connect(&frontend, device.path);
		one_echo(&device, set_up(&frontend, MODERN, 0));
		assert_int_equal(device.connects, round);
		frontend_disconnect(&frontend);
		pump_until_gone(&device);
		assert_int_equal(device.disconnects, round);
		assert_false(device.running[0]);
		frontend_fini(&frontend);
	}
	test_device_close(&device);
	assert_int_equal(access(device.path, F_OK), -1);
}

/* A second front end waits for the first to go. */
static void test_server_has_one_front_end_at_a_time(void **state)
{
	struct test_device device;
	struct frontend first, second;

	test_device_open(&device, VHOST_SERVER, false);
	front(&first, &device);
	front(&second, &device);
	frontend_connect(&first, device.path);
	frontend_sync(&first);
	frontend_connect(&second, device.path);
	frontend_sync(&first);
	frontend_disconnect(&first);
	one_echo(&device, set_up(&second, MODERN, 0));
	frontend_fini(&first);
	frontend_fini(&second);
	test_device_close(&device);
}

static int try_server(struct test_device *device, struct dpu_error *err)
{
	struct vhost_options options = { .loop = device->loop,
					 .socket_path = device->path,
					 .role = VHOST_SERVER,
					 .ops = &device->ops,
					 .ctx = device };
	return vhost_endpoint_new(&options, &device->endpoint, err);
}

static void test_server_replaces_only_a_stale_socket(void **state)
{
	struct test_device live, other;
	struct dpu_error err;

	test_device_open(&live, VHOST_SERVER, false);
	test_device_init(&other, false);
	snprintf(other.path, sizeof(other.path), "%s", live.path);
	assert_int_equal(try_server(&other, &err), -EBUSY);
	assert_int_equal(err.code, DPU_E_IN_USE);
	assert_string_equal(err.path, "socket_path");
	test_device_close(&live);

	/* A socket file whose process has died. */
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", other.path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(try_server(&other, &err), 0);
	test_device_stop(&other);

	/* Not a socket: never touched. */
	fd = open(other.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(try_server(&other, &err), -EEXIST);
	assert_int_equal(access(other.path, F_OK), 0);
	unlink(other.path);

	memset(other.path, 'x', sizeof(other.path) - 1);
	char *longer = malloc(200);
	memset(longer, 'y', 199);
	longer[199] = 0;
	struct vhost_options options = {
		.loop = other.loop, .socket_path = longer, .role = VHOST_CLIENT, .ops = &other.ops, .ctx = &other
	};
	assert_int_equal(vhost_endpoint_new(&options, &other.endpoint, &err), -EINVAL);
	free(longer);
	loop_free(other.loop);
}

static void test_client_reconnects_for_ever(void **state)
{
	struct test_device device;
	struct frontend frontend;

	test_device_init(&device, false);
	test_device_start(&device, VHOST_CLIENT); /* nobody listens yet */
	for (unsigned i = 0; i < 20; i++)
		test_device_pump(&device);
	for (unsigned round = 1; round <= 4; round++) {
		front(&frontend, &device);
		frontend_listen(&frontend, device.path);
		frontend_accept(&frontend);
		one_echo(&device, set_up(&frontend, MODERN, 0));
		if (round == 2) { /* the connection alone goes; the front end stays */
			frontend_disconnect(&frontend);
			frontend_accept(&frontend);
			one_echo(&device, set_up(&frontend, MODERN, 1));
		}
		frontend_fini(&frontend);
		unlink(device.path);
		pump_until_gone(&device);
	}
	test_device_close(&device);
}

/* ---- asynchronous stops ---- */

static void test_a_message_waits_for_its_queues(void **state)
{
	struct test_device device;
	struct frontend frontend;
	uint32_t base[2];

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	struct frontend_queue *queue = set_up(&frontend, MODERN, 0);
	one_echo(&device, queue);
	device.defer_stops = true;
	frontend_set_state(&frontend, VHOST_GET_VRING_BASE, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		test_device_pump(&device);
	assert_true(device.stopping[0]);
	/* The worker may go on until it answers. */
	one_echo(&device, queue);
	test_device_answer(&device);
	frontend_reply(&frontend, VHOST_GET_VRING_BASE, base, sizeof(base), NULL);
	assert_int_equal(base[1], 2);

	/* Hang-up while a queue stops: no spin, no message carried out, and a later front end is served. */
	device.defer_stops = false;
	frontend_queue_start(queue, base[1]);
	device.defer_stops = true;
	frontend_set_state(&frontend, VHOST_GET_VRING_BASE, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		test_device_pump(&device);
	assert_true(device.stopping[0]);
	frontend_disconnect(&frontend);
	for (unsigned i = 0; i < 20; i++)
		test_device_pump(&device);
	assert_int_equal(device.disconnects, 0);
	test_device_answer(&device);
	pump_until_gone(&device);
	assert_int_equal(device.disconnects, 1);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void flag(void *arg)
{
	*(bool *)arg = true;
}

static void test_free_waits_for_queues(void **state)
{
	struct test_device device;
	struct frontend frontend;
	bool freed = false;

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	set_up(&frontend, MODERN, 0);
	device.defer_stops = true;
	vhost_endpoint_free(device.endpoint, flag, &freed);
	assert_false(freed);
	assert_true(device.stopping[0]);
	for (unsigned i = 0; i < 10; i++)
		test_device_pump(&device);
	assert_false(freed);
	test_device_answer(&device);
	assert_true(freed);
	assert_true(frontend_closed(&frontend));
	device.endpoint = NULL;
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* ---- messages ---- */

static void test_plain_requests(void **state)
{
	struct test_device device;
	struct frontend frontend;
	uint64_t value;

	test_device_open(&device, VHOST_SERVER, false);
	device.ops.queue_num = 2;
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	set_up(&frontend, MODERN, 0);
	assert_int_equal(frontend_get_u64(&frontend, VHOST_GET_QUEUE_NUM), 2);
	assert_int_equal(frontend_get_u64(&frontend, VHOST_GET_MAX_MEM_SLOTS), 128);
	value = 1400;
	assert_int_equal(frontend_acked(&frontend, VHOST_NET_SET_MTU, &value, 8, NULL, 0), 0);
	value = 1501;
	assert_int_equal(frontend_acked(&frontend, VHOST_NET_SET_MTU, &value, 8, NULL, 0), 1);
	assert_string_equal(device.notice, "request-refused");
	const uint8_t mac[8] = { 2, 0, 0, 0, 0, 7 };
	frontend_send(&frontend, VHOST_SEND_RARP, 1, mac, 8, NULL, 0);
	frontend_set_u64(&frontend, VHOST_SET_STATUS, 0xf);
	assert_int_equal(frontend_get_u64(&frontend, VHOST_GET_STATUS), 0xf);
	assert_memory_equal(device.mac, mac, 6);
	assert_true(device.running[0]);
	frontend_set_u64(&frontend, VHOST_SET_STATUS, 0);
	frontend_sync(&frontend);
	assert_false(device.running[0]);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void test_config_space(void **state)
{
	struct test_device device;
	struct frontend frontend;
	struct vhost_config config = { .offset = 8, .size = 16 }, reply;
	int pair[2];

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	set_up(&frontend, MODERN, 0);
	memset(config.region, 0x5a, 16);
	assert_int_equal(frontend_acked(&frontend, VHOST_SET_CONFIG, &config, 28, NULL, 0), 0);
	assert_int_equal(device.config[8], 0x5a);
	assert_int_equal(device.config[24], 0);
	config.size = 20;
	frontend_send(&frontend, VHOST_GET_CONFIG, 1, &config, 32, NULL, 0);
	assert_int_equal(frontend_reply(&frontend, VHOST_GET_CONFIG, &reply, sizeof(reply), NULL), 32);
	assert_memory_equal(reply.region, device.config + 8, 20);

	assert_int_equal(vhost_endpoint_config_changed(device.endpoint), -ENOTSUP);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(frontend_acked(&frontend, VHOST_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	assert_int_equal(vhost_endpoint_config_changed(device.endpoint), 0);
	struct vhost_header header;
	assert_int_equal(read(pair[0], &header, sizeof(header)), sizeof(header));
	assert_int_equal(header.request, VHOST_BACKEND_CONFIG_CHANGE);
	close(pair[0]);
	close(pair[1]);
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* Without protocol features rings are born enabled; with them, they wait. */
static void test_enabling(void **state)
{
	struct test_device device;
	struct frontend frontend;

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	set_up(&frontend, 0, 0);
	assert_true(device.running[0]);
	frontend_fini(&frontend);
	pump_until_gone(&device);

	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	struct frontend_queue *queue = set_up(&frontend, MODERN, 0);
	for (unsigned i = 0; i < 6; i++) {
		frontend_set_state(&frontend, VHOST_SET_VRING_ENABLE, 0, i % 2);
		frontend_sync(&frontend);
		assert_int_equal(device.running[0], i % 2);
		if (i % 2)
			one_echo(&device, queue);
	}
	frontend_send(&frontend, VHOST_RESET_DEVICE, 1, NULL, 0, NULL, 0);
	frontend_sync(&frontend);
	assert_false(device.running[0]);
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* A ring without a kick descriptor is to be polled. */
static void test_polling_ring(void **state)
{
	struct test_device device;
	struct frontend frontend;

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	struct frontend_queue *queue = set_up(&frontend, MODERN, 0);
	frontend_set_u64(&frontend, VHOST_SET_VRING_KICK, VHOST_VRING_NO_FD);
	frontend_set_u64(&frontend, VHOST_SET_VRING_CALL, VHOST_VRING_NO_FD);
	frontend_sync(&frontend);
	assert_true(device.running[0]);
	assert_int_equal(virtqueue_kick_fd(device.queues[0]), -1);
	one_echo(&device, queue);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void test_memory_slots(void **state)
{
	struct test_device device;
	struct frontend frontend;
	struct vhost_single_region region = { .region = { FRONTEND_GPA, 1 << 20, FRONTEND_USER, 0 } };

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	frontend_negotiate(&frontend, MODERN, TEST_PROTOCOL);
	assert_int_equal(frontend_acked(&frontend, VHOST_ADD_MEM_REG, &region, sizeof(region), &frontend.memory_fd, 1),
			 0);
	struct frontend_queue *queue = frontend_queue_new(&frontend, 0, 16);
	frontend_queue_start(queue, 0);
	one_echo(&device, queue);
	/* Overlapping, too large for its file, removed twice. */
	assert_int_equal(frontend_acked(&frontend, VHOST_ADD_MEM_REG, &region, sizeof(region), &frontend.memory_fd, 1),
			 1);
	region.region.gpa = region.region.user = 4 << 20;
	region.region.mmap_offset = 4096;
	assert_int_equal(frontend_acked(&frontend, VHOST_ADD_MEM_REG, &region, sizeof(region), &frontend.memory_fd, 1),
			 1);
	one_echo(&device, queue);
	region.region.gpa = FRONTEND_GPA;
	region.region.user = FRONTEND_USER;
	assert_int_equal(frontend_acked(&frontend, VHOST_REM_MEM_REG, &region, sizeof(region), NULL, 0), 0);
	assert_false(device.running[0]);
	assert_int_equal(frontend_acked(&frontend, VHOST_REM_MEM_REG, &region, sizeof(region), NULL, 0), 1);
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* A message may arrive in pieces, and many at once. */
static void test_stream(void **state)
{
	struct test_device device;
	struct frontend frontend;
	uint32_t message[5] = { VHOST_SET_VRING_NUM, 1, 8, 1, 64 };

	test_device_open(&device, VHOST_SERVER, false);
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	set_up(&frontend, MODERN, 0);
	for (unsigned i = 0; i < sizeof(message); i++) {
		assert_int_equal(write(frontend.fd, (uint8_t *)message + i, 1), 1);
		test_device_pump(&device);
	}
	for (unsigned i = 0; i < 150; i++) /* more than one round of the loop takes, less than the socket holds */
		assert_int_equal(write(frontend.fd, message, sizeof(message)), sizeof(message));
	frontend_sync(&frontend);
	assert_int_equal(device.notices, 0);
	frontend_fini(&frontend);
	test_device_close(&device);
}

/* ---- wrong messages ---- */

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
		front(&frontend, &device);
		frontend_connect(&frontend, device.path);
		set_up(&frontend, MODERN, 0);
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
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	one_echo(&device, set_up(&frontend, MODERN, 0));
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
		front(&frontend, &device);
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
	front(&frontend, &device);
	frontend_connect(&frontend, device.path);
	set_up(&frontend, MODERN, 0);
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
		front(&frontend, &device);
		frontend_connect(&frontend, device.path);
		struct frontend_queue *queue = set_up(&frontend, features, 0);
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
		cmocka_unit_test(test_server_serves_one_after_another),
		cmocka_unit_test(test_server_has_one_front_end_at_a_time),
		cmocka_unit_test(test_server_replaces_only_a_stale_socket),
		cmocka_unit_test(test_client_reconnects_for_ever),
		cmocka_unit_test(test_a_message_waits_for_its_queues),
		cmocka_unit_test(test_free_waits_for_queues),
		cmocka_unit_test(test_plain_requests),
		cmocka_unit_test(test_config_space),
		cmocka_unit_test(test_enabling),
		cmocka_unit_test(test_polling_ring),
		cmocka_unit_test(test_memory_slots),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_wrong_messages),
		cmocka_unit_test(test_requests_need_their_feature),
		cmocka_unit_test(test_violation_is_acknowledged),
		cmocka_unit_test(test_impossible_rings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
