/* SPDX-License-Identifier: BSD-3-Clause */
/* dpud from its first line to its last: options, start, the loop, stop. */
#pragma once

#include "operating/service.h"

/* services: NULL-terminated, in any order. Returns the exit status. */
int daemon_main(int argc, char *const *argv, const struct service *const *services);
