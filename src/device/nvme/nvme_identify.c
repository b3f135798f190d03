// SPDX-License-Identifier: BSD-3-Clause
/* Identify (NVM Express Base 5.17). */
#include <string.h>
#include "device/nvme/nvme_target_priv.h"

enum {
	CMIC_PORTS = 1 << 0,
	CMIC_CONTROLLERS = 1 << 1,
	CMIC_ANA = 1 << 3,
	LPA_SMART_NAMESPACE = 1 << 0,
	LPA_EFFECTS = 1 << 1,
	LPA_OFFSET = 1 << 2,
	FUSES_COMPARE_WRITE = 1 << 0,
	VWC_PRESENT = 1 << 0,
	VWC_FLUSH_ALL_NO = 2 << 1, /* Flush with NSID FFFFFFFFh fails */
	SGLS_ANY = 1 << 0,
	SGLS_TRANSPORT = 1 << 21,
	SGLS_OFFSET = 1 << 20,
	OFCS_DISCONNECT = 1 << 0,
	ANA_TRANSITION_S = 30,
	WRITE_ZEROES_LOG2 =
		13, /* × 4 KiB: the most that a command can say in blocks of 512 bytes; hosts else take MDTS */
};

static void controller_common(const struct nvme_controller *controller, struct nvme_identify_controller *id)
{
	const struct nvme_subsystem *subsystem = controller->subsystem;

	memcpy(id->sn, subsystem->serial, sizeof(id->sn));
	memcpy(id->mn, subsystem->model, sizeof(id->mn));
	memcpy(id->fr, subsystem->firmware, sizeof(id->fr));
	id->cntlid = controller->cntlid;
	id->ver = NVME_VERSION;
	id->mdts = NVME_TARGET_MDTS;
	id->ctratt = NVME_CTRATT_HOST_ID_128 | NVME_CTRATT_TRAFFIC_KEEP_ALIVE;
	id->acl = 3;
	id->aerl = NVME_TARGET_AERS - 1;
	id->lpa = LPA_EFFECTS | LPA_OFFSET;
	id->elpe = ERROR_ENTRIES - 1;
	id->frmw = 1 << 1 | 1; /* one slot, read only */
	id->kas = NVME_TARGET_KEEP_ALIVE_UNIT_MS / 100;
	id->maxcmd = subsystem->max_entries;
	id->sgls = SGLS_ANY | SGLS_OFFSET | SGLS_TRANSPORT;
	id->ioccsz = (sizeof(struct nvme_sqe) + NVME_TARGET_IO_ICD_BYTES) / 16;
	id->iorcsz = sizeof(struct nvme_cqe) / 16;
	id->msdbd = 1;
	memcpy(id->subnqn, subsystem->nqn, sizeof(id->subnqn));
}

static void controller_fill(const struct nvme_controller *controller, struct nvme_identify_controller *id)
{
	controller_common(controller, id);
	if (controller->subsystem->discovery) {
		id->cntrltype = NVME_CNTRLTYPE_DISCOVERY;
		id->oaes = NVME_EVENT_BIT_DISCOVERY;
		id->dctype = 1;
		return;
	}
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->cmic = CMIC_PORTS | CMIC_CONTROLLERS | CMIC_ANA;
	id->oaes = NVME_EVENT_BIT_NAMESPACES | NVME_EVENT_BIT_ANA;
	id->lpa |= LPA_SMART_NAMESPACE;
	id->crdt[0] = RETRY_DELAY_MS / 100;
	id->wctemp = WARNING_K;
	id->cctemp = CRITICAL_K;
	id->anatt = ANA_TRANSITION_S;
	id->anacap = NVME_ANACAP_OPTIMIZED | NVME_ANACAP_NON_OPTIMIZED | NVME_ANACAP_INACCESSIBLE | NVME_ANACAP_CHANGE;
	id->anagrpmax = id->nanagrpid = NVME_TARGET_ANA_LOST;
	id->sqes = 6 << 4 | 6;
	id->cqes = 4 << 4 | 4;
	id->nn = id->mnan = NVME_TARGET_NAMESPACES_MAX;
	id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES | NVME_ONCS_SAVE |
		   NVME_ONCS_RESERVATIONS | NVME_ONCS_COPY;
	id->fuses = FUSES_COMPARE_WRITE;
	id->vwc = VWC_PRESENT | VWC_FLUSH_ALL_NO;
	id->cdfs = 1; /* Copy descriptor format 0 */
	id->ofcs = OFCS_DISCONNECT;
}

