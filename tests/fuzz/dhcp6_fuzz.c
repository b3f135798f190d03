/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the DHCPv6 server: the input is a message, sent once by broadcast and once to the gateway. */
#include "fuzz_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_client client = {
		.any = "fe80::200:ff:fe00:101",
		.all = "ff02::1:2",
		.own = "fe80::200:ff:fe00:101",
		.gateway = "fe80::1",
		.port = 546,
		.service_port = 547,
	};
	fuzz_messages(&client, data, size);
	return 0;
}
