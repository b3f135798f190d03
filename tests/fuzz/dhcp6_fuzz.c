/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the DHCPv6 server: the input is a message, sent once by broadcast and once to the gateway. */
#include "fuzz_world.h"

enum { CLIENT = 546, SERVER = 547, HEADERS = 62 };
#define ANY     "fe80::200:ff:fe00:101"
#define ALL     "ff02::1:2"
#define OWN     "fe80::200:ff:fe00:101"
#define GATEWAY "fe80::1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void transmit(const char *src, const char *dst, const uint8_t *data, size_t size)
{
	static struct frame frame;
	struct frame_spec spec = {
		.src_mac = mac_of(1),
		.dst_mac = "ff:ff:ff:ff:ff:ff",
		.src = src,
		.dst = dst,
		.src_port = CLIENT,
		.dst_port = SERVER,
		.payload = (uint32_t)size,
	};
	frame_build(&frame, &spec);
	if (size)
		memcpy(frame.bytes + HEADERS, data, size);
	frame_fix(&frame, 14);
	fuzz_input(bed_iface(1), frame.bytes, frame.length, size % 3 ? 0 : HEADERS + (uint32_t)size / 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 1500)
		return 0;
	fuzz_world();
	transmit(ANY, ALL, data, size);
	transmit(OWN, GATEWAY, data, size);
	fuzz_drain(true);
	fuzz_audit();
	return 0;
}
