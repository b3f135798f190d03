// SPDX-License-Identifier: BSD-3-Clause
/* A host for tests. */
#include "device/nvme/nvme_test_host.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/ram.h"
#include "device/nvme/nvme_test_device.h"
#include "engine/crc32c/crc32c.h"

/* ---- the rig ---- */

static void rig_notice(void *ctx, const struct nvme_target_notice *notice)
{
	struct rig *rig = ctx;

	rig->notices++;
	rig->digest_notices += notice->event == NVME_TARGET_DIGEST_ERROR;
	if (notice->event == NVME_TARGET_CONTROLLER_UP)
		rig->controllers++;
	if (notice->event == NVME_TARGET_CONTROLLER_DOWN) {
		rig->controllers--;
		rig->reason = notice->reason;
	}
}

static void rig_persist(void *ctx, struct nvme_namespace *ns, const void *image, size_t bytes,
			void (*done)(void *arg, int error), void *arg)
{
	struct rig *rig = ctx;

	rig->persisted++;
	rig->image_bytes = bytes;
	if (bytes > 0)
		memcpy(rig->image, image, bytes);
	if (!rig->hold_persist) {
		done(arg, rig->persist_error);
		return;
	}
	rig->persist_done = done;
	rig->persist_arg = arg;
}

void rig_persisted(struct rig *rig)
{
	rig->hold_persist = false;
	rig->persist_done(rig->persist_arg, rig->persist_error);
}

static const struct nvme_subsystem_ops rig_ops = { .notice = rig_notice, .persist = rig_persist };

static void namespace_make(struct rig *rig, unsigned i, const struct rig_options *options)
{
	struct nvme_namespace_options namespace = {
		.nsid = i + 1,
		.uuid = { (uint8_t)(i + 1), 2, 3 },
		.ana_group = 1 + i % 2,
		.block_bytes = options->sector,
	};

	assert(block_ram_new("ram", 16 << 20, options->sector, &rig->ram[i]) == 0);
	if (options->crcs)
		rig->ram[i] = &test_device_on(rig->ram[i])->device;
	rig->ram[i]->features |= options->features;
	assert(nvme_namespace_add(rig->subsystem, &namespace, &rig->ns[i]) == 0);
	nvme_namespace_attach(rig->ns[i], rig->ram[i], NULL);
}

struct rig *rig_new(const struct rig_options *options)
{
	static const struct rig_options usual = { .sector = 512 };
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!options)
		options = &usual;
	assert(rig);
	rig->discovery = options->discovery;
	rig->pool = nvme_pool_new(&(struct nvme_pool_options){ .bytes = options->pool_bytes,
							       .queue_bytes = options->queue_bytes,
							       .queue_floor_bytes = options->queue_bytes ? 1 : 0 });
	nvme_tenant_init(&rig->tenant, rig->pool);
	nvme_account_init(&rig->account, rig->pool, &rig->tenant,
			  options->pool_bytes ? options->pool_bytes / 2 : UINT64_C(32) << 20);
	assert(nvme_subsystem_new(
		       &(struct nvme_subsystem_options){
			       .nqn = options->discovery ? NVME_DISCOVERY_NQN : HOST_SUBNQN,
			       .serial = "S1",
			       .model = "softdpu",
			       .firmware = "1",
			       .discovery = options->discovery,
			       .max_queues = 8,
			       .max_entries = 128,
			       .account = &rig->account,
			       .ops = &rig_ops,
			       .ctx = rig,
		       },
		       &rig->subsystem) == 0);
	if (!options->strict_hosts)
		assert(nvme_subsystem_hosts(rig->subsystem, true, NULL, 0) == 0);
	for (unsigned i = 0; i < 2 && !options->discovery; i++)
		namespace_make(rig, i, options);
	return rig;
}

void rig_poll(struct rig *rig)
{
	for (unsigned i = 0; i < HOST_NAMESPACES; i++)
		while (rig->ram[i] && rig->ram[i]->ops->poll(rig->ram[i]) > 0)
			;
}

static void count_up(void *arg)
{
	(*(unsigned *)arg)++;
}

