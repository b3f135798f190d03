/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the DHCPv4 server: the input is a message, sent once by broadcast and once to the gateway. */
#include "fuzz_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_client client = {
		.any = "0.0.0.0",
		.all = "255.255.255.255",
		.own = "10.0.0.11",
		.gateway = "10.0.0.1",
		.port = 68,
		.service_port = 67,
	};
	fuzz_messages(&client, data, size);
	return 0;
}
