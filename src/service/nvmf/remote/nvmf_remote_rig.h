/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of remote namespaces as objects: the "house" is a target in a thread of its own, the rig a DPU with a
 * remote on it. */
#pragma once

#include "service/block/block_rig.h"
#include "service/nvmf/initiator/fake_target.h"

enum { HOUSE_BYTES = 64 << 20 };

void house_open(void);
void house_close(void);
/* In the target's thread; returns when it is done. The only way to what the target has. */
void house_ask(void (*what)(struct fake_target *target));
void house_drop(struct fake_target *target); /* to be asked for: all connections */
unsigned house_port(unsigned index);         /* TCP port of one of its two */

extern const struct service *const remote_rig_services[];

/* A house, the tenant `blue`, and the remote `r` with a path to each port. */
void remote_rig_open(struct block_rig *rig);
void remote_rig_close(struct block_rig *rig);
bool field_is(struct block_rig *rig, const char *class_name, const char *name, const char *field, const char *value);
/* Writes 64 KiB of `value` and reads them back. */
void io_check(struct block_rig_user *user, uint8_t value);
