/* SPDX-License-Identifier: BSD-3-Clause */
/* A host for tests: makes PDUs, and reads what the target sends. Transport is memory: what the target sends is taken at
 * once. A rig is a subsystem on a memory device with as many connections as a test likes. */
#pragma once

#include "device/nvme/nvme_target.h"
#include "device/nvme/nvme_tcp.h"

enum { HOST_OUTPUT_BYTES = 4 << 20, HOST_NAMESPACES = 4 };

#define HOST_SUBNQN "nqn.2025-01.org.example:sub"
#define HOST_NQN    "nqn.2025-01.org.example:host"

struct rig {
	struct nvme_pool *pool;
	struct nvme_tenant tenant;
	struct nvme_account account;
	struct nvme_subsystem *subsystem;
	struct nvme_namespace *ns[HOST_NAMESPACES];
	struct dpu_block_device *ram[HOST_NAMESPACES];
	uint8_t image[8192]; /* what was persisted last */
	size_t image_bytes;
	unsigned persisted, notices;
	int persist_error;
	bool hold_persist; /* it is under way until rig_persisted() */
	void (*persist_done)(void *arg, int error);
	void *persist_arg;
	enum nvme_target_reason reason; /* of the last that went */
	unsigned controllers, digest_notices;
	bool discovery;
};

struct rig_options {
	uint64_t pool_bytes, queue_bytes; /* of the pool; the tenant has no floor of the latter */
	uint32_t sector, features;        /* of the device, beside those of memory */
	bool crcs;                        /* each device keeps CRCs: it is a struct test_device */
	bool discovery, strict_hosts;
};

struct rig *rig_new(const struct rig_options *options);
void rig_free(struct rig *rig);
void rig_poll(struct rig *rig); /* the devices */
void rig_persisted(struct rig *rig);

/* One connection, seen from the host. */
struct host {
	struct rig *rig;
	struct nvme_queue *queue;
	uint16_t port; /* by which it comes [1] */
	uint8_t digests, hpda;
	uint8_t *output; /* what the target has sent and the test not read */
	size_t output_bytes;
	bool closed, graceful, resumed, idle, freed, answer_connect, hold_sends;
	bool spoil; /* the next digest of data is wrong */
	struct nvme_send *held, **held_tail;
	uint8_t *take_to; /* the target wants the next bytes here */
	uint32_t take_left;
	uint64_t taken;     /* bytes */
	size_t piece;       /* PDUs go in such; 0: whole */
	uint32_t h2c_bytes; /* data of an H2CData; 0: little */
	uint16_t next_cid;
};

struct host *host_new(struct rig *rig);
/* The connection breaks, if it has not, and everything is freed. */
void host_free(struct host *host);
void host_break(struct host *host);
/* Bytes to the target, in pieces of at most `piece` (0: at once). Those not consumed are given again after a resume. */
void host_send(struct host *host, const void *bytes, size_t count, size_t piece);
void host_release_send(struct host *host); /* the oldest; there is one */
void host_release_sends(struct host *host);

/* The next PDU from the target; NULL: none, or not whole. Valid until the next call. Its digests have been checked. */
struct nvme_tcp_header *host_receive(struct host *host);
const uint8_t *host_data(const struct nvme_tcp_header *pdu, uint32_t *ret_bytes);

/* ICReq … ICResp */
void host_handshake(struct host *host, uint8_t digests, uint8_t hpda);
/* A command capsule; data NULL: none in it. Returns the CID. */
uint16_t host_capsule(struct host *host, struct nvme_sqe *sqe, const void *data, uint32_t bytes);
void host_h2c_data(struct host *host, uint16_t cid, uint16_t ttag, const uint8_t *data, uint32_t offset, uint32_t bytes,
		   bool last);

/* Sends a command and sees it through: data from `out` goes by R2T or, with in_capsule, with the command; data to the
 * host comes to `in`. Returns the status (without the phase bit). */
struct exchange {
	struct nvme_sqe sqe;
	const void *out;
	uint32_t out_bytes;
	bool in_capsule;
	void *in;
	uint32_t in_bytes;
	struct nvme_cqe cqe; /* of the answer */
	bool success;        /* there was none: the data said so */
};
uint16_t host_command(struct host *host, struct exchange *exchange);
/* Read, Write or Compare of blocks of namespace 1. */
uint16_t host_transfer(struct host *io, uint8_t opcode, uint64_t lba, uint32_t blocks, void *data, uint32_t bytes,
		       bool in_capsule);

/* Get Log Page; cdw10 without the length. */
uint16_t host_log(struct host *admin, uint32_t cdw10, uint32_t nsid, uint64_t offset, void *to, uint32_t bytes);
/* Get Features and Set Features, the opcode says which. What is answered, unless ret is NULL. */
uint16_t host_feature(struct host *admin, uint8_t opcode, uint32_t cdw10, uint32_t nsid, uint32_t value, uint32_t *ret);

/* Handshake, Connect, and for the admin queue also enabling. Returns the status of Connect. */
struct host_connect {
	uint16_t qid, sqsize, cntlid;
	uint8_t cattr, digests, hpda, hostid;
	uint32_t kato;
	const char *subnqn, *hostnqn;
	bool no_hostid;
	struct nvme_cqe cqe;
};
uint16_t host_connect(struct host *host, struct host_connect *connect);
/* An admin queue and an I/O queue, ready. */
void host_pair(struct rig *rig, struct host **admin, struct host **io, uint8_t digests, uint8_t cattr);
uint16_t host_property_set(struct host *host, uint32_t offset, uint32_t value);
uint64_t host_property_get(struct host *host, uint32_t offset, bool eight);