/* What a power loss leaves whole, and what Compare and Write does in one: zero based. */
static uint16_t atomic_unit(const struct nvme_namespace *ns)
{
	return (uint16_t)((DPU_BLOCK_BYTES >> ns->shift) - 1);
}

enum {
	NSFEAT_THIN = 1 << 0,
	NSFEAT_ATOMICITY = 1 << 1,
	NSFEAT_PREFERRED = 1 << 4,
	NMIC_SHARED = 1 << 0,
	NSATTR_WRITE_PROTECTED = 1 << 0,
	DLFEAT_ZEROES = 1 << 0,
	DLFEAT_WRITE_ZEROES = 1 << 3,
};

static void namespace_fill(struct nvme_namespace *ns, struct nvme_identify_namespace *id)
{
	uint32_t features = nvme_namespace_features(ns);

	id->nsze = id->ncap = ns->blocks;
	id->nuse = nvme_namespace_used(ns); /* NVM 2.1.1: what is thin must say it */
	id->nsfeat = NSFEAT_ATOMICITY | NSFEAT_PREFERRED | (ns->thin ? NSFEAT_THIN : 0);
	id->nmic = NMIC_SHARED;
	id->rescap = NVME_RESCAP_PTPL | NVME_RESCAP_ALL_TYPES | NVME_RESCAP_IEKEY_13;
	if (features & DPU_BLOCK_F_ZERO_DISCARD)
		id->dlfeat = DLFEAT_ZEROES | DLFEAT_WRITE_ZEROES;
	id->nawun = id->nawupf = id->nacwu = atomic_unit(ns);
	uint64_t bytes = ns->blocks << ns->shift;

	memcpy(id->nvmcap, &bytes, sizeof(bytes));
	/* NVM 5.8.2: NOWS is a multiple of NPWG. */
	id->npwg = id->npwa = id->npdg = id->npda = id->nows = atomic_unit(ns);
	id->mssrl = NVME_COPY_RANGE_BLOCKS_MAX;
	id->mcl = NVME_COPY_BLOCKS_MAX;
	id->msrc = NVME_COPY_RANGES_MAX - 1;
	id->anagrpid = nvme_namespace_group(ns);
	if (features & DPU_BLOCK_F_READ_ONLY)
		id->nsattr = NSATTR_WRITE_PROTECTED;
	memcpy(id->nguid, ns->uuid, sizeof(id->nguid));
	id->lbaf[0].log2_bytes = ns->shift;
}

static void independent_fill(const struct nvme_namespace *ns, struct nvme_identify_independent *id)
{
	id->nmic = NMIC_SHARED; /* NSFEAT has other bits here than in CNS 00h: 4 is "rotational" */
	id->rescap = NVME_RESCAP_PTPL | NVME_RESCAP_ALL_TYPES | NVME_RESCAP_IEKEY_13;
	id->anagrpid = nvme_namespace_group(ns);
	if (nvme_namespace_features(ns) & DPU_BLOCK_F_READ_ONLY)
		id->nsattr = NSATTR_WRITE_PROTECTED;
	id->nstat = 1;
}

static uint8_t *descriptor(uint8_t *at, enum nvme_id_type type, const void *value, uint8_t bytes)
{
	struct nvme_id_descriptor header = { .type = (uint8_t)type, .length = bytes };

	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), value, bytes);
	return at + sizeof(header) + bytes;
}

static void descriptors_fill(const struct nvme_namespace *ns, uint8_t *at)
{
	static const uint8_t csi = NVME_CSI_NVM;

	at = descriptor(at, NVME_ID_UUID, ns->uuid, sizeof(ns->uuid));
	at = descriptor(at, NVME_ID_NGUID, ns->uuid, sizeof(ns->uuid));
	descriptor(at, NVME_ID_CSI, &csi, sizeof(csi));
}

