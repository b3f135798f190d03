/* SPDX-License-Identifier: BSD-3-Clause */
/* The test device. */
#include "device/virtio/test_device.h"

#include <rte_eal.h>
#include <rte_mbuf.h>

static void on_start(void *ctx, unsigned index, struct virtqueue *queue)
{
	struct test_device *device = ctx;

	assert_false(device->running[index]);
	device->queues[index] = queue;
	device->running[index] = true;
	device->starts++;
}

static void on_stop(void *ctx, unsigned index, struct virtqueue *queue)
{
	struct test_device *device = ctx;

	assert_true(device->running[index]);
	assert_ptr_equal(device->queues[index], queue);
	device->stops++;
	if (device->defer_stops) {
		device->stopping[index] = true;
		return;
	}
	device->running[index] = false;
	vhost_queue_stopped(device->endpoint, index);
}

void test_device_answer(struct test_device *device)
{
	for (unsigned i = 0; i < TEST_QUEUES; i++) {
		if (!device->stopping[i])
			continue;
		device->stopping[i] = device->running[i] = false;
		vhost_queue_stopped(device->endpoint, i);
	}
}

static void on_connected(void *ctx, bool up, uint64_t features)
{
	struct test_device *device = ctx;

	device->connected = up;
	device->features = features;
	if (up)
		device->connects++;
	else
		device->disconnects++;
	for (unsigned i = 0; i < TEST_QUEUES; i++)
		assert_false(device->running[i]);
}

static int on_get_config(void *ctx, uint32_t offset, uint32_t length, uint8_t *ret)
{
	struct test_device *device = ctx;

	memcpy(ret, device->config + offset, length);
	return 0;
}

static int on_set_config(void *ctx, uint32_t offset, uint32_t length, const uint8_t *data)
{
	struct test_device *device = ctx;

	memcpy(device->config + offset, data, length);
	return 0;
}

static void on_notice(void *ctx, const char *name, const char *sentence)
{
	struct test_device *device = ctx;

	snprintf(device->notice, sizeof(device->notice), "%s", name);
	snprintf(device->sentence, sizeof(device->sentence), "%s", sentence);
	device->notices++;
}

static void on_announce(void *ctx, const uint8_t mac[6])
{
	struct test_device *device = ctx;

	memcpy(device->mac, mac, 6);
}

void test_device_init(struct test_device *device, bool in_order)
{
	static unsigned number;

	memset(device, 0, sizeof(*device));
	number++;
	snprintf(device->path, sizeof(device->path), "/tmp/sdpu-vhost-%d-%u.sock", getpid(), number);
	snprintf(device->state_path, sizeof(device->state_path), "/dev/shm/sdpu-vhost-%d-%u", getpid(), number);
	device->ops = (struct vhost_device_ops){
		.max_queues = TEST_QUEUES,
		.max_queue_size = TEST_QUEUE_SIZE,
		.in_order = in_order,
		.queue_start = on_start,
		.queue_stop = on_stop,
		.connected = on_connected,
		.get_config = on_get_config,
		.set_config = on_set_config,
		.notice = on_notice,
		.announce = on_announce,
	};
	assert_int_equal(loop_new(&device->loop), 0);
}

void test_device_start(struct test_device *device, enum vhost_role role)
{
	struct vhost_options options = {
		.loop = device->loop,
		.socket_path = device->path,
		.role = role,
		.ops = &device->ops,
		.ctx = device,
		.mtu = 1500,
		.reconnect_ms = 5,
		.state_path = device->use_state_path ? device->state_path : NULL,
	};
	struct dpu_error err = { 0 };

	if (vhost_endpoint_new(&options, &device->endpoint, &err) < 0)
		fail_msg("%s: %s", err.path, err.message);
}

void test_device_open(struct test_device *device, enum vhost_role role, bool in_order)
{
	test_device_init(device, in_order);
	test_device_start(device, role);
}

static void on_freed(void *arg)
{
	*(bool *)arg = true;
}

void test_device_stop(struct test_device *device)
{
	bool freed = false;

	device->defer_stops = false;
	test_device_answer(device);
	vhost_endpoint_free(device->endpoint, on_freed, &freed);
	assert_true(freed);
	device->endpoint = NULL;
	for (unsigned i = 0; i < TEST_QUEUES; i++)
		assert_false(device->running[i]);
}

void test_device_close(struct test_device *device)
{
	if (device->endpoint)
		test_device_stop(device);
	loop_free(device->loop);
	unlink(device->state_path);
	unlink(device->path);
}

