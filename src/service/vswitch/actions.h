/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments of the actions of class dpu, and the functions behind them. */
#pragma once

#include "model/model.h"

struct session_filter {
	struct ref vpc, vnic, tenant;
	struct ip_addr address;
	char *protocol, *cursor;
	uint8_t state; /* enum tcp_state */
	uint16_t port;
	uint32_t limit;
};

struct why_args {
	struct ref vnic, vpc;
	struct ip_addr vtep, src, dst;
	char *protocol, *packet;
	uint16_t src_port, dst_port;
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
int capture_start(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int capture_stop(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int capture_list(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
