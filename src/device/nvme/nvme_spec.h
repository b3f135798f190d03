/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe: commands, completions, and the queue and fabrics side of the NVM Express Base Specification 2.0 and the NVM
 * Command Set Specification 1.0 ("NVM"; other sections are of the Base). What commands transfer is in nvme_data.h.
 *
 * Numbers are little-endian. A field that the specification calls zero based holds its value minus one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	NVME_NSID_ALL = 0xffffffff,
	NVME_NQN_BYTES = 256, /* with its end: 223 characters are legal, 4.5 */
	NVME_NQN_LENGTH_MAX = 223,
	NVME_CNTLID_DYNAMIC = 0xffff, /* of Connect */
	NVME_CNTLID_STATIC = 0xfffe,
	NVME_CNTLID_MAX = 0xffef, /* 5.17.2.1: FFF0h and up are reserved */
	NVME_VERSION = 0x00020000,
};

#define NVME_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

/* 3.3.3.2, 4.1.2: SGL descriptor. */
struct nvme_sgl {
	uint64_t address; /* with the sub type offset: the offset in the capsule */
	uint32_t length;
	uint8_t reserved[3];
	uint8_t type; /* type in the high, sub type in the low nibble */
};

enum nvme_sgl_type {
	NVME_SGL_IN_CAPSULE = 0x01,     /* data block, sub type offset: in-capsule data */
	NVME_SGL_TRANSPORT_DATA = 0x5a, /* transport data block, sub type transport: by C2HData and H2CData */
};

/* 3.3.3.1: submission queue entry. cdw[i] is command dword 10 + i. */
struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags; /* enum nvme_sqe_flag */
	uint16_t cid;
	union {
		uint32_t nsid;
		uint8_t fctype; /* of a fabrics command: enum nvme_fabrics */
	};
	uint32_t cdw2, cdw3;
	uint64_t metadata;
	struct nvme_sgl sgl;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

enum nvme_sqe_flag {
	NVME_FUSE_MASK = 0x03,
	NVME_FUSE_FIRST = 0x01,
	NVME_FUSE_SECOND = 0x02,
	NVME_PSDT_MASK = 0xc0,
	NVME_PSDT_SGL = 0x40, /* as fabrics commands must */
};

/* 3.3.3.2: completion queue entry. */
struct nvme_cqe {
	union {
		uint64_t result;
		struct {
			uint32_t dw0, dw1;
		};
	};
	uint16_t sqhd;
	uint16_t sqid; /* reserved over fabrics */
	uint16_t cid;
	uint16_t status; /* NVME_STATUS() << 1; bit 0 (the phase) is reserved over fabrics */
};

_Static_assert(sizeof(struct nvme_sqe) == 64 && sizeof(struct nvme_cqe) == 16 && sizeof(struct nvme_sgl) == 16,
	       "3.3.3");

/* 3.3.3.2.1: status code type (bits 10:8) and status code (7:0), retry delay (12:11), more (13), do not retry (14). */
enum { NVME_STATUS_MASK = 0x7ff, NVME_MORE = 1 << 13, NVME_DNR = 1 << 14 };
/* Command Retry Delay: which of Identify Controller's the host waits for. */
enum { NVME_CRD_1 = 1 << 11 };

