/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe: what admin and I/O commands transfer: identify structures, log pages, ranges, reservations. Sections are of
 * the NVM Express Base Specification 2.0; "NVM" is the NVM Command Set Specification 1.0. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "device/nvme/nvme_spec.h"

enum { NVME_IDENTIFY_BYTES = 4096 };

/* 5.17.1: Identify, cdw10 bits 7:0; bits 31:16 are CNTID; cdw11 bits 31:24 the command set. */
enum nvme_cns {
	NVME_CNS_NAMESPACE = 0x00,
	NVME_CNS_CONTROLLER = 0x01,
	NVME_CNS_ACTIVE_NAMESPACES = 0x02,
	NVME_CNS_DESCRIPTORS = 0x03,
	NVME_CNS_NAMESPACE_CSI = 0x05,
	NVME_CNS_CONTROLLER_CSI = 0x06,
	NVME_CNS_ACTIVE_NAMESPACES_CSI = 0x07,
	NVME_CNS_NAMESPACE_INDEPENDENT = 0x08,
	NVME_CNS_COMMAND_SETS = 0x1c,
};

enum { NVME_CSI_NVM = 0 };

enum nvme_controller_type { NVME_CNTRLTYPE_IO = 1, NVME_CNTRLTYPE_DISCOVERY = 2 };

/* 5.17.2.1 (figure 275): identify controller. */
struct nvme_identify_controller {
	uint16_t vid, ssvid;
	char sn[20], mn[40], fr[8]; /* ASCII, padded with spaces */
	uint8_t rab, ieee[3];
	uint8_t cmic; /* 1: several ports, 2: several controllers, 8: ANA */
	uint8_t mdts; /* transfers of up to 2^n × 4 KiB */
	uint16_t cntlid;
	uint32_t ver, rtd3r, rtd3e;
	uint32_t oaes; /* enum nvme_event_bit */
	uint32_t ctratt;
	uint16_t rrls;
	uint8_t reserved102[9];
	uint8_t cntrltype; /* enum nvme_controller_type */
	uint8_t fguid[16];
	uint16_t crdt[3]; /* command retry delays, 100 ms */
	uint8_t reserved134[119];
	uint8_t nvmsr, vwci, mec;
	uint16_t oacs;
	uint8_t acl, aerl; /* zero based */
	uint8_t frmw, lpa, elpe, npss, avscc, apsta;
	uint16_t wctemp, cctemp, mtfa; /* kelvin */
	uint32_t hmpre, hmmin;
	uint8_t tnvmcap[16], unvmcap[16];
	uint32_t rpmbs;
	uint16_t edstt;
	uint8_t dsto, fwug;
	uint16_t kas; /* granularity of the keep alive timer, 100 ms */
	uint16_t hctma, mntmt, mxtmt;
	uint32_t sanicap, hmminds;
	uint16_t hmmaxd, nsetidmax, endgidmax;
	uint8_t anatt; /* longest ANA transition, s */
	uint8_t anacap;
	uint32_t anagrpmax, nanagrpid;
	uint32_t pels;
	uint16_t domain;
	uint8_t reserved358[154];
	uint8_t sqes, cqes; /* smallest and largest log2, low and high nibble */
	uint16_t maxcmd;
	uint32_t nn;   /* highest NSID */
	uint16_t oncs; /* enum nvme_oncs */
	uint16_t fuses;
	uint8_t fna, vwc;
	uint16_t awun, awupf;
	uint8_t icsvscc, nwpc;
	uint16_t acwu, cdfs;
	uint32_t sgls;
	uint32_t mnan;
	uint8_t reserved544[224];
	char subnqn[NVME_NQN_BYTES];
	uint8_t reserved1024[768];
	uint32_t ioccsz, iorcsz; /* I/O queues' capsule sizes, 16 bytes */
	uint16_t icdoff;
	uint8_t fcatt; /* 1: static controllers */
	uint8_t msdbd;
	uint16_t ofcs;  /* 1: Disconnect */
	uint8_t dctype; /* of a discovery controller: 1 direct, 2 central */
	uint8_t reserved1807[241];
	uint8_t psd[32][32];
	uint8_t vendor[1024];
} __attribute__((packed));

