// SPDX-License-Identifier: BSD-3-Clause
/* The target of the initiator's tests: its admin and fabrics commands. */
#include "service/nvmf/initiator/fake_target_priv.h"

#include <string.h>

static void namespaces_list(const struct fake_target *target, uint32_t after, uint32_t list[1024])
{
	unsigned count = 0;

	for (uint32_t nsid = after + 1; nsid <= target->strangers && count < 1024; nsid++)
		list[count++] = nsid;
	if (target->nsid > after && target->nsid > target->strangers && count < 1024)
		list[count] = target->nsid;
}

static void identify(struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	struct fake_target *target = connection->target;
	uint8_t data[NVME_IDENTIFY_BYTES] = { 0 };
	struct nvme_identify_controller *controller = (struct nvme_identify_controller *)data;
	struct nvme_identify_namespace *namespace = (struct nvme_identify_namespace *)data;

	switch (sqe->cdw10 & 0xff) {
	case NVME_CNS_CONTROLLER:
		memcpy(controller->subnqn, connection->subnqn, NVME_NQN_BYTES);
		controller->cmic = 0xb;
		controller->mdts = target->mdts ? target->mdts : 6;
		controller->oaes = NVME_EVENT_BIT_NAMESPACES | NVME_EVENT_BIT_ANA | NVME_EVENT_BIT_DISCOVERY;
		controller->aerl = 3;
		controller->cntrltype = NVME_CNTRLTYPE_IO;
		controller->nanagrpid = 2;
		controller->anatt = 1;
		controller->oncs = NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES;
		controller->vwc = !connection->port->no_cache;
		controller->kas = target->kas;
		controller->sgls = 1;
		controller->ioccsz = target->ioccsz ? target->ioccsz : 4 + 256;
		controller->iorcsz = 1;
		break;
	case NVME_CNS_ACTIVE_NAMESPACES:
		namespaces_list(target, sqe->nsid, (uint32_t *)data);
		break;
	case NVME_CNS_DESCRIPTORS:
		if (sqe->nsid != target->nsid && sqe->nsid > target->strangers) {
			fake_respond(connection, sqe->cid, 0, NVME_INVALID_NAMESPACE | NVME_DNR);
			return;
		}
		data[0] = NVME_ID_UUID;
		data[1] = 16;
		memcpy(data + 4, target->uuid, 16);
		data[4] ^= sqe->nsid != target->nsid;
		break;
	case NVME_CNS_NAMESPACE:
		if (sqe->nsid != target->nsid)
			break;
		namespace->nsze = namespace->ncap = target->blocks;
		namespace->dlfeat = 9;
		namespace->anagrpid = 1;
		namespace->nsattr = target->write_protected;
		namespace->nlbaf = target->lba_format;
		namespace->flbas = (uint8_t)((target->lba_format & 0xf) | (target->lba_format >> 4) << 5);
		namespace->lbaf[target->lba_format].log2_bytes = (uint8_t)target->shift;
		break;
	default:
		fake_respond(connection, sqe->cid, 0, NVME_INVALID_FIELD | NVME_DNR);
		return;
	}
	fake_data(connection, sqe, data, sizeof(data));
}

static void log_page(struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	struct fake_target *target = connection->target;
	uint32_t bytes = ((sqe->cdw10 >> 16) + 1) * 4, offset = sqe->cdw12;
	static uint8_t data[64 << 10];

	memset(data, 0, sizeof(data));
	if ((sqe->cdw10 & 0xff) == NVME_LOG_ANA) {
		struct nvme_log_ana *log = (struct nvme_log_ana *)data;
		struct nvme_ana_group *group = (struct nvme_ana_group *)(log + 1);

		log->groups = target->nsid ? 2 : 1; /* that have a namespace */
		group[0].id = 2;
		group[0].state = NVME_ANA_OPTIMIZED;
		struct nvme_ana_group second = { .id = 1, .state = (uint8_t)connection->port->ana };
		memcpy((uint8_t *)(log + 1) + sizeof(second), &second, sizeof(second));
	} else if ((sqe->cdw10 & 0xff) == NVME_LOG_DISCOVERY) {
		struct nvme_log_discovery *log = (struct nvme_log_discovery *)data;

		log->genctr = target->genctr;
		log->numrec = target->entry_count;
		memcpy(data + 1024, target->entries, sizeof(target->entries));
	}
	fake_data(connection, sqe, data + offset, bytes);
}

void fake_fabrics(struct fake_connection *connection, const struct nvme_sqe *sqe, const uint8_t *data)
{
	const struct nvme_connect_sqe *connect = (const struct nvme_connect_sqe *)sqe;
	const struct nvme_property_sqe *property = (const struct nvme_property_sqe *)sqe;
	struct fake_target *target = connection->target;
	uint64_t value = 0;

	switch (sqe->fctype) {
	case NVME_FABRICS_CONNECT:
		if (target->no_flow_control_refused && (connect->cattr & NVME_CATTR_NO_FLOW_CONTROL)) {
			fake_respond(connection, sqe->cid,
				     nvme_connect_ipo(offsetof(struct nvme_connect_sqe, cattr), false),
				     NVME_CONNECT_INVALID_PARAMETERS | NVME_DNR);
			return;
		}
		connection->no_flow_control = connect->cattr & NVME_CATTR_NO_FLOW_CONTROL;
		connection->queue = connect->qid;
		memcpy(connection->subnqn, ((const struct nvme_connect_data *)data)->subnqn, NVME_NQN_BYTES);
		target->connects++;
		if (strstr(((const struct nvme_connect_data *)data)->hostnqn, "stranger"))
			fake_respond(connection, sqe->cid, 0, NVME_CONNECT_INVALID_HOST | NVME_DNR);
		else
			fake_respond(connection, sqe->cid, 7, NVME_OK);
		return;
	case NVME_FABRICS_PROPERTY_SET:
		connection->cc = (uint32_t)property->value;
		target->shutdowns += !!(connection->cc & NVME_CC_SHN_MASK);
		break;
	default:
		if (property->offset == NVME_CAP)
			value = 127 | UINT64_C(1) << NVME_CAP_TO;
		else if (property->offset == NVME_CSTS)
			value = (connection->cc & NVME_CC_EN) && !target->no_ready ? NVME_CSTS_RDY : 0;
	}
	fake_respond(connection, sqe->cid, value, NVME_OK);
}

void fake_admin(struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	struct fake_target *target = connection->target;

	switch (sqe->opcode) {
	case NVME_ADMIN_IDENTIFY:
		identify(connection, sqe);
		break;
	case NVME_ADMIN_GET_LOG_PAGE:
		log_page(connection, sqe);
		break;
	case NVME_ADMIN_SET_FEATURES:
		fake_respond(connection, sqe->cid,
			     target->queues ? (target->queues - 1) * UINT32_C(0x10001) : sqe->cdw11, NVME_OK);
		break;
	case NVME_ADMIN_ASYNC_EVENT_REQUEST:
		connection->events[connection->event_count++] = sqe->cid;
		break;
	case NVME_ADMIN_KEEP_ALIVE:
		if (!target->no_keep_alive)
			fake_respond(connection, sqe->cid, 0, NVME_OK);
		break;
	default:
		target->aborts += sqe->opcode == NVME_ADMIN_ABORT;
		fake_respond(connection, sqe->cid, 1, NVME_OK);
	}
}