enum nvme_status {
	NVME_OK = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_CID_CONFLICT = 0x003,
	NVME_DATA_TRANSFER_ERROR = 0x004,
	NVME_INTERNAL_ERROR = 0x006,
	NVME_ABORT_REQUESTED = 0x007,
	NVME_ABORTED_SQ_DELETION = 0x008,
	NVME_ABORTED_FAILED_FUSED = 0x009,
	NVME_ABORTED_MISSING_FUSED = 0x00a,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_SEQUENCE_ERROR = 0x00c,
	NVME_INVALID_SGL_SEGMENT = 0x00d,
	NVME_INVALID_SGL_COUNT = 0x00e,
	NVME_SGL_LENGTH_INVALID = 0x00f,
	NVME_SGL_TYPE_INVALID = 0x011,
	NVME_SGL_OFFSET_INVALID = 0x016,
	NVME_HOST_ID_INCONSISTENT = 0x018,
	NVME_KEEP_ALIVE_EXPIRED = 0x019,
	NVME_KEEP_ALIVE_INVALID = 0x01a,
	NVME_ABORTED_PREEMPT = 0x01b,
	NVME_WRITE_PROTECTED = 0x020,
	NVME_INTERRUPTED = 0x021,
	NVME_TRANSIENT_TRANSPORT = 0x022,
	NVME_LBA_RANGE = 0x080,
	NVME_CAPACITY_EXCEEDED = 0x081,
	NVME_NAMESPACE_NOT_READY = 0x082,
	NVME_RESERVATION_CONFLICT = 0x083,
	/* command specific: fabrics (6.3) */
	NVME_CONNECT_FORMAT = 0x180,
	NVME_CONNECT_BUSY = 0x181,
	NVME_CONNECT_INVALID_PARAMETERS = 0x182, /* dword 0: IPO (15:0), IATTR (16): nvme_connect_ipo() */
	NVME_CONNECT_RESTART_DISCOVERY = 0x183,
	NVME_CONNECT_INVALID_HOST = 0x184,
	NVME_DISCONNECT_QUEUE_TYPE = 0x185,
	NVME_DISCOVER_RESTART = 0x190,
	NVME_AUTHENTICATION_REQUIRED = 0x191,
	/* … admin */
	NVME_INVALID_QUEUE_ID = 0x101,
	NVME_INVALID_QUEUE_SIZE = 0x102,
	NVME_ABORT_LIMIT = 0x103,
	NVME_AER_LIMIT = 0x105,
	NVME_INVALID_LOG_PAGE = 0x109,
	NVME_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_FEATURE_NOT_CHANGEABLE = 0x10e,
	NVME_FEATURE_NOT_NAMESPACE = 0x10f,
	/* … NVM */
	NVME_CONFLICTING_ATTRIBUTES = 0x180,
	NVME_INVALID_PROTECTION = 0x181,
	NVME_READ_ONLY_RANGE = 0x182,
	NVME_SIZE_LIMIT = 0x183,
	/* media and data integrity */
	NVME_WRITE_FAULT = 0x280,
	NVME_UNRECOVERED_READ = 0x281,
	NVME_GUARD_CHECK = 0x282,
	NVME_COMPARE_FAILURE = 0x285,
	NVME_ACCESS_DENIED = 0x286,
	/* path related */
	NVME_PATH_INTERNAL = 0x300,
	NVME_ANA_PERSISTENT_LOSS = 0x301,
	NVME_ANA_INACCESSIBLE = 0x302,
	NVME_ANA_TRANSITION = 0x303,
	NVME_CONTROLLER_PATHING = 0x360,
	NVME_HOST_PATHING = 0x370,
	NVME_HOST_ABORTED = 0x371,
};

/* 5: admin opcodes. */
enum nvme_admin {
	NVME_ADMIN_GET_LOG_PAGE = 0x02,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_ASYNC_EVENT_REQUEST = 0x0c,
	NVME_ADMIN_KEEP_ALIVE = 0x18,
	NVME_FABRICS = 0x7f, /* on any queue */
};

/* 7, and NVM 3: I/O opcodes. */
enum nvme_io {
	NVME_FLUSH = 0x00,
	NVME_WRITE = 0x01,
	NVME_READ = 0x02,
	NVME_COMPARE = 0x05,
	NVME_WRITE_ZEROES = 0x08,
	NVME_DATASET_MANAGEMENT = 0x09,
	NVME_RESERVATION_REGISTER = 0x0d,
	NVME_RESERVATION_REPORT = 0x0e,
	NVME_RESERVATION_ACQUIRE = 0x11,
	NVME_RESERVATION_RELEASE = 0x15,
	NVME_COPY = 0x19,
};

enum nvme_io_control { /* of cdw12 */
		       NVME_IO_FUA = 1u << 30,
		       NVME_IO_LR = 1u << 31,   /* limited retry */
		       NVME_IO_DEAC = 1u << 25, /* write zeroes: deallocate */
		       NVME_IO_PRINFO = 0xfu << 26,
		       NVME_DSM_DEALLOCATE = 1u << 2, /* of cdw11 */
};

