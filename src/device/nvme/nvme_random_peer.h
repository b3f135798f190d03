/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection for tests by chance: bytes go either way in pieces of any size, and it checks that each command is
 * answered once, and nothing else is. */
#pragma once

#include "device/nvme/nvme_test_host.h"

enum { PEER_CIDS = 24 };

enum peer_command { PEER_FREE, PEER_ASKED, PEER_CONNECT, PEER_EVENT };

struct peer {
	struct rig *rig;
	struct nvme_queue *queue;
	uint16_t qid, cntlid;
	uint8_t digests; /* enum nvme_tcp_digest */
	bool connected;
	bool closing; /* the target has ended it, … */
	bool broken;  /* … or we have; it is no more once that is idle */
	bool idle, paused;
	bool hostile; /* it has sent what may not be sent: what comes is no more looked at */
	uint8_t *input;
	size_t count, room; /* of what the target has not got yet */
	struct nvme_send *held, **held_tail;
	uint8_t *take_to;
	size_t take_left;
	uint8_t commands[PEER_CIDS]; /* enum peer_command */
	uint16_t status;             /* of the last answer */
	struct {
		uint16_t ttag;
		uint32_t at, left;
	} asked[PEER_CIDS]; /* by R2T */
};

extern uint64_t roll_state;
uint32_t roll(uint32_t below);
extern uint64_t peers_asked, peers_answered; /* commands of all */

/* Handshake and Connect; an admin queue is enabled, too. host: its identifier. */
struct peer *peer_dial(struct rig *rig, uint16_t qid, uint16_t cntlid, uint8_t host);
/* The command with a number that is free; false: there is none. */
bool peer_ask(struct peer *peer, struct nvme_sqe *sqe, const void *data, uint32_t bytes, enum peer_command kind);
bool peer_property(struct peer *peer, bool enable); /* CC */
void peer_garbage(struct peer *peer);
void peer_feed(struct peer *peer, size_t most);   /* bytes to the target */
void peer_sent(struct peer *peer);                /* the oldest send is done, if there is one */
void peer_give_data(struct peer *peer, bool all); /* of what one R2T asks for */
void peer_break(struct peer *peer);
bool peer_waits(const struct peer *peer); /* for an answer that must come by itself */
void peer_reap(struct peer **peer);       /* NULL, if it can be */
