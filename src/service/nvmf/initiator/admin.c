// SPDX-License-Identifier: BSD-3-Clause
/* An association's admin queue: Connect, enabling the controller, what it is, keep-alive, events. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"

static const uint64_t COMMAND_NS = 10 * CLOCK_NS_PER_S; /* for any admin command */
static const uint64_t LOOK_NS = 10 * CLOCK_NS_PER_MS;   /* between looks at CSTS */
static const uint64_t SHUTDOWN_NS = CLOCK_NS_PER_S;

static void step_next(struct admin *admin);
static void on_event(struct host_command *command, uint16_t status);

void admin_fail(struct admin *admin, const char *format, ...)
{
	char why[REMOTE_WHY_BYTES];
	va_list args;

	if (admin->told)
		return;
	admin->told = true;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	admin->events->failed(admin->ctx, why);
}

const char *status_text(uint16_t status)
{
	static _Thread_local char text[32];
	static const struct {
		uint16_t status;
		const char *text;
	} names[] = {
		{ NVME_CONNECT_INVALID_HOST, "this host is not allowed" },
		{ NVME_CONNECT_INVALID_PARAMETERS, "invalid parameters (no such subsystem?)" },
		{ NVME_CONNECT_BUSY, "the controller is busy" },
		{ NVME_CONNECT_FORMAT, "unknown record format" },
		{ NVME_AUTHENTICATION_REQUIRED, "authentication is required" },
		{ NVME_INVALID_NAMESPACE, "there is no such namespace" },
		{ NVME_INVALID_OPCODE, "unknown opcode" },
		{ NVME_INVALID_FIELD, "invalid field" },
		{ HOST_LOST, "the connection was lost" },
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].status == (status == HOST_LOST ? status : status & NVME_STATUS_MASK))
			return names[i].text;
	snprintf(text, sizeof(text), "status %u/%02xh", (status >> 8) & 7u, status & 0xffu);
	return text;
}

/* ---- commands ---- */

struct host_command *admin_command(struct admin *admin, uint8_t opcode,
				   void (*done)(struct host_command *command, uint16_t status), void *ctx)
{
	struct host_command *command = host_command_get(admin->queue);

	if (!command) {
		admin_fail(admin, "the admin queue is full");
		return NULL;
	}
	command->header.pdu.sqe.opcode = opcode;
	command->done = done;
	command->ctx = ctx;
	return command;
}

void admin_send(struct admin *admin, struct host_command *command, void *data, uint32_t bytes, bool to_host)
{
	command->one = (struct iovec){ data, bytes };
	command->data = &command->one;
	command->segments = bytes > 0;
	command->bytes = bytes;
	command->to_host = to_host;
	host_command_send(command); /* one segment: it needs no memory */
}

void admin_get_log(struct admin *admin, enum nvme_log log, uint64_t offset, void *data, uint32_t bytes,
		   void (*done)(struct host_command *command, uint16_t status), void *ctx)
{
	struct host_command *command = admin_command(admin, NVME_ADMIN_GET_LOG_PAGE, done, ctx);
	uint32_t dwords = bytes / 4 - 1;

	if (!command)
		return;
	struct nvme_sqe *sqe = &command->header.pdu.sqe;
	sqe->nsid = NVME_NSID_ALL;
	sqe->cdw10 = (uint32_t)log | dwords << 16;
	sqe->cdw11 = dwords >> 16;
	sqe->cdw12 = (uint32_t)offset;
	sqe->cdw13 = (uint32_t)(offset >> 32);
	admin_send(admin, command, data, bytes, true);
}

void admin_identify(struct admin *admin, enum nvme_cns cns, uint32_t nsid, void *data,
		    void (*done)(struct host_command *command, uint16_t status), void *ctx)
{
	struct host_command *command = admin_command(admin, NVME_ADMIN_IDENTIFY, done, ctx);

	if (!command)
		return;
	command->header.pdu.sqe.nsid = nsid;
	command->header.pdu.sqe.cdw10 = cns;
	admin_send(admin, command, data, NVME_IDENTIFY_BYTES, true);
}

