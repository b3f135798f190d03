/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests: a service in place of nvmf's, whose remotes are memory in the first worker, and hang when they are told
 * to. */
#pragma once

#include "service/block/block_rig.h"

extern const struct service block_rig_remote_service;

/* Keeps requests back from now on; with false those that were come through. */
void block_rig_remote_hang(struct block_rig *rig, const char *name, bool on);
/* Goes when its users have let go, or is there again. */
void block_rig_remote_away(struct block_rig *rig, const char *name, bool away);
