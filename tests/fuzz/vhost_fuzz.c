/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the vhost-user endpoint: a front end that sends messages right and wrong, in any order and in pieces, with
 * descriptors of every kind, and a guest that writes into what it shares, while queues are worked on and stop late. No
 * descriptor may stay open, no queue may be started twice or stopped when it is not running, and the next front end
 * must get in. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fds.h"
#include "base/loop.h"
#include "base/event_signal.h"
#include "device/virtio/vhost_protocol.h"
#include "device/virtio/vhost_user.h"
#include "input.h"
#include "../lib/emulated_kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUES = 4, QUEUE_SIZE = 256, MEMORY_BYTES = 1 << 18, MAX_OPERATIONS = 200, BURST = 16 };
#define GPA  UINT64_C(0x100000000)
#define USER UINT64_C(0x7f4200000000)

/* What a front end may have at hand. */
enum { FD_MEMORY, FD_SMALL, FD_EVENT, FD_OTHER_EVENT, FD_PIPE, FD_SOCKET, FD_NULL, FD_DEAF, FD_KINDS };

static struct rig {
	struct loop *loop;
	struct vhost_endpoint *endpoint;
	char path[64];
	int fds[FD_KINDS];
	uint8_t *memory;
	int fd; /* the front end's end */
	struct virtqueue *queues[QUEUES];
	bool running[QUEUES], stopping[QUEUES], late;
	bool truncated;
	bool countable; /* which descriptors are open */
	unsigned ends;
	unsigned shared_fds;
} rig;

/* ---- the device ---- */

static void on_start(void *ctx, unsigned index, struct virtqueue *queue)
{
	input_require(index < QUEUES && !rig.running[index]);
	rig.queues[index] = queue;
	rig.running[index] = true;
}

static void answer_stop(unsigned index)
{
	rig.running[index] = rig.stopping[index] = false;
	vhost_queue_stopped(rig.endpoint, index);
}

static void on_stop(void *ctx, unsigned index, struct virtqueue *queue)
{
	input_require(rig.running[index] && !rig.stopping[index] && rig.queues[index] == queue);
	rig.stopping[index] = true;
	if (!rig.late)
		answer_stop(index);
}

static void on_connected(void *ctx, bool up, uint64_t features)
{
	for (unsigned i = 0; i < QUEUES; i++)
		input_require(!rig.running[i]);
	rig.ends += !up;
}

static int on_get_config(void *ctx, uint32_t offset, uint32_t length, uint8_t *ret)
{
	input_require(offset + length <= VHOST_CONFIG_BYTES);
	memset(ret, 0x5a, length);
	return offset == 7 ? -EINVAL : 0;
}

static int on_set_config(void *ctx, uint32_t offset, uint32_t length, const uint8_t *data)
{
	static uint8_t config[VHOST_CONFIG_BYTES];

	memcpy(config + offset, data, length);
	return offset == 7 ? -EINVAL : 0;
}

static void on_notice(void *ctx, const char *name, const char *sentence)
{
	input_require(name && sentence && strlen(sentence) > 10);
}

static void on_announce(void *ctx, const uint8_t mac[6])
{
	input_require(mac != NULL);
}

static const struct vhost_device_ops ops = {
	.max_queues = QUEUES,
	.max_queue_size = QUEUE_SIZE,
	.in_order = true,
	.queue_start = on_start,
	.queue_stop = on_stop,
	.connected = on_connected,
	.get_config = on_get_config,
	.set_config = on_set_config,
	.notice = on_notice,
	.announce = on_announce,
};

/* A worker's round on a queue. */
static void work(unsigned index)
{
	struct virtq_element elements[BURST];
	struct iovec iov[VIRTQ_MAX_SEGMENTS];
	uint32_t written[BURST];

	if (!rig.running[index])
		return;
	struct virtqueue *queue = rig.queues[index];
	int n = virtqueue_pop(queue, elements, BURST, iov, VIRTQ_MAX_SEGMENTS);
	for (int i = 0; i < n; i++) {
		written[i] = 0;
		for (unsigned s = 0; s < elements[i].writable; s++) {
			const struct iovec *segment = &elements[i].segments[elements[i].readable + s];
			size_t here = segment->iov_len < 1000 ? segment->iov_len : 1000;
			memset(segment->iov_base, 0xab, here);
			written[i] += (uint32_t)here;
			if (here < segment->iov_len)
				break;
		}
	}
	if (n > 0)
		virtqueue_push(queue, elements, written, (unsigned)n);
	virtqueue_notify(queue);
	if (!virtqueue_arm(queue))
		virtqueue_disarm(queue);
}

