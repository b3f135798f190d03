/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the whole miss path: the input is a list of operations, frames from vNICs and tunnels, mostly well formed so
 * that they get far, and changes of configuration between them. */
#include "fuzz_world.h"

#include <netinet/in.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_OPERATIONS = 32, RAW_MAX = 1600 };

/* The rest of the input; zeros behind its end. */
struct input {
	const uint8_t *at, *end;
};

static unsigned take8(struct input *input)
{
	return input->at < input->end ? *input->at++ : 0;
}

static unsigned take16(struct input *input)
{
	unsigned high = take8(input);
	return high << 8 | take8(input);
}

static struct frame frame, last;

static const char *const addresses[2][16] = {
	{ "10.0.0.11", "10.0.0.12", "10.0.1.13", "10.0.0.21", "10.0.1.22", "10.0.0.1", "10.0.1.1", "172.16.0.9",
	  "172.17.0.9", "172.18.0.9", "8.8.8.8", "10.0.0.255", "224.0.0.1", "0.0.0.0", "255.255.255.255", "10.0.0.99" },
	{ "fd00:a::11", "fd00:a::12", "fd00:b::13", "fd00:a::21", "fd00:b::22", "fd00:a::1", "fd00:b::1", "fd00:f::9",
	  "fe80::1", "fe80::7", "2001:db8::1", "ff02::1", "ff02::2", "::", "::1", "fd00:a::99" },
};

static void enter(struct input *input)
{
	unsigned from = take8(input), split = take8(input);
	static const char *const vteps[] = { VTEP_2, VTEP_3, VTEP_4, "192.0.2.9" };
	if (from % 8 == 6) {
		bed_tunnelled(&world.bed, vteps[from >> 3 & 3], from & 0x80 ? RED_VNI : BLUE_VNI, &frame);
		return;
	}
	unsigned vnic = from % 8 % 5 + 1;
	if (frame.length >= 12 && !(from & 0x40))
		memcpy(frame.bytes + 6, world.vnic[vnic]->iface.mac.bytes, 6);
	fuzz_input(bed_iface(vnic), frame.bytes, frame.length, split);
}

static void input_packet(struct input *input)
{
	static const uint8_t protos[] = { IPPROTO_UDP, IPPROTO_TCP,  IPPROTO_ICMP,
					  IPPROTO_GRE, IPPROTO_SCTP, IPPROTO_IGMP };
	static const uint16_t fragments[] = { 0, 0, 0x4000, 0x2000, 0x2001, 0x0008, 0x0010, 0x1fff };
	static const uint8_t ttls[] = { 64, 1, 255, 2 };
	unsigned family = take8(input), pair = take8(input), kind = take8(input), more = take8(input);
	struct frame_spec spec = {
		.src = addresses[family & 1][pair & 15],
		.dst = addresses[family & 1][pair >> 4],
		.proto = protos[kind % 6],
		.src_port = (uint16_t)take16(input),
		.dst_port = (uint16_t)take16(input),
		.tcp_flags = (uint8_t)take8(input),
		.fragment = family & 1 ? 0 : fragments[more & 7],
		.ttl = ttls[more >> 3 & 3],
		.id = (uint16_t)(more >> 5),
		.payload = kind / 6 * 64,
	};
	if (family & 1 && spec.proto == IPPROTO_ICMP)
		spec.proto = IPPROTO_ICMPV6;
	uint8_t header[8] = { spec.proto, 0, (uint8_t)(fragments[more & 7] >> 8), (uint8_t)(fragments[more & 7] << 3) };
	header[3] = (uint8_t)((header[3] & 0xf8) | (more & 1));
	header[7] = (uint8_t)(more >> 5);
	if (family & 1 && more & 6) {
		spec.extensions = header;
		spec.extensions_length = sizeof(header);
		spec.first_extension = IPPROTO_FRAGMENT;
	}
	last.length = frame.length;
	memcpy(last.bytes, frame.bytes, frame.length);
	frame_build(&frame, &spec);
	enter(input);
}

/* An error about the frame before. */
static void input_error(struct input *input)
{
	unsigned pair = take8(input), type = take8(input), code = take8(input), bytes = take8(input);
	bool v4 = last.length > 34 && last.bytes[14] >> 4 == 4;
	if (last.length < 64)
		return;
	struct frame_spec spec = {
		.src = addresses[!v4][pair & 15],
		.dst = addresses[!v4][pair >> 4],
		.proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.dst_port = (uint16_t)((type & 15) << 8 | code),
		.payload = RTE_MIN(bytes, last.length - 14),
	};
	frame_build(&frame, &spec);
	memcpy(frame.bytes + (v4 ? 42 : 62), last.bytes + 14, spec.payload);
	frame_fix(&frame, 14);
	enter(input);
}

static void input_raw(struct input *input)
{
	uint32_t length = take16(input) % RAW_MAX;
	length = RTE_MIN(length, (uint32_t)(input->end - input->at));
	frame.length = length;
	if (length)
		memcpy(frame.bytes, input->at, length);
	input->at += length;
	/* The parser's own fuzzer tries wrong IPv4 checksums. */
	if (length >= 34 && frame.bytes[12] == 8 && frame.bytes[13] == 0 && frame.bytes[14] >> 4 == 4) {
		uint32_t header = (frame.bytes[14] & 15) * 4u;
		if (header >= 20 && 14 + header <= length) {
			frame.bytes[24] = frame.bytes[25] = 0;
			uint16_t sum = reference_checksum(frame.bytes + 14, header, 0);
			frame.bytes[24] = (uint8_t)(sum >> 8);
			frame.bytes[25] = (uint8_t)sum;
		}
	}
	enter(input);
}

static void change(struct input *input)
{
	unsigned what = take8(input), vnic = what % 5 + 1;
	if (what & 0x10)
		world.vnic[vnic]->security_groups_on = !world.vnic[vnic]->security_groups_on;
	if (what & 0x20)
		world.vnic[vnic]->iface.mtu = what & 0x40 ? 1500 : 600;
	bed_changed(&world.bed, what & 0x80 ? world.red : world.blue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	fuzz_world();
	frame.length = last.length = 0;
	for (unsigned i = 0; i < MAX_OPERATIONS && input.at < input.end; i++) {
		unsigned operation = take8(&input);
		switch (operation % 8) {
		case 0:
			input_raw(&input);
			break;
		case 1:
			input_error(&input);
			break;
		case 2:
			change(&input);
			break;
		case 3:
			fuzz_tick(take8(&input));
			break;
		default:
			input_packet(&input);
		}
		fuzz_drain(false);
	}
	fuzz_audit();
	return 0;
}