void admin_set_feature(struct admin *admin, enum nvme_feature feature, uint32_t value,
		       void (*done)(struct host_command *command, uint16_t status), void *ctx)
{
	struct host_command *command = admin_command(admin, NVME_ADMIN_SET_FEATURES, done, ctx);

	if (!command)
		return;
	command->header.pdu.sqe.cdw10 = feature;
	command->header.pdu.sqe.cdw11 = value;
	admin_send(admin, command, NULL, 0, false);
}

static struct nvme_property_sqe *property_sqe(struct host_command *command, enum nvme_fabrics type,
					      enum nvme_property property, bool wide)
{
	struct nvme_property_sqe *sqe = (struct nvme_property_sqe *)&command->header.pdu.sqe;

	sqe->fctype = type;
	sqe->offset = property;
	sqe->attrib = wide;
	return sqe;
}

static void property_get(struct admin *admin, enum nvme_property property, bool wide,
			 void (*done)(struct host_command *command, uint16_t status))
{
	struct host_command *command = admin_command(admin, NVME_FABRICS, done, admin);

	if (!command)
		return;
	property_sqe(command, NVME_FABRICS_PROPERTY_GET, property, wide);
	admin_send(admin, command, NULL, 0, false);
}

static void property_set(struct admin *admin, enum nvme_property property, uint32_t value,
			 void (*done)(struct host_command *command, uint16_t status))
{
	struct host_command *command = admin_command(admin, NVME_FABRICS, done, admin);

	if (!command)
		return;
	property_sqe(command, NVME_FABRICS_PROPERTY_SET, property, false)->value = value;
	admin_send(admin, command, NULL, 0, false);
}

bool connect_send(struct host_queue *queue, struct admin *admin, uint16_t sqsize,
		  void (*done)(struct host_command *command, uint16_t status), void *ctx)
{
	struct host_command *command = host_command_get(queue);

	if (!command)
		return false;
	struct nvme_connect_sqe *sqe = (struct nvme_connect_sqe *)&command->header.pdu.sqe;
	sqe->opcode = NVME_FABRICS;
	sqe->fctype = NVME_FABRICS_CONNECT;
	sqe->qid = queue->id;
	sqe->sqsize = sqsize;
	sqe->cattr = admin->no_flow_control ? NVME_CATTR_NO_FLOW_CONTROL : 0;
	sqe->kato = queue->id == 0 ? admin->options.keep_alive_ms : 0;
	admin->connect.cntlid = queue->id == 0 ? NVME_CNTLID_DYNAMIC : admin->cntlid;
	command->done = done;
	command->ctx = ctx;
	admin_send(admin, command, &admin->connect, sizeof(admin->connect), false);
	return true;
}

/* ---- the handshake ---- */

static void on_connect(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;
	uint32_t wrong = nvme_connect_ipo(offsetof(struct nvme_connect_sqe, cattr), false);

	if ((status & NVME_STATUS_MASK) == NVME_CONNECT_INVALID_PARAMETERS && admin->no_flow_control &&
	    command->cqe.dw0 == wrong) {
		admin->no_flow_control = false;
		step_next(admin);
		return;
	}
	if (status != NVME_OK) {
		admin_fail(admin, "Connect is refused: %s", status_text(status));
		return;
	}
	if (command->cqe.dw0 & NVME_CONNECT_AUTHREQ) {
		admin_fail(admin, "the controller wants authentication, which is not supported");
		return;
	}
	admin->cntlid = (uint16_t)command->cqe.dw0;
	admin->step = ADMIN_CAP;
	step_next(admin);
}

static void on_cap(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;

	if (status != NVME_OK) {
		admin_fail(admin, "its capabilities are not to be had: %s", status_text(status));
		return;
	}
	admin->cap = command->cqe.result;
	admin->ready_by_ns = clock_ns() + ((admin->cap >> NVME_CAP_TO & 0xff) + 1) * 500 * CLOCK_NS_PER_MS;
	admin->step = ADMIN_ENABLE;
	step_next(admin);
}

