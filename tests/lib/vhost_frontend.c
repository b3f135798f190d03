/* SPDX-License-Identifier: BSD-3-Clause */
/* The front end's socket, messages and memory. */
#include "vhost_frontend.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fds.h"

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Runs the back end until fd is readable; false after the time-out. */
static bool wait_readable(struct frontend *frontend, int fd)
{
	uint64_t end = now_ms() + FRONTEND_TIMEOUT_MS;

	while (now_ms() < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (poll(&p, 1, frontend->pump ? 0 : 10) > 0)
			return true;
		if (frontend->pump)
			frontend->pump(frontend->pump_ctx);
	}
	return false;
}

void frontend_init(struct frontend *frontend, uint64_t bytes, void (*pump)(void *ctx), void *ctx)
{
	memset(frontend, 0, sizeof(*frontend));
	frontend->listen_fd = frontend->fd = -1;
	frontend->pump = pump;
	frontend->pump_ctx = ctx;
	frontend->bytes = bytes;
	frontend->regions = 1;
	frontend->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(frontend->memory_fd >= 0);
	assert_int_equal(ftruncate(frontend->memory_fd, (off_t)bytes), 0);
	frontend->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, frontend->memory_fd, 0);
	assert_ptr_not_equal(frontend->memory, MAP_FAILED);
	for (unsigned i = 0; i < FRONTEND_MAX_QUEUES; i++) {
		struct frontend_queue *queue = &frontend->queues[i];
		queue->kick_fd = queue->call_fd = queue->err_fd = -1;
	}
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void frontend_fini(struct frontend *frontend)
{
	close_fd(&frontend->fd);
	close_fd(&frontend->listen_fd);
	munmap(frontend->memory, frontend->bytes);
	close_fd(&frontend->memory_fd);
	for (unsigned i = 0; i < FRONTEND_MAX_QUEUES; i++) {
		close_fd(&frontend->queues[i].kick_fd);
		close_fd(&frontend->queues[i].call_fd);
		close_fd(&frontend->queues[i].err_fd);
	}
}

static int unix_socket(const char *path, struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
	return fd;
}

