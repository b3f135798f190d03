/* SPDX-License-Identifier: BSD-3-Clause */
/* A device of a few queues for tests of the endpoint: what it is given it keeps, what is asked of it it records, and
 * test_device_echo() copies what is readable to what is writable. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "device/virtio/vhost_protocol.h"
#include "device/virtio/vhost_user.h"
#include "tests/lib/vhost_frontend.h"

enum { TEST_QUEUES = 4, TEST_QUEUE_SIZE = 1024 };

/* Protocol features that most tests negotiate. */
#define TEST_PROTOCOL                                                                                                  \
	(VHOST_BIT(VHOST_PROTOCOL_F_MQ) | VHOST_BIT(VHOST_PROTOCOL_F_LOG_SHMFD) |                                      \
	 VHOST_BIT(VHOST_PROTOCOL_F_REPLY_ACK) | VHOST_BIT(VHOST_PROTOCOL_F_INFLIGHT_SHMFD) |                          \
	 VHOST_BIT(VHOST_PROTOCOL_F_RESET_DEVICE) | VHOST_BIT(VHOST_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |                  \
	 VHOST_BIT(VHOST_PROTOCOL_F_STATUS) | VHOST_BIT(VHOST_PROTOCOL_F_BACKEND_REQ) |                                \
	 VHOST_BIT(VHOST_PROTOCOL_F_CONFIG) | VHOST_BIT(VHOST_PROTOCOL_F_RARP) | VHOST_BIT(VHOST_PROTOCOL_F_NET_MTU))

struct test_device {
	struct loop *loop;
	struct vhost_endpoint *endpoint;
	struct vhost_device_ops ops;
	char path[64], state_path[64];
	bool use_state_path;
	bool defer_stops; /* queue_stop is answered by test_device_answer() */
	struct virtqueue *queues[TEST_QUEUES];
	bool running[TEST_QUEUES], stopping[TEST_QUEUES];
	unsigned starts, stops;
	bool connected, freed;
	unsigned connects, disconnects;
	uint64_t features;
	uint8_t config[256], mac[6];
	char notice[32], sentence[512];
	unsigned notices;
};

/* A socket path of its own; in_order as in vhost_device_ops. */
void test_device_init(struct test_device *device, bool in_order);
void test_device_start(struct test_device *device, enum vhost_role role); /* fails the test if it cannot */
void test_device_open(struct test_device *device, enum vhost_role role, bool in_order);
/* As if the process died: no queue is asked, nothing is told to the front end but the end of the connection. */
void test_device_stop(struct test_device *device);
void test_device_close(struct test_device *device);
void test_device_pump(void *device);
void test_device_answer(struct test_device *device);
/* Pumps until a notice of this name has come. */
void test_device_expect(struct test_device *device, const char *notice);

/* Pumps until the front end is not connected any more. */
void test_device_until_gone(struct test_device *device);

/* Handles what is available: the number of elements, or -EPIPE. */
int test_device_echo(struct test_device *device, unsigned index);
/* One element goes there and back. */
void test_device_serves(struct test_device *device, struct frontend_queue *queue);

/* A front end with 1 MiB of memory. */
void test_front_init(struct frontend *frontend, struct test_device *device);
/* … which negotiates, shares its memory and starts a queue of 16. */
struct frontend_queue *test_front_queue(struct frontend *frontend, uint64_t features, unsigned index);

/* Two queues of an echo device that is a server, and their driver. */
struct test_rings {
	struct test_device device;
	struct frontend frontend;
	struct frontend_queue *queue, *other;
};
void test_rings_open(struct test_rings *rings, uint64_t features, unsigned size, uint64_t memory);
void test_rings_close(struct test_rings *rings);

/* DPDK without huge pages, and buffers; NULL when it cannot be. Once per process. */
struct rte_mempool *test_eal_pool(unsigned count);
void test_eal_end(struct rte_mempool *pool);