enum nvme_oncs {
	NVME_ONCS_COMPARE = 1 << 0,
	NVME_ONCS_DSM = 1 << 2,
	NVME_ONCS_WRITE_ZEROES = 1 << 3,
	NVME_ONCS_SAVE = 1 << 4, /* Save of Set Features, Select of Get Features */
	NVME_ONCS_RESERVATIONS = 1 << 5,
	NVME_ONCS_COPY = 1 << 8,
};

enum nvme_ctratt { NVME_CTRATT_HOST_ID_128 = 1 << 0, NVME_CTRATT_TRAFFIC_KEEP_ALIVE = 1 << 6 };

enum nvme_anacap {
	NVME_ANACAP_OPTIMIZED = 1 << 0,
	NVME_ANACAP_NON_OPTIMIZED = 1 << 1,
	NVME_ANACAP_INACCESSIBLE = 1 << 2,
	NVME_ANACAP_CHANGE = 1 << 4,
	NVME_ANACAP_FIXED_GROUP = 1 << 6, /* ANAGRPID does not change while a namespace is attached */
	NVME_ANACAP_GROUP_IN_ID = 1 << 7, /* NVM: a non-zero ANAGRPID is allowed in Namespace Management */
};

struct nvme_lba_format {
	uint16_t metadata_bytes;
	uint8_t log2_bytes, performance;
};

/* NVM 4.1.5.1: identify namespace. */
struct nvme_identify_namespace {
	uint64_t nsze, ncap, nuse; /* blocks */
	uint8_t nsfeat;            /* 1: thin, 4: deallocated blocks are an error, 16: preferred sizes */
	uint8_t nlbaf, flbas, mc, dpc, dps;
	uint8_t nmic;   /* 1: shared */
	uint8_t rescap; /* enum nvme_rescap */
	uint8_t fpi, dlfeat;
	uint16_t nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	uint8_t nvmcap[16];
	uint16_t npwg, npwa, npdg, npda, nows;
	uint16_t mssrl; /* Copy: blocks of a range */
	uint32_t mcl;   /* … in all */
	uint8_t msrc;   /* … ranges; zero based */
	uint8_t reserved81[11];
	uint32_t anagrpid;
	uint8_t reserved96[3];
	uint8_t nsattr;
	uint16_t nvmsetid, endgid;
	uint8_t nguid[16], eui64[8];
	struct nvme_lba_format lbaf[64];
	uint8_t vendor[3712];
} __attribute__((packed));

enum nvme_rescap { NVME_RESCAP_PTPL = 1 << 0, NVME_RESCAP_ALL_TYPES = 0x7e, NVME_RESCAP_IEKEY_13 = 1 << 7 };

/* 5.17.2.3: namespace identification descriptor; `length` bytes follow. */
struct nvme_id_descriptor {
	uint8_t type, length, reserved[2];
};
enum nvme_id_type { NVME_ID_EUI64 = 1, NVME_ID_NGUID = 2, NVME_ID_UUID = 3, NVME_ID_CSI = 4 };

/* 5.17.2.8: identify namespace, independent of the command set. */
struct nvme_identify_independent {
	uint8_t nsfeat, nmic, rescap, fpi;
	uint32_t anagrpid;
	uint8_t nsattr, reserved9;
	uint16_t nvmsetid, endgid;
	uint8_t nstat; /* 1: ready */
	uint8_t reserved15[4081];
};

/* NVM 4.1.5.3: identify controller of the NVM command set. */
struct nvme_identify_nvm_controller {
	uint8_t vsl, wzsl, wusl, dmrl; /* limits, 2^n × 4 KiB; ranges of a DSM */
	uint32_t dmrsl;                /* blocks of a range */
	uint64_t dmsl;                 /* blocks in all */
	uint8_t reserved16[4080];
};

_Static_assert(sizeof(struct nvme_identify_controller) == 4096, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, cntrltype) == 111, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, oacs) == 256, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, kas) == 320, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, anatt) == 342, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, sqes) == 512, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, sgls) == 536, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, subnqn) == 768, "5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, ioccsz) == 1792, "5.17.2.1");
_Static_assert(sizeof(struct nvme_identify_namespace) == 4096, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, nvmcap) == 48, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, mssrl) == 74, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, anagrpid) == 92, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, nguid) == 104, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, lbaf) == 128, "NVM 4.1.5.1");
_Static_assert(sizeof(struct nvme_identify_independent) == 4096, "5.17.2.8");
_Static_assert(sizeof(struct nvme_identify_nvm_controller) == 4096, "NVM 4.1.5.3");

