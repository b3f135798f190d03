// SPDX-License-Identifier: BSD-3-Clause
/* A connection for tests by chance. */
#include "device/nvme/nvme_random_peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/crc32c/crc32c.h"

enum { SEND_BYTES_MAX = 2 << 20, H2C_BYTES_MAX = NVME_TARGET_MAXH2CDATA, SPOILT = 50, ENABLE = 6 << 16 | 4 << 20 | 1 };

uint64_t roll_state, peers_asked, peers_answered;

uint32_t roll(uint32_t below)
{
	roll_state = roll_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(roll_state >> 33) % below;
}

/* ---- the transport ---- */

static void transport_send(void *ctx, struct nvme_send *send)
{
	struct peer *peer = ctx;

	*(struct nvme_send **)send->transport = NULL;
	*peer->held_tail = send;
	peer->held_tail = (struct nvme_send **)send->transport;
}

static void transport_take(void *ctx, uint8_t *to, uint32_t bytes)
{
	struct peer *peer = ctx;

	assert(!peer->closing && peer->take_left == 0);
	peer->take_to = to;
	peer->take_left = bytes;
}

static void transport_resume(void *ctx)
{
	((struct peer *)ctx)->paused = false;
}

static void transport_close(void *ctx, bool graceful)
{
	((struct peer *)ctx)->closing = true;
}

static void transport_connect(void *ctx, const struct nvme_connect_sqe *sqe, const struct nvme_connect_data *data)
{
	struct peer *peer = ctx;

	nvme_queue_connect(peer->queue, peer->rig->subsystem, 1);
}

static void transport_idle(void *ctx)
{
	((struct peer *)ctx)->idle = true;
}

static const struct nvme_transport_ops ops = {
	.send = transport_send,
	.take = transport_take,
	.resume = transport_resume,
	.close = transport_close,
	.connect = transport_connect,
	.idle = transport_idle,
};

/* ---- to the target ---- */

static void input_add(struct peer *peer, const void *bytes, size_t count)
{
	if (peer->count + count > peer->room) {
		peer->room = 2 * (peer->count + count);
		peer->input = realloc(peer->input, peer->room);
		assert(peer->input);
	}
	memcpy(peer->input + peer->count, bytes, count);
	peer->count += count;
}

/* With the digests that were agreed on; one in SPOILT of the data's is wrong. */
static void pdu_add(struct peer *peer, struct nvme_tcp_header *header, const void *data, uint32_t bytes)
{
	uint32_t header_digest = peer->digests & NVME_TCP_DGST_HEADER ? NVME_TCP_DIGEST_BYTES : 0, digest;
	uint32_t data_digest = bytes > 0 && (peer->digests & NVME_TCP_DGST_DATA) ? NVME_TCP_DIGEST_BYTES : 0;

	header->flags |= (uint8_t)((header_digest ? NVME_TCP_HDGSTF : 0) | (data_digest ? NVME_TCP_DDGSTF : 0));
	header->pdo = bytes > 0 ? (uint8_t)(header->hlen + header_digest) : 0;
	header->plen = header->hlen + header_digest + bytes + data_digest;
	input_add(peer, header, header->hlen);
	digest = crc32c(0, header, header->hlen);
	input_add(peer, &digest, header_digest);
	if (bytes > 0)
		input_add(peer, data, bytes);
	digest = data_digest ? crc32c(roll(SPOILT) == 0, data, bytes) : 0;
	input_add(peer, &digest, data_digest);
}

static size_t take_give(struct peer *peer, const uint8_t *bytes, size_t count)
{
	size_t n = count < peer->take_left ? count : peer->take_left;

	memcpy(peer->take_to, bytes, n);
	peer->take_to += n;
	peer->take_left -= n;
	if (peer->take_left == 0)
		nvme_queue_taken(peer->queue, 0);
	return n;
}

/* From a copy of the very size: who reads beyond it is found out. */
static size_t input_give(struct peer *peer, const uint8_t *bytes, size_t count)
{
	uint8_t *copy = malloc(count);

	assert(copy);
	memcpy(copy, bytes, count);
	size_t used = nvme_queue_input(peer->queue, copy, count);
	free(copy);
	assert(used <= count);
	return used;
}