void rig_free(struct rig *rig)
{
	unsigned released = 0, removed = 0, expected = 0;

	rig_poll(rig);
	for (unsigned i = 0; i < HOST_NAMESPACES; i++) {
		if (!rig->ram[i])
			continue;
		expected++;
		if (rig->ns[i]) {
			nvme_namespace_release(rig->ns[i], count_up, &released);
			nvme_namespace_remove(rig->ns[i], count_up, &removed);
			assert(released == expected && removed == expected);
		} else {
			released++;
			removed++;
		}
		rig->ram[i]->ops->close(rig->ram[i], NULL, NULL);
	}
	nvme_subsystem_free(rig->subsystem);
	assert(nvme_pool_used(rig->pool) == 0);
	assert(rig->account.queues == 0 && rig->tenant.queues == 0 && rig->account.exempt == 0);
	nvme_pool_free(rig->pool);
	free(rig);
}

/* ---- a connection ---- */

static void output_add(struct host *host, const struct nvme_send *send)
{
	for (unsigned i = 0; i < send->segments; i++) {
		assert(host->output_bytes + send->iov[i].iov_len <= HOST_OUTPUT_BYTES);
		memcpy(host->output + host->output_bytes, send->iov[i].iov_base, send->iov[i].iov_len);
		host->output_bytes += send->iov[i].iov_len;
	}
}

static void transport_send(void *ctx, struct nvme_send *send)
{
	struct host *host = ctx;

	assert(!host->closed);
	output_add(host, send);
	if (!host->hold_sends) {
		send->done(send, 0);
		return;
	}
	*(struct nvme_send **)send->transport = NULL;
	*host->held_tail = send;
	host->held_tail = (struct nvme_send **)send->transport;
}

void host_release_send(struct host *host)
{
	struct nvme_send *send = host->held;

	host->held = *(struct nvme_send **)send->transport;
	if (!host->held)
		host->held_tail = &host->held;
	send->done(send, 0);
}

void host_release_sends(struct host *host)
{
	while (host->held)
		host_release_send(host);
}

static void transport_take(void *ctx, uint8_t *to, uint32_t bytes)
{
	struct host *host = ctx;

	assert(!host->closed && bytes > 0 && host->take_left == 0);
	host->take_to = to;
	host->take_left = bytes;
}

static size_t take_give(struct host *host, const uint8_t *bytes, size_t count)
{
	size_t n = count < host->take_left ? count : host->take_left;

	memcpy(host->take_to, bytes, n);
	host->take_to += n;
	host->take_left -= (uint32_t)n;
	host->taken += n;
	if (host->take_left == 0)
		nvme_queue_taken(host->queue, 0);
	return n;
}

static void transport_resume(void *ctx)
{
	((struct host *)ctx)->resumed = true;
}

static void transport_close(void *ctx, bool graceful)
{
	struct host *host = ctx;

	assert(!host->closed);
	host->closed = true;
	host->graceful = graceful;
}

static void transport_connect(void *ctx, const struct nvme_connect_sqe *sqe, const struct nvme_connect_data *data)
{
	struct host *host = ctx;
	const char *nqn = host->rig->discovery ? NVME_DISCOVERY_NQN : HOST_SUBNQN;
	bool known = strncmp(data->subnqn, nqn, sizeof(data->subnqn)) == 0;

	if (host->answer_connect)
		nvme_queue_connect(host->queue, known ? host->rig->subsystem : NULL, host->port);
}

static void transport_idle(void *ctx)
{
	((struct host *)ctx)->idle = true;
}

static const struct nvme_transport_ops transport_ops = {
	.send = transport_send,
	.take = transport_take,
	.resume = transport_resume,
	.close = transport_close,
	.connect = transport_connect,
	.idle = transport_idle,
};

struct host *host_new(struct rig *rig)
{
	struct host *host = calloc(1, sizeof(*host));

	assert(host);
	host->rig = rig;
	host->output = malloc(HOST_OUTPUT_BYTES);
	host->held_tail = &host->held;
	host->answer_connect = true;
	host->port = 1;
	assert(host->output && nvme_queue_new(&transport_ops, host, &host->queue) == 0);
	return host;
}

void host_break(struct host *host)
{
	if (host->freed)
		return;
	host_release_sends(host);
	host->closed = true; /* nothing is sent any more */
	if (host->take_left > 0)
		nvme_queue_taken(host->queue, -ECONNRESET);
	host->take_left = 0;
	nvme_queue_closed(host->queue);
	host->freed = true;
	rig_poll(host->rig);
	assert(host->idle);
	nvme_queue_free(host->queue);
}

