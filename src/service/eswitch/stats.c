/* SPDX-License-Identifier: BSD-3-Clause */
/* The eswitch in numbers: `dpuctl offload stats` and `threads`. */
#include "base/clock.h"
#include "service/eswitch/eswitch_priv.h"

/* ---- command rings: one of each of a client's threads ---- */

uint32_t commands_pending(const struct eswitch *eswitch)
{
	const struct client *client;
	struct flow_ring_stats ring;
	uint32_t pending = 0;

	LIST_FOREACH(client, &eswitch->clients, link)
	{
		for (unsigned i = 0; client->flow && flow_client_ring(client->flow, i, &ring); i++)
			pending += ring.pending;
	}
	return pending;
}

static const char *ring_health(const struct flow_ring_stats *ring, const struct ring_watch *watch)
{
	uint64_t served = ring->installed + ring->destroyed + ring->refused;

	if (ring->impossible)
		return "broken";
	if (ring->pending && watch->stuck && watch->served == served)
		return "stuck";
	if (ring->pending == ring->slots)
		return "full";
	if (ring->pending || clock_ns() - ring->last_ns < CLOCK_NS_PER_S)
		return "busy";
	return served ? "idle" : "unused";
}

static json_t *ring_json(const struct client *client, unsigned i, const struct flow_ring_stats *ring)
{
	json_t *since =
		ring->last_ns ? json_integer((json_int_t)((clock_ns() - ring->last_ns) / CLOCK_NS_PER_S)) : json_null();

	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:I, s:I, s:I, s:o}", "client", client->name, "ring", (int)i,
			 "health", ring_health(ring, &client->rings[i]), "pending", (int)ring->pending, "slots",
			 (int)ring->slots, "installed", (json_int_t)ring->installed, "destroyed",
			 (json_int_t)ring->destroyed, "refused", (json_int_t)ring->refused, "idle_seconds", since);
}

/* Those that were ever used: a client opens as many as there may be. */
static json_t *rings_json(const struct eswitch *eswitch, unsigned *ret_unused)
{
	json_t *list = json_array();
	const struct client *client;
	struct flow_ring_stats ring;

	*ret_unused = 0;
	LIST_FOREACH(client, &eswitch->clients, link)
	{
		for (unsigned i = 0; client->fd >= 0 && client->flow && flow_client_ring(client->flow, i, &ring); i++) {
			if (ring.last_ns || ring.pending || ring.impossible)
				json_array_append_new(list, ring_json(client, i, &ring));
			else
				++*ret_unused;
		}
	}
	return list;
}

static json_t *worker_json(const struct eswitch *eswitch, unsigned i)
{
	struct worker_stats stats;
	struct worker_watch watch;

	worker_stats(workers_get(eswitch->dpu->workers, i), &stats);
	sampler_worker(eswitch->engine, i, &watch);
	return json_pack("{s:i, s:s, s:b, s:i, s:I, s:I, s:I, s:I, s:I}", "worker", (int)i, "health",
			 watch.stuck    ? "stuck"
			 : watch.worked ? "busy"
					: "idle",
			 "serves_commands", i == COMMAND_WORKER, "busy_percent", (int)(watch.busy * 100 + 0.5), "ticks",
			 (json_int_t)atomic_load(&eswitch->engine->ticks[i].runs), "busy_cycles",
			 (json_int_t)stats.busy_cycles, "work", (json_int_t)stats.work, "sleeps",
			 (json_int_t)stats.sleeps, "longest_round_ns", (json_int_t)stats.longest_round_ns);
}

int threads_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	int rc = engine_of(eswitch, err);
	unsigned unused;

	(void)object, (void)args;
	if (rc != 0)
		return rc;
	json_t *rings = rings_json(eswitch, &unused), *workers = json_array();
	for (unsigned i = 0; i < eswitch->workers; i++)
		json_array_append_new(workers, worker_json(eswitch, i));
	*ret_result = json_pack("{s:o, s:i, s:o}", "rings", rings, "unused_rings", (int)unused, "threads", workers);
	return 0;
}

/* ---- statistics ---- */

static json_int_t whole(double rate)
{
	return (json_int_t)(rate + 0.5);
}

static json_t *rates_json(const struct engine *engine)
{
	static const unsigned spans[] = { 1, 10, SAMPLER_SECONDS };
	json_t *list = json_array();

	for (unsigned i = 0; i < RTE_DIM(spans); i++) {
		struct rates rates;

		sampler_rates(engine, spans[i], &rates);
		json_array_append_new(list, json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "over_seconds",
						      (int)spans[i], "installed", whole(rates.installed), "destroyed",
						      whole(rates.destroyed), "refused", whole(rates.refused), "hits",
						      whole(rates.hits), "lookups", whole(rates.lookups), "upcalls",
						      whole(rates.upcalls)));
	}
	return list;
}

