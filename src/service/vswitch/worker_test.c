/* SPDX-License-Identifier: BSD-3-Clause */
/* Two workers, real threads: packets that arrive at one and belong to the other, in every way that they can. */
#include "service/vswitch/testworld.h"

#include <netinet/in.h>
#include "operating/test_rig.h"

enum { FLOWS = 64, WORKERS = 2 };

static struct rig rig;

/* ---- work in a worker, waited for ---- */

struct job {
	void (*fn)(struct job *job);
	atomic_bool finished;
	unsigned worker;
	uint16_t iface;
	struct rte_mbuf *m;
	struct frame *frame;
	unsigned result;
	uint64_t now_ns;
};

static void job_run(void *arg, struct worker *unused)
{
	struct job *job = arg;
	job->fn(job);
}

static void job_done(void *arg)
{
	atomic_store(&((struct job *)arg)->finished, true);
}

static unsigned in_worker(struct job *job)
{
	assert_int_equal(worker_call(workers_get(rig.workers, job->worker), job_run, job, job_done), 0);
	WAIT_FOR(&rig, atomic_load(&job->finished));
	return job->result;
}

static void do_input(struct job *job)
{
	path_input(world.bed.dp.paths[job->worker], job->iface, &job->m, 1);
}

static void input(unsigned worker, uint16_t iface, const struct frame *frame)
{
	struct job job = { .fn = do_input, .worker = worker, .iface = iface, .m = frame_mbuf(frame) };
	in_worker(&job);
}

/* All ports transmit in worker 0, so that what it has sent is looked at there. */
static void do_sent(struct job *job)
{
	job->result = bed_sent(&world.bed, job->iface, job->frame);
}

static struct frame *received(unsigned iface)
{
	static struct frame frame;
	uint64_t deadline = clock_ns() + PATIENCE_NS;
	for (;;) {
		struct job job = { .fn = do_sent, .iface = (uint16_t)iface, .frame = &frame };
		if (in_worker(&job))
			return &frame;
		if (clock_ns() > deadline)
			fail_msg("nothing was sent to interface %u", iface);
	}
}

static void do_sessions(struct job *job)
{
	for (unsigned i = 0; i < 2 * PATH_SLOTS; i++) {
		struct session_table *table = path_table_at(world.bed.dp.paths[job->worker], i);
		job->result += table ? session_table_count(table) : 0;
	}
}

static unsigned sessions_of(unsigned worker)
{
	struct job job = { .fn = do_sessions, .worker = worker };
	return in_worker(&job);
}

static void do_tick(struct job *job)
{
	struct worker_source *source = dp_worker_source(world.bed.dp.worker_states[job->worker]);
	source->tick(source, NULL, job->now_ns);
}

/* ---- the world with two workers ---- */

