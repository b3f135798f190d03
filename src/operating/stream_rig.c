// SPDX-License-Identifier: BSD-3-Clause
/* Ends, pieces and listeners of the tests of TCP streams. */
#include "operating/stream_rig.h"

#include <stdlib.h>
#include <string.h>

struct uring *uring;
struct stream_group *group;
uint64_t seed;

unsigned roll(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % below);
}

uint8_t byte_at(uint64_t place)
{
	return (uint8_t)(place * 0x9e3779b1u >> 24 ^ place >> 8);
}

void group_open(unsigned without, unsigned zero_copy_bytes, unsigned buffers, unsigned buffer_bytes)
{
	struct stream_group_options options = { .buffers = buffers, .buffer_bytes = buffer_bytes };

	seed = 88172645463325252ull + without;
	assert_int_equal(uring_new(64, &uring, NULL), 0);
	options.uring = uring;
	options.without = without;
	options.zero_copy_bytes = zero_copy_bytes;
	assert_int_equal(stream_group_new(&options, &group, NULL), 0);
}

void group_close(void)
{
	stream_group_free(group);
	assert_int_equal(uring_under_way(uring), 0);
	uring_free(uring);
}

/* ---- an end ---- */

void end_check(struct end *end, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != byte_at(end->got + i))
			fail_msg("byte %zu is wrong", (size_t)(end->got + i));
	end->got += count;
}

static void on_take(struct stream_take *take, int error)
{
	struct end *end = (struct end *)((char *)take - offsetof(struct end, take));

	end->take_lent = false;
	end->takes++;
	end->takes_failed += error != 0;
	if (error == 0) {
		end_check(end, end->take_memory, end->take_iov[0].iov_len);
		end_check(end, end->take_memory + end->take_iov[0].iov_len, take->bytes - end->take_iov[0].iov_len);
	}
	free(end->take_memory);
	if (error == 0 && roll(4) == 0)
		end_take(end);
}

void end_take(struct end *end)
{
	size_t bytes = 2 + roll(roll(3) ? PIECE_MAX : 300), split = 1 + roll((unsigned)bytes - 1);

	end->take_memory = malloc(bytes);
	end->take_iov[0] = (struct iovec){ end->take_memory, split };
	end->take_iov[1] = (struct iovec){ end->take_memory + split, bytes - split };
	end->take = (struct stream_take){ .iov = end->take_iov, .segments = 2, .bytes = bytes, .done = on_take };
	end->take_lent = true;
	stream_take(end->stream, &end->take);
}

static size_t on_received(void *ctx, const uint8_t *bytes, size_t count)
{
	struct end *end = ctx;

	assert_int_equal(end->closed, 0);
	assert_int_equal(end->ended, 0);
	assert_false(end->take_lent);
	size_t used = end->random && roll(3) == 0 ? roll((unsigned)count + 1) : count;
	end_check(end, bytes, used);
	if (end->random && roll(4) == 0)
		end_take(end);
	else if (used < count)
		end->stuck = true;
	else if (end->random && roll(5) == 0) {
		end->paused = true;
		stream_pause(end->stream);
	}
	return used;
}

static void on_connected(void *ctx)
{
	((struct end *)ctx)->connected++;
}

void end_ended(void *ctx, int error)
{
	struct end *end = ctx;

	assert_int_equal(end->ended++, 0);
	end->error = error;
}

void end_closed(void *ctx)
{
	struct end *end = ctx;

	assert_int_equal(end->closed++, 0);
	assert_int_equal(end->queued, 0);
	assert_false(end->take_lent);
}

const struct stream_ops end_ops = { on_connected, on_received, end_ended };

static void on_sent(struct stream_send *send, int error)
{
	struct piece *piece = (struct piece *)send;

	piece->end->queued--;
	piece->end->sends_failed += error != 0;
	memset(piece->memory, 0xee, 16); /* nobody looks at it any more */
	free(piece->memory);
	free(piece);
}

void piece_send(struct end *end, size_t bytes)
{
	struct piece *piece = calloc(1, sizeof(*piece));
	size_t first = bytes / 3;

	piece->memory = malloc(bytes < 16 ? 16 : bytes);
	for (size_t i = 0; i < bytes; i++)
		piece->memory[i] = byte_at(end->sent + i);
	piece->end = end;
	piece->iov[0] = (struct iovec){ piece->memory, first };
	piece->iov[2] = (struct iovec){ piece->memory + first, bytes - first };
	piece->send = (struct stream_send){ .iov = piece->iov, .segments = 3, .done = on_sent };
	end->sent += bytes;
	end->queued++;
	stream_send(end->stream, &piece->send);
}

void end_close(struct end *end)
{
	stream_close(end->stream, end_closed);
	wait_for(end->closed);
}

void end_step(struct end *end)
{
	if (end->sent < end->to_send && end->queued < QUEUE_MAX && roll(3) == 0) {
		size_t bytes = 1 + roll(roll(3) ? 200 : PIECE_MAX);

		piece_send(end, bytes < end->to_send - end->sent ? bytes : end->to_send - end->sent);
		if (end->sent == end->to_send)
			stream_shutdown(end->stream);
	}
	if ((end->paused || end->stuck) && roll(3) == 0) {
		end->paused = end->stuck = false;
		stream_resume(end->stream);
	}
}

/* ---- a listener ---- */

void door_accepted(void *ctx, int fd)
{
	struct door *door = ctx;

	if (door->last_fd >= 0)
		close(door->last_fd);
	door->last_fd = fd;
	door->accepted++;
}

static void on_door_closed(void *ctx)
{
	((struct door *)ctx)->closed = true;
}

void door_open(struct door *door, int family, int backlog)
{
	struct dpu_error err = { 0 };

	*door = (struct door){ .last_fd = -1 };
	if (family == AF_INET6) {
		door->address.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
		door->bytes = sizeof(door->address.v6);
	} else {
		door->address.v4 = (struct sockaddr_in){ .sin_family = AF_INET };
		door->address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		door->bytes = sizeof(door->address.v4);
	}
	if (stream_listen(group, &door->address.any, door->bytes, backlog, door_accepted, door, &door->listener, &err) <
	    0)
		fail_msg("%s", err.message);
	getsockname(stream_listener_fd(door->listener), &door->address.any, &door->bytes);
}

void door_close(struct door *door)
{
	stream_listener_close(door->listener, on_door_closed);
	wait_for(door->closed);
	if (door->last_fd >= 0)
		close(door->last_fd);
}

void pair_connect(struct door *door, struct end *client, struct end *server, const struct stream_options *options)
{
	memset(client, 0, sizeof(*client));
	memset(server, 0, sizeof(*server));
	assert_int_equal(
		stream_connect(group, &door->address.any, door->bytes, options, &end_ops, client, &client->stream), 0);
	wait_for(client->connected && door->last_fd >= 0);
	assert_int_equal(stream_adopt(group, door->last_fd, options, &end_ops, server, &server->stream), 0);
	door->last_fd = -1;
}