/* The upper bound of the bucket where so many of a thousand are; 0 without any. */
static json_int_t percentile(const struct flow_latency *latency, uint64_t count, unsigned permille)
{
	uint64_t rank = (count * permille + 999) / 1000, seen = 0;

	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS && rank > 0; i++) {
		seen += latency->counts[i];
		if (seen >= rank)
			return (json_int_t)flow_latency_bound_ns(i);
	}
	return 0;
}

static json_t *latency_json(const char *over, const struct flow_latency *latency)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++)
		count += latency->counts[i];
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "over", over, "commands", (json_int_t)count, "mean_ns",
			 (json_int_t)(count ? latency->sum_ns / count : 0), "p50_ns", percentile(latency, count, 500),
			 "p90_ns", percentile(latency, count, 900), "p99_ns", percentile(latency, count, 990), "max_ns",
			 percentile(latency, count, 1000));
}

static json_t *latencies_json(const struct engine *engine)
{
	struct flow_latency latency;
	json_t *list = json_array();

	sampler_latency(engine, &latency);
	json_array_append_new(list, latency_json("last minute", &latency));
	flow_switch_latency(engine->sw, &latency);
	json_array_append_new(list, latency_json("since start", &latency));
	return list;
}

/* Since the start; buckets that have something. */
static json_t *histogram_json(const struct engine *engine)
{
	struct flow_latency latency;
	json_t *list = json_array();

	flow_switch_latency(engine->sw, &latency);
	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++)
		if (latency.counts[i])
			json_array_append_new(list,
					      json_pack("{s:I, s:I}", "up_to_ns", (json_int_t)flow_latency_bound_ns(i),
							"commands", (json_int_t)latency.counts[i]));
	return list;
}

static json_t *representors_json(const struct eswitch *eswitch)
{
	json_t *list = json_array();

	for (unsigned i = 0; i <= ESWITCH_MAX_PORTS; i++) {
		const struct control_representor *representor = eswitch->representors[i];
		struct path_iface_counters counters;

		if (!representor || (i == 0 && !representor->open))
			continue;
		vswitch_iface_counters(eswitch->vswitch, PATH_FIRST_REPRESENTOR + i, &counters);
		json_array_append_new(
			list, json_pack("{s:s, s:i, s:b, s:I, s:I, s:I, s:I}", "representor",
					control_iface_name((void *)eswitch, PATH_FIRST_REPRESENTOR + i), "number",
					(int)i, "open", representor->open && !representor->open->request, "upcalls",
					(json_int_t)counters.tx_packets, "upcalls_dropped",
					(json_int_t)counters.tx_drops, "injected", (json_int_t)counters.rx_packets,
					"injected_dropped", (json_int_t)counters.rx_drops));
	}
	return list;
}

static json_t *refusals_json(const struct flow_stats *stats)
{
	json_t *refusals = json_object();

	for (unsigned i = 0; i < ESWITCH_REFUSALS; i++)
		json_object_set_new(refusals, flow_refusal_name(i), json_integer((json_int_t)stats->refusals[i]));
	return refusals;
}

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *totals_json(const struct eswitch *eswitch, const struct flow_stats *stats)
{
	json_t *out = json_pack("{s:b, s:i}", "bypass", eswitch->object && eswitch->object->bypass, "clients",
				(int)stats->clients);

	put(out, "rules", stats->rules);
	put(out, "max_rules", eswitch->object ? eswitch->object->max_rules : 0);
	put(out, "rules_refused", stats->refused_now);
	put(out, "rules_leaving", stats->leaving);
	put(out, "masks", stats->masks);
	put(out, "max_masks", stats->max_masks);
	put(out, "entries", stats->entries);
	put(out, "max_entries", stats->max_entries);
	put(out, "rule_bytes", stats->rule_bytes);
	put(out, "entry_bytes", stats->entry_bytes);
	put(out, "commands_pending", commands_pending(eswitch));
	put(out, "installed", stats->installed);
	put(out, "destroyed", stats->destroyed);
	put(out, "refused", stats->refused);
	put(out, "refused_by_driver", reported_count(eswitch));
	put(out, "hits", stats->hits);
	put(out, "lookups", stats->lookups);
	put(out, "lookup_misses", stats->misses);
	put(out, "subtables_searched", stats->subtables_searched);
	put(out, "upcalls", stats->upcalls);
	put(out, "bypassed", stats->bypassed);
	return out;
}

int stats_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	struct flow_stats stats;
	int rc = engine_of(eswitch, err);

	(void)object, (void)args;
	if (rc != 0)
		return rc;
	flow_switch_stats(eswitch->engine->sw, &stats);
	json_t *out = totals_json(eswitch, &stats);
	json_object_set_new(out, "refusals", refusals_json(&stats));
	json_object_set_new(out, "per_second", rates_json(eswitch->engine));
	json_object_set_new(out, "insertion", latencies_json(eswitch->engine));
	json_object_set_new(out, "insertion_histogram", histogram_json(eswitch->engine));
	json_object_set_new(out, "representors", representors_json(eswitch));
	*ret_result = out;
	return 0;
}
