/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the driver of representors that does nothing but rte_flow, as OVS's offload threads and revalidators do:
 * rules per second, and counters queried while others forward. Part of `./run bench ovs`.
 *
 * usage: offload_client EAL-ARGUMENTS -- TABLE THREADS   (ports 0 and 1 are representors; TABLE: rules at most)
 *
 * Then one command a line on the standard input, each answered by one JSON object:
 *   install RULES           rules that are not there yet: seconds until created, and until in force
 *   churn RULES             so many times the oldest rule is destroyed and a new one created
 *   remove                  all rules
 *   poll SECONDS PAUSE_MS   queries every rule's counter, again after a pause; seconds per round, and what was counted
 * The threads share the work. In force: when all are through, each creates one rule more, a marker, and waits until the
 * device says that it is active, for the device takes a thread's commands in order, also those of other threads about
 * its rules. The markers stay until the next command. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

enum { MASKS = 20, THREADS_MAX = 16, QUEUE_SIZE = 1024, IN_PORT = 0, OUT_PORT = 1 };
#define FORCE_SECONDS 60

/* Rules first to end - 1 of the table are there, each as slot number modulo table size. */
struct client {
	struct rte_flow **table;
	uint64_t size, first, end;
	struct rte_flow *markers[THREADS_MAX];
	unsigned threads;
	pthread_barrier_t barrier; /* they and the main thread: to begin, when all are through, to end */
};

enum job_kind { JOB_INSTALL, JOB_CHURN, JOB_REMOVE };

struct job {
	struct client *client;
	enum job_kind kind;
	uint64_t from, count; /* rule numbers */
	unsigned thread;
	double created;
	const char *failure;
};

static void fail(const char *what)
{
	fprintf(stderr, "offload_client: %s\n", what);
	exit(1);
}

static double seconds(void)
{
	return (double)rte_rdtsc_precise() / (double)rte_get_tsc_hz();
}

/* ---- rules ---- */

/* As OVS makes them: rule n is for the source address 10.0.0.0 + n, and one of twenty masks looks at more that all
 * frames have in common: the length of the destination's prefix, the protocol, the TTL. */
static struct rte_flow *rule_create(uint64_t n, const char **failure)
{
	static const uint8_t prefixes[] = { 0, 8, 16, 24, 32 };
	unsigned mask = n % MASKS, prefix = prefixes[mask / 4];
	struct rte_flow_item_eth eth = { .hdr.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4) };
	struct rte_flow_item_eth eth_mask = { .hdr.ether_type = UINT16_MAX, .has_vlan = 1 };
	struct rte_flow_item_ipv4 ip = { .hdr = { .src_addr = rte_cpu_to_be_32(UINT32_C(0x0a000000) + (uint32_t)n),
						  .dst_addr = RTE_BE32(0xac100001),
						  .next_proto_id = 17,
						  .time_to_live = 64 } };
	struct rte_flow_item_ipv4 ip_mask = { .hdr = { .src_addr = UINT32_MAX, .fragment_offset = RTE_BE16(0x3fff) } };
	const struct rte_flow_attr attributes = { .transfer = 1 };
	const struct rte_flow_item pattern[] = {
		{ .type = RTE_FLOW_ITEM_TYPE_ETH, .spec = &eth, .mask = &eth_mask },
		{ .type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &ip, .mask = &ip_mask },
		{ .type = RTE_FLOW_ITEM_TYPE_END },
	};
	const struct rte_flow_action_port_id out = { .id = OUT_PORT };
	const struct rte_flow_action_count count = { 0 };
	const struct rte_flow_action actions[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_COUNT, .conf = &count },
		{ .type = RTE_FLOW_ACTION_TYPE_PORT_ID, .conf = &out },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	struct rte_flow_error error = { 0 };

	ip_mask.hdr.dst_addr = prefix ? rte_cpu_to_be_32(UINT32_MAX << (32 - prefix)) : 0;
	ip_mask.hdr.next_proto_id = mask & 1 ? UINT8_MAX : 0;
	ip_mask.hdr.time_to_live = mask & 2 ? UINT8_MAX : 0;
	struct rte_flow *flow = rte_flow_create(IN_PORT, &attributes, pattern, actions, &error);
	if (!flow)
		*failure = error.message ? error.message : "a rule is refused without a word";
	return flow;
}