static void on_enabled(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;

	if (status != NVME_OK) {
		admin_fail(admin, "it cannot be enabled: %s", status_text(status));
		return;
	}
	admin->step = ADMIN_STATUS;
	step_next(admin);
}

static void on_status(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;

	if (status != NVME_OK) {
		admin_fail(admin, "its status is not to be had: %s", status_text(status));
	} else if (command->cqe.result & NVME_CSTS_CFS) {
		admin_fail(admin, "the controller reports a fatal error");
	} else if (!(command->cqe.result & NVME_CSTS_RDY)) {
		admin->look_ns = clock_ns() + LOOK_NS; /* admin_tick() goes on */
	} else {
		admin->step = ADMIN_IDENTIFY;
		step_next(admin);
	}
}

static void on_identify(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;
	const struct nvme_identify_controller *identify = &admin->identify;

	if (status != NVME_OK) {
		admin_fail(admin, "Identify Controller fails: %s", status_text(status));
	} else if (memchr(identify->subnqn, 0, sizeof(identify->subnqn)) &&
		   strcmp(identify->subnqn, admin->options.subnqn) != 0 &&
		   strcmp(admin->options.subnqn, NVME_DISCOVERY_NQN) != 0) {
		admin_fail(admin, "it is a controller of another subsystem");
	} else {
		admin->step = ADMIN_READY;
		admin->alive_ns = clock_ns() + admin->options.keep_alive_ms * CLOCK_NS_PER_MS / 2;
		admin->events->ready(admin->ctx);
	}
}

static void step_next(struct admin *admin)
{
	uint32_t cc = NVME_CC_EN | 6u << NVME_CC_IOSQES_SHIFT | 4u << NVME_CC_IOCQES_SHIFT;

	if (admin->told || admin->queue->state != QUEUE_OPEN)
		return;
	switch (admin->step) {
	case ADMIN_CONNECT:
		connect_send(admin->queue, admin, ADMIN_DEPTH - 1, on_connect, admin);
		break;
	case ADMIN_CAP:
		property_get(admin, NVME_CAP, true, on_cap);
		break;
	case ADMIN_ENABLE:
		property_set(admin, NVME_CC, cc, on_enabled);
		break;
	case ADMIN_STATUS:
		admin->look_ns = 0;
		property_get(admin, NVME_CSTS, false, on_status);
		break;
	case ADMIN_IDENTIFY:
		admin_identify(admin, NVME_CNS_CONTROLLER, 0, &admin->identify, on_identify, admin);
		break;
	default:
		break;
	}
}

/* ---- events, keep-alive, time ---- */

void admin_await_events(struct admin *admin, unsigned count)
{
	while (admin->events_under_way < count) {
		struct host_command *command = admin_command(admin, NVME_ADMIN_ASYNC_EVENT_REQUEST, on_event, admin);

		if (!command)
			return;
		admin_send(admin, command, NULL, 0, false);
		command->sent_ns = COMMAND_FOR_EVER;
		admin->events_under_way++;
	}
}

static void on_event(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;

	admin->events_under_way--;
	if (status != NVME_OK)
		return; /* it has no more of them, or is gone */
	admin->events->event(admin->ctx, command->cqe.dw0);
	if (!admin->told && admin->queue->state == QUEUE_OPEN)
		admin_await_events(admin, admin->events_under_way + 1);
}

static void on_alive(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;

	admin->alive_under_way = false;
	if (status != NVME_OK)
		admin_fail(admin, "Keep Alive fails: %s", status_text(status));
}

static void alive_tick(struct admin *admin, uint64_t now_ns)
{
	if (admin->options.keep_alive_ms == 0 || now_ns < admin->alive_ns)
		return;
	admin->alive_ns = now_ns + admin->options.keep_alive_ms * CLOCK_NS_PER_MS / 2;
	if (admin->alive_under_way) {
		admin_fail(admin, "Keep Alive is not answered");
		return;
	}
	struct host_command *command = admin_command(admin, NVME_ADMIN_KEEP_ALIVE, on_alive, admin);
	if (!command)
		return;
	admin->alive_under_way = true;
	admin_send(admin, command, NULL, 0, false);
}