/* 5.16: Get Log Page: cdw10: LID (7:0), LSP (14:8), RAE (15), NUMDL (31:16); cdw11: NUMDU (15:0), LSI (31:16); cdw12
 * and 13: offset. The number of dwords is zero based. */
enum nvme_log {
	NVME_LOG_SUPPORTED = 0x00,
	NVME_LOG_ERRORS = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NAMESPACES = 0x04,
	NVME_LOG_EFFECTS = 0x05,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_FEATURE_EFFECTS = 0x12,
	NVME_LOG_DISCOVERY = 0x70,
	NVME_LOG_RESERVATION = 0x80,
};
enum { NVME_LOG_RAE = 1 << 15, NVME_ANA_RGO = 1 << 0 }; /* retain the event; LSP: groups only */
enum { NVME_LOG_INDEX_OFFSET = 1 << 23 };               /* cdw14: the offset is an index; no page takes it (IOS) */

/* 5.16.1.2: error information. */
struct nvme_log_error {
	uint64_t count; /* 0 = no entry */
	uint16_t sqid, cid, status, location;
	uint64_t lba;
	uint32_t nsid;
	uint8_t vendor, trtype, reserved30[2];
	uint64_t specific;
	uint16_t transport;
	uint8_t reserved42[22];
};

/* 5.16.1.3: SMART and health. Counters have 16 bytes. */
enum { NVME_SMART_TEMPERATURE = 1 << 1 }; /* critical warning: beyond a threshold */
struct nvme_log_smart {
	uint8_t critical_warning, temperature[2]; /* kelvin */
	uint8_t available_spare, spare_threshold, percentage_used, group_warning;
	uint8_t reserved7[25];
	uint64_t data_read[2], data_written[2]; /* in units of 1000 × 512 bytes */
	uint64_t host_reads[2], host_writes[2], busy_minutes[2], power_cycles[2], power_hours[2];
	uint64_t unsafe_shutdowns[2], media_errors[2], error_entries[2];
	uint32_t warning_minutes, critical_minutes;
	uint16_t sensors[8];
	uint8_t reserved216[296];
};

/* 5.16.1.4 */
struct nvme_log_firmware {
	uint8_t afi, reserved1[7];
	char slot[7][8];
	uint8_t reserved64[448];
};

/* 5.16.1.6: commands supported and effects: of admin and I/O opcodes. */
struct nvme_log_effects {
	uint32_t admin[256], io[256];
	uint8_t reserved[2048];
};
enum nvme_effect { NVME_EFFECT_SUPPORTED = 1 << 0, NVME_EFFECT_CONTENT = 1 << 1 }; /* LBCC */

/* 5.16.1.13: asymmetric namespace access; descriptors of groups follow. */
struct nvme_log_ana {
	uint64_t chgcnt;
	uint16_t groups;
	uint8_t reserved[6];
};
struct nvme_ana_group {
	uint32_t id, nsids;
	uint64_t chgcnt;
	uint8_t state; /* enum nvme_ana_state */
	uint8_t reserved[15];
	uint32_t nsid[];
} __attribute__((packed, aligned(4))); /* they follow one another */

