/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "nvmf_remote": namespaces of other machines, by NVMe/TCP, as objects that pools and disks stand on. */
#pragma once

#include "operating/service.h"

extern const struct service nvmf_remote_service;