void frontend_connect(struct frontend *frontend, const char *path)
{
	struct sockaddr_un address;
	uint64_t end = now_ms() + FRONTEND_TIMEOUT_MS;

	frontend->fd = unix_socket(path, &address);
	while (connect(frontend->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (now_ms() > end)
			fail_msg("cannot connect to %s: %s", path, strerror(errno));
		if (frontend->pump)
			frontend->pump(frontend->pump_ctx);
	}
}

void frontend_listen(struct frontend *frontend, const char *path)
{
	struct sockaddr_un address;

	unlink(path);
	frontend->listen_fd = unix_socket(path, &address);
	assert_int_equal(bind(frontend->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(frontend->listen_fd, 1), 0);
}

void frontend_accept(struct frontend *frontend)
{
	if (!wait_readable(frontend, frontend->listen_fd))
		fail_msg("the back end does not connect");
	frontend->fd = accept4(frontend->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(frontend->fd >= 0);
}

void frontend_disconnect(struct frontend *frontend)
{
	close_fd(&frontend->fd);
}

void frontend_send(struct frontend *frontend, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
		   const int *fds, unsigned count)
{
	uint32_t header[3] = { request, flags, size };
	const struct iovec parts[2] = { { header, sizeof(header) }, { (void *)(uintptr_t)payload, size } };
	ssize_t n = fds_send(frontend->fd, parts, size ? 2 : 1, fds, count, 0);

	if (n != (ssize_t)(sizeof(header) + size) && n != -EPIPE && n != -ECONNRESET)
		fail_msg("sending request %u: %s", request, strerror(n < 0 ? (int)-n : 0));
}

unsigned frontend_reply(struct frontend *frontend, uint32_t request, void *payload, unsigned room, int *ret_fd)
{
	uint32_t header[3];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = { header, sizeof(header) };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	if (!wait_readable(frontend, frontend->fd))
		fail_msg("no reply to request %u", request);
	ssize_t n = recvmsg(frontend->fd, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	if (n != (ssize_t)sizeof(header))
		fail_msg("request %u: the connection ended instead of a reply", request);
	assert_int_equal(header[0], request);
	assert_int_equal(header[1], 5);
	assert_true(header[2] <= room);
	if (header[2])
		assert_int_equal(recv(frontend->fd, payload, header[2], MSG_WAITALL), header[2]);
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (ret_fd) {
		assert_non_null(c);
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	} else {
		assert_null(c);
	}
	return header[2];
}

bool frontend_closed(struct frontend *frontend)
{
	char bytes[512];

	while (wait_readable(frontend, frontend->fd))
		if (recv(frontend->fd, bytes, sizeof(bytes), MSG_DONTWAIT) <= 0)
			return true;
	return false;
}

uint64_t frontend_get_u64(struct frontend *frontend, uint32_t request)
{
	uint64_t value;

	frontend_send(frontend, request, 1, NULL, 0, NULL, 0);
	assert_int_equal(frontend_reply(frontend, request, &value, sizeof(value), NULL), sizeof(value));
	return value;
}

void frontend_set_u64(struct frontend *frontend, uint32_t request, uint64_t value)
{
	frontend_send(frontend, request, 1, &value, sizeof(value), NULL, 0);
}

void frontend_set_state(struct frontend *frontend, uint32_t request, uint32_t index, uint32_t value)
{
	uint32_t state[2] = { index, value };

	frontend_send(frontend, request, 1, state, sizeof(state), NULL, 0);
}

uint64_t frontend_acked(struct frontend *frontend, uint32_t request, const void *payload, uint32_t size, const int *fds,
			unsigned count)
{
	uint64_t result;

	frontend_send(frontend, request, 1 | 1 << 3, payload, size, fds, count);
	assert_int_equal(frontend_reply(frontend, request, &result, sizeof(result), NULL), sizeof(result));
	return result;
}

void frontend_sync(struct frontend *frontend)
{
	frontend_get_u64(frontend, GET_FEATURES);
}

void frontend_negotiate(struct frontend *frontend, uint64_t features, uint64_t protocol_features)
{
	uint64_t offered = frontend_get_u64(frontend, GET_FEATURES);

	if (features & ~offered)
		fail_msg("features 0x%llx are not offered", (unsigned long long)(features & ~offered));
	if (features & UINT64_C(1) << 30) {
		uint64_t protocol = frontend_get_u64(frontend, GET_PROTOCOL_FEATURES);
		if (protocol_features & ~protocol)
			fail_msg("protocol features 0x%llx are not offered",
				 (unsigned long long)(protocol_features & ~protocol));
		frontend_set_u64(frontend, SET_PROTOCOL_FEATURES, protocol_features);
	}
	frontend_send(frontend, SET_OWNER, 1, NULL, 0, NULL, 0);
	frontend_set_u64(frontend, SET_FEATURES, features);
	frontend->features = features;
	frontend->protocol_features = protocol_features;
}

void frontend_share_memory(struct frontend *frontend)
{
	struct {
		uint32_t count, padding;
		struct {
			uint64_t gpa, size, user, offset;
		} regions[8];
	} table = { .count = frontend->regions };
	uint64_t part = frontend->bytes / frontend->regions;
	int fds[8];

	for (unsigned i = 0; i < frontend->regions; i++) {
		table.regions[i].gpa = FRONTEND_GPA + i * part;
		table.regions[i].size = part;
		table.regions[i].user = FRONTEND_USER + i * part;
		table.regions[i].offset = i * part;
		fds[i] = frontend->memory_fd;
	}
	frontend_send(frontend, SET_MEM_TABLE, 1, &table, 8 + 32 * frontend->regions, fds, frontend->regions);
}

uint64_t frontend_alloc(struct frontend *frontend, uint64_t bytes, unsigned alignment)
{
	uint64_t offset = (frontend->allocated + alignment - 1) & ~(uint64_t)(alignment - 1);

	assert_true(offset + bytes <= frontend->bytes);
	frontend->allocated = offset + bytes;
	memset(frontend->memory + offset, 0, bytes);
	return offset;
}

void *frontend_at(struct frontend *frontend, uint64_t offset)
{
	return frontend->memory + offset;
}

/* ---- queues, as messages ---- */

void frontend_queue_addr(struct frontend_queue *queue, uint32_t flags, uint64_t log)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = { queue->index,
		   flags,
		   FRONTEND_USER + queue->desc,
		   FRONTEND_USER + queue->device,
		   FRONTEND_USER + queue->driver,
		   log };

	frontend_send(queue->frontend, SET_VRING_ADDR, 1, &addr, sizeof(addr), NULL, 0);
}

static void send_fd(struct frontend_queue *queue, uint32_t request, int *fd)
{
	uint64_t index = queue->index;

	if (*fd < 0)
		*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	frontend_send(queue->frontend, request, 1, &index, sizeof(index), fd, 1);
}

void frontend_queue_start(struct frontend_queue *queue, uint32_t base)
{
	struct frontend *frontend = queue->frontend;

	frontend_set_state(frontend, SET_VRING_NUM, queue->index, queue->size);
	frontend_set_state(frontend, SET_VRING_BASE, queue->index, base);
	frontend_queue_addr(queue, 0, 0);
	send_fd(queue, SET_VRING_CALL, &queue->call_fd);
	send_fd(queue, SET_VRING_ERR, &queue->err_fd);
	send_fd(queue, SET_VRING_KICK, &queue->kick_fd);
	if (frontend->features & UINT64_C(1) << 30)
		frontend_set_state(frontend, SET_VRING_ENABLE, queue->index, 1);
	frontend_sync(frontend);
}

uint32_t frontend_queue_stop(struct frontend_queue *queue)
{
	uint32_t state[2];

	frontend_set_state(queue->frontend, GET_VRING_BASE, queue->index, 0);
	assert_int_equal(frontend_reply(queue->frontend, GET_VRING_BASE, state, sizeof(state), NULL), sizeof(state));
	assert_int_equal(state[0], queue->index);
	return state[1];
}