void host_free(struct host *host)
{
	host_break(host);
	free(host->output);
	free(host);
}

void host_send(struct host *host, const void *bytes, size_t count, size_t piece)
{
	/* A copy of the very size: who reads beyond it is found out. */
	while (count > 0 && !host->freed) {
		size_t n = piece && piece < count ? piece : count;
		uint8_t *copy = malloc(n);

		assert(copy);
		memcpy(copy, bytes, n);
		host->resumed = false;
		size_t used = host->take_left > 0 ? take_give(host, copy, n) : nvme_queue_input(host->queue, copy, n);
		free(copy);
		assert(used <= n);
		bytes = (const uint8_t *)bytes + used;
		count -= used;
		if (used < n && host->take_left == 0) {
			rig_poll(host->rig);
			host_release_sends(host);
			if (!host->resumed && used == 0)
				return; /* stuck: the test sees to it */
		}
	}
}

/* ---- what the target says ---- */

static void digest_check(const struct host *host, const struct nvme_tcp_header *pdu)
{
	const uint8_t *bytes = (const uint8_t *)pdu;
	uint32_t digest, count;

	if (pdu->flags & NVME_TCP_HDGSTF) {
		memcpy(&digest, bytes + pdu->hlen, sizeof(digest));
		assert(digest == crc32c(0, bytes, pdu->hlen));
	}
	const uint8_t *data = host_data(pdu, &count);
	if (pdu->type == NVME_TCP_C2H_DATA)
		assert(pdu->pdo % ((host->hpda + 1) * 4) == 0);
	if (data && (pdu->flags & NVME_TCP_DDGSTF)) {
		memcpy(&digest, data + count, sizeof(digest));
		assert(digest == crc32c(0, data, count));
	}
}

struct nvme_tcp_header *host_receive(struct host *host)
{
	static uint8_t pdu[2 << 20] __attribute__((aligned(8)));
	struct nvme_tcp_header *header = (struct nvme_tcp_header *)pdu;

	if (host->output_bytes < sizeof(*header))
		return NULL;
	memcpy(header, host->output, sizeof(*header));
	assert(header->plen <= sizeof(pdu));
	if (host->output_bytes < header->plen)
		return NULL;
	memcpy(pdu, host->output, header->plen);
	host->output_bytes -= header->plen;
	memmove(host->output, host->output + header->plen, host->output_bytes);
	digest_check(host, header);
	return header;
}

const uint8_t *host_data(const struct nvme_tcp_header *pdu, uint32_t *ret_bytes)
{
	if (pdu->type != NVME_TCP_C2H_DATA || pdu->pdo == 0)
		return NULL;
	*ret_bytes = pdu->plen - pdu->pdo - (pdu->flags & NVME_TCP_DDGSTF ? 4u : 0u);
	return (const uint8_t *)pdu + pdu->pdo;
}

/* ---- what a host says ---- */

void host_handshake(struct host *host, uint8_t digests, uint8_t hpda)
{
	struct nvme_tcp_icreq icreq = {
		.header = { .type = NVME_TCP_ICREQ, .hlen = sizeof(icreq), .plen = sizeof(icreq) },
		.hpda = hpda,
		.dgst = digests,
	};

	host->digests = digests;
	host->hpda = hpda;
	host_send(host, &icreq, sizeof(icreq), 0);
	const struct nvme_tcp_icresp *icresp = (const struct nvme_tcp_icresp *)host_receive(host);
	assert(icresp && icresp->header.type == NVME_TCP_ICRESP && icresp->header.plen == 128);
	assert(icresp->pfv == 0 && icresp->cpda == 0 && icresp->dgst == digests && icresp->maxh2cdata >= 4096);
}

/* header is followed by room for a digest. */
static void pdu_send(struct host *host, struct nvme_tcp_header *header, const void *data, uint32_t bytes)
{
	bool hdgst = host->digests & NVME_TCP_DGST_HEADER, ddgst = bytes > 0 && (host->digests & NVME_TCP_DGST_DATA);
	uint32_t end = header->hlen + (hdgst ? 4u : 0u);
	uint8_t *pdu = malloc(end + bytes + 4);

	assert(pdu);
	header->flags |= (uint8_t)((hdgst ? NVME_TCP_HDGSTF : 0) | (ddgst ? NVME_TCP_DDGSTF : 0));
	header->pdo = bytes ? (uint8_t)end : 0;
	header->plen = end + bytes + (ddgst ? 4u : 0u);
	memcpy(pdu, header, header->hlen);
	uint32_t digest = crc32c(0, header, header->hlen);
	if (hdgst)
		memcpy(pdu + header->hlen, &digest, sizeof(digest));
	if (bytes)
		memcpy(pdu + end, data, bytes);
	digest = bytes ? crc32c(host->spoil, data, bytes) : 0;
	if (ddgst) {
		memcpy(pdu + end + bytes, &digest, sizeof(digest));
		host->spoil = false;
	}
	host_send(host, pdu, header->plen, host->piece);
	free(pdu);
}

