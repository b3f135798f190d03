/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe qualified names (NVM Express Base 4.5) as people give them, of hosts and subsystems. */
#pragma once

#include <stdbool.h>

/* For fields: nqn.YYYY-MM.REVERSED-DOMAIN:… or nqn.2014-08.org.nvmexpress:uuid:UUID; at most NVME_NQN_LENGTH_MAX bytes
 * of UTF-8, none of them a space. */
bool nqn_check(const char *text);

/* What older versions took, of remotes more than of others. */
bool nqn_check_stored(const char *text);

#define NQN_CHECK_DOC                                                                                                  \
	"must be an NVMe qualified name of at most 223 bytes, with year, month (01 to 12) and domain, like "           \
	"nqn.2025-01.org.example:disks, or nqn.2014-08.org.nvmexpress:uuid: and a UUID"
