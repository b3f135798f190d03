/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "disk": volumes, snapshots and media as virtio-blk disks of VMs, over vhost-user. */
#pragma once

#include "operating/service.h"

extern const struct service disk_service;
