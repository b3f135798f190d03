/* SPDX-License-Identifier: BSD-3-Clause */
/* The services that this dpud is made of: a new one is one line here. */
#include "daemon/daemon.h"

static const struct service *const services[] = {
	NULL,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, services);
}
