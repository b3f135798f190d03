/* SPDX-License-Identifier: BSD-3-Clause */
/* Images and archives that are no raw disk, told by their marks. */
#pragma once

#include <stdint.h>
#include "base/error.h"

/* An image of another format would become the volume byte by byte, so a file that nobody has called raw may not have
 * the mark of one. That it has is not believed either: whoever wrote a raw disk could have written the mark, too. */
int image_foreign_check(const char *name, int fd, uint64_t bytes, struct dpu_error *err);
