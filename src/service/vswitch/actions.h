/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments of the actions of class dpu, and the functions behind them. */
#pragma once

#include "model/model.h"

struct rte_mbuf;
struct vswitch;

struct session_filter {
	struct ref vpc, vnic, tenant;
	struct ip_addr address;
	char *protocol, *cursor;
	uint8_t state; /* enum tcp_state */
	uint16_t port;
	uint32_t limit;
};

struct why_args {
	struct ref vnic, vpc, port;
	struct ip_addr vtep, src, dst;
	struct mac_addr src_mac, dst_mac;
	char *protocol, *packet;
	uint16_t src_port, dst_port, vlan;
	uint8_t icmp_type, icmp_code;
};

struct capture_args {
	char *file;
	struct ref vnic, port, vpc;
	struct string_list stages;
	struct ip_addr address;
	char *protocol;
	uint16_t transport_port;
	uint32_t packets, seconds, snaplen;
	uint64_t max_bytes;
};

struct capture_stop_args {
	uint32_t id;
};

extern const struct field session_list_fields[], session_filter_fields[], why_fields[], capture_start_fields[],
	capture_stop_fields[];

int session_list_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err);
int session_clear_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			struct dpu_error *err);
int why_start(void *ctx, struct object *object, const void *args, struct action_reply *reply, struct dpu_error *err);
struct vnic;
/* The vNIC's first address of the family, or NULL; vnic may be NULL. */
const struct ip_addr *why_source(const struct vnic *vnic, uint8_t family);
/* why_member.c: for what another service forwards. src_mac: of the member, the default; frame: NULL, or a packet that
 * was given, which is taken. */
int why_member(struct vswitch *vswitch, const struct object *member, const struct why_args *args,
	       struct rte_mbuf *frame, struct action_reply *reply, struct dpu_error *err);
int capture_start(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int capture_stop(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int capture_list(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