static int setup(void **unused)
{
	struct dpu_error err = { 0 };
	world_build();
	struct dp *dp = &world.bed.dp;
	dp->worker_count = WORKERS;
	for (unsigned slot = 0; slot < PATH_SLOTS; slot++)
		atomic_store(&dp->config->slot_owner[slot], (uint8_t)(slot % WORKERS));
	for (unsigned i = 0; i < WORKERS; i++) {
		bed_start_worker(&world.bed, i);
		dp->worker_states[i]->advertise_ns = UINT64_MAX;
	}
	for (unsigned i = 0; i < BED_PORTS; i++)
		atomic_store(&world.bed.ports[i].port.tx_worker[0], 0);
	rig_up(&rig, WORKERS, WORKER_BALANCED);
	dp->workers = rig.workers;
	assert_int_equal(dp_handoff_start(dp, &err), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(worker_add_source(workers_get(rig.workers, i), dp_worker_source(dp->worker_states[i])),
				 0);
	return 0;
}

static int teardown(void **unused)
{
	struct dp *dp = &world.bed.dp;
	atomic_bool stopped = false;
	for (unsigned i = 0; i < WORKERS; i++)
		remove_and_wait(&rig, i, dp_worker_source(dp->worker_states[i]));
	dp_handoff_stop(dp, set_flag, &stopped);
	WAIT_FOR(&rig, atomic_load(&stopped));
	rig_down(&rig);
	dp->workers = NULL;
	return world_teardown(NULL);
}

static void nothing_was_dropped(void)
{
	for (enum drop_reason reason = 0; reason < DROP_REASON_COUNT; reason++)
		if (bed_drops(&world.bed, reason))
			fail_msg("%lu drops %s", (unsigned long)bed_drops(&world.bed, reason),
				 drop_reason_name(reason));
}

static struct frame frame;

static const struct frame *build(unsigned vnic, struct frame_spec spec)
{
	spec.src_mac = vnic ? mac_of(vnic) : NULL;
	frame_build(&frame, &spec);
	return &frame;
}

/* ---- */

static void flows_have_one_owner(void **unused)
{
	for (uint16_t port = 1; port <= FLOWS; port++) {
		/* Wherever the packets of either direction arrive. */
		for (unsigned i = 0; i < 4; i++) {
			input(i % 2, bed_iface(1),
			      build(1,
				    (struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.1.13", .src_port = port }));
			assert_macs(received(bed_iface(3)), router_mac(1), mac_of(3));
			input(i / 2, bed_iface(3),
			      build(3, (struct frame_spec){ .src = "10.0.1.13",
							    .dst = "10.0.0.11",
							    .src_port = 2000,
							    .dst_port = port }));
			assert_macs(received(bed_iface(1)), router_mac(1), mac_of(1));
		}
	}
	unsigned first = sessions_of(0), second = sessions_of(1);
	assert_int_equal(first + second, FLOWS);
	assert_true(first > 0 && second > 0);
	assert_int_equal(dp_vnic_sessions(&world.bed.dp, world.vnic[1]), FLOWS);
	assert_int_equal(dp_tenant_sessions(&world.bed.dp, world.vnic[1]->tenant), FLOWS);
	nothing_was_dropped();
}

static void tunnelled_flows(void **unused)
{
	static struct frame outer;
	for (uint16_t port = 1; port <= FLOWS; port++) {
		struct tunnel_spec tunnel = { .src_mac = "02:bb:00:00:00:01",
					      .dst_mac = "02:aa:00:00:00:01",
					      .src = VTEP_2,
					      .dst = "192.0.2.1",
					      .vni = BLUE_VNI };
		frame_tunnel(
			&outer, &tunnel,
			build(0, (struct frame_spec){ .src = "fd00:a::21", .dst = "fd00:a::11", .src_port = port }));
		input(port % 2, BED_UPLINK, &outer);
		received(bed_iface(1));
		input(port % 2, bed_iface(1),
		      build(1, (struct frame_spec){
				       .src = "fd00:a::11", .dst = "fd00:a::21", .src_port = 2000, .dst_port = port }));
		received(BED_UPLINK);
	}
	assert_int_equal(sessions_of(0) + sessions_of(1), FLOWS);
	nothing_was_dropped();
}

/* The error's own key, the flow's and the interface's worker have nothing to do with each other. */
static void errors_find_their_flow(void **unused)
{
	static struct frame quoted, error;
	for (uint16_t port = 1; port <= FLOWS; port++) {
		quoted = *build(1, (struct frame_spec){ .src = "10.0.0.11", .dst = "10.0.1.13", .src_port = port });
		input(0, bed_iface(1), &quoted);
		received(bed_iface(3));
		error = *build(3, (struct frame_spec){ .src = "10.0.1.13",
						       .dst = "10.0.0.11",
						       .proto = IPPROTO_ICMP,
						       .dst_port = 3 << 8 | 3,
						       .payload = 28 });
		memcpy(error.bytes + 42, quoted.bytes + 14, 28);
		memset(error.bytes + 38, 0, 4);
		frame_fix(&error, 14);
		input(port % 2, bed_iface(3), &error);
		assert_int_equal(received(bed_iface(1))->bytes[34], 3);
	}
	nothing_was_dropped();
}

static void first_part(struct frame *part, const struct frame *whole, bool first, uint16_t id)
{
	uint32_t at = first ? 0 : 64, bytes = first ? 64 : whole->length - 34 - 64;
	memcpy(part->bytes, whole->bytes, 34);
	memcpy(part->bytes + 34, whole->bytes + 34 + at, bytes);
	part->length = 34 + bytes;
	part->bytes[16] = 0;
	part->bytes[17] = (uint8_t)(20 + bytes);
	part->bytes[18] = (uint8_t)(id >> 8);
	part->bytes[19] = (uint8_t)id;
	part->bytes[20] = first ? 0x20 : 0;
	part->bytes[21] = (uint8_t)(at / 8);
	frame_fix(part, 14);
}

static void fragments_follow(void **unused)
{
	static struct frame whole, part;
	for (uint16_t id = 1; id <= FLOWS; id++) {
		whole = *build(
			1, (struct frame_spec){
				   .src = "10.0.0.11", .dst = "10.0.1.13", .src_port = id % 7 + 1, .payload = 120 });
		/* Either part first. */
		for (unsigned i = 0; i < 2; i++) {
			first_part(&part, &whole, i == id % 2, id);
			input(i, bed_iface(1), &part);
		}
		unsigned bytes = received(bed_iface(3))->length;
		bytes += received(bed_iface(3))->length;
		assert_int_equal(bytes, 2 * 34 + 128);
	}
	nothing_was_dropped();
	assert_int_equal(sessions_of(0) + sessions_of(1), 7 + FLOWS);
	/* What never gets its first part ends in whichever worker waits for it. */
	for (uint16_t id = 1; id <= 8; id++) {
		first_part(&part, &whole, false, 1000 + id);
		input(0, bed_iface(1), &part);
	}
	uint64_t deadline = clock_ns() + PATIENCE_NS;
	while (bed_drops(&world.bed, DROP_FRAGMENT_NO_FIRST) < 8 && clock_ns() < deadline)
		for (unsigned i = 0; i < WORKERS; i++) {
			struct job job = { .fn = do_tick, .worker = i, .now_ns = clock_ns() + 2 * CLOCK_NS_PER_S };
			in_worker(&job);
		}
	assert_int_equal(bed_drops(&world.bed, DROP_FRAGMENT_NO_FIRST), 8);
}

/* Looks like a request to the first hop, and is a flow between two tenants' machines. */
static void tenants_dhcp(void **unused)
{
	/* Source and destination ports are fixed; so vary the addresses. */
	static const char *const to[] = {
		"10.0.0.12", "10.0.1.13", "10.0.0.21", "10.0.1.22", "172.17.0.1", "172.17.0.2"
	};
	static const uint16_t iface[] = { 66, 67, BED_UPLINK, BED_UPLINK, BED_UPLINK, BED_UPLINK };
	for (unsigned i = 0; i < RTE_DIM(to); i++)
		for (unsigned worker = 0; worker < WORKERS; worker++) {
			input(worker, bed_iface(1),
			      build(1, (struct frame_spec){ .src = "10.0.0.11",
							    .dst = to[i],
							    .src_port = 68,
							    .dst_port = 67,
							    .payload = 300 }));
			received(iface[i]);
		}
	assert_true(sessions_of(0) > 0 && sessions_of(1) > 0);
	assert_int_equal(sessions_of(0) + sessions_of(1), RTE_DIM(to));
	nothing_was_dropped();
}

static void services_answer_everywhere(void **unused)
{
	for (unsigned worker = 0; worker < WORKERS; worker++) {
		input(worker, bed_iface(1),
		      build(1, (struct frame_spec){ .src = "10.0.0.11",
						    .dst = "10.0.0.1",
						    .proto = IPPROTO_ICMP,
						    .dst_port = 8 << 8,
						    .src_port = (uint16_t)(worker + 7) }));
		assert_ips(received(bed_iface(1)), "10.0.0.1", "10.0.0.11");
	}
	nothing_was_dropped();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(flows_have_one_owner), CASE(tunnelled_flows), CASE(errors_find_their_flow),
		CASE(fragments_follow),     CASE(tenants_dhcp),    CASE(services_answer_everywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