static void rule_destroy(struct rte_flow *flow, const char **failure)
{
	struct rte_flow_error error = { 0 };

	if (rte_flow_destroy(IN_PORT, flow, &error) != 0)
		*failure = error.message ? error.message : "a rule is not destroyed";
}

static void wait_until_active(struct rte_flow *flow, const char **failure)
{
	const struct timespec pause = { .tv_nsec = 20000 };
	double limit = seconds() + FORCE_SECONDS;
	struct rte_flow_error error;
	char text[256];

	while (!*failure) {
		FILE *file = fmemopen(text, sizeof(text), "w");
		if (!file || rte_flow_dev_dump(IN_PORT, flow, file, &error) != 0)
			fail("a rule cannot be dumped");
		fclose(file);
		if (strncmp(text, "active", strlen("active")) == 0)
			return;
		if (strncmp(text, "under way", strlen("under way")) != 0)
			fail(text);
		if (seconds() > limit)
			*failure = "a rule does not come into force";
		nanosleep(&pause, NULL);
	}
}

/* ---- threads ---- */

static void run_job(struct job *job)
{
	struct client *client = job->client;

	for (uint64_t n = job->from; n < job->from + job->count && !job->failure; n++) {
		struct rte_flow **slot = &client->table[n % client->size];
		if (job->kind == JOB_CHURN) {
			/* The oldest first: rule n takes the place in force of rule n - (end - first). */
			struct rte_flow **oldest = &client->table[(n - (client->end - client->first)) % client->size];
			rule_destroy(*oldest, &job->failure);
			*oldest = NULL;
		}
		if (job->kind == JOB_REMOVE)
			rule_destroy(*slot, &job->failure);
		*slot = job->kind == JOB_REMOVE ? NULL : rule_create(n, &job->failure);
	}
}

static void *job_thread(void *arg)
{
	struct job *job = arg;
	struct client *client = job->client;
	cpu_set_t all;

	/* OVS's threads float; the EAL's core is not theirs. */
	CPU_ZERO(&all);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &all);
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
	for (;;) {
		pthread_barrier_wait(&client->barrier);
		run_job(job);
		job->created = seconds();
		pthread_barrier_wait(&client->barrier);
		struct rte_flow *marker = rule_create(UINT64_C(0x00f00000) + job->thread, &job->failure);
		if (marker)
			wait_until_active(marker, &job->failure);
		client->markers[job->thread] = marker;
		pthread_barrier_wait(&client->barrier);
	}
	return NULL;
}

static void drop_markers(struct client *client)
{
	const char *failure = NULL;

	for (unsigned i = 0; i < client->threads; i++) {
		if (client->markers[i])
			rule_destroy(client->markers[i], &failure);
		client->markers[i] = NULL;
	}
	if (failure)
		fail(failure);
}

static void start_threads(struct client *client, struct job jobs[THREADS_MAX])
{
	pthread_t id;

	pthread_barrier_init(&client->barrier, NULL, client->threads + 1);
	for (unsigned i = 0; i < client->threads; i++) {
		jobs[i] = (struct job){ .client = client, .thread = i };
		if (pthread_create(&id, NULL, job_thread, &jobs[i]) != 0)
			fail("there are no threads to be had");
	}
}

static void run_threads(struct client *client, struct job *jobs, enum job_kind kind, uint64_t from, uint64_t count)
{
	double start, created = 0;

	drop_markers(client);
	for (unsigned i = 0; i < client->threads; i++) {
		uint64_t begin = count * i / client->threads;
		jobs[i].kind = kind;
		jobs[i].from = from + begin;
		jobs[i].count = count * (i + 1) / client->threads - begin;
	}
	start = seconds();
	for (unsigned step = 0; step < 3; step++)
		pthread_barrier_wait(&client->barrier);
	for (unsigned i = 0; i < client->threads; i++) {
		if (jobs[i].failure)
			fail(jobs[i].failure);
		created = RTE_MAX(created, jobs[i].created);
	}
	printf("{\"count\": %" PRIu64 ", \"created\": %.6f, \"seconds\": %.6f}\n", count, created - start,
	       seconds() - start);
}

