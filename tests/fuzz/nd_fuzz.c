/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes neighbour discovery and multicast listener messages: the input is a selector of addresses and an ICMPv6
 * message whose checksum is set right. */
#include "fuzz_world.h"

#include <netinet/in.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const sources[] = { "fe80::7", "::", "fd00:a::11", "fd00:a::12" };
	static const char *const targets[] = { "ff02::1", "ff02::2",   "ff02::1:ff00:12", "ff02::16",
					       "fe80::1", "fd00:a::1", "fd00:a::12",      "fd00:b::13" };
	static struct frame frame;
	if (size < 9 || size > 1600)
		return 0;
	fuzz_world();
	uint32_t length = (uint32_t)size - 1;
	struct frame_spec spec = {
		.src_mac = mac_of(1),
		.src = sources[data[0] & 3],
		.dst = targets[data[0] >> 2 & 7],
		.proto = IPPROTO_ICMPV6,
		.ttl = data[0] & 0x80 ? 64 : 255,
		.payload = length - 8,
	};
	frame_build(&frame, &spec);
	memcpy(frame.bytes + 54, data + 1, length);
	frame_fix(&frame, 14);
	fuzz_input(bed_iface(1), frame.bytes, frame.length, data[0] & 0x40 ? 54 + length / 2 : 0);
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
	/* What is for the other vNICs is forwarded as it is. */
	fuzz_drain(false);
	fuzz_audit();
	return 0;
}
