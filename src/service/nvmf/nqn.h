/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe qualified names (NVM Express Base 4.5) as people give them, of hosts and subsystems. */
#pragma once

#include <stdbool.h>

/* For fields: nqn.YYYY-MM.REVERSED-DOMAIN:… or nqn.2014-08.org.nvmexpress:uuid:UUID; at most NVME_NQN_LENGTH_MAX bytes
 * of UTF-8, none of them a space. */
bool nqn_check(const char *text);

/* Of another's target, which may be called anything: Linux's takes what it is given. 1 to NVME_NQN_LENGTH_MAX bytes,
 * none of them a space. */
bool nqn_check_foreign(const char *text);

#define NQN_FOREIGN_DOC "must be a name of 1 to 223 bytes, without spaces"

/* What older versions took. */
bool nqn_check_stored(const char *text);
bool nqn_check_foreign_stored(const char *text);

#define NQN_CHECK_DOC                                                                                                  \
	"must be an NVMe qualified name of at most 223 bytes, with year, month (01 to 12) and domain, like "           \
	"nqn.2025-01.org.example:disks, or nqn.2014-08.org.nvmexpress:uuid: and a UUID"
