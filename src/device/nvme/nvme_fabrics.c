// SPDX-License-Identifier: BSD-3-Clause
/* Fabrics commands: Connect, properties, Disconnect (NVM Express Base 6). */
#include <stdlib.h>
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

/* ---- Connect ---- */

static void connect_refuse(struct nvme_queue *queue, uint16_t status)
{
	struct nvme_command *command = queue->connect_command;

	queue->connect_command = NULL;
	queue->state = QUEUE_READY;
	nvme_command_fail(command, status);
}

/* 6.3: which parameter it is, in the data or in the command. */
static void connect_invalid(struct nvme_queue *queue, uint16_t offset, bool in_data)
{
	queue->connect_command->result = nvme_connect_ipo(offset, in_data);
	connect_refuse(queue, NVME_CONNECT_INVALID_PARAMETERS | NVME_DNR);
}

enum place {
	PLACE_HOSTID = offsetof(struct nvme_connect_data, hostid),
	PLACE_CNTLID = offsetof(struct nvme_connect_data, cntlid),
	PLACE_SUBNQN = offsetof(struct nvme_connect_data, subnqn),
	PLACE_HOSTNQN = offsetof(struct nvme_connect_data, hostnqn),
	PLACE_QID = offsetof(struct nvme_connect_sqe, qid),
	PLACE_SQSIZE = offsetof(struct nvme_connect_sqe, sqsize),
};

static bool nqn_legal(const char nqn[NVME_NQN_BYTES])
{
	size_t length = strnlen(nqn, NVME_NQN_BYTES);

	return length > 4 && length <= NVME_NQN_LENGTH_MAX && memcmp(nqn, "nqn.", 4) == 0;
}

static bool queue_grow(struct nvme_queue *queue, uint16_t sqsize)
{
	/* As many again: those whose answer is under way. */
	unsigned max = 2u * (sqsize + 1u) / COMMAND_CHUNK + 1;
	struct nvme_command **chunks = realloc(queue->chunks, max * sizeof(*chunks));

	if (!chunks)
		return false;
	queue->chunks = chunks;
	queue->chunk_max = (uint16_t)max;
	return true;
}

static void connect_accept(struct nvme_queue *queue, const struct nvme_connect_sqe *sqe)
{
	struct nvme_command *command = queue->connect_command;

	queue->connect_command = NULL;
	queue->no_flow_control = sqe->cattr & NVME_CATTR_NO_FLOW_CONTROL;
	queue->sqhd = 1; /* Connect was the first entry */
	queue->state = QUEUE_CONNECTED;
	free(queue->connect_data);
	queue->connect_data = NULL;
	command->result = queue->controller->cntlid;
	nvme_command_answer(command, NVME_OK, 0);
}

/* The tenant's memory for queues is used up: the host may try again. True: it was refused. */
static bool connect_unpaid(struct nvme_queue *queue, struct nvme_subsystem *subsystem,
			   const struct nvme_connect_sqe *sqe)
{
	if (nvme_queue_pay(queue, subsystem->account, sqe))
		return false;
	nvme_count(&subsystem->stats.memory_refusals, 1);
	connect_refuse(queue, NVME_CONNECT_BUSY);
	return true;
}

static void connect_admin(struct nvme_queue *queue, struct nvme_subsystem *subsystem, uint16_t port,
			  const struct nvme_connect_sqe *sqe)
{
	const struct nvme_connect_data *data = queue->connect_data;

	if (data->cntlid != NVME_CNTLID_DYNAMIC) {
		connect_invalid(queue, PLACE_CNTLID, true);
		return;
	}
	if (connect_unpaid(queue, subsystem, sqe))
		return;
	struct nvme_controller *controller = nvme_controller_new(subsystem, data, port);
	if (!controller) {
		nvme_queue_memory_give(queue->payer, queue->paid);
		queue->payer = NULL;
		connect_refuse(queue, NVME_CONNECT_BUSY);
		return;
	}
	controller->kato_ms = sqe->kato;
	controller->alive_ns = subsystem->now_ns;
	nvme_controller_add_queue(controller, queue, sqe);
	connect_accept(queue, sqe);
}

