/* SPDX-License-Identifier: BSD-3-Clause */
/* A flow engine for tests of what stands around it: it remembers what it was told, sends every member's frame up and
 * every representor's frame down, and takes its time to drain. */
#include "service/eswitch/fake_flow.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct flow_switch {
	struct flow_switch_options options;
};
struct flow_client {
	int region, wake;
	bool closed;
	_Atomic unsigned polls_left;
};
struct flow {
	struct path *path;
};

struct fake_flow fake_flow;

int flow_switch_new(const struct flow_switch_options *options, struct flow_switch **ret, struct dpu_error *err)
{
	*ret = calloc(1, sizeof(**ret));
	(*ret)->options = *options;
	fake_flow.switches++;
	return 0;
}

void flow_switch_free(struct flow_switch *sw)
{
	fake_flow.switches--;
	free(sw);
}

void flow_switch_set_bypass(struct flow_switch *sw, bool on)
{
	fake_flow.bypass = on;
}

int flow_port_set(struct flow_switch *sw, const struct flow_port *port)
{
	fake_flow.ports[port->number] = *port;
	fake_flow.bound[port->number] = true;
	return 0;
}

void flow_port_clear(struct flow_switch *sw, uint16_t number)
{
	fake_flow.bound[number] = false;
	fake_flow.opened[number] = NULL;
}

int flow_port_open(struct flow_switch *sw, uint16_t number, struct flow_client *client)
{
	fake_flow.opened[number] = client;
	return 0;
}

void flow_port_close(struct flow_switch *sw, uint16_t number)
{
	fake_flow.opened[number] = NULL;
}

int flow_client_new(struct flow_switch *sw, unsigned command_rings, uint32_t max_rules, struct flow_client **ret,
		    struct dpu_error *err)
{
	if (fake_flow.clients == FLOW_MAX_CLIENTS)
		return error_set(err, DPU_E_LIMIT, NULL, "there are %u clients already", FLOW_MAX_CLIENTS);
	struct flow_client *client = calloc(1, sizeof(*client));
	client->region = memfd_create("fake", MFD_CLOEXEC);
	if (ftruncate(client->region, 4096) != 0)
		abort();
	client->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fake_flow.clients++;
	*ret = client;
	return 0;
}

int flow_client_region(const struct flow_client *client, size_t *ret_bytes)
{
	*ret_bytes = 4096;
	return client->region;
}

int flow_client_wake_fd(const struct flow_client *client)
{
	return client->wake;
}

uint32_t flow_client_max_rules(const struct flow_client *client)
{
	return 1000;
}

void flow_client_close(struct flow_client *client)
{
	client->closed = true;
	atomic_store(&client->polls_left, 3);
	eventfd_write(client->wake, 1);
}

bool flow_client_drained(const struct flow_client *client)
{
	return atomic_load(&client->polls_left) == 0;
}

void flow_client_free(struct flow_client *client)
{
	close(client->region);
	close(client->wake);
	free(client);
	fake_flow.clients--;
}

unsigned flow_client_poll(struct flow_client *client, struct flow *flow)
{
	unsigned left = atomic_load(&client->polls_left);

	if (left > 0)
		atomic_store(&client->polls_left, left - 1);
	return left > 0;
}

int flow_client_arm(struct flow_client *client)
{
	return atomic_load(&client->polls_left) > 0;
}

void flow_client_disarm(struct flow_client *client)
{
	uint64_t count;

	(void)!read(client->wake, &count, sizeof(count));
}

int flow_new(struct flow_switch *sw, struct path *path, struct rte_mempool *pool, unsigned worker, struct flow **ret,
	     struct dpu_error *err)
{
	*ret = calloc(1, sizeof(**ret));
	(*ret)->path = path;
	fake_flow.flows++;
	return 0;
}

void flow_free(struct flow *flow)
{
	free(flow);
	fake_flow.flows--;
}

void flow_input(struct flow *flow, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count)
{
	const struct flow_port *port = &fake_flow.ports[iface->representor];

	for (unsigned i = 0; i < count; i++)
		path_send(flow->path, iface->kind == PATH_IFACE_MEMBER ? port->representor : port->member, packets[i]);
}

void flow_input_tunnel(struct flow *flow, uint16_t number, struct rte_mbuf **packets, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		path_send(flow->path, fake_flow.ports[number].representor, packets[i]);
}

bool flow_grow_ahead(struct flow *flow)
{
	fake_flow.grows++;
	return false;
}

bool flow_switch_grow_ahead(struct flow_switch *sw)
{
	return false;
}

uint64_t flow_tick(struct flow *flow, uint64_t now_ns)
{
	return 1000000;
}

void flow_switch_stats(const struct flow_switch *sw, struct flow_stats *ret)
{
	memset(ret, 0, sizeof(*ret));
}

bool flow_rules_list(const struct flow_switch *sw, unsigned states, uint64_t *cursor, unsigned budget,
		     void (*fn)(void *arg, const struct flow_rule_info *rule), void *arg)
{
	return false;
}

unsigned flow_refusals_list(struct flow_switch *sw, struct flow_refusal *ret, unsigned max)
{
	return 0;
}

const char *flow_refusal_name(enum eswitch_refusal refusal)
{
	return "fake";
}

void flow_switch_latency(const struct flow_switch *sw, struct flow_latency *ret)
{
	memset(ret, 0, sizeof(*ret));
}

uint64_t flow_latency_bound_ns(unsigned bucket)
{
	return bucket;
}

bool flow_client_ring(const struct flow_client *client, unsigned ring, struct flow_ring_stats *ret)
{
	return false;
}

bool flow_uses_look(struct flow_switch *sw, unsigned budget, uint64_t now_ns)
{
	fake_flow.looks++;
	return false;
}

void flow_explain(struct flow_switch *sw, uint16_t number, struct rte_mbuf **m, struct flow_explanation *ret)
{
	*ret = (struct flow_explanation){ .fate = FLOW_FATE_NO_CLIENT };
}
