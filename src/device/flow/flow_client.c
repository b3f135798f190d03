/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's region in shared memory, its command rings and its end. Whatever the client writes there is copied once
 * and checked; what it writes to what is ours, states and counters and tails, harms itself alone. */
#include "device/flow/flow_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/event_signal.h"

enum {
	RING_SLOTS = 256,
	COMMANDS_PER_POLL = 32, /* some ten microseconds, next to traffic */
	REAPED_PER_POLL = 64,
	PURGED_PER_POLL = 256, /* indices looked at */
};

/* ---- the region ---- */

static size_t page_up(size_t bytes)
{
	return (bytes + 4095) & ~(size_t)4095;
}

static void lay_out(struct flow_client *client, struct eswitch_region *header)
{
	size_t at = page_up(sizeof(*header));

	*header = (struct eswitch_region){
		.magic = ESWITCH_MAGIC,
		.version = ESWITCH_ABI_VERSION,
		.max_rules = client->max_rules,
		.workers = client->sw->options.workers,
		.command_rings = client->command_rings,
		.max_masks = client->sw->classifier.max_masks,
		.bypass = atomic_load(&client->sw->bypass),
	};
	for (unsigned i = 0; i < client->command_rings; i++) {
		header->rings[i].commands_offset = at;
		header->rings[i].slots = RING_SLOTS;
		at += page_up(RING_SLOTS * sizeof(struct eswitch_command));
	}
	header->states_offset = at;
	at += page_up(client->max_rules * sizeof(_Atomic uint32_t));
	header->counters_offset = at;
	at += page_up((size_t)header->workers * client->max_rules * sizeof(struct eswitch_counter));
	header->bytes = at;
}

