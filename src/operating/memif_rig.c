// SPDX-License-Identifier: BSD-3-Clause
/* The other end of the tests of memif. */
#include "operating/memif_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "operating/port_kinds.h"

void bench_up(struct bench *bench, bool server)
{
	struct port_callbacks callbacks;
	struct dpu_error err = { 0 };

	memset(bench, 0, sizeof(*bench));
	snprintf(bench->dir, sizeof(bench->dir), "/tmp/softdpu-memif-%d", (int)getpid());
	snprintf(bench->path, sizeof(bench->path), "%s/socket", bench->dir);
	mkdir(bench->dir, 0700);
	rig_up(&bench->rig, 1, WORKER_BALANCED);
	wire_callbacks(&bench->wire, &bench->rig, 0, &callbacks);
	bench->wire.sink = true;
	struct port_memif_options options = { .path = bench->path, .server = server, .queues = 2 };
	if (port_memif_open(&options, "left", bench->rig.loop, test_pool(), &callbacks, &bench->port, &err) < 0)
		fail_msg("%s", err.message);
	bench->wire.ports[0] = bench->port; /* before its queues are announced */
}

void bench_down(struct bench *bench)
{
	wire_close(&bench->wire);
	rig_down(&bench->rig);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
	assert_int_equal(access(bench->path, F_OK), -1);
	rmdir(bench->dir);
}

/* ---- the peer as client ---- */

void peer_init(struct peer *peer, struct bench *bench)
{
	*peer = (struct peer){ .bench = bench, .fd = -1 };
	peer->memory_fd = memfd_create("peer", MFD_CLOEXEC);
	assert_int_equal(ftruncate(peer->memory_fd, MEMORY), 0);
	peer->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, peer->memory_fd, 0);
	assert_ptr_not_equal(peer->memory, MAP_FAILED);
	for (unsigned i = 0; i < 2; i++) {
		struct memif_shared_ring *ring = (struct memif_shared_ring *)(peer->memory + i * RING_BYTES);
		peer->rings[i] = ring;
		peer->event_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ring->cookie = MEMIF_COOKIE;
		for (unsigned slot = 0; slot < RING; slot++)
			ring->descs[slot] = (struct memif_desc){ .length = BUFFER,
								 .offset = BUFFERS_AT + (i * RING + slot) * BUFFER };
	}
}

void peer_fini(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	for (unsigned i = 0; i < 2; i++)
		close(peer->event_fd[i]);
	close(peer->memory_fd);
	munmap(peer->memory, MEMORY);
}

void peer_connect(struct peer *peer)
{
	peer->fd = memif_connect(peer->bench->path);
	assert_true(peer->fd >= 0);
}

void peer_hear(struct peer *peer, uint16_t type)
{
	int status = 0, fd = -1;

	WAIT_FOR(&peer->bench->rig, (status = memif_receive(peer->fd, &peer->heard, &fd)) != 0);
	assert_int_equal(status, 1);
	assert_int_equal(fd, -1);
	if (peer->heard.type != type)
		fail_msg("heard %u, not %u: %.96s", peer->heard.type, type, peer->heard.disconnect.why);
}

int peer_fd(const struct peer *peer, unsigned step)
{
	return step == 2 ? peer->memory_fd : step == 3 || step == 4 ? peer->event_fd[step - 3] : -1;
}

struct memif_message peer_message(unsigned step, uint16_t *ret_answer)
{
	static const uint16_t types[STEPS] = {
		0, MEMIF_INIT, MEMIF_ADD_REGION, MEMIF_ADD_RING, MEMIF_ADD_RING, MEMIF_CONNECT
	};
	struct memif_message message = { .type = types[step] };

	*ret_answer = step == 0 ? MEMIF_HELLO : step == STEPS - 1 ? MEMIF_CONNECTED : MEMIF_ACK;
	if (step == 1)
		message.init = (struct memif_init){ .version = MEMIF_VERSION, .name = "peer \"\n" };
	else if (step == 2)
		message.add_region.bytes = MEMORY;
	else if (step == 3 || step == 4)
		message.add_ring = (struct memif_add_ring){
			.flags = step == 3 ? MEMIF_ADD_RING_TO_SERVER : 0,
			.offset = step == 3 ? 0 : RING_BYTES,
			.log2_ring = LOG2_RING,
		};
	return message;
}

void peer_steps(struct peer *peer, unsigned from, unsigned to)
{
	for (unsigned step = from; step < to; step++) {
		uint16_t answer;
		struct memif_message message = peer_message(step, &answer);
		if (step > 0)
			assert_int_equal(memif_send(peer->fd, &message, peer_fd(peer, step)), 0);
		peer_hear(peer, answer);
	}
}

void peer_up(struct peer *peer)
{
	peer_connect(peer);
	peer_steps(peer, 0, STEPS);
	WAIT_FOR(&peer->bench->rig, atomic_load(&peer->bench->port->up) && peer->bench->wire.attached[0] == 1);
	atomic_store(&peer->rings[1]->head, RING);
}

void peer_expect_down(struct peer *peer)
{
	WAIT_FOR(&peer->bench->rig, !atomic_load(&peer->bench->port->up));
}