static void connect_io(struct nvme_queue *queue, struct nvme_subsystem *subsystem, uint16_t port,
		       const struct nvme_connect_sqe *sqe)
{
	const struct nvme_connect_data *data = queue->connect_data;
	struct nvme_controller *controller = nvme_controller_find(subsystem, data->cntlid);
	struct nvme_queue *other;

	if (!controller || subsystem->discovery || controller->port != port) { /* 3.1: it is of one port */
		connect_invalid(queue, PLACE_CNTLID, true);
		return;
	}
	if (strcmp(controller->hostnqn, data->hostnqn) != 0) {
		connect_invalid(queue, PLACE_HOSTNQN, true);
		return;
	}
	if (memcmp(controller->hostid, data->hostid, sizeof(data->hostid)) != 0) {
		connect_invalid(queue, PLACE_HOSTID, true);
		return;
	}
	if (!(controller->csts & NVME_CSTS_RDY) || (controller->cc & NVME_CC_SHN_MASK)) {
		connect_refuse(queue, NVME_SEQUENCE_ERROR | NVME_DNR);
		return;
	}
	if (sqe->qid > controller->queues) {
		connect_invalid(queue, PLACE_QID, false);
		return;
	}
	TAILQ_FOREACH(other, &controller->list, link)
	{
		if (other->qid == sqe->qid && other->state <= QUEUE_CONNECTED) { /* one that goes has none any more */
			connect_invalid(queue, PLACE_QID, false);
			return;
		}
	}
	if (connect_unpaid(queue, subsystem, sqe))
		return;
	controller->io_created = true;
	nvme_controller_add_queue(controller, queue, sqe);
	connect_accept(queue, sqe);
}

/* What neither needs a controller nor differs between admin and I/O queues. True: it was refused. */
static bool connect_check(struct nvme_queue *queue, struct nvme_subsystem *subsystem,
			  const struct nvme_connect_sqe *sqe)
{
	const struct nvme_connect_data *data = queue->connect_data;

	if (!subsystem || !nqn_legal(data->subnqn))
		connect_invalid(queue, PLACE_SUBNQN, true);
	else if (!nqn_legal(data->hostnqn))
		connect_invalid(queue, PLACE_HOSTNQN, true);
	else if (memcmp(data->hostid, (const uint8_t[16]){ 0 }, sizeof(data->hostid)) == 0)
		connect_invalid(queue, PLACE_HOSTID, true); /* no host's: its registrations would be everybody's */
	else if (!nvme_subsystem_allows(subsystem, data->hostnqn))
		connect_refuse(queue, NVME_CONNECT_INVALID_HOST | NVME_DNR);
	else if (sqe->sqsize == 0 || sqe->sqsize >= subsystem->max_entries)
		connect_invalid(queue, PLACE_SQSIZE, false);
	else if (subsystem->refuse || !queue_grow(queue, sqe->sqsize))
		connect_refuse(queue, NVME_CONNECT_BUSY);
	else
		return false;
	return true;
}

void nvme_queue_connect(struct nvme_queue *queue, struct nvme_subsystem *subsystem, uint16_t port)
{
	if (queue->state != QUEUE_CONNECTING)
		return; /* the host has gone meanwhile */
	struct nvme_connect_sqe sqe;

	memcpy(&sqe, &queue->connect_command->sqe, sizeof(sqe));
	if (subsystem && subsystem->port_count > 0) {
		bool known = false;

		for (unsigned i = 0; i < subsystem->port_count; i++)
			known |= subsystem->ports[i].id == port;
		if (!known)
			subsystem = NULL;
	}
	if (!connect_check(queue, subsystem, &sqe)) {
		if (sqe.qid == 0)
			connect_admin(queue, subsystem, port, &sqe);
		else
			connect_io(queue, subsystem, port, &sqe);
	}
	if (!queue->in_input && queue->state <= QUEUE_CONNECTED)
		queue->ops->resume(queue->ctx);
}

void nvme_queue_connect_later(struct nvme_queue *queue)
{
	if (queue->state == QUEUE_CONNECTING)
		connect_refuse(queue, NVME_CONNECT_BUSY);
	if (!queue->in_input && queue->state <= QUEUE_CONNECTED)
		queue->ops->resume(queue->ctx);
}

static void connect_start(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_connect_sqe sqe;

	memcpy(&sqe, &command->sqe, sizeof(sqe));
	if (queue->state != QUEUE_READY) {
		nvme_command_fail(command, NVME_SEQUENCE_ERROR | NVME_DNR);
	} else if (sqe.recfmt != 0) {
		nvme_command_fail(command, NVME_CONNECT_FORMAT | NVME_DNR);
	} else if (sqe.sgl.type != NVME_SGL_IN_CAPSULE) {
		nvme_command_fail(command, NVME_SGL_TYPE_INVALID | NVME_DNR);
	} else if (sqe.sgl.address != 0) {
		nvme_command_fail(command, NVME_SGL_OFFSET_INVALID | NVME_DNR);
	} else if (sqe.sgl.length != sizeof(struct nvme_connect_data) ||
		   command->in_capsule != sizeof(struct nvme_connect_data)) {
		nvme_command_fail(command, NVME_SGL_LENGTH_INVALID | NVME_DNR);
	} else {
		command->state = COMMAND_EXECUTING;
		queue->connect_command = command;
		queue->state = QUEUE_CONNECTING;
		queue->ops->connect(queue->ctx, (const struct nvme_connect_sqe *)&command->sqe, queue->connect_data);
	}
}

/* ---- properties ---- */

enum { READY_TIMEOUT = 30 }; /* 500 ms; CAP.TO, and CRTO.CRWMT of 16 bits */

