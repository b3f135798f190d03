/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user wire format (QEMU docs/interop/vhost-user.rst), as far as a back end uses it. Little-endian hosts
 * only: the protocol is in native order. */
#pragma once

#include <stdint.h>

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SEND_RARP = 19,
	VHOST_NET_SET_MTU = 20,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_RESET_DEVICE = 34,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
	VHOST_SET_STATUS = 39,
	VHOST_GET_STATUS = 40,
	VHOST_REQUEST_MAX,
};

enum vhost_backend_request {
	VHOST_BACKEND_CONFIG_CHANGE = 2,
};

enum vhost_feature_bit {
	VHOST_F_LOG_ALL_BIT = 26,
	VHOST_F_PROTOCOL_FEATURES_BIT = 30,
};

enum vhost_protocol_feature {
	VHOST_PROTOCOL_F_MQ = 0,
	VHOST_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_PROTOCOL_F_RARP = 2,
	VHOST_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_PROTOCOL_F_NET_MTU = 4,
	VHOST_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_PROTOCOL_F_CONFIG = 9,
	VHOST_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_PROTOCOL_F_STATUS = 16,
};

#define VHOST_BIT(n) (UINT64_C(1) << (n))

enum {
	VHOST_FLAG_VERSION = 1,
	VHOST_FLAG_VERSION_MASK = 3,
	VHOST_FLAG_REPLY = 1 << 2,
	VHOST_FLAG_NEED_REPLY = 1 << 3,

	VHOST_VRING_INDEX_MASK = 0xff,
	VHOST_VRING_NO_FD = 1 << 8,
	VHOST_VRING_FLAG_LOG = 1 << 0,

	VHOST_MAX_FDS = 8,
	VHOST_MAX_TABLE_REGIONS = 8,
	VHOST_CONFIG_BYTES = 256,
};

struct vhost_header {
	uint32_t request, flags, size;
};

struct vhost_vring_state {
	uint32_t index, num;
};

struct vhost_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail; /* device and driver area of packed rings */
	uint64_t log;
};

struct vhost_memory_region {
	uint64_t gpa, size, user, mmap_offset;
};

struct vhost_memory_table {
	uint32_t count, padding;
	struct vhost_memory_region regions[VHOST_MAX_TABLE_REGIONS];
};

struct vhost_single_region {
	uint64_t padding;
	struct vhost_memory_region region;
};

struct vhost_log {
	uint64_t size, offset;
};

struct vhost_inflight {
	uint64_t size, offset;
	uint16_t queues, queue_size;
};

struct vhost_config {
	uint32_t offset, size, flags;
	uint8_t region[VHOST_CONFIG_BYTES];
};

union vhost_payload {
	uint64_t u64;
	struct vhost_vring_state state;
	struct vhost_vring_addr addr;
	struct vhost_memory_table memory;
	struct vhost_single_region region;
	struct vhost_log log;
	struct vhost_inflight inflight;
	struct vhost_config config;
};

/* Bytes of a payload that ends with this member, without the padding that C adds. */
#define VHOST_INFLIGHT_BYTES 20
