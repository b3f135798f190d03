/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the connection against a dpud of the test's own, which says what the test wants: greeting, ports, events,
 * loss and return, nonsense. */
#include "link.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "dpu/eswitch_ring.h"

enum { RULES = 1024, WORKERS = 2, RINGS = 4, COMMANDS = 64, SLOTS = 64 };

enum fault {
	FAULT_NONE,
	FAULT_MAGIC,
	FAULT_STATES,   /* beyond the end */
	FAULT_COUNTERS, /* likewise */
	FAULT_COMMANDS, /* no power of two */
	FAULT_SMALL,    /* the memory is less than it says */
	FAULT_NO_FDS,
	FAULT_SHORT, /* half a message */
	FAULT_REFUSE,
	FAULT_PORT_SLOTS,
	FAULT_PORT_FDS,
	FAULT_HANG_UP, /* instead of an answer */
};

static struct {
	char path[64];
	int listener;
	pthread_t thread;
	atomic_int fault, connection; /* the fd of the present one */
	atomic_uint greeted, opened, closed;
} dpud;

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
	struct eswitch_port_info info = { .number = 7, .kind = ESWITCH_PORT_VNIC, .link_up = 1, .mtu = 1500 };

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
			if (atomic_load(&dpud.fault) == FAULT_HANG_UP)
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

static int dpud_start(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(&dpud, 0, sizeof(dpud));
	atomic_store(&dpud.connection, -1);
	snprintf(dpud.path, sizeof(dpud.path), "/tmp/net_softdpu_link.%d", getpid());
	memcpy(address.sun_path, dpud.path, strlen(dpud.path));
	unlink(dpud.path);
	dpud.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return bind(dpud.listener, (struct sockaddr *)&address, sizeof(address)) || listen(dpud.listener, 8) ||
	       pthread_create(&dpud.thread, NULL, serve, NULL);
}

static int dpud_stop(void **state)
{
	shutdown(dpud.listener, SHUT_RDWR);
	if (dpud.connection >= 0) /* a test that failed has left it */
		shutdown(dpud.connection, SHUT_RDWR);
	pthread_join(dpud.thread, NULL);
	close(dpud.listener);
	return unlink(dpud.path);
}

#define WAIT_FOR(condition_)                                                                                           \
	do {                                                                                                           \
		for (unsigned i_ = 0; !(condition_); i_++) {                                                           \
			if (i_ > 20000)                                                                                \
				fail_msg("never: %s", #condition_);                                                    \
			usleep(1000);                                                                                  \
		}                                                                                                      \
	} while (0)

struct heard {
	struct link_listener listener;
	atomic_uint lost, back, changed, gone;
	struct eswitch_port_info info;
};

static void lost(void *ctx)
{
	atomic_fetch_add(&((struct heard *)ctx)->lost, 1);
}

static void back(void *ctx)
{
	atomic_fetch_add(&((struct heard *)ctx)->back, 1);
}

static void changed(void *ctx, const struct eswitch_port_info *info)
{
	((struct heard *)ctx)->info = *info;
	atomic_fetch_add(&((struct heard *)ctx)->changed, 1);
}

static void gone(void *ctx, uint32_t number)
{
	atomic_fetch_add(&((struct heard *)ctx)->gone, number);
}

static struct link *get(void)
{
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link = NULL;

	if (link_get(dpud.path, "", &link, sentence) < 0)
		fail_msg("%s", sentence);
	return link;
}

/* ---- tests ---- */

static void one_connection_for_all(void **state)
{
	struct link *link = get(), *same = get();
	const struct link_region *region = link_region(link);

	assert_ptr_equal(link, same);
	assert_int_equal(dpud.greeted, 1);
	assert_int_equal(region->max_rules, RULES);
	assert_int_equal(region->workers, WORKERS);
	assert_int_equal(region->rings[RINGS - 1].slots, COMMANDS);
	link_put(link);
	assert_true(link_is_up(same));
	link_put(same);
	WAIT_FOR(dpud.connection < 0);
}

static void ports_and_events(void **state)
{
	struct heard heard = { .listener = { lost, back, changed, gone, &heard, NULL } };
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct eswitch_message event = { .type = ESWITCH_PORT_CHANGED, .port = { .number = 7, .mtu = 9000 } };
	struct link *link = get();
	struct link_port port;

	link_listen(link, &heard.listener);
	assert_int_equal(link_open_port(link, "web", 2, 2, SLOTS, 0, &port, sentence), 0);
	assert_string_equal(port.info.name, "web");
	assert_int_equal(port.info.number, 7);
	assert_int_equal(port.queue_pairs, 2);
	assert_int_equal(port.region->rings[0].head, 0);
	assert_int_equal(send(dpud.connection, &event, sizeof(event), 0), sizeof(event));
	WAIT_FOR(heard.changed == 1);
	assert_int_equal(heard.info.mtu, 9000);
	event = (struct eswitch_message){ .type = ESWITCH_PORT_GONE, .number = 7 };
	assert_int_equal(send(dpud.connection, &event, sizeof(event), 0), sizeof(event));
	WAIT_FOR(heard.gone == 7);
	link_close_port(link, &port);
	assert_int_equal(dpud.closed, 1);
	link_unlisten(link, &heard.listener);
	link_put(link);
	assert_int_equal(heard.lost, 0);
}

/* dpud dies and is back: both are told, the old region can still be read, a port of the old one is not closed at the
 * new one. */
static void loss_and_return(void **state)
{
	struct heard heard = { .listener = { lost, back, changed, gone, &heard, NULL } };
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link = get();
	struct link_port port, again;
	const struct link_region *old = link_region(link);

	link_listen(link, &heard.listener);
	atomic_store(&old->counters[3].packets, 4711);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), 0);
	for (unsigned round = 1; round <= 5; round++) {
		assert_true(link_is_up(link));
		old = link_region(link);
		shutdown(dpud.connection, SHUT_RDWR);
		WAIT_FOR(heard.lost == round);
		WAIT_FOR(heard.back == round);
		assert_true(link_is_up(link));
		assert_ptr_not_equal(link_region(link), old);
		assert_int_equal(old->counters[3].packets, round == 1 ? 4711 : 0);
		assert_int_equal(link_region(link)->counters[3].packets, 0);
	}
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &again, sentence), 0);
	link_close_port(link, &port);
	assert_int_equal(dpud.closed, 0);
	link_close_port(link, &again);
	assert_int_equal(dpud.closed, 1);
	link_put(link);
}