uint16_t host_capsule(struct host *host, struct nvme_sqe *sqe, const void *data, uint32_t bytes)
{
	struct nvme_tcp_capsule_cmd capsule = { .header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = sizeof(capsule) } };

	sqe->cid = host->next_cid++;
	sqe->flags |= NVME_PSDT_SGL;
	capsule.sqe = *sqe;
	pdu_send(host, &capsule.header, data, bytes);
	return sqe->cid;
}

void host_h2c_data(struct host *host, uint16_t cid, uint16_t ttag, const uint8_t *data, uint32_t offset, uint32_t bytes,
		   bool last)
{
	struct nvme_tcp_data pdu = {
		.header = { .type = NVME_TCP_H2C_DATA, .hlen = sizeof(pdu), .flags = last ? NVME_TCP_LAST_PDU : 0 },
		.cccid = cid,
		.ttag = ttag,
		.datao = offset,
		.datal = bytes,
	};

	pdu_send(host, &pdu.header, data + offset, bytes);
}

static void r2t_serve(struct host *host, const struct nvme_tcp_r2t *r2t, const struct exchange *exchange)
{
	/* else neither blocks nor PDUs of the same size */
	uint32_t most = host->h2c_bytes ? host->h2c_bytes : 6000;
	struct nvme_tcp_r2t ask = *r2t;

	assert(ask.cccid == exchange->sqe.cid && ask.r2to + ask.r2tl <= exchange->out_bytes);
	for (uint32_t at = 0; at < ask.r2tl;) {
		uint32_t n = ask.r2tl - at < most ? ask.r2tl - at : most;

		host_h2c_data(host, ask.cccid, ask.ttag, exchange->out, ask.r2to + at, n, at + n == ask.r2tl);
		at += n;
	}
}

static bool data_accept(const struct nvme_tcp_data *pdu, struct exchange *exchange)
{
	uint32_t count = 0;
	const uint8_t *data = host_data(&pdu->header, &count);

	assert(data && pdu->cccid == exchange->sqe.cid && pdu->datal == count &&
	       pdu->datao + count <= exchange->in_bytes);
	memcpy((uint8_t *)exchange->in + pdu->datao, data, count);
	return pdu->header.flags & NVME_TCP_SUCCESS;
}

uint16_t host_command(struct host *host, struct exchange *exchange)
{
	struct nvme_sqe *sqe = &exchange->sqe;
	struct nvme_tcp_header *pdu;

	sqe->sgl.length = exchange->out_bytes ? exchange->out_bytes : exchange->in_bytes;
	sqe->sgl.type = exchange->in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA;
	host_capsule(host, sqe, exchange->out, exchange->in_capsule ? exchange->out_bytes : 0);
	for (unsigned tries = 0; tries < 1000; tries++) {
		rig_poll(host->rig);
		pdu = host_receive(host);
		if (!pdu) {
			assert(!host->closed);
			continue;
		}
		if (pdu->type == NVME_TCP_R2T) {
			r2t_serve(host, (const struct nvme_tcp_r2t *)pdu, exchange);
		} else if (pdu->type == NVME_TCP_C2H_DATA) {
			exchange->success = data_accept((const struct nvme_tcp_data *)pdu, exchange);
			if (exchange->success)
				return NVME_OK;
		} else {
			assert(pdu->type == NVME_TCP_CAPSULE_RESP);
			exchange->cqe = ((const struct nvme_tcp_capsule_resp *)pdu)->cqe;
			assert(exchange->cqe.cid == sqe->cid);
			return exchange->cqe.status >> 1;
		}
	}
	assert(!"no answer");
	return 0;
}

