/* SPDX-License-Identifier: BSD-3-Clause */
/* The services that this dpud is made of: a new one is one line here. */
#include "daemon/daemon.h"
#include "service/block/block.h"
#include "service/disk/disk.h"
#include "service/eswitch/eswitch.h"
#include "service/nvmf/nvmf.h"
#include "service/nvmf/remote/nvmf_remote.h"
#include "service/vswitch/vswitch.h"

static const struct service *const services[] = {
	&vswitch_service, &eswitch_service, &block_service, &disk_service, &nvmf_service, &nvmf_remote_service, NULL,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, services);
}