/* While it is away calls fail at once, with a sentence. */
static void away(void **state)
{
	struct heard heard = { .listener = { lost, back, changed, gone, &heard, NULL } };
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link *link = get();
	struct link_port port;

	link_listen(link, &heard.listener);
	atomic_store(&dpud.fault, FAULT_HANG_UP);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), -ECONNRESET);
	WAIT_FOR(heard.lost == 1);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), -ENOTCONN);
	assert_non_null(strstr(sentence, dpud.path));
	atomic_store(&dpud.fault, FAULT_NONE);
	WAIT_FOR(heard.back == 1);
	assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), 0);
	link_close_port(link, &port);
	link_put(link);
}

static void nonsense_in_the_greeting(void **state)
{
	static const struct {
		enum fault fault;
		int status;
	} cases[] = {
		{ FAULT_MAGIC, -EPROTO },    { FAULT_STATES, -EPROTO }, { FAULT_COUNTERS, -EPROTO },
		{ FAULT_COMMANDS, -EPROTO }, { FAULT_SMALL, -EPROTO },  { FAULT_NO_FDS, -EPROTO },
		{ FAULT_SHORT, -EPROTO },    { FAULT_REFUSE, -ENODEV }, { FAULT_HANG_UP, -ECONNRESET },
	};
	struct link *link;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char sentence[LINK_SENTENCE_BYTES] = "";
		atomic_store(&dpud.fault, cases[i].fault);
		assert_int_equal(link_get(dpud.path, "sw9", &link, sentence), cases[i].status);
		assert_true(sentence[0]);
		if (cases[i].fault == FAULT_REFUSE)
			assert_string_equal(sentence, "there is no eswitch \"sw9\"");
	}
	atomic_store(&dpud.fault, FAULT_NONE);
	link_put(get());
}

static void nonsense_about_ports(void **state)
{
	static const enum fault faults[] = { FAULT_PORT_SLOTS, FAULT_PORT_FDS };
	char sentence[LINK_SENTENCE_BYTES] = "", name[300];
	struct link *link = get();
	struct link_port port;

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		atomic_store(&dpud.fault, faults[i]);
		assert_int_equal(link_open_port(link, "web", 1, 1, SLOTS, 0, &port, sentence), -EPROTO);
		assert_true(link_is_up(link));
	}
	atomic_store(&dpud.fault, FAULT_NONE);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(link_open_port(link, name, 1, 1, SLOTS, 0, &port, sentence), -ENAMETOOLONG);
	assert_int_equal(link_open_port(link, "web", 17, 17, SLOTS, 0, &port, sentence), -EINVAL);
	link_put(link);
}

static void nobody_there(void **state)
{
	char sentence[LINK_SENTENCE_BYTES] = "", path[200];
	struct link *link;

	assert_int_equal(link_get("/nowhere/eswitch.sock", "", &link, sentence), -ENOENT);
	assert_non_null(strstr(sentence, "/nowhere/eswitch.sock"));
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(link_get(path, "", &link, sentence), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_connection_for_all, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(ports_and_events, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(loss_and_return, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(away, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(nonsense_in_the_greeting, dpud_start, dpud_stop),
		cmocka_unit_test_setup_teardown(nonsense_about_ports, dpud_start, dpud_stop),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