void peer_feed(struct peer *peer, size_t most)
{
	size_t at = 0, end = peer->count < most ? peer->count : most;

	while (at < end && !peer->closing) {
		if (peer->take_left > 0) {
			at += take_give(peer, peer->input + at, end - at);
			continue;
		}
		if (peer->paused)
			break;
		at += input_give(peer, peer->input + at, end - at);
		peer->paused = at < end && peer->take_left == 0;
	}
	memmove(peer->input, peer->input + at, peer->count - at);
	peer->count -= at;
}

static int cid_free(const struct peer *peer)
{
	unsigned first = roll(PEER_CIDS);

	for (unsigned i = 0; i < PEER_CIDS; i++)
		if (peer->commands[(first + i) % PEER_CIDS] == PEER_FREE)
			return (int)((first + i) % PEER_CIDS);
	return -1;
}

bool peer_ask(struct peer *peer, struct nvme_sqe *sqe, const void *data, uint32_t bytes, enum peer_command kind)
{
	struct nvme_tcp_capsule_cmd capsule = { .header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = sizeof(capsule) } };
	int cid = cid_free(peer);

	if (cid < 0)
		return false;
	sqe->cid = (uint16_t)cid;
	sqe->flags |= NVME_PSDT_SGL;
	capsule.sqe = *sqe;
	pdu_add(peer, &capsule.header, data, bytes);
	peer->commands[cid] = (uint8_t)kind;
	peers_asked++;
	return true;
}

void peer_give_data(struct peer *peer, bool all)
{
	static const uint8_t zeroes[H2C_BYTES_MAX];
	unsigned first = roll(PEER_CIDS), cid = first;

	while (peer->asked[cid].left == 0) {
		cid = (cid + 1) % PEER_CIDS;
		if (cid == first)
			return;
	}
	uint32_t left = peer->asked[cid].left, bytes = all ? left : (1 + roll(left) + 3) / 4 * 4;

	bytes = bytes < H2C_BYTES_MAX ? bytes : H2C_BYTES_MAX;
	bytes = bytes < left ? bytes : left;
	struct nvme_tcp_data pdu = {
		.header = { .type = NVME_TCP_H2C_DATA,
			    .flags = bytes == left ? NVME_TCP_LAST_PDU : 0,
			    .hlen = sizeof(pdu) },
		.cccid = (uint16_t)cid,
		.ttag = peer->asked[cid].ttag,
		.datao = peer->asked[cid].at,
		.datal = bytes,
	};
	pdu_add(peer, &pdu.header, zeroes, bytes);
	peer->asked[cid].at += bytes;
	peer->asked[cid].left -= bytes;
}

/* A header that might be one, most times, and noise. */
void peer_garbage(struct peer *peer)
{
	static const struct {
		uint8_t type, bytes;
	} kinds[] = { { NVME_TCP_CAPSULE_CMD, 72 },
		      { NVME_TCP_H2C_DATA, 24 },
		      { NVME_TCP_C2H_TERM_REQ, 24 },
		      { NVME_TCP_ICREQ, 128 } };
	uint8_t noise[200];
	unsigned kind = roll(4);

	for (unsigned i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)roll(256);
	if (roll(4)) {
		struct nvme_tcp_header header = { .type = kinds[kind].type,
						  .flags = roll(2) ? 0 : NVME_TCP_LAST_PDU,
						  .hlen = kinds[kind].bytes,
						  .pdo = roll(2) ? kinds[kind].bytes : 0 };

		header.plen = kinds[kind].bytes + roll(3) * roll(5000);
		memcpy(noise, &header, sizeof(header));
		noise[9] = noise[11] = 0; /* of a tag, or no PRPs */
		if (kinds[kind].type == NVME_TCP_CAPSULE_CMD)
			noise[9] = NVME_PSDT_SGL;
	}
	peer->hostile = true;
	input_add(peer, noise, 1 + roll(sizeof(noise)));
}

/* ---- from the target ---- */