static uint16_t list_fill(const struct nvme_subsystem *subsystem, uint32_t after, uint32_t *list)
{
	unsigned count = 0;

	if (after >= NVME_NSID_ALL - 1)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	for (uint64_t nsid = after + UINT64_C(1); nsid <= subsystem->highest_nsid && count < 1024; nsid++)
		if (nvme_namespace_find(subsystem, (uint32_t)nsid))
			list[count++] = (uint32_t)nsid;
	return NVME_OK;
}

static void nvm_controller_fill(struct nvme_identify_nvm_controller *id)
{
	id->wzsl = WRITE_ZEROES_LOG2;
	/* NVM 3.2.3.1: of Dataset Management all three limits, or none. There is none. */
}

/* Of a namespace that is not active: zeroes; of one that cannot be: an error (5.17.2). */
static uint16_t namespace_of(const struct nvme_subsystem *subsystem, uint32_t nsid, struct nvme_namespace **ret)
{
	if (nsid == 0 || nsid > NVME_TARGET_NAMESPACES_MAX)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	*ret = nvme_namespace_find(subsystem, nsid);
	return NVME_OK;
}

static uint16_t of_namespace(const struct nvme_controller *controller, const struct nvme_sqe *sqe, uint8_t cns,
			     void *data)
{
	struct nvme_namespace *ns = NULL;
	uint16_t status = namespace_of(controller->subsystem, sqe->nsid, &ns);

	if (status)
		return status;
	if (!ns)
		return cns == NVME_CNS_DESCRIPTORS ? NVME_INVALID_NAMESPACE | NVME_DNR : NVME_OK;
	if (cns == NVME_CNS_NAMESPACE)
		namespace_fill(ns, data);
	else if (cns == NVME_CNS_DESCRIPTORS)
		descriptors_fill(ns, data);
	else if (cns == NVME_CNS_NAMESPACE_INDEPENDENT)
		independent_fill(ns, data);
	return NVME_OK; /* of CNS 05h for NVM: no protection information, all zeroes */
}

static uint16_t identify_fill(const struct nvme_controller *controller, const struct nvme_sqe *sqe, void *data)
{
	uint8_t cns = (uint8_t)sqe->cdw10, csi = (uint8_t)(sqe->cdw11 >> 24);

	if (cns == NVME_CNS_CONTROLLER) {
		controller_fill(controller, data);
		return NVME_OK;
	}
	if (controller->subsystem->discovery)
		return NVME_INVALID_FIELD | NVME_DNR;
	switch (cns) {
	case NVME_CNS_NAMESPACE_CSI:
		if (csi != NVME_CSI_NVM)
			return NVME_INVALID_FIELD | NVME_DNR;
		return of_namespace(controller, sqe, cns, data);
	case NVME_CNS_NAMESPACE:
	case NVME_CNS_DESCRIPTORS:
	case NVME_CNS_NAMESPACE_INDEPENDENT:
		return of_namespace(controller, sqe, cns, data);
	case NVME_CNS_ACTIVE_NAMESPACES_CSI:
		if (csi != NVME_CSI_NVM)
			return NVME_OK; /* there are none of it */
		return list_fill(controller->subsystem, sqe->nsid, data);
	case NVME_CNS_ACTIVE_NAMESPACES:
		return list_fill(controller->subsystem, sqe->nsid, data);
	case NVME_CNS_CONTROLLER_CSI:
		if (csi != NVME_CSI_NVM)
			return NVME_INVALID_FIELD | NVME_DNR;
		nvm_controller_fill(data);
		return NVME_OK;
	case NVME_CNS_COMMAND_SETS:
		((uint64_t *)data)[0] = 1; /* the only combination: NVM */
		return NVME_OK;
	default:
		return NVME_INVALID_FIELD | NVME_DNR;
	}
}

static void identify_buffered(struct nvme_command *command)
{
	memset(command->buffer->data, 0, NVME_IDENTIFY_BYTES);
	uint16_t status = identify_fill(command->queue->controller, &command->sqe, command->buffer->data);

	nvme_command_answer(command, status, status ? 0 : NVME_IDENTIFY_BYTES);
}

void nvme_identify(struct nvme_command *command)
{
	if (nvme_command_has_room(command, NVME_IDENTIFY_BYTES))
		nvme_command_buffer(command, NVME_IDENTIFY_BYTES, identify_buffered);
}
