/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtual switch as a service of dpud. */
#pragma once

#include "operating/service.h"

extern const struct service vswitch_service;