static unsigned event_requests(const struct peer *peer)
{
	unsigned count = 0;

	for (unsigned cid = 0; cid < PEER_CIDS; cid++)
		count += peer->commands[cid] == PEER_EVENT;
	return count;
}

static void completed(struct peer *peer, uint16_t cid, uint16_t status)
{
	assert(cid < PEER_CIDS && peer->commands[cid] != PEER_FREE && peer->asked[cid].left == 0);
	if (peer->commands[cid] == PEER_EVENT && status == (NVME_AER_LIMIT | NVME_DNR))
		assert(event_requests(peer) > NVME_TARGET_AERS);
	peer->commands[cid] = PEER_FREE;
	peer->status = status;
	peers_answered++;
}

static void responded(struct peer *peer, const struct nvme_cqe *cqe)
{
	bool connect = cqe->cid < PEER_CIDS && peer->commands[cqe->cid] == PEER_CONNECT;

	completed(peer, cqe->cid, cqe->status >> 1);
	if (connect && peer->status == NVME_OK) {
		peer->cntlid = (uint16_t)cqe->result;
		peer->connected = true;
	}
}

static void asked_for_data(struct peer *peer, const struct nvme_tcp_r2t *r2t)
{
	assert(r2t->cccid < PEER_CIDS && peer->commands[r2t->cccid] == PEER_ASKED);
	assert(peer->asked[r2t->cccid].left == 0 && r2t->r2to == 0 && r2t->r2tl > 0);
	peer->asked[r2t->cccid].ttag = r2t->ttag;
	peer->asked[r2t->cccid].at = 0;
	peer->asked[r2t->cccid].left = r2t->r2tl;
}

static void pdu_take(struct peer *peer, const struct nvme_tcp_header *header)
{
	const struct nvme_tcp_data *data = (const struct nvme_tcp_data *)header;

	switch (header->type) {
	case NVME_TCP_ICRESP:
		break;
	case NVME_TCP_CAPSULE_RESP:
		responded(peer, &((const struct nvme_tcp_capsule_resp *)header)->cqe);
		break;
	case NVME_TCP_C2H_DATA:
		assert(data->cccid < PEER_CIDS && peer->commands[data->cccid] == PEER_ASKED);
		if (header->flags & NVME_TCP_SUCCESS)
			completed(peer, data->cccid, NVME_OK);
		break;
	case NVME_TCP_R2T:
		asked_for_data(peer, (const struct nvme_tcp_r2t *)header);
		break;
	default:
		printf("PDU %u, FES %u\n", header->type, ((const struct nvme_tcp_term_req *)header)->fes);
		assert(!"it has no reason for this");
	}
}

static void digests_check(const struct peer *peer, const struct nvme_tcp_header *header)
{
	const uint8_t *bytes = (const uint8_t *)header;
	uint32_t digest, count = 0;

	if (header->type == NVME_TCP_ICRESP)
		return;
	assert(!(header->flags & NVME_TCP_HDGSTF) == !(peer->digests & NVME_TCP_DGST_HEADER));
	if (header->flags & NVME_TCP_HDGSTF) {
		memcpy(&digest, bytes + header->hlen, sizeof(digest));
		assert(digest == crc32c(0, bytes, header->hlen));
	}
	const uint8_t *data = host_data(header, &count);
	assert(!(header->flags & NVME_TCP_DDGSTF) == !(data && (peer->digests & NVME_TCP_DGST_DATA)));
	if (header->flags & NVME_TCP_DDGSTF) {
		memcpy(&digest, data + count, sizeof(digest));
		assert(digest == crc32c(0, data, count));
	}
}

/* A send is whole PDUs. */
static void output_take(struct peer *peer, const struct nvme_send *send)
{
	static uint8_t bytes[SEND_BYTES_MAX], pdu[SEND_BYTES_MAX] __attribute__((aligned(8)));
	const struct nvme_tcp_header *header = (const struct nvme_tcp_header *)pdu;
	size_t count = 0;

	for (unsigned i = 0; i < send->segments; i++) {
		assert(count + send->iov[i].iov_len <= sizeof(bytes));
		memcpy(bytes + count, send->iov[i].iov_base, send->iov[i].iov_len);
		count += send->iov[i].iov_len;
	}
	for (size_t at = 0; at < count && !peer->hostile; at += header->plen) {
		memcpy(pdu, bytes + at, sizeof(*header));
		assert(header->plen >= sizeof(*header) && header->plen <= count - at);
		memcpy(pdu, bytes + at, header->plen);
		digests_check(peer, header);
		pdu_take(peer, header);
	}
}

