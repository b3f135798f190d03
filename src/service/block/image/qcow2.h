/* SPDX-License-Identifier: BSD-3-Clause */
/* The header of a qcow2 image (QEMU, docs/interop/qcow2.txt), as far as one must know it before qemu-img may read an
 * image of somebody else's: how large its disk is, that its tables are where a file has them, and that it names no
 * other files of the host. */
#pragma once

#include <stdint.h>
#include "base/error.h"

enum { QCOW2_HEADER_BYTES = 104 };

/* bytes: of the header that are there; file_bytes: of the whole file, which is called `name`. Fails when it is no qcow2
 * image, has a backing file or an external data file, a feature that is not known here, or a number that cannot be; the
 * sentence says at which byte. */
int qcow2_check(const char *name, const uint8_t *header, uint32_t bytes, uint64_t file_bytes, uint64_t *ret_disk_bytes,
		struct dpu_error *err);
