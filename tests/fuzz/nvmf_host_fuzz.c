/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes what an NVMe/TCP host receives, over a socket: PDUs with any fields, cut anywhere. Commands are done exactly
 * once, and nothing is written but into their buffers. */
#include <sys/socket.h>
#include <unistd.h>
#include "engine/crc32c/crc32c.h"
#include "input.h"
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMMANDS = 8, DATA_BYTES = 40960, FIX_LENGTH = 1, FIX_CID = 2, FIX_DIGEST = 4, CUT = 8 };

static struct uring *uring;
static struct stream_group *streams;
static bool closed, failed;
static unsigned done, sent;
static struct host_command *commands[COMMANDS];
static uint8_t memory[COMMANDS][DATA_BYTES + 16];
static struct iovec iov[COMMANDS][2];
static uint32_t crcs[COMMANDS][DATA_BYTES / CRC32C_BLOCK_BYTES + 1];
static const uint64_t now_ns = 1;

static void on_open(void *ctx, struct host_queue *queue)
{
}

static void on_failed(void *ctx, struct host_queue *queue, const char *why)
{
	input_require(!failed && why[0]);
	failed = true;
	host_queue_close(queue, true);
}

static void on_closed(void *ctx, struct host_queue *queue)
{
	closed = true;
}

static void on_done(struct host_command *command, uint16_t status)
{
	unsigned index = (unsigned)(uintptr_t)command->ctx;

	input_require(commands[index] == command);
	if (command->sum.crc && command->to_host && status == NVME_OK)
		input_require(crc32c_blocks_hold(crcs[index], iov[index], command->bytes));
	input_require(crcs[index][command->bytes / CRC32C_BLOCK_BYTES] == 0xa5a5a5a5);
	commands[index] = NULL;
	done++;
}

static void commands_send(struct host_queue *queue, struct input *in)
{
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct host_command *command = host_command_get(queue);
		uint8_t kind = input_byte(in);

		if (!command)
			return;
		command->header.pdu.sqe.opcode = NVME_READ;
		command->to_host = kind & 1;
		command->bytes = kind & 2 ? 4096 : kind & 4 ? DATA_BYTES : 0;
		iov[i][0] = (struct iovec){ memory[i], command->bytes / 3 };
		iov[i][1] = (struct iovec){ memory[i] + command->bytes / 3, command->bytes - command->bytes / 3 };
		memset(memory[i] + command->bytes, 0xa5, 16);
		memset(crcs[i], 0xa5, sizeof(crcs[i]));
		command->sum.crc = (kind & 8) && queue->options.data_digest ? crcs[i] : NULL;
		command->data = iov[i];
		command->segments = 2;
		command->done = on_done;
		command->ctx = (void *)(uintptr_t)i;
		commands[i] = command;
		input_require(host_command_send(command));
		sent++;
	}
}

/* One with fields as given, but for what is to be right. */
static size_t pdu_make(struct host_queue *queue, struct input *in, uint8_t *pdu)
{
	uint8_t mode = input_byte(in), data = input_byte(in);
	size_t bytes = input_bytes(in, pdu, 24);
	uint32_t length = 24, crc;

	if (bytes < 24)
		return bytes;
	if (mode & FIX_CID && commands[data % COMMANDS])
		memcpy(pdu + (pdu[0] == NVME_TCP_CAPSULE_RESP ? 20 : 8), &commands[data % COMMANDS]->cid, 2);
	uint32_t filler = data & 0x80 ? 4096 : data & 0x40 ? 20000 : 0;
	if (mode & FIX_LENGTH) {
		length += (queue->options.header_digest ? 4 : 0);
		pdu[2] = 24;
		pdu[3] = filler ? (uint8_t)length : 0;
		length += filler + (filler && queue->options.data_digest ? 4 : 0);
		memcpy(pdu + 4, &length, 4);
		if (pdu[0] == NVME_TCP_C2H_DATA)
			memcpy(pdu + 16, &filler, 4);
	}
	if (mode & FIX_DIGEST) {
		pdu[1] |= NVME_TCP_HDGSTF | (filler ? NVME_TCP_DDGSTF : 0);
		crc = crc32c(0, pdu, 24);
		memcpy(pdu + 24, &crc, 4);
		bytes += 4;
	}
	memset(pdu + bytes, mode, filler);
	bytes += filler;
	if (filler && (mode & FIX_DIGEST)) {
		crc = crc32c(0, pdu + bytes - filler, filler);
		memcpy(pdu + bytes, &crc, 4);
		bytes += 4;
	}
	return bytes;
}

static void polls(unsigned count)
{
	while (count-- > 0)
		uring_poll(uring);
}

static void greeting_send(struct host_queue *queue, int fd, uint8_t kind)
{
	struct nvme_tcp_icresp pdu = { .header = { NVME_TCP_ICRESP, 0, 128, 0, 128 }, .maxh2cdata = 8192 };

	pdu.dgst = (queue->options.header_digest ? 1 : 0) | (queue->options.data_digest ? 2 : 0);
	pdu.cpda = kind & 8 ? 31 : 0;
	if (!(kind & 4))
		input_require(send(fd, &pdu, sizeof(pdu), MSG_NOSIGNAL) == sizeof(pdu));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct queue_events events = { .open = on_open, .failed = on_failed, .closed = on_closed };
	struct input in = { data, data + size };
	static uint8_t pdu[24000], sink[65536];
	uint8_t kind = input_byte(&in);
	struct host_queue *queue;
	int fds[2];

	if (!uring) {
		struct stream_group_options options = { .buffers = 16, .buffer_bytes = 4096 };

		uring_needed();
		input_require(uring_new(64, &uring, NULL) == 0);
		options.uring = uring;
		input_require(stream_group_new(&options, &streams, NULL) == 0);
	}
	struct queue_options options = {
		.streams = streams,
		.depth = COMMANDS,
		.header_digest = kind & 1,
		.data_digest = kind & 2,
		.in_capsule_bytes = 4096,
		.now_ns = &now_ns,
	};
	closed = failed = false;
	done = sent = 0;
	memset(commands, 0, sizeof(commands));
	input_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	input_require(host_queue_adopt(&options, 1, &events, NULL, fds[0], &queue) == 0);
	greeting_send(queue, fds[1], kind);
	polls(3);
	if (!failed && queue->state == QUEUE_OPEN)
		commands_send(queue, &in);
	for (unsigned i = 0; i < 64 && input_left(&in) && !failed; i++) {
		size_t bytes = pdu_make(queue, &in, pdu), cut = kind & 16 ? bytes / 2 : 0;

		if (cut)
			send(fds[1], pdu, cut, MSG_NOSIGNAL | MSG_DONTWAIT);
		polls(cut > 0);
		send(fds[1], pdu + cut, bytes - cut, MSG_NOSIGNAL | MSG_DONTWAIT);
		polls(2);
		while (recv(fds[1], sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
	close(fds[1]);
	while (!closed)
		uring_poll(uring);
	input_require(done == sent);
	for (unsigned i = 0; i < sent; i++)
		for (unsigned j = 0; j < 16; j++)
			input_require(memory[i][iov[i][0].iov_len + iov[i][1].iov_len + j] == 0xa5);
	host_queue_free(queue);
	return 0;
}
