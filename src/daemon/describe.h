/* SPDX-License-Identifier: BSD-3-Clause */
/* What dpud prints about itself without starting: schema, manual, man pages. */
#pragma once

#include <stdio.h>
#include "base/error.h"
#include "daemon/options.h"
#include "operating/service.h"

int describe(const struct options *options, const struct service *const *services, FILE *out, struct dpu_error *err);
