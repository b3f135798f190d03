/* SPDX-License-Identifier: BSD-3-Clause */
/* The places of one dpud on this machine (run, state and store directory) and the locks that keep others out. */
#pragma once

#include <sys/types.h>
#include "base/error.h"
#include "daemon/options.h"

struct instance {
	char *name;
	char *run_dir, *state_dir, *store_dir, *capture_dir;
	char *socket_path, *read_only_path, *store_path;
	char *file_prefix; /* for DPDK: unique per run directory */
	gid_t group;       /* of the sockets; -1 = as it comes */
	int locks[3];      /* on run, state and store directory */
};

/* Makes the directories and takes the locks. Refused with DPU_E_EXISTS and the other's pid when one of the directories
 * is in use. */
int instance_open(const struct options *options, struct instance *ret, struct dpu_error *err);
/* Gives the locks back and removes the pid file. */
void instance_close(struct instance *instance);