static uint64_t capabilities(const struct nvme_subsystem *subsystem)
{
	return (uint64_t)(subsystem->max_entries - 1) << NVME_CAP_MQES | UINT64_C(1) << NVME_CAP_CQR |
	       (uint64_t)READY_TIMEOUT << NVME_CAP_TO | UINT64_C(1) << NVME_CAP_CSS | UINT64_C(1) << NVME_CAP_CSS_ALL |
	       UINT64_C(1) << NVME_CAP_CRWMS;
}

static void property_get(struct nvme_command *command)
{
	struct nvme_controller *controller = command->queue->controller;
	struct nvme_property_sqe sqe;

	memcpy(&sqe, &command->sqe, sizeof(sqe));
	unsigned size = sqe.attrib & 7;

	if (size == 1 && sqe.offset == NVME_CAP) {
		command->result = capabilities(controller->subsystem);
	} else if (size == 0 && sqe.offset == NVME_VS) {
		command->result = NVME_VERSION;
	} else if (size == 0 && sqe.offset == NVME_CC) {
		command->result = controller->cc;
	} else if (size == 0 && sqe.offset == NVME_CSTS) {
		command->result = controller->csts;
	} else if (size == 0 && sqe.offset == NVME_CRTO) {
		command->result = READY_TIMEOUT;
	} else {
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	nvme_command_answer(command, NVME_OK, 0);
}

/* 3.1.3.5: what we can run with. */
static bool configuration_good(const struct nvme_controller *controller, uint32_t cc)
{
	unsigned css = cc >> NVME_CC_CSS_SHIFT & 7, mps = cc >> NVME_CC_MPS_SHIFT & 15,
		 ams = cc >> NVME_CC_AMS_SHIFT & 7;
	unsigned sqes = cc >> NVME_CC_IOSQES_SHIFT & 15, cqes = cc >> NVME_CC_IOCQES_SHIFT & 15;

	if (mps != 0 || ams != 0 || (css != 0 && css != 6))
		return false;
	return controller->subsystem->discovery || (sqes == 6 && cqes == 4);
}

static void configure(struct nvme_controller *controller, uint32_t cc)
{
	uint32_t before = controller->cc;

	controller->cc = cc;
	if ((cc & NVME_CC_EN) && !(before & NVME_CC_EN)) {
		controller->csts = configuration_good(controller, cc) ? NVME_CSTS_RDY : NVME_CSTS_CFS;
	} else if (!(cc & NVME_CC_EN) && (before & NVME_CC_EN)) {
		nvme_controller_reset(controller);
		controller->csts = 0;
	}
	if (cc & NVME_CC_SHN_MASK) {
		controller->csts |= NVME_CSTS_SHST_COMPLETE;
		controller->reason = NVME_REASON_HOST;
	} else if (before & NVME_CC_SHN_MASK) {
		controller->csts &= ~(uint32_t)NVME_CSTS_SHST_MASK;
	}
}

static void property_set(struct nvme_command *command)
{
	struct nvme_property_sqe sqe;

	memcpy(&sqe, &command->sqe, sizeof(sqe));
	if ((sqe.attrib & 7) != 0 || sqe.offset != NVME_CC) {
		nvme_command_fail(command, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	configure(command->queue->controller, (uint32_t)sqe.value);
	nvme_command_answer(command, NVME_OK, 0);
}

/* ---- Disconnect ---- */

static void disconnect(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	struct nvme_connect_sqe sqe; /* the format of the record is in the same place */

	memcpy(&sqe, &command->sqe, sizeof(sqe));
	if (sqe.recfmt != 0) {
		nvme_command_fail(command, NVME_CONNECT_FORMAT | NVME_DNR);
		return;
	}
	if (queue->qid == 0) {
		nvme_command_fail(command, NVME_DISCONNECT_QUEUE_TYPE | NVME_DNR);
		return;
	}
	queue->reason = NVME_REASON_HOST;
	nvme_command_answer(command, NVME_OK, 0);
	nvme_queue_close(queue, true, NVME_REASON_HOST);
}

void nvme_fabrics_start(struct nvme_command *command)
{
	struct nvme_queue *queue = command->queue;
	uint8_t type = command->sqe.fctype;

	if (type == NVME_FABRICS_CONNECT) {
		connect_start(command);
		return;
	}
	if (queue->state != QUEUE_CONNECTED) {
		nvme_command_fail(command, NVME_SEQUENCE_ERROR | NVME_DNR);
		return;
	}
	queue->controller->active = true;
	if (type == NVME_FABRICS_DISCONNECT)
		disconnect(command);
	else if (type == NVME_FABRICS_PROPERTY_GET && queue->qid == 0)
		property_get(command);
	else if (type == NVME_FABRICS_PROPERTY_SET && queue->qid == 0)
		property_set(command);
	else /* authentication: none is asked for */
		nvme_command_fail(command, NVME_INVALID_OPCODE | NVME_DNR);
}
