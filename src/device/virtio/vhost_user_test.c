/* SPDX-License-Identifier: BSD-3-Clause */
/* The endpoint: roles, reconnection, messages, negotiation, asynchronous stops. Wrong messages:
 * vhost_message_test.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "device/virtio/test_device.h"

#define MODERN (VHOST_BIT(32) | VHOST_BIT(30))

/* ---- roles ---- */

static void test_server_serves_one_after_another(void **state)
{
	struct test_device device;
	struct frontend frontend;

	test_device_open(&device, VHOST_SERVER, false);
	for (unsigned round = 1; round <= 3; round++) {
		test_front_init(&frontend, &device);
		frontend_connect(&frontend, device.path);
		test_device_serves(&device, test_front_queue(&frontend, MODERN, 0));
		assert_int_equal(device.connects, round);
		frontend_disconnect(&frontend);
		test_device_until_gone(&device);
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
	test_front_init(&first, &device);
	test_front_init(&second, &device);
	frontend_connect(&first, device.path);
	frontend_sync(&first);
	frontend_connect(&second, device.path);
	frontend_sync(&first);
	frontend_disconnect(&first);
	test_device_serves(&device, test_front_queue(&second, MODERN, 0));
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
		test_front_init(&frontend, &device);
		frontend_listen(&frontend, device.path);
		frontend_accept(&frontend);
		test_device_serves(&device, test_front_queue(&frontend, MODERN, 0));
		if (round == 2) { /* the connection alone goes; the front end stays */
			frontend_disconnect(&frontend);
			frontend_accept(&frontend);
			test_device_serves(&device, test_front_queue(&frontend, MODERN, 1));
		}
		frontend_fini(&frontend);
		unlink(device.path);
		test_device_until_gone(&device);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	struct frontend_queue *queue = test_front_queue(&frontend, MODERN, 0);
	test_device_serves(&device, queue);
	device.defer_stops = true;
	frontend_set_state(&frontend, VHOST_GET_VRING_BASE, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		test_device_pump(&device);
	assert_true(device.stopping[0]);
	/* The worker may go on until it answers. */
	test_device_serves(&device, queue);
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
	test_device_until_gone(&device);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_front_queue(&frontend, MODERN, 0);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_front_queue(&frontend, MODERN, 0);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_front_queue(&frontend, MODERN, 0);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_front_queue(&frontend, 0, 0);
	assert_true(device.running[0]);
	frontend_fini(&frontend);
	test_device_until_gone(&device);

	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	struct frontend_queue *queue = test_front_queue(&frontend, MODERN, 0);
	for (unsigned i = 0; i < 6; i++) {
		frontend_set_state(&frontend, VHOST_SET_VRING_ENABLE, 0, i % 2);
		frontend_sync(&frontend);
		assert_int_equal(device.running[0], i % 2);
		if (i % 2)
			test_device_serves(&device, queue);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	struct frontend_queue *queue = test_front_queue(&frontend, MODERN, 0);
	frontend_set_u64(&frontend, VHOST_SET_VRING_KICK, VHOST_VRING_NO_FD);
	frontend_set_u64(&frontend, VHOST_SET_VRING_CALL, VHOST_VRING_NO_FD);
	frontend_sync(&frontend);
	assert_true(device.running[0]);
	assert_int_equal(virtqueue_kick_fd(device.queues[0]), -1);
	test_device_serves(&device, queue);
	frontend_fini(&frontend);
	test_device_close(&device);
}

static void test_memory_slots(void **state)
{
	struct test_device device;
	struct frontend frontend;
	struct vhost_single_region region = { .region = { FRONTEND_GPA, 1 << 20, FRONTEND_USER, 0 } };

	test_device_open(&device, VHOST_SERVER, false);
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	frontend_negotiate(&frontend, MODERN, TEST_PROTOCOL);
	assert_int_equal(frontend_acked(&frontend, VHOST_ADD_MEM_REG, &region, sizeof(region), &frontend.memory_fd, 1),
			 0);
	struct frontend_queue *queue = frontend_queue_new(&frontend, 0, 16);
	frontend_queue_start(queue, 0);
	test_device_serves(&device, queue);
	/* Overlapping, too large for its file, removed twice. */
	assert_int_equal(frontend_acked(&frontend, VHOST_ADD_MEM_REG, &region, sizeof(region), &frontend.memory_fd, 1),
			 1);
	region.region.gpa = region.region.user = 4 << 20;
	region.region.mmap_offset = 4096;
	assert_int_equal(frontend_acked(&frontend, VHOST_ADD_MEM_REG, &region, sizeof(region), &frontend.memory_fd, 1),
			 1);
	test_device_serves(&device, queue);
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
	test_front_init(&frontend, &device);
	frontend_connect(&frontend, device.path);
	test_front_queue(&frontend, MODERN, 0);
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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