static void pump(void)
{
	for (unsigned i = 0; i < 4; i++)
		loop_once(rig.loop, 0);
}

/* ---- the front end ---- */

static void rig_end(void)
{
	vhost_endpoint_free(rig.endpoint, NULL, NULL);
}

static void rig_once(void)
{
	struct dpu_error err = { 0 };
	int pair[2];

	if (rig.loop)
		return;
	snprintf(rig.path, sizeof(rig.path), "/tmp/vhost-fuzz-%d.sock", (int)getpid());
	unlink(rig.path);
	rig.fds[FD_MEMORY] = memfd_create("guest", MFD_CLOEXEC);
	rig.fds[FD_SMALL] = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	rig.fds[FD_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.fds[FD_OTHER_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* One that is full and blocks: whoever writes to it waits. */
	rig.fds[FD_DEAF] = eventfd(0, EFD_CLOEXEC);
	uint64_t full = UINT64_MAX - 1;
	input_require(write(rig.fds[FD_DEAF], &full, sizeof(full)) == sizeof(full));
	input_require(pipe2(pair, O_CLOEXEC) == 0);
	rig.fds[FD_PIPE] = pair[1];
	input_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	rig.fds[FD_SOCKET] = pair[1];
	input_require(ftruncate(rig.fds[FD_MEMORY], MEMORY_BYTES) == 0 && ftruncate(rig.fds[FD_SMALL], 4096) == 0);
	rig.countable = kernel_closes_what_does_not_fit();
	event_signal(rig.fds[FD_EVENT]); /* opens a descriptor for good */
	rig.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rig.fds[FD_MEMORY], 0);
	input_require(rig.memory != MAP_FAILED && loop_new(&rig.loop) == 0);
	const struct vhost_options options = {
		.loop = rig.loop, .socket_path = rig.path, .role = VHOST_SERVER, .ops = &ops, .ctx = &rig, .mtu = 1500
	};
	input_require(vhost_endpoint_new(&options, &rig.endpoint, &err) == 0);
	atexit(rig_end);
}

static void dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, rig.path, strlen(rig.path));
	rig.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	input_require(rig.fd >= 0 && connect(rig.fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	pump();
	input_require(vhost_endpoint_connected(rig.endpoint));
}

/* Takes replies, with their descriptors. */
static void listen_to_replies(void)
{
	union {
		struct cmsghdr align;
		char bytes[256];
	} control;
	uint8_t bytes[4096];

	for (;;) {
		struct iovec iov = { bytes, sizeof(bytes) };
		struct msghdr message = { .msg_iov = &iov,
					  .msg_iovlen = 1,
					  .msg_control = control.bytes,
					  .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(rig.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			for (unsigned i = 0; i < count; i++) {
				int fd;
				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
				close(fd);
			}
		}
	}
}

static void transmit(const void *bytes, size_t length, const int *fds, unsigned count)
{
	const struct iovec part = { (void *)(uintptr_t)bytes, length };

	if (length > 0)
		fds_send(rig.fd, &part, 1, fds, count, MSG_DONTWAIT);
}

struct message {
	struct vhost_header header;
	union vhost_payload payload;
};

static void post(const struct message *message, const int *fds, unsigned count)
{
	uint8_t bytes[sizeof(*message)]; /* without the padding that C puts behind the header */

	memcpy(bytes, &message->header, sizeof(message->header));
	memcpy(bytes + sizeof(message->header), &message->payload, message->header.size);
	transmit(bytes, sizeof(message->header) + message->header.size, fds, count);
	pump();
	listen_to_replies();
}

static struct message message_of(uint32_t request, uint32_t size)
{
	return (struct message){ .header = { .request = request, .flags = VHOST_FLAG_VERSION, .size = size } };
}

/* ---- what a good front end says ---- */

static void say_u64(uint32_t request, uint64_t value, const int *fd)
{
	struct message message = message_of(request, sizeof(uint64_t));

	message.payload.u64 = value;
	post(&message, fd, fd != NULL);
}

static void say_state(uint32_t request, uint32_t index, uint32_t value)
{
	struct message message = message_of(request, sizeof(struct vhost_vring_state));

	message.payload.state = (struct vhost_vring_state){ index, value };
	post(&message, NULL, 0);
}

static void negotiate(uint8_t options)
{
	uint64_t features = VHOST_BIT(32) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES_BIT) |
			    (options & 1 ? VHOST_BIT(34) : 0) | (options & 2 ? VHOST_BIT(28) : 0) |
			    (options & 4 ? VHOST_BIT(29) : 0) | (options & 8 ? VHOST_BIT(VHOST_F_LOG_ALL_BIT) : 0);
	struct message message = message_of(VHOST_SET_MEM_TABLE, 8 + 2 * sizeof(struct vhost_memory_region));

	say_u64(VHOST_SET_PROTOCOL_FEATURES, 0x1923b & ~(uint64_t)(options & 0x10 ? 8 : 0), NULL);
	say_u64(VHOST_SET_FEATURES, features, NULL);
	message.payload.memory.count = 2;
	for (unsigned i = 0; i < 2; i++)
		message.payload.memory.regions[i] =
			(struct vhost_memory_region){ GPA + i * MEMORY_BYTES, MEMORY_BYTES / 2, USER + i * MEMORY_BYTES,
						      i * MEMORY_BYTES / 2 };
	post(&message, (int[]){ rig.fds[FD_MEMORY], rig.fds[FD_MEMORY] }, 2);
}

static void start_queue(uint8_t options)
{
	struct message message = message_of(VHOST_SET_VRING_ADDR, sizeof(struct vhost_vring_addr));
	uint32_t index = options & 3, place = index * 0x4000;

	say_state(VHOST_SET_VRING_NUM, index, options & 4 ? 256 : 8);
	say_state(VHOST_SET_VRING_BASE, index, options & 8 ? 0x80008000 : 0);
	message.payload.addr = (struct vhost_vring_addr){
		.index = index,
		.flags = options & 16 ? VHOST_VRING_FLAG_LOG : 0,
		.desc = USER + place,
		.avail = USER + place + 0x2000,
		.used = USER + place + 0x3000,
		.log = GPA + place + 0x3000,
	};
	post(&message, NULL, 0);
	say_u64(VHOST_SET_VRING_CALL, index, &rig.fds[options & 32 ? FD_DEAF : FD_OTHER_EVENT]);
	say_u64(VHOST_SET_VRING_KICK, index, &rig.fds[FD_EVENT]);
	say_state(VHOST_SET_VRING_ENABLE, index, 1);
}

/* ---- what a bad one says ---- */

static unsigned some_fds(struct input *in, int *fds)
{
	uint8_t choice = input_byte(in);
	unsigned count = choice & 15;

	if (count > 10)
		count = choice >> 4 & 1;
	for (unsigned i = 0; i < count; i++)
		fds[i] = rig.fds[input_byte(in) % FD_KINDS];
	return count;
}

static uint64_t some_value(struct input *in)
{
	uint8_t kind = input_byte(in);
	uint64_t value = input_word(in);

	switch (kind & 7) {
	case 0:
		return GPA + value * 16;
	case 1:
		return USER + value * 16;
	case 2:
		return UINT64_MAX - value;
	case 3:
		return value << 32 | value;
	case 4:
		return value << 12;
	default:
		return value;
	}
}

/* Words where the protocol has words. */
static void any_message(struct input *in)
{
	struct message message = message_of(input_byte(in) % 42, 0);
	uint64_t words[sizeof(union vhost_payload) / 8] = { 0 };
	uint8_t shape = input_byte(in);
	unsigned count = shape & 31, fd_count;
	int fds[16];

	message.header.flags |= shape & 32 ? VHOST_FLAG_NEED_REPLY : 0;
	for (unsigned i = 0; i < count; i++)
		words[i] = some_value(in);
	memcpy(&message.payload, words, sizeof(words));
	message.header.size = count * 8;
	if (shape & 64) /* sizes that no C structure has */
		message.header.size = input_word(in) % sizeof(union vhost_payload);
	if (shape & 128) {
		message.payload.state.index = input_byte(in) & 7;
		message.payload.state.num = input_word(in);
	}
	fd_count = some_fds(in, fds);
	post(&message, fds, fd_count);
}

static void any_bytes(struct input *in)
{
	uint8_t bytes[256];
	int fds[16];
	unsigned count = some_fds(in, fds);
	size_t length = input_bytes(in, bytes, input_byte(in));

	transmit(bytes, length, fds, count);
	pump();
	listen_to_replies();
}

static void guest_writes(struct input *in)
{
	uint8_t bytes[64];
	uint32_t at = input_word(in) & 0xfff8;
	size_t length = input_bytes(in, bytes, input_byte(in) & 63);

	if (!rig.truncated)
		memcpy(rig.memory + at, bytes, length);
}

static void answer_stops(void)
{
	for (unsigned i = 0; i < QUEUES; i++)
		if (rig.stopping[i])
			answer_stop(i);
}

static void operate(struct input *in)
{
	uint8_t operation = input_byte(in);

	/* Hung up on, it calls again. */
	if (!vhost_endpoint_connected(rig.endpoint)) {
		close(rig.fd);
		dial();
	}
	switch (operation & 15) {
	case 0:
		negotiate(input_byte(in));
		break;
	case 1:
		start_queue(input_byte(in));
		break;
	case 2:
	case 3:
		work(operation >> 4 & 3);
		break;
	case 4:
		any_bytes(in);
		break;
	case 5:
		rig.late = operation & 16;
		break;
	case 6:
		answer_stops();
		break;
	case 7:
		/* As the front end likes: the descriptors are its, too. */
		fcntl(rig.fds[FD_EVENT], F_SETFL, operation & 16 ? O_NONBLOCK : 0);
		fcntl(rig.fds[FD_DEAF], F_SETFL, operation & 32 ? O_NONBLOCK : 0);
		if (operation >> 4 == 15 && !rig.truncated) {
			input_require(ftruncate(rig.fds[FD_MEMORY], 4096) == 0);
			rig.truncated = true;
		}
		break;
	case 8:
	case 9:
		guest_writes(in);
		break;
	case 10:
		say_state(VHOST_GET_VRING_BASE, operation >> 4 & 3, 0);
		break;
	case 11:
		say_u64(VHOST_SET_STATUS, operation >> 4, NULL);
		break;
	default:
		any_message(in);
	}
}

/* Descriptors of the kinds that front ends hand over; the fuzzer itself has others that come and go. */
static unsigned shared_fds(void)
{
	static const char *const kinds[] = { "anon_inode:[eventfd]", "/memfd:", "socket:", "/dev/null" };
	char path[32], target[64];
	unsigned count = 0;

	for (int fd = 0; fd < 100; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof(target));
		for (unsigned i = 0; length > 0 && i < 4; i++)
			count += !strncmp(target, kinds[i], strlen(kinds[i]));
	}
	return count;
}

/* However badly the connection ended, everything is as before it. */
static void hang_up(void)
{
	rig.late = false;
	answer_stops();
	close(rig.fd);
	for (unsigned i = 0; i < 100 && vhost_endpoint_connected(rig.endpoint); i++) {
		pump();
		answer_stops();
	}
	input_require(!vhost_endpoint_connected(rig.endpoint));
	for (unsigned i = 0; i < QUEUES; i++)
		input_require(!rig.running[i] && !rig.stopping[i]);
	unsigned open = shared_fds();
	input_require(!rig.countable || rig.shared_fds == 0 || rig.shared_fds == open);
	rig.shared_fds = open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	rig_once();
	dial();
	memset(rig.memory, 0, 0x10000);
	for (unsigned i = 0; i < MAX_OPERATIONS && input_left(&in); i++)
		operate(&in);
	hang_up();
	if (rig.truncated)
		input_require(ftruncate(rig.fds[FD_MEMORY], MEMORY_BYTES) == 0);
	rig.truncated = false;
	return 0;
}