static int map_region(struct flow_client *client)
{
	struct eswitch_region header;

	lay_out(client, &header);
	client->bytes = header.bytes;
	client->fd = memfd_create("eswitch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (client->fd < 0 || ftruncate(client->fd, (off_t)client->bytes) ||
	    fcntl(client->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	void *start = mmap(NULL, client->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, client->fd, 0);
	if (start == MAP_FAILED)
		return -errno;
	madvise(start, client->bytes, MADV_DONTDUMP);
	client->region = start;
	*client->region = header;
	client->states = (void *)((uint8_t *)start + header.states_offset);
	struct eswitch_counter *counters = (void *)((uint8_t *)start + header.counters_offset);
	for (unsigned i = 0; i < client->sw->options.workers; i++)
		atomic_store(&client->sw->counters[i][client->slot], counters + (size_t)i * client->max_rules);
	return 0;
}

static uint8_t free_slot(const struct flow_switch *sw)
{
	for (uint8_t slot = 1; slot < FLOW_SLOTS; slot++)
		if (!atomic_load_explicit(&sw->clients[slot], memory_order_relaxed))
			return slot;
	return 0;
}

int flow_client_new(struct flow_switch *sw, unsigned command_rings, uint32_t max_rules, struct flow_client **ret,
		    struct dpu_error *err)
{
	uint8_t slot = free_slot(sw);

	if (command_rings < 1 || command_rings > ESWITCH_MAX_COMMAND_RINGS)
		return error_set(err, DPU_E_INVALID, "command_rings", "%u command rings: there may be 1 to %u.",
				 command_rings, ESWITCH_MAX_COMMAND_RINGS);
	if (max_rules > sw->options.max_rules)
		return error_set(err, DPU_E_LIMIT, "max_rules", "%u rules: a client may have %u.", max_rules,
				 sw->options.max_rules);
	if (!slot)
		return error_set(err, DPU_E_LIMIT, "client", "The eswitch has %u clients already.", FLOW_MAX_CLIENTS);
	struct flow_client *client = calloc(1, sizeof(*client));
	if (!client)
		return error_set(err, DPU_E_LIMIT, NULL, "there is no memory for a client");
	*client = (struct flow_client){
		.sw = sw,
		.slot = slot,
		.max_rules = max_rules ? max_rules : sw->options.max_rules,
		.command_rings = command_rings,
		.ring_slots = RING_SLOTS,
		.fd = -1,
	};
	client->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = client->wake_fd < 0 ? -errno : map_region(client);
	if (!rc)
		rc = flow_uses_init(client);
	if (rc) {
		flow_client_free(client);
		return error_set(err, DPU_E_LIMIT, NULL, "there is no memory to share with a client: error %d", -rc);
	}
	atomic_store_explicit(&sw->clients[slot], client, memory_order_release);
	*ret = client;
	return 0;
}

void flow_client_free(struct flow_client *client)
{
	struct flow_switch *sw = client->sw;
	size_t first = (size_t)client->slot << sw->shift, count = (size_t)1 << sw->shift;

	pthread_mutex_lock(&sw->grow_lock);
	if (atomic_load(&sw->clients[client->slot]) == client) {
		atomic_store(&sw->clients[client->slot], NULL);
		/* Entries may remember the numbers, but generations do not come again. */
		madvise(&sw->actions[first], count * sizeof(sw->actions[0]), MADV_DONTNEED);
		madvise(&sw->rules[first], count * sizeof(sw->rules[0]), MADV_DONTNEED);
	}
	for (unsigned i = 0; i < sw->options.workers; i++)
		atomic_store(&sw->counters[i][client->slot], &sw->nobody[i]);
	pthread_mutex_unlock(&sw->grow_lock);
	flow_uses_fini(client);
	if (client->region)
		munmap(client->region, client->bytes);
	if (client->fd >= 0)
		close(client->fd);
	if (client->wake_fd >= 0)
		close(client->wake_fd);
	free(client);
}

int flow_client_region(const struct flow_client *client, size_t *ret_bytes)
{
	*ret_bytes = client->bytes;
	return client->fd;
}

int flow_client_wake_fd(const struct flow_client *client)
{
	return client->wake_fd;
}

uint32_t flow_client_max_rules(const struct flow_client *client)
{
	return client->max_rules;
}

void flow_client_wake(struct flow_client *client)
{
	event_signal(client->wake_fd);
}

void flow_client_close(struct flow_client *client)
{
	struct flow_switch *sw = client->sw;

	for (unsigned number = 0; number < FLOW_PORTS; number++)
		if (atomic_load(&sw->open[number]) && atomic_load(&sw->port_slot[number]) == client->slot)
			flow_port_close(sw, (uint16_t)number);
	atomic_store_explicit(&client->closed, true, memory_order_release);
	flow_client_wake(client);
}

bool flow_client_drained(const struct flow_client *client)
{
	return atomic_load_explicit(&client->drained, memory_order_acquire);
}

/* ---- commands ---- */

static struct eswitch_command_ring *ring_of(const struct flow_client *client, unsigned ring)
{
	return &client->region->rings[ring];
}

/* Commands that wait; a head that cannot be is none. */
static uint32_t waiting(const struct flow_client *client, unsigned ring)
{
	uint32_t head = atomic_load_explicit(&ring_of(client, ring)->head, memory_order_acquire);
	uint32_t count = head - atomic_load_explicit(&client->rings[ring].tail, memory_order_relaxed);

	return count <= client->ring_slots ? count : 0;
}

bool flow_client_ring(const struct flow_client *client, unsigned ring, struct flow_ring_stats *ret)
{
	if (ring >= client->command_rings)
		return false;
	const struct flow_ring *own = &client->rings[ring];
	uint32_t tail = atomic_load_explicit(&own->tail, memory_order_acquire);
	uint32_t count = atomic_load_explicit(&ring_of(client, ring)->head, memory_order_relaxed) - tail;
	*ret = (struct flow_ring_stats){
		.slots = client->ring_slots,
		.impossible = count > client->ring_slots,
		.pending = count <= client->ring_slots ? count : 0,
		.installed = atomic_load_explicit(&own->installed, memory_order_relaxed),
		.destroyed = atomic_load_explicit(&own->destroyed, memory_order_relaxed),
		.refused = atomic_load_explicit(&own->refused, memory_order_relaxed),
		.last_ns = atomic_load_explicit(&own->last_ns, memory_order_relaxed),
	};
	return true;
}

/* One copy, of no more than the command says that it has, and its counts made possible. */
static void copy_command(const struct flow_client *client, unsigned ring, uint32_t tail, struct eswitch_command *ret)
{
	size_t place = tail & (client->ring_slots - 1),
	       offset = page_up(sizeof(struct eswitch_region)) + ring * page_up(RING_SLOTS * sizeof(*ret));
	const struct eswitch_command *from =
		(const void *)((const uint8_t *)client->region + offset + place * sizeof(*ret));

	memcpy(ret, from, offsetof(struct eswitch_command, rule.ops));
	unsigned ops = ret->rule.op_count <= ESWITCH_MAX_OPS ? ret->rule.op_count : ESWITCH_MAX_OPS;
	memcpy(ret->rule.ops, from->rule.ops, ops * sizeof(ret->rule.ops[0]));
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* What was served is counted once for all; sent: when the client wrote those that are in force now. */
static void account(struct flow_client *client, struct flow_ring *ring, uint64_t destroyed, uint64_t refused,
		    const uint32_t *sent, unsigned installed)
{
	uint64_t now = clock_ns();

	for (unsigned i = 0; i < installed; i++)
		if (sent[i])
			flow_latency_add(&client->sw->latency, (uint32_t)now - sent[i]);
	add(&ring->installed, installed);
	add(&ring->destroyed, destroyed);
	add(&ring->refused, refused);
	atomic_store_explicit(&ring->last_ns, now, memory_order_relaxed);
}

static unsigned serve_ring(struct flow_client *client, unsigned ring, unsigned budget, uint64_t now_ns)
{
	uint32_t count = waiting(client, ring), sent[COMMANDS_PER_POLL], installed = 0, destroyed = 0, refused = 0;
	uint32_t tail = atomic_load_explicit(&client->rings[ring].tail, memory_order_relaxed);
	struct eswitch_command command;

	if (!count)
		return 0;
	count = RTE_MIN(count, budget);
	for (uint32_t i = 0; i < count; i++) {
		copy_command(client, ring, tail + i, &command);
		if (command.code == ESWITCH_DESTROY) {
			flow_rule_destroy(client, command.rule.index, command.rule.generation);
			destroyed++;
		} else if (command.code == ESWITCH_INSTALL && flow_rule_install(client, &command.rule, now_ns)) {
			sent[installed++] = command.sent_ns;
		} else {
			refused++;
		}
	}
	account(client, &client->rings[ring], destroyed, refused, sent, installed);
	atomic_store_explicit(&client->rings[ring].tail, tail + count, memory_order_release);
	atomic_store_explicit(&ring_of(client, ring)->tail, tail + count, memory_order_release);
	return count;
}

static unsigned serve(struct flow_client *client, uint64_t now_ns)
{
	unsigned done = 0;

	for (unsigned i = 0; i < client->command_rings && done < COMMANDS_PER_POLL; i++) {
		unsigned ring = client->next_ring++ % client->command_rings;
		done += serve_ring(client, ring, COMMANDS_PER_POLL - done, now_ns);
	}
	return done;
}

/* ---- purges ---- */

static bool is_open(const struct flow_client *client, uint16_t number)
{
	const struct flow_switch *sw = client->sw;

	return atomic_load_explicit(&sw->open[number], memory_order_acquire) &&
	       atomic_load_explicit(&sw->port_slot[number], memory_order_relaxed) == client->slot;
}

static bool outputs_are_open(const struct flow_client *client, const struct flow_action *action)
{
	if (action->kind == FLOW_FAST)
		return is_open(client, action->port);
	if (action->kind != FLOW_PROGRAM)
		return true;
	for (unsigned i = 0; i < action->program->op_count; i++) {
		const struct eswitch_op *op = &action->program->ops[i];
		if (op->code == ESWITCH_OP_OUTPUT && !is_open(client, op->port))
			return false;
	}
	return true;
}

/* A number may be another representor's next time: a rule that sends to it must not live to see that. */
static bool must_go(const struct flow_client *client, uint32_t number, bool closed)
{
	const struct flow_switch *sw = client->sw;
	const struct flow_rule *rule = &sw->rules[number];

	if (rule->state != FLOW_RULE_ACTIVE)
		return false;
	return closed ||
	       atomic_load_explicit(&sw->bindings[rule->key.f.in_port], memory_order_relaxed) != BINDING_USED ||
	       !outputs_are_open(client, &sw->actions[number]);
}

/* All rules of bindings whose purge this was have gone. */
static void release_bindings(const struct flow_client *client, uint32_t purge)
{
	struct flow_switch *sw = client->sw;

	for (unsigned i = 1; i < FLOW_BINDINGS; i++) {
		uint32_t state = atomic_load_explicit(&sw->bindings[i], memory_order_relaxed);
		if (state != BINDING_FREE && state != BINDING_USED && sw->binding_slot[i] == client->slot &&
		    (int32_t)(state - purge) <= 0)
			atomic_store_explicit(&sw->bindings[i], BINDING_FREE, memory_order_release);
	}
}

static unsigned purge(struct flow_client *client)
{
	bool closed = atomic_load_explicit(&client->closed, memory_order_acquire);
	uint32_t wanted = atomic_load_explicit(&client->purge_wanted, memory_order_acquire);

	if (!client->purging) {
		if (wanted == client->purge_done && (!closed || client->purged_closed))
			return 0;
		client->purging = true;
		client->purge = wanted;
		client->purge_closed = closed;
		client->purge_cursor = 0;
	}
	uint32_t end = RTE_MIN(client->purge_cursor + (uint32_t)PURGED_PER_POLL, client->top_index);
	for (; client->purge_cursor < end; client->purge_cursor++)
		if (must_go(client, flow_number(client, client->purge_cursor), closed))
			flow_rule_unlink(client, client->purge_cursor);
	if (client->purge_cursor == client->top_index) {
		release_bindings(client, client->purge);
		client->purge_done = client->purge;
		client->purged_closed = client->purge_closed;
		client->purging = false;
	}
	return 1;
}

/* Once closed: a purge that began after that is over, and nothing is left to be freed. */
static unsigned end(struct flow_client *client)
{
	if (client->purging || client->dying_first || !client->purged_closed)
		return 1;
	atomic_store_explicit(&client->drained, true, memory_order_release);
	return 0;
}

unsigned flow_client_poll(struct flow_client *client, struct flow *flow)
{
	bool closed = atomic_load_explicit(&client->closed, memory_order_acquire);

	flow->writes = true;
	unsigned done = closed ? 0 : serve(client, path_now_ns(flow->path));

	done += purge(client);
	done += flow_rules_reap(client, REAPED_PER_POLL);
	if (closed)
		done += end(client);
	return done;
}

static bool has_work(const struct flow_client *client)
{
	if (client->dying_first || client->purging ||
	    client->purge_done != atomic_load_explicit(&client->purge_wanted, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&client->closed, memory_order_acquire))
		return !flow_client_drained(client);
	for (unsigned i = 0; i < client->command_rings; i++)
		if (waiting(client, i))
			return true;
	return false;
}

static void want(const struct flow_client *client, uint32_t value)
{
	for (unsigned i = 0; i < client->command_rings; i++)
		atomic_store_explicit(&ring_of(client, i)->wanted, value, memory_order_seq_cst);
}

int flow_client_arm(struct flow_client *client)
{
	want(client, 1);
	/* The other side publishes its head, then looks at wanted: one of us sees the other. */
	rte_smp_mb();
	if (!has_work(client))
		return 0;
	want(client, 0);
	return 1;
}

void flow_client_disarm(struct flow_client *client)
{
	want(client, 0);
	event_clear(client->wake_fd);
}