/* 3.1.3: properties (registers). */
enum nvme_property {
	NVME_CAP = 0x00, /* 8 bytes */
	NVME_VS = 0x08,
	NVME_CC = 0x14,
	NVME_CSTS = 0x1c,
	NVME_NSSR = 0x20,
	NVME_CRTO = 0x68,
};

enum nvme_cap_shift {
	NVME_CAP_MQES = 0,     /* zero based */
	NVME_CAP_CQR = 16,     /* contiguous queues */
	NVME_CAP_TO = 24,      /* 500 ms */
	NVME_CAP_CSS = 37,     /* command sets: bit 0 NVM */
	NVME_CAP_CSS_ALL = 43, /* … bit 6: I/O command sets by CNS 1Ch */
	NVME_CAP_MPSMIN = 48,
	NVME_CAP_MPSMAX = 52,
	NVME_CAP_CRWMS = 59, /* ready with its media; controllers of 2.0 must be */
};

enum nvme_cc {
	NVME_CC_EN = 1 << 0,
	NVME_CC_CSS_SHIFT = 4, /* 3 bits: 0 NVM, 6 all supported sets, 7 admin only */
	NVME_CC_MPS_SHIFT = 7,
	NVME_CC_AMS_SHIFT = 11,
	NVME_CC_SHN_SHIFT = 14, /* 2 bits */
	NVME_CC_SHN_MASK = 3 << 14,
	NVME_CC_IOSQES_SHIFT = 16,
	NVME_CC_IOCQES_SHIFT = 20,
};

enum nvme_csts {
	NVME_CSTS_RDY = 1 << 0,
	NVME_CSTS_CFS = 1 << 1, /* controller fatal status */
	NVME_CSTS_SHST_COMPLETE = 2 << 2,
	NVME_CSTS_SHST_MASK = 3 << 2,
};

/* 6: fabrics command types. */
enum nvme_fabrics {
	NVME_FABRICS_PROPERTY_SET = 0x00,
	NVME_FABRICS_CONNECT = 0x01,
	NVME_FABRICS_PROPERTY_GET = 0x04,
	NVME_FABRICS_AUTH_SEND = 0x05,
	NVME_FABRICS_AUTH_RECEIVE = 0x06,
	NVME_FABRICS_DISCONNECT = 0x08,
};

/* 6.3: Connect. */
struct nvme_connect_sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint8_t fctype;
	uint8_t reserved5[19];
	struct nvme_sgl sgl;
	uint16_t recfmt, qid, sqsize; /* sqsize: zero based */
	uint8_t cattr;                /* enum nvme_connect_attribute */
	uint8_t reserved47;
	uint32_t kato; /* ms; 0 = none */
	uint8_t reserved52[12];
};

enum nvme_connect_attribute {
	NVME_CATTR_PRIORITY = 3,
	NVME_CATTR_NO_FLOW_CONTROL = 1 << 2, /* of the submission queue: SQHD is not used */
	NVME_CATTR_INDIVIDUAL_DELETION = 1 << 3,
};

struct nvme_connect_data {
	uint8_t hostid[16];
	uint16_t cntlid;
	uint8_t reserved18[238];
	char subnqn[NVME_NQN_BYTES];
	char hostnqn[NVME_NQN_BYTES];
	uint8_t reserved768[256];
};

/* Dword 0 of a successful Connect: CNTLID (15:0), and in 17 and 18 whether the host must authenticate itself. */
enum { NVME_CONNECT_AUTHREQ = 3 << 17 };

/* Dword 0 of NVME_CONNECT_INVALID_PARAMETERS: the offset of the field, in the data or in the command. */
static inline uint32_t nvme_connect_ipo(uint16_t offset, bool in_data)
{
	return offset | (uint32_t)in_data << 16;
}

/* 6.5, 6.6: Property Get and Set. */
struct nvme_property_sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint8_t fctype;
	uint8_t reserved5[35];
	uint8_t attrib; /* bits 2:0: 0 = 4 bytes, 1 = 8 */
	uint8_t reserved41[3];
	uint32_t offset;
	uint64_t value; /* of Property Set */
	uint8_t reserved56[8];
};

_Static_assert(sizeof(struct nvme_connect_sqe) == 64 && sizeof(struct nvme_connect_data) == 1024 &&
		       sizeof(struct nvme_property_sqe) == 64,
	       "6.3");