/* ---- counters ---- */

static uint64_t query(struct rte_flow *flow)
{
	static const struct rte_flow_action_count config;
	const struct rte_flow_action actions[] = { { .type = RTE_FLOW_ACTION_TYPE_COUNT, .conf = &config },
						   { .type = RTE_FLOW_ACTION_TYPE_END } };
	struct rte_flow_query_count count = { .reset = 1 };
	struct rte_flow_error error;

	if (rte_flow_query(IN_PORT, flow, actions, &count, &error) != 0 || !count.hits_set)
		fail("a counter cannot be queried");
	return count.hits;
}

static void poll_counters(struct client *client, double length, unsigned pause_ms)
{
	const struct timespec pause = { .tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000L };
	uint64_t rounds = 0, hits = 0;
	double start = seconds(), spent = 0;

	do {
		double begin = seconds();
		for (uint64_t n = client->first; n < client->end; n++)
			hits += query(client->table[n % client->size]);
		spent += seconds() - begin;
		rounds++;
		nanosleep(&pause, NULL);
	} while (seconds() - start < length);
	printf("{\"rounds\": %" PRIu64 ", \"seconds\": %.6f, \"hits\": %" PRIu64 "}\n", rounds, spent / (double)rounds,
	       hits);
}

/* ---- main ---- */

static void port_open(uint16_t port, struct rte_mempool *pool)
{
	struct rte_eth_conf config = { 0 };

	if (rte_eth_dev_configure(port, 1, 1, &config) != 0 ||
	    rte_eth_rx_queue_setup(port, 0, QUEUE_SIZE, SOCKET_ID_ANY, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(port, 0, QUEUE_SIZE, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(port) != 0)
		fail("a representor does not start");
}

static void obey(struct client *client, struct job *jobs, const char *line)
{
	uint64_t count, there = client->end - client->first;
	unsigned pause_ms;
	double length;

	if (sscanf(line, "install %" SCNu64, &count) == 1 && count <= client->size - there) {
		run_threads(client, jobs, JOB_INSTALL, client->end, count);
		client->end += count;
	} else if (sscanf(line, "churn %" SCNu64, &count) == 1 && count <= there && there + count <= client->size) {
		run_threads(client, jobs, JOB_CHURN, client->end, count);
		client->first += count;
		client->end += count;
	} else if (strcmp(line, "remove\n") == 0) {
		run_threads(client, jobs, JOB_REMOVE, client->first, there);
		client->first = client->end;
	} else if (sscanf(line, "poll %lf %u", &length, &pause_ms) == 2) {
		poll_counters(client, length, pause_ms);
	} else {
		fail("a command that is none, or too much for the table");
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	static struct job jobs[THREADS_MAX];
	static struct client client;
	char line[128];

	if (used < 0)
		fail("EAL does not start");
	if (argc - used != 3)
		fail("say how many rules there are at most, and how many threads");
	client.size = strtoull(argv[used + 1], NULL, 10);
	client.threads = (unsigned)strtoul(argv[used + 2], NULL, 10);
	if (client.threads < 1 || client.threads > THREADS_MAX)
		fail("there can be 1 to 16 threads");
	client.table = calloc(client.size, sizeof(*client.table));
	struct rte_mempool *pool = rte_pktmbuf_pool_create("receive", 4095, 0, 0, 2176, SOCKET_ID_ANY);
	if (client.size == 0 || !client.table || !pool)
		fail("not enough memory");
	port_open(IN_PORT, pool);
	port_open(OUT_PORT, pool);
	start_threads(&client, jobs);
	puts("{}");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		obey(&client, jobs, line);
	return 0;
}
