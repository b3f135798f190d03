/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the ARP responder: the input is an ARP packet, from a vNIC without and with port security and from a tunnel.
 */
#include "fuzz_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame frame;
	if (size > 256)
		return 0;
	fuzz_world();
	memset(frame.bytes, 0xff, 6);
	memcpy(frame.bytes + 12, "\x08\x06", 2);
	if (size)
		memcpy(frame.bytes + 14, data, size);
	frame.length = 14 + (uint32_t)size;
	for (unsigned vnic = 1; vnic <= 2; vnic++) {
		memcpy(frame.bytes + 6, world.vnic[vnic]->iface.mac.bytes, 6);
		fuzz_input(bed_iface(vnic), frame.bytes, frame.length, size % 40);
	}
	bed_tunnelled(&world.bed, VTEP_2, BLUE_VNI, &frame);
	fuzz_drain(true);
	fuzz_audit();
	return 0;
}