static void held_done(struct peer *peer, int error)
{
	struct nvme_send *send = peer->held;

	peer->held = *(struct nvme_send **)send->transport;
	if (!peer->held)
		peer->held_tail = &peer->held;
	send->done(send, error);
}

void peer_sent(struct peer *peer)
{
	if (!peer->held)
		return;
	output_take(peer, peer->held);
	held_done(peer, 0);
}

bool peer_waits(const struct peer *peer)
{
	for (unsigned cid = 0; cid < PEER_CIDS; cid++)
		if (peer->commands[cid] == PEER_ASKED)
			return true;
	return false;
}

/* ---- life ---- */

bool peer_property(struct peer *peer, bool enable)
{
	struct nvme_property_sqe property = {
		.opcode = NVME_FABRICS,
		.fctype = NVME_FABRICS_PROPERTY_SET,
		.offset = NVME_CC,
		.value = enable ? ENABLE : 0,
	};
	struct nvme_sqe sqe;

	memcpy(&sqe, &property, sizeof(sqe));
	return peer_ask(peer, &sqe, NULL, 0, PEER_ASKED);
}

static void peer_connect(struct peer *peer, uint16_t cntlid, uint8_t host)
{
	struct nvme_connect_sqe connect = {
		.opcode = NVME_FABRICS,
		.fctype = NVME_FABRICS_CONNECT,
		.qid = peer->qid,
		.sqsize = 31,
		.cattr = roll(2) ? NVME_CATTR_NO_FLOW_CONTROL : 0,
		.sgl = { .length = sizeof(struct nvme_connect_data), .type = NVME_SGL_IN_CAPSULE },
		.kato = peer->qid ? 0 : roll(3) * 5000,
	};
	struct nvme_connect_data data = {
		.hostid = { 7, host },
		.cntlid = cntlid,
		.subnqn = HOST_SUBNQN,
		.hostnqn = HOST_NQN,
	};
	struct nvme_sqe sqe;

	memcpy(&sqe, &connect, sizeof(sqe));
	peer_ask(peer, &sqe, &data, sizeof(data), PEER_CONNECT);
}

static void peer_exchange(struct peer *peer)
{
	peer_feed(peer, SIZE_MAX);
	while (peer->held)
		peer_sent(peer);
}

struct peer *peer_dial(struct rig *rig, uint16_t qid, uint16_t cntlid, uint8_t host)
{
	struct nvme_tcp_icreq icreq = {
		.header = { .type = NVME_TCP_ICREQ, .hlen = sizeof(icreq), .plen = sizeof(icreq) },
	};
	struct peer *peer = calloc(1, sizeof(*peer));

	assert(peer);
	peer->rig = rig;
	peer->qid = qid;
	peer->held_tail = &peer->held;
	assert(nvme_queue_new(&ops, peer, &peer->queue) == 0);
	peer->digests = icreq.dgst = (uint8_t)roll(4);
	input_add(peer, &icreq, sizeof(icreq));
	peer_connect(peer, qid ? cntlid : NVME_CNTLID_DYNAMIC, host);
	peer_exchange(peer);
	if (peer->connected && qid == 0 && peer_property(peer, true))
		peer_exchange(peer);
	return peer;
}

void peer_break(struct peer *peer)
{
	peer->closing = peer->broken = true;
	if (peer->take_left > 0)
		nvme_queue_taken(peer->queue, -ECONNRESET);
	peer->take_left = 0;
	while (peer->held)
		held_done(peer, -ECANCELED);
	nvme_queue_closed(peer->queue);
}

void peer_reap(struct peer **peer)
{
	if (!*peer || !(*peer)->idle)
		return;
	nvme_queue_free((*peer)->queue);
	free((*peer)->input);
	free(*peer);
	*peer = NULL;
}
