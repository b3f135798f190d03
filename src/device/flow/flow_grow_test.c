/* SPDX-License-Identifier: BSD-3-Clause */
/* With memory made ready ahead of need, neither new entries nor new rules wait for the kernel: no page fault is left.
 */
#include "device/flow/flow_test_util.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include "base/sanitized.h"
#include "device/flow/flow_priv.h"
#include "device/packet/session_test_util.h"

enum { RULES = 60000, STEP = 500, FRAMES = 60000 };

/* AddressSanitizer has a byte of its own for each eight, which it meets when we do. */
enum { SHADOW_FAULTS = SANITIZED ? 2 * RULES * 192 / 8 / 4096 : 0 };

static struct rte_mbuf *packets[PATH_BURST];

static int setup(void **state)
{
	w = flow_world_new_sized(RULES + 1, 1 << 17, false);
	w->count_only = true;
	return 0;
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

static void grow(void)
{
	flow_grow_ahead(w->flow);
	flow_switch_grow_ahead(w->sw);
}

static struct eswitch_rule rule_number(uint32_t n)
{
	struct eswitch_rule rule = rule_for((n + 1) % (RULES + 1), false);

	rule.match.ip4_src = rte_cpu_to_be_32(n);
	rule.mask.ip4_src = UINT32_MAX;
	add(&rule, ESWITCH_OP_OUTPUT, 2);
	return rule;
}

static void burst_of(uint32_t first)
{
	static struct frame frame;
	struct rte_mbuf *burst[PATH_BURST];

	for (unsigned i = 0; i < PATH_BURST; i++) {
		uint32_t source = rte_cpu_to_be_32(first + i);
		if (!packets[i]) {
			frame_build(&frame, &(struct frame_spec){ 0 });
			packets[i] = frame_mbuf(&frame);
		}
		memcpy(rte_pktmbuf_mtod_offset(packets[i], uint8_t *, 26), &source, 4);
	}
	memcpy(burst, packets, sizeof(burst));
	path_input(w->path, flow_world_member(1), burst, PATH_BURST);
}

/* Page faults that the writer had while it installed RULES, and the worker while it met as many sources. */
static void run(bool helped, long *ret_installing, long *ret_forwarding)
{
	struct eswitch_rule warm = rule_number(RULES);

	must_install(&warm);
	burst_of(RULES);
	*ret_installing = *ret_forwarding = 0;
	for (uint32_t n = 0; n < RULES; n += STEP) {
		if (helped)
			grow();
		long before = faults();
		for (uint32_t i = n; i < n + STEP; i++) {
			struct eswitch_rule rule = rule_number(i);
			must_install(&rule);
		}
		*ret_installing += faults() - before;
	}
	for (uint32_t n = 0; n < FRAMES; n += STEP / PATH_BURST * PATH_BURST) {
		if (helped)
			grow();
		long before = faults();
		for (uint32_t i = n; i < n + STEP / PATH_BURST * PATH_BURST; i += PATH_BURST)
			burst_of(i);
		*ret_forwarding += faults() - before;
	}
	rte_pktmbuf_free_bulk(packets, PATH_BURST);
	memset(packets, 0, sizeof(packets));
}

static void without(void **state)
{
	long installing, forwarding;

	run(false, &installing, &forwarding);
	print_message("page faults: %ld installing, %ld forwarding\n", installing, forwarding);
	/* What there is to be had: 192 bytes of each rule and its state, 128 of each entry and its index. */
	assert_true(installing > RULES * 192 / 4096 + SHADOW_FAULTS);
	assert_true(forwarding > FRAMES * 128 / 4096 + SHADOW_FAULTS / 2);
}

static void with_help(void **state)
{
	long installing, forwarding;

	if (!test_populate_works())
		skip();
	run(true, &installing, &forwarding);
	print_message("page faults: %ld installing, %ld forwarding\n", installing, forwarding);
	/* The client, which is the same thread here, has states and commands in a mapping of its own. */
	assert_in_range(installing, 0,
			(RULES * sizeof(uint32_t) + 256 * sizeof(struct eswitch_command)) / 4096 + 16 + SHADOW_FAULTS);
	assert_in_range(forwarding, 0, 8 + SHADOW_FAULTS);
}

/* A client may go while memory is made ready for another. */
static void clients_go(void **state)
{
	struct flow_client *client;
	struct dpu_error err;

	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(flow_client_new(w->sw, 1, 0, &client, &err), 0);
		flow_switch_grow_ahead(w->sw);
		flow_client_close(client);
		while (!flow_client_drained(client))
			flow_client_poll(client, w->flow);
		flow_client_free(client);
		flow_switch_grow_ahead(w->sw);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without, setup, flow_test_teardown),
		cmocka_unit_test_setup_teardown(with_help, setup, flow_test_teardown),
		cmocka_unit_test_setup_teardown(clients_go, setup, flow_test_teardown),
	};

	/* Where the system gives huge pages to all, a fault is for 512 of ours. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