void test_device_pump(void *ctx)
{
	struct test_device *device = ctx;

	assert_int_equal(loop_once(device->loop, 1), 0);
}

void test_device_expect(struct test_device *device, const char *notice)
{
	for (unsigned i = 0; i < 2000 && strcmp(device->notice, notice) != 0; i++)
		test_device_pump(device);
	assert_string_equal(device->notice, notice);
}

static uint32_t echo(const struct virtq_element *element)
{
	uint8_t bytes[65536];
	uint32_t have = 0, gave = 0;

	for (unsigned i = 0; i < element->readable; i++) {
		uint32_t length = (uint32_t)element->segments[i].iov_len;
		if (length > sizeof(bytes) - have)
			length = sizeof(bytes) - have;
		memcpy(bytes + have, element->segments[i].iov_base, length);
		have += length;
	}
	for (unsigned i = element->readable; i < element->readable + element->writable && gave < have; i++) {
		uint32_t length = (uint32_t)element->segments[i].iov_len;
		if (length > have - gave)
			length = have - gave;
		memcpy(element->segments[i].iov_base, bytes + gave, length);
		gave += length;
	}
	return gave;
}

int test_device_echo(struct test_device *device, unsigned index)
{
	struct virtq_element elements[16];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	uint32_t written[16];
	int n = virtqueue_pop(device->queues[index], elements, 16, iov, VIRTQ_MAX_SEGMENTS);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		written[i] = echo(&elements[i]);
	virtqueue_push(device->queues[index], elements, written, (unsigned)n);
	virtqueue_notify(device->queues[index]);
	return n;
}

void test_device_serves(struct test_device *device, struct frontend_queue *queue)
{
	const struct frontend_buffer buffers[2] = { { 0x8000, 100, false }, { 0x9000, 100, true } };
	uint32_t length;
	uint16_t id;

	int offered = frontend_offer(queue, buffers, 2, false);
	assert_true(offered >= 0);
	assert_int_equal(test_device_echo(device, queue->index), 1);
	assert_true(frontend_take(queue, &id, &length));
	assert_int_equal(id, offered);
	assert_int_equal(length, 100);
}

void test_device_until_gone(struct test_device *device)
{
	for (unsigned i = 0; i < 2000 && vhost_endpoint_connected(device->endpoint); i++)
		test_device_pump(device);
	assert_false(vhost_endpoint_connected(device->endpoint));
}

void test_front_init(struct frontend *frontend, struct test_device *device)
{
	frontend_init(frontend, 1 << 20, test_device_pump, device);
}

struct frontend_queue *test_front_queue(struct frontend *frontend, uint64_t features, unsigned index)
{
	frontend_negotiate(frontend, features, TEST_PROTOCOL);
	frontend_share_memory(frontend);
	struct frontend_queue *queue = frontend_queue_new(frontend, index, 16);
	frontend_queue_start(queue, frontend_queue_base(queue));
	return queue;
}

void test_rings_open(struct test_rings *rings, uint64_t features, unsigned size, uint64_t memory)
{
	test_device_open(&rings->device, VHOST_SERVER, false);
	frontend_init(&rings->frontend, memory, test_device_pump, &rings->device);
	frontend_connect(&rings->frontend, rings->device.path);
	frontend_negotiate(&rings->frontend, features, TEST_PROTOCOL);
	frontend_share_memory(&rings->frontend);
	rings->queue = frontend_queue_new(&rings->frontend, 0, size);
	rings->other = frontend_queue_new(&rings->frontend, 1, size);
	frontend_queue_start(rings->queue, frontend_queue_base(rings->queue));
	frontend_queue_start(rings->other, frontend_queue_base(rings->other));
}

void test_rings_close(struct test_rings *rings)
{
	frontend_fini(&rings->frontend);
	test_device_close(&rings->device);
}

struct rte_mempool *test_eal_pool(unsigned count)
{
	static char line[256]; /* EAL keeps pointers into it */
	char *argv[16], *rest = line;
	int argc = 0;

	snprintf(line, sizeof(line),
		 "test --no-huge -m 64 --no-pci --no-shconf --no-telemetry --log-level=lib.eal:error --lcores 0@0 "
		 "--file-prefix=virtio-test-%d",
		 (int)getpid());
	while ((argv[argc] = strsep(&rest, " ")))
		argc++;
	if (rte_eal_init(argc, argv) < 0)
		return NULL;
	return rte_pktmbuf_pool_create("test", count, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
}

void test_eal_end(struct rte_mempool *pool)
{
	rte_mempool_free(pool);
	rte_eal_cleanup();
}
