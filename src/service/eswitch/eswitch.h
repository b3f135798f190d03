/* SPDX-License-Identifier: BSD-3-Clause */
/* The eswitch as a service of dpud: an Open vSwitch, or what else speaks dpu/eswitch_abi.h, drives the forwarding of
 * vNICs, uplinks and tunnels through representors. */
#pragma once

#include "operating/service.h"

extern const struct service eswitch_service;