void admin_tick(struct admin *admin, uint64_t now_ns)
{
	if (!admin->queue || admin->queue->state == QUEUE_CLOSING)
		return;
	if (admin->step == ADMIN_SHUTDOWN) {
		if (now_ns > admin->ready_by_ns)
			host_queue_close(admin->queue, false);
		return;
	}
	if (admin->told)
		return;
	if (admin->step == ADMIN_READY)
		alive_tick(admin, now_ns);
	if (admin->step == ADMIN_STATUS && admin->look_ns > 0 && now_ns >= admin->look_ns) {
		if (now_ns > admin->ready_by_ns)
			admin_fail(admin, "the controller does not become ready");
		else
			step_next(admin);
	}
	if (!admin->told)
		host_queue_greeting_tick(admin->queue, now_ns);
	if (!admin->told && now_ns > COMMAND_NS && host_queue_overdue(admin->queue, now_ns - COMMAND_NS))
		admin_fail(admin, "an admin command is not answered");
}

/* ---- life ---- */

static void on_queue_open(void *ctx, struct host_queue *queue)
{
	struct admin *admin = ctx;

	admin->step = ADMIN_CONNECT;
	step_next(admin);
}

static void on_queue_failed(void *ctx, struct host_queue *queue, const char *why)
{
	struct admin *admin = ctx;

	if (admin->step == ADMIN_SHUTDOWN)
		host_queue_close(queue, false);
	else
		admin_fail(admin, "%s", why);
}

static void on_queue_closed(void *ctx, struct host_queue *queue)
{
	struct admin *admin = ctx;

	admin->digest_errors += queue->digest_errors;
	host_queue_free(queue);
	admin->queue = NULL;
	admin->events->closed(admin->ctx);
}

int admin_open(struct admin *admin, const struct admin_options *options, const struct admin_events *events, void *ctx)
{
	static const struct queue_events queue_events = {
		.open = on_queue_open,
		.failed = on_queue_failed,
		.closed = on_queue_closed,
	};
	struct queue_options queue = {
		.streams = options->streams,
		.address = options->address,
		.depth = ADMIN_DEPTH,
		.header_digest = options->header_digest,
		.data_digest = options->data_digest,
		.in_capsule_bytes = NVME_TCP_ADMIN_ICD_BYTES,
		.now_ns = options->now_ns,
	};

	memset(admin, 0, sizeof(*admin));
	admin->options = *options;
	admin->events = events;
	admin->ctx = ctx;
	admin->no_flow_control = true;
	memcpy(admin->connect.hostid, options->hostid, sizeof(admin->connect.hostid));
	snprintf(admin->connect.subnqn, sizeof(admin->connect.subnqn), "%s", options->subnqn);
	snprintf(admin->connect.hostnqn, sizeof(admin->connect.hostnqn), "%s", options->hostnqn);
	return host_queue_new(&queue, 0, &queue_events, admin, &admin->queue);
}

static void on_shut_down(struct host_command *command, uint16_t status)
{
	struct admin *admin = command->ctx;

	host_queue_close(admin->queue, false);
}

void admin_close(struct admin *admin, bool orderly)
{
	bool ready = admin->step == ADMIN_READY && !admin->told && admin->queue->state == QUEUE_OPEN;

	admin->told = true;
	if (!orderly || !ready) {
		host_queue_close(admin->queue, !orderly);
		return;
	}
	admin->step = ADMIN_SHUTDOWN;
	admin->ready_by_ns = clock_ns() + SHUTDOWN_NS;
	struct host_command *command = admin_command(admin, NVME_FABRICS, on_shut_down, admin);
	if (!command) {
		host_queue_close(admin->queue, false);
		return;
	}
	property_sqe(command, NVME_FABRICS_PROPERTY_SET, NVME_CC, false)->value =
		NVME_CC_EN | 6u << NVME_CC_IOSQES_SHIFT | 4u << NVME_CC_IOCQES_SHIFT | 1u << NVME_CC_SHN_SHIFT;
	admin_send(admin, command, NULL, 0, false);
}
