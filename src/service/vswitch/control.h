/* SPDX-License-Identifier: BSD-3-Clause */
/* What the classes call to bring objects into force: the functions behind validate, apply, remove, commit and observe.
 * ctx is the struct vswitch that vswitch_service.init() made. Control thread only. */
#pragma once

#include "model/model.h"
#include "service/vswitch/dp.h"

struct tenant;
struct vpc;

struct model *control_model(void *ctx);

/* In validate(): 0, or DPU_E_EXISTS when another object would have a value after the transaction that only one may
 * have: an address, a VNI, a socket. */
int control_check_claims(void *ctx, const struct object *object, struct dpu_error *err);
/* In validate(): 0, or DPU_E_EXISTS when a representor's tunnels have the VPC's VNI (members.c). */
int control_check_tunnels(void *ctx, const struct vpc *vpc, struct dpu_error *err);
/* Memory that a tenant's objects are reckoned to take, sessions aside; in validate(): of the transaction's outcome. */
uint64_t tenant_object_bytes(const struct model *model, const struct tenant *tenant);
enum { TENANT_SESSION_BYTES = 256 };
/* 0, or DPU_E_LIMIT when they are more than its max_memory_mb. */
int control_check_memory(void *ctx, const struct object *object, const char *field, struct dpu_error *err);

/* The gateway's MAC in all subnets of the VPC, on every DPU. */
struct mac_addr vpc_router_mac(const struct vpc *vpc);

/* True if a mapping or route of the VPC needs its underlay. */
bool control_vpc_uses_underlay(void *ctx, const struct vpc *vpc);

int control_tenant_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_tenant_remove(void *ctx, struct object *object);
void control_tenant_observe(void *ctx, const struct object *object, struct object *copy);

int control_port_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_port_remove(void *ctx, struct object *object);
void control_port_observe(void *ctx, const struct object *object, struct object *copy);

int control_underlay_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_underlay_remove(void *ctx, struct object *object);
void control_underlay_observe(void *ctx, const struct object *object, struct object *copy);

int control_vpc_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_vpc_remove(void *ctx, struct object *object);
void control_vpc_observe(void *ctx, const struct object *object, struct object *copy);

int control_subnet_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_subnet_remove(void *ctx, struct object *object);
void control_subnet_observe(void *ctx, const struct object *object, struct object *copy);

int control_vnic_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err);
int control_vnic_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_vnic_remove(void *ctx, struct object *object);
void control_vnic_observe(void *ctx, const struct object *object, struct object *copy);

int control_route_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_route_remove(void *ctx, struct object *object);

int control_mapping_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_mapping_remove(void *ctx, struct object *object);

int control_group_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);

int control_rule_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_rule_remove(void *ctx, struct object *object);

/* After a transaction: publishes what apply and remove have marked. */
void control_commit(void *ctx);
void control_forget(void *ctx);
