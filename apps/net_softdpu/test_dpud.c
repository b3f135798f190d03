/* SPDX-License-Identifier: BSD-3-Clause */
/* The tests' dpud: its socket, its answers, and how it dies. */
#include "test_dpud.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "link.h"

struct test_dpud dpud;

static int make_memfd(uint64_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	return fd;
}

static void fill_region(struct eswitch_region *region, uint64_t bytes, int fault)
{
	*region = (struct eswitch_region){
		.magic = fault == FAULT_MAGIC ? 1 : ESWITCH_MAGIC,
		.version = ESWITCH_ABI_VERSION,
		.bytes = bytes,
		.max_rules = RULES,
		.workers = WORKERS,
		.command_rings = RINGS,
		.states_offset = fault == FAULT_STATES ? bytes - 64 : 4096,
		.counters_offset = fault == FAULT_COUNTERS ? UINT64_MAX - 7 : 16384,
	};
	for (unsigned i = 0; i < RINGS; i++) {
		region->rings[i].commands_offset = 65536 + i * COMMANDS * sizeof(struct eswitch_command);
		region->rings[i].slots = fault == FAULT_COMMANDS ? COMMANDS - 1 : COMMANDS;
	}
}

static void answer(int to, struct eswitch_message *message, const int *fds, unsigned count, size_t bytes)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE((1 + LINK_MAX_WAKE_FDS) * sizeof(int))];
	} control = { 0 };
	struct iovec vector = { message, bytes };
	struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1 };

	if (count > 0) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, count * sizeof(int));
	}
	message->type = ESWITCH_REPLY;
	(void)!sendmsg(to, &header, MSG_NOSIGNAL);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

static void on_hello(int to, struct eswitch_message *message)
{
	uint64_t bytes = 65536 + RINGS * COMMANDS * sizeof(struct eswitch_command);
	int fault = atomic_load(&dpud.fault);
	int fds[2] = { make_memfd(fault == FAULT_SMALL ? bytes / 2 : bytes), eventfd(0, EFD_CLOEXEC) };
	struct eswitch_region *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);

	fill_region(region, bytes, fault);
	munmap(region, bytes);
	if (fault == FAULT_REFUSE) {
		message->status = ESWITCH_E_NOT_FOUND;
		snprintf(message->sentence, sizeof(message->sentence), "there is no eswitch \"%.64s\"",
			 message->hello.eswitch);
	}
	message->hello_reply.region_bytes = bytes;
	atomic_fetch_add(&dpud.greeted, 1);
	answer(to, message, fds, fault == FAULT_NO_FDS ? 0 : 2,
	       fault == FAULT_SHORT ? sizeof(*message) / 2 : sizeof(*message));
}

static void on_open(int to, struct eswitch_message *message)
{
	uint32_t pairs = message->open_port.to_host_queues, slots = message->open_port.ring_slots;
	uint64_t bytes = eswitch_region_bytes(2 * pairs, slots);
	int fault = atomic_load(&dpud.fault), fds[1 + LINK_MAX_WAKE_FDS] = { make_memfd(bytes) };
	struct eswitch_port_region *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	struct eswitch_port_info info = { .number = PORT_NUMBER + (fault == FAULT_OTHER_NUMBER),
					  .kind = ESWITCH_PORT_VNIC,
					  .link_up = 1,
					  .mtu = 1500 };

	*region = (struct eswitch_port_region){
		.magic = ESWITCH_MAGIC,
		.version = ESWITCH_ABI_VERSION,
		.bytes = bytes,
		.to_host_queues = pairs,
		.from_host_queues = pairs,
		.slots = fault == FAULT_PORT_SLOTS ? slots * 2 : slots,
	};
	munmap(region, bytes);
	for (unsigned i = 0; i < 2 * pairs; i++)
		fds[1 + i] = eventfd(0, EFD_CLOEXEC);
	memcpy(info.name, message->open_port.name, sizeof(info.name));
	if (fault == FAULT_REFUSE_OPEN)
		message->status = ESWITCH_E_NOT_FOUND;
	message->open_port_reply.info = info;
	message->open_port_reply.region_bytes = bytes;
	atomic_fetch_add(&dpud.opened, 1);
	answer(to, message, fds, fault == FAULT_PORT_FDS ? 2 * pairs : 1 + 2 * pairs, sizeof(*message));
}

static void *serve(void *arg)
{
	struct eswitch_message message;
	int fd;

	while ((fd = accept4(dpud.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		atomic_store(&dpud.connection, fd);
		while (recv(fd, &message, sizeof(message), 0) == sizeof(message)) {
			int fault = atomic_load(&dpud.fault);
			if (fault == FAULT_HANG_UP || (fault == FAULT_DIE_AT_OPEN && message.type == ESWITCH_OPEN_PORT))
				break;
			atomic_fetch_add(&dpud.closed, message.type == ESWITCH_CLOSE_PORT);
			message.status = ESWITCH_OK;
			if (message.type == ESWITCH_HELLO)
				on_hello(fd, &message);
			else if (message.type == ESWITCH_OPEN_PORT)
				on_open(fd, &message);
			else
				answer(fd, &message, NULL, 0, sizeof(message));
		}
		atomic_store(&dpud.connection, -1);
		close(fd);
	}
	return NULL;
}

void dpud_name(void)
{
	memset(&dpud, 0, sizeof(dpud));
	atomic_store(&dpud.connection, -1);
	snprintf(dpud.path, sizeof(dpud.path), "/tmp/net_softdpu_link.%d", getpid());
}

int dpud_listen(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, dpud.path, strlen(dpud.path));
	unlink(dpud.path);
	dpud.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return bind(dpud.listener, (struct sockaddr *)&address, sizeof(address)) || listen(dpud.listener, 8) ||
	       pthread_create(&dpud.thread, NULL, serve, NULL);
}

int dpud_start(void **state)
{
	dpud_name();
	return dpud_listen();
}

int dpud_stop(void **state)
{
	shutdown(dpud.listener, SHUT_RDWR);
	if (dpud.connection >= 0) /* a test that failed has left it */
		shutdown(dpud.connection, SHUT_RDWR);
	pthread_join(dpud.thread, NULL);
	close(dpud.listener);
	return unlink(dpud.path);
}

void dpud_die(void)
{
	int fd;

	WAIT_FOR((fd = atomic_load(&dpud.connection)) >= 0);
	shutdown(fd, SHUT_RDWR);
}

void dpud_say(const struct eswitch_message *event)
{
	assert_int_equal(send(dpud.connection, event, sizeof(*event), 0), sizeof(*event));
}