/* 5.16.1.23: discovery log: header and entries of 1024 bytes each. */
struct nvme_log_discovery {
	uint64_t genctr, numrec;
	uint16_t recfmt;
	uint8_t reserved[1006];
};
struct nvme_discovery_entry {
	uint8_t trtype, adrfam; /* enum nvme_trtype, nvme_adrfam */
	uint8_t subtype;        /* enum nvme_subtype */
	uint8_t treq;           /* enum nvme_treq */
	uint16_t portid, cntlid, asqsz, eflags;
	uint8_t reserved12[20];
	char trsvcid[32]; /* ASCII, padded with spaces; so is traddr */
	uint8_t reserved64[192];
	char subnqn[NVME_NQN_BYTES]; /* UTF-8, ends with 0 */
	char traddr[256];
	uint8_t tsas[256]; /* TCP: [0] is the kind of security: 0 none, 2 TLS 1.3 */
};
enum nvme_trtype { NVME_TRTYPE_RDMA = 1, NVME_TRTYPE_FC = 2, NVME_TRTYPE_TCP = 3 };
enum nvme_adrfam { NVME_ADRFAM_IPV4 = 1, NVME_ADRFAM_IPV6 = 2 };
enum nvme_subtype { NVME_SUBTYPE_REFERRAL = 1, NVME_SUBTYPE_NVM = 2, NVME_SUBTYPE_DISCOVERY = 3 };
enum nvme_treq { NVME_TREQ_REQUIRED = 1, NVME_TREQ_NOT_REQUIRED = 2, NVME_TREQ_NO_FLOW_CONTROL = 1 << 2 };
enum nvme_eflags { NVME_EFLAGS_DUPLICATE = 1 << 0, NVME_EFLAGS_PERSISTENT = 1 << 1 };

/* 5.16.1.25 */
struct nvme_log_reservation {
	uint64_t count;
	uint8_t type, pages; /* enum nvme_reservation_notice; pages that are left */
	uint8_t reserved10[2];
	uint32_t nsid;
	uint8_t reserved16[48];
};
enum nvme_reservation_notice {
	NVME_RESERVATION_LOG_EMPTY,
	NVME_REGISTRATION_PREEMPTED,
	NVME_RESERVATION_RELEASED,
	NVME_RESERVATION_PREEMPTED,
};

_Static_assert(sizeof(struct nvme_log_error) == 64 && sizeof(struct nvme_log_smart) == 512, "5.16.1.2");
_Static_assert(sizeof(struct nvme_log_firmware) == 512 && sizeof(struct nvme_log_effects) == 4096, "5.16.1.6");
_Static_assert(sizeof(struct nvme_log_ana) == 16 && sizeof(struct nvme_ana_group) == 32, "5.16.1.13");
_Static_assert(sizeof(struct nvme_log_discovery) == 1024 && sizeof(struct nvme_discovery_entry) == 1024, "5.16.1.23");
_Static_assert(offsetof(struct nvme_discovery_entry, subnqn) == 256, "5.16.1.23");
_Static_assert(sizeof(struct nvme_log_reservation) == 64, "5.16.1.25");

/* NVM 3.2.3: a range of Dataset Management. */
struct nvme_dsm_range {
	uint32_t attributes, blocks;
	uint64_t lba;
};

/* NVM 3.2.2: a source range of Copy, format 0. */
struct nvme_copy_range {
	uint8_t reserved0[8];
	uint64_t lba;
	uint16_t blocks; /* zero based */
	uint8_t reserved18[14];
};

/* 7.3, 7.5, 7.6: data of the reservation commands: the current key, and the new one or the one to preempt. */
struct nvme_reservation_keys {
	uint64_t current, other;
};

/* 7.7: reservation report. Extended: 64 bytes of header, host identifiers of 16 bytes. */
struct nvme_reservation_report {
	uint32_t gen;
	uint8_t rtype;
	uint16_t registrants;
	uint8_t reserved7[2];
	uint8_t ptpls;
	uint8_t reserved10[14];
} __attribute__((packed));
struct nvme_registrant {
	uint16_t cntlid;
	uint8_t rcsts; /* 1: holds the reservation */
	uint8_t reserved[5];
	uint64_t hostid, key;
};
struct nvme_registrant_extended {
	uint16_t cntlid;
	uint8_t rcsts, reserved[5];
	uint64_t key;
	uint8_t hostid[16];
	uint8_t reserved32[32];
};
enum { NVME_REPORT_EXTENDED_HEADER_BYTES = 64 };

_Static_assert(sizeof(struct nvme_dsm_range) == 16 && sizeof(struct nvme_copy_range) == 32, "NVM 3.2");
_Static_assert(sizeof(struct nvme_reservation_report) == 24 && sizeof(struct nvme_registrant) == 24, "7.7");
_Static_assert(sizeof(struct nvme_registrant_extended) == 64, "7.7");