uint16_t host_transfer(struct host *io, uint8_t opcode, uint64_t lba, uint32_t blocks, void *data, uint32_t bytes,
		       bool in_capsule)
{
	struct exchange exchange = {
		.sqe = { .opcode = opcode,
			 .nsid = 1,
			 .cdw10 = (uint32_t)lba,
			 .cdw11 = (uint32_t)(lba >> 32),
			 .cdw12 = blocks - 1 },
		.in_capsule = in_capsule,
	};

	if (opcode == NVME_READ) {
		exchange.in = data;
		exchange.in_bytes = bytes;
	} else {
		exchange.out = data;
		exchange.out_bytes = bytes;
	}
	return host_command(io, &exchange);
}

uint16_t host_log(struct host *admin, uint32_t cdw10, uint32_t nsid, uint64_t offset, void *to, uint32_t bytes)
{
	struct exchange exchange = {
		.sqe = { .opcode = NVME_ADMIN_GET_LOG_PAGE,
			 .nsid = nsid,
			 .cdw10 = cdw10 | (bytes / 4 - 1) << 16,
			 .cdw11 = (bytes / 4 - 1) >> 16,
			 .cdw12 = (uint32_t)offset,
			 .cdw13 = (uint32_t)(offset >> 32) },
		.in = to,
		.in_bytes = bytes,
	};

	memset(to, 0xee, bytes);
	return host_command(admin, &exchange);
}

uint16_t host_feature(struct host *admin, uint8_t opcode, uint32_t cdw10, uint32_t nsid, uint32_t value, uint32_t *ret)
{
	struct exchange exchange = { .sqe = { .opcode = opcode, .nsid = nsid, .cdw10 = cdw10, .cdw11 = value } };
	uint16_t status = host_command(admin, &exchange);

	if (ret)
		*ret = exchange.cqe.dw0;
	return status;
}

/* ---- connecting ---- */

uint16_t host_property_set(struct host *host, uint32_t offset, uint32_t value)
{
	struct nvme_property_sqe property = {
		.opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_SET, .offset = offset, .value = value
	};
	struct exchange exchange = { 0 };

	memcpy(&exchange.sqe, &property, sizeof(property));
	return host_command(host, &exchange);
}

uint64_t host_property_get(struct host *host, uint32_t offset, bool eight)
{
	struct nvme_property_sqe property = {
		.opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_GET, .offset = offset, .attrib = eight
	};
	struct exchange exchange = { 0 };

	memcpy(&exchange.sqe, &property, sizeof(property));
	return host_command(host, &exchange) ? UINT64_MAX : exchange.cqe.result;
}

uint16_t host_connect(struct host *host, struct host_connect *connect)
{
	struct nvme_connect_sqe sqe = {
		.opcode = NVME_FABRICS,
		.fctype = NVME_FABRICS_CONNECT,
		.qid = connect->qid,
		.sqsize = connect->sqsize ? connect->sqsize : 31,
		.cattr = connect->cattr,
		.kato = connect->kato,
	};
	struct nvme_connect_data data = {
		.hostid = { connect->no_hostid ? 0 : 7, connect->hostid },
		.cntlid = connect->cntlid ? connect->cntlid : NVME_CNTLID_DYNAMIC,
	};
	struct exchange exchange = { .out = &data, .out_bytes = sizeof(data), .in_capsule = true };

	strcpy(data.subnqn, connect->subnqn        ? connect->subnqn
			    : host->rig->discovery ? NVME_DISCOVERY_NQN
						   : HOST_SUBNQN);
	strcpy(data.hostnqn, connect->hostnqn ? connect->hostnqn : HOST_NQN);
	memcpy(&exchange.sqe, &sqe, sizeof(sqe));
	host_handshake(host, connect->digests, connect->hpda);
	uint16_t status = host_command(host, &exchange);

	connect->cqe = exchange.cqe;
	if (status == NVME_OK && connect->qid == 0)
		assert(host_property_set(host, NVME_CC, 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT | 1) ==
		       0);
	return status;
}

void host_pair(struct rig *rig, struct host **admin, struct host **io, uint8_t digests, uint8_t cattr)
{
	struct host_connect connect = { .digests = digests, .hpda = digests ? 31 : 0 };

	*admin = host_new(rig);
	assert(host_connect(*admin, &connect) == NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.qid = 1;
	connect.cattr = cattr;
	*io = host_new(rig);
	assert(host_connect(*io, &connect) == NVME_OK);
}
