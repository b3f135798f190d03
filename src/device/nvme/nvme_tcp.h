/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe/TCP on the wire (NVM Express TCP Transport Specification 1.0; section numbers are its own). Numbers are
 * little-endian, as the machines that we run on are.
 *
 * A PDU: header of HLEN bytes, its digest (if agreed on), padding up to PDO, data, its digest (if agreed on); PLEN
 * bytes in all. */
#pragma once

#include <stdint.h>
#include "device/nvme/nvme_spec.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are used in place");

enum {
	NVME_TCP_PORT = 4420,
	NVME_TCP_DISCOVERY_PORT = 8009,
	NVME_TCP_HEADER_BYTES_MAX = 128, /* of any PDU */
	NVME_TCP_DIGEST_BYTES = 4,       /* CRC32C, 3.3.1.1 */
	NVME_TCP_ALIGNMENT_MAX = 31,     /* of CPDA and HPDA: data starts at multiples of (n + 1) dwords, up to 128 B */
	NVME_TCP_MAXH2CDATA_MIN = 4096,
	NVME_TCP_ADMIN_ICD_BYTES = 8192, /* in-capsule data that every controller takes for admin and fabrics, 3.3.2 */
	NVME_TCP_TERM_DATA_MAX = 128,    /* of the header that a termination request quotes */
};

/* 3.6.1: PDU-Type; even from the host, odd from the controller. */
enum nvme_tcp_type {
	NVME_TCP_ICREQ = 0x00,
	NVME_TCP_ICRESP = 0x01,
	NVME_TCP_H2C_TERM_REQ = 0x02,
	NVME_TCP_C2H_TERM_REQ = 0x03,
	NVME_TCP_CAPSULE_CMD = 0x04,
	NVME_TCP_CAPSULE_RESP = 0x05,
	NVME_TCP_H2C_DATA = 0x06,
	NVME_TCP_C2H_DATA = 0x07,
	NVME_TCP_R2T = 0x09,
};

enum nvme_tcp_flag {
	NVME_TCP_HDGSTF = 1 << 0,   /* a header digest follows the header */
	NVME_TCP_DDGSTF = 1 << 1,   /* a data digest follows the data */
	NVME_TCP_LAST_PDU = 1 << 2, /* of the data of a command (C2H) or of an R2T (H2C) */
	NVME_TCP_SUCCESS = 1 << 3,  /* C2HData: the command is complete, no response capsule follows */
};

/* 3.6.1.1: the common header. */
struct nvme_tcp_header {
	uint8_t type, flags, hlen, pdo;
	uint32_t plen;
};

enum nvme_tcp_digest { NVME_TCP_DGST_HEADER = 1 << 0, NVME_TCP_DGST_DATA = 1 << 1 };

/* 3.6.2.1 (figure 18): initialize connection request. */
struct nvme_tcp_icreq {
	struct nvme_tcp_header header;
	uint16_t pfv;    /* PDU format version: 0 */
	uint8_t hpda;    /* host PDU data alignment: of C2HData */
	uint8_t dgst;    /* of enum nvme_tcp_digest */
	uint32_t maxr2t; /* R2Ts outstanding for a command; zero based */
	uint8_t reserved[112];
};

/* 3.6.2.2 (figure 19): its response. */
struct nvme_tcp_icresp {
	struct nvme_tcp_header header;
	uint16_t pfv;
	uint8_t cpda; /* controller PDU data alignment: of H2CData and in-capsule data */
	uint8_t dgst;
	uint32_t maxh2cdata; /* bytes of an H2CData; at least 4096, a multiple of 4 */
	uint8_t reserved[112];
};

/* 3.6.2.3, 3.6.2.4 (figures 20, 22): termination requests; the header of the PDU at fault follows as data. */
struct nvme_tcp_term_req {
	struct nvme_tcp_header header;
	uint16_t fes;    /* fatal error status: enum nvme_tcp_fes */
	uint16_t fei[2]; /* fatal error information, 32 bits, not aligned: nvme_tcp_fei() */
	uint8_t reserved[10];
};

enum nvme_tcp_fes {
	NVME_TCP_FES_HEADER_FIELD = 0x01,  /* FEI: the offset of the field in the header */
	NVME_TCP_FES_SEQUENCE = 0x02,      /* a PDU that may not come now */
	NVME_TCP_FES_HEADER_DIGEST = 0x03, /* FEI: the digest as received */
	NVME_TCP_FES_RANGE = 0x04,         /* data out of the range of its command or R2T */
	NVME_TCP_FES_LIMIT = 0x05,         /* more data than MAXH2CDATA; from a host: more R2Ts than MAXR2T */
	NVME_TCP_FES_UNSUPPORTED = 0x06,   /* FEI: the offset of the parameter */
};

static inline uint32_t nvme_tcp_fei(const struct nvme_tcp_term_req *pdu)
{
	return pdu->fei[0] | (uint32_t)pdu->fei[1] << 16;
}

/* 3.6.2.5 (figure 24): command capsule; in-capsule data may follow. */
struct nvme_tcp_capsule_cmd {
	struct nvme_tcp_header header;
	struct nvme_sqe sqe;
};

/* 3.6.2.6 (figure 25): response capsule. */
struct nvme_tcp_capsule_resp {
	struct nvme_tcp_header header;
	struct nvme_cqe cqe;
};

/* 3.6.2.7, 3.6.2.8 (figures 26, 27): data to the controller and to the host. ttag: of the R2T (H2C), reserved (C2H). */
struct nvme_tcp_data {
	struct nvme_tcp_header header;
	uint16_t cccid; /* command capsule CID */
	uint16_t ttag;
	uint32_t datao, datal; /* place in the command's data, bytes */
	uint8_t reserved[4];
};

/* 3.6.2.9 (figure 28): ready to transfer. */
struct nvme_tcp_r2t {
	struct nvme_tcp_header header;
	uint16_t cccid;
	uint16_t ttag;
	uint32_t r2to, r2tl;
	uint8_t reserved[4];
};

_Static_assert(sizeof(struct nvme_tcp_icreq) == 128 && sizeof(struct nvme_tcp_icresp) == 128, "3.6.2.1");
_Static_assert(sizeof(struct nvme_tcp_term_req) == 24 && sizeof(struct nvme_tcp_data) == 24, "3.6.2.3");
_Static_assert(sizeof(struct nvme_tcp_r2t) == 24 && sizeof(struct nvme_tcp_capsule_resp) == 24, "3.6.2.6");
_Static_assert(sizeof(struct nvme_tcp_capsule_cmd) == 72, "3.6.2.5");
