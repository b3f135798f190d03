/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the target's end of NVMe/TCP connections: bytes as they come on a new connection, and on connected admin and
 * I/O queues raw bytes mixed with well-formed capsules and data around commands of any content, while the device goes
 * and comes. Nothing leaks, nothing is outstanding at the end, and what the target sends is well-formed. */
#include "device/nvme/nvme_test_host.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODES = 3, STEPS_MAX = 200 };

static void ignore(void *arg)
{
}

static void output_read(struct host *host)
{
	while (host_receive(host))
		;
}

static void step_raw(struct host *host, struct input *in)
{
	uint8_t bytes[512];
	size_t count = input_word(in) % sizeof(bytes), piece = input_byte(in);

	count = input_bytes(in, bytes, count);
	host_send(host, bytes, count, piece);
}

static void step_capsule(struct host *host, struct input *in)
{
	static const uint8_t data[8192] = { 1, 2, 3 };
	struct nvme_sqe sqe = { 0 };

	input_bytes(in, &sqe, sizeof(sqe));
	bool with_data = input_byte(in) & 1;
	uint32_t most = sqe.sgl.length % 2 ? sizeof(data) : 512;

	host_capsule(host, &sqe, with_data ? data : NULL, with_data ? most : 0);
}

/* Data for any transfer tag, mostly one that waits. */
static void step_data(struct host *host, struct input *in)
{
	static uint8_t data[128 << 10];
	uint8_t tag = input_byte(in), cut = input_byte(in);
	uint32_t bytes = cut >= 248 ? (cut - 247u) << 14 : cut ? 32u * cut : 8192;

	host_h2c_data(host, (uint16_t)(host->next_cid - 1 - (tag >> 4)), tag & 15, data, 0, bytes, !(cut & 1));
}

static void step_device(struct rig *rig, bool *away)
{
	if (*away)
		nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
	else
		nvme_namespace_release(rig->ns[0], ignore, NULL);
	rig_poll(rig);
	*away = !*away;
}

/* Time passes: what is away is given up, hosts that do not read end, idle memory goes back. */
static void step_time(struct rig *rig, uint64_t *now_ns)
{
	*now_ns += UINT64_C(3000000000);
	nvme_subsystem_tick(rig->subsystem, *now_ns);
	nvme_pool_tick(rig->pool, *now_ns);
}

static void steps(struct rig *rig, struct host *host, struct input *in)
{
	bool away = false;
	uint64_t now_ns = 1;

	for (unsigned i = 0; i < STEPS_MAX && input_left(in) && !host->freed; i++) {
		switch (input_byte(in) % 9) {
		case 0:
			step_raw(host, in);
			break;
		case 1:
			step_capsule(host, in);
			break;
		case 2:
			step_data(host, in);
			break;
		case 3:
			rig_poll(rig);
			break;
		case 4:
			host_release_sends(host);
			break;
		case 5:
			nvme_namespace_resized(rig->ns[0]);
			break;
		case 6:
			step_device(rig, &away);
			break;
		case 7:
			host_break(host);
			break;
		case 8:
			step_time(rig, &now_ns);
			break;
		}
		output_read(host);
	}
	if (away)
		step_device(rig, &away);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	uint8_t config = input_byte(&in);
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 1 << 20 });
	struct host *admin = NULL, *io = NULL;

	if ((config & 3) == 0)
		admin = host_new(rig);
	else
		host_pair(rig, &admin, &io, config >> 2 & 3, config & 32 ? NVME_CATTR_NO_FLOW_CONTROL : 0);
	struct host *host = (config & 3) >= 2 ? io : admin;

	host->hold_sends = config & 16;
	host->piece = config & 64 ? 5000 : 0; /* long data comes in place */
	steps(rig, host, &in);
	if (io)
		host_free(io);
	host_free(admin);
	input_require(rig->controllers == 0);
	rig_free(rig);
	return 0;
}