/* 5.27.1: features. */
enum nvme_feature {
	NVME_FEATURE_ARBITRATION = 0x01,
	NVME_FEATURE_POWER = 0x02,
	NVME_FEATURE_TEMPERATURE = 0x04,
	NVME_FEATURE_ERROR_RECOVERY = 0x05,
	NVME_FEATURE_WRITE_CACHE = 0x06,
	NVME_FEATURE_QUEUES = 0x07,
	NVME_FEATURE_WRITE_ATOMICITY = 0x0a,
	NVME_FEATURE_ASYNC_EVENTS = 0x0b,
	NVME_FEATURE_KEEP_ALIVE = 0x0f,
	NVME_FEATURE_HOST_BEHAVIOR = 0x16,
	NVME_FEATURE_HOST_ID = 0x81,
	NVME_FEATURE_RESERVATION_MASK = 0x82,
	NVME_FEATURE_RESERVATION_PERSISTENCE = 0x83,
};

enum nvme_feature_select { /* of Get Features, cdw10 bits 10:8 */
			   NVME_SELECT_CURRENT,
			   NVME_SELECT_DEFAULT,
			   NVME_SELECT_SAVED,
			   NVME_SELECT_CAPABILITIES, /* dword 0: bit 0 saveable, 1 namespace specific, 2 changeable */
};

/* 5.2: asynchronous events; dword 0: type (2:0), information (15:8), log page to read (23:16). */
enum nvme_event_type { NVME_EVENT_ERROR = 0, NVME_EVENT_SMART = 1, NVME_EVENT_NOTICE = 2, NVME_EVENT_IO = 6 };
enum { NVME_EVENT_SMART_TEMPERATURE = 0x01 };
enum nvme_event_notice {
	NVME_NOTICE_NAMESPACES = 0x00,
	NVME_NOTICE_ANA = 0x03,
	NVME_NOTICE_DISCOVERY = 0xf0,
};
enum { NVME_EVENT_IO_RESERVATION = 0x00 };

static inline uint32_t nvme_event(unsigned type, unsigned information, unsigned log)
{
	return type | information << 8 | log << 16;
}

/* Bits of OAES and of the feature ASYNC_EVENTS; the first 8, of the latter alone, are critical warnings. */
enum nvme_event_bit {
	NVME_EVENT_BIT_TEMPERATURE = 1u << 1,
	NVME_EVENT_BIT_NAMESPACES = 1u << 8,
	NVME_EVENT_BIT_ANA = 1u << 11,
	NVME_EVENT_BIT_DISCOVERY = 1u << 31,
};

/* 7.5, 7.6, 7.2, 7.3: reservations. */
enum nvme_reservation_type {
	NVME_RESERVE_NONE,
	NVME_RESERVE_WRITE_EXCLUSIVE,
	NVME_RESERVE_EXCLUSIVE_ACCESS,
	NVME_RESERVE_WRITE_EXCLUSIVE_REGISTRANTS,
	NVME_RESERVE_EXCLUSIVE_ACCESS_REGISTRANTS,
	NVME_RESERVE_WRITE_EXCLUSIVE_ALL,
	NVME_RESERVE_EXCLUSIVE_ACCESS_ALL,
	NVME_RESERVE_TYPES,
};
enum nvme_register_action { NVME_REGISTER, NVME_UNREGISTER, NVME_REGISTER_REPLACE };
enum nvme_acquire_action { NVME_ACQUIRE, NVME_PREEMPT, NVME_PREEMPT_ABORT };
enum nvme_release_action { NVME_RELEASE, NVME_CLEAR };
enum nvme_cptpl { NVME_CPTPL_KEEP, NVME_CPTPL_RESERVED, NVME_CPTPL_OFF, NVME_CPTPL_ON }; /* cdw10 bits 31:30 */
enum { NVME_IEKEY = 1 << 3 };                                                            /* ignore existing key */

enum nvme_ana_state {
	NVME_ANA_OPTIMIZED = 1,
	NVME_ANA_NON_OPTIMIZED = 2,
	NVME_ANA_STATE_INACCESSIBLE = 3,
	NVME_ANA_STATE_PERSISTENT_LOSS = 4,
	NVME_ANA_STATE_CHANGE = 15,
};
