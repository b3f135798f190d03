/* SPDX-License-Identifier: BSD-3-Clause */
/* What is measured over time: once a second the engine's counters, its command rings and its workers are looked at, and
 * when rules were used; refusals are told. */
#include <stdlib.h>
#include <string.h>
#include <rte_cycles.h>
#include "base/clock.h"
#include "service/eswitch/eswitch_priv.h"

enum { MOMENTS = SAMPLER_SECONDS + 2, USES_AT_ONCE = 65536 };
static const uint64_t USES_PAUSE_NS = 20 * CLOCK_NS_PER_MS; /* between portions of many rules */

struct moment {
	uint64_t ns;
	uint64_t installed, destroyed, refused, hits, lookups, upcalls;
	uint64_t latency_sum_ns, latency[FLOW_LATENCY_BUCKETS];
};

struct sampler {
	struct engine *engine;
	struct loop_timer *timer;
	struct moment moments[MOMENTS]; /* a ring */
	unsigned count;                 /* that were ever written */
	uint64_t next_ns;
	bool looking; /* at the uses of rules */
	uint64_t refused_told, reported_told;
	struct {
		uint64_t runs, work, busy_cycles, tsc;
		struct worker_watch watch;
	} workers[DP_MAX_WORKERS];
};

static void read_moment(const struct engine *engine, uint64_t now_ns, struct moment *ret)
{
	struct flow_stats stats;
	struct flow_latency latency;

	flow_switch_stats(engine->sw, &stats);
	flow_switch_latency(engine->sw, &latency);
	*ret = (struct moment){ .ns = now_ns,
				.installed = stats.installed,
				.destroyed = stats.destroyed,
				.refused = stats.refused,
				.hits = stats.hits,
				.lookups = stats.lookups,
				.upcalls = stats.upcalls,
				.latency_sum_ns = latency.sum_ns };
	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++)
		ret->latency[i] = latency.counts[i];
}

/* The youngest moment that is so old, or the oldest there is. */
static const struct moment *moment_before(const struct sampler *sampler, unsigned seconds, uint64_t now_ns)
{
	const struct moment *found = NULL;

	for (unsigned back = 1; back <= sampler->count && back <= MOMENTS; back++) {
		found = &sampler->moments[(sampler->count - back) % MOMENTS];
		if (now_ns - found->ns >= seconds * CLOCK_NS_PER_S)
			break;
	}
	return found;
}

void sampler_rates(const struct engine *engine, unsigned seconds, struct rates *ret)
{
	struct moment now;

	*ret = (struct rates){ .seconds = 0 };
	if (!engine->sampler)
		return;
	read_moment(engine, clock_ns(), &now);
	const struct moment *then = moment_before(engine->sampler, seconds, now.ns);
	if (!then || now.ns - then->ns < CLOCK_NS_PER_MS)
		return;
	double time = (double)(now.ns - then->ns) / CLOCK_NS_PER_S;
	*ret = (struct rates){ .seconds = time,
			       .installed = (double)(now.installed - then->installed) / time,
			       .destroyed = (double)(now.destroyed - then->destroyed) / time,
			       .refused = (double)(now.refused - then->refused) / time,
			       .hits = (double)(now.hits - then->hits) / time,
			       .lookups = (double)(now.lookups - then->lookups) / time,
			       .upcalls = (double)(now.upcalls - then->upcalls) / time };
}

void sampler_latency(const struct engine *engine, struct flow_latency *ret)
{
	flow_switch_latency(engine->sw, ret);
	if (!engine->sampler)
		return;
	const struct moment *then = moment_before(engine->sampler, SAMPLER_SECONDS, clock_ns());
	if (!then)
		return;
	for (unsigned i = 0; i < FLOW_LATENCY_BUCKETS; i++)
		ret->counts[i] -= then->latency[i];
	ret->sum_ns -= then->latency_sum_ns;
}

void sampler_worker(const struct engine *engine, unsigned worker, struct worker_watch *ret)
{
	*ret = (struct worker_watch){ .busy = 0 };
	if (engine->sampler)
		*ret = engine->sampler->workers[worker].watch;
}

static void look_at_worker(struct sampler *sampler, unsigned i)
{
	struct engine *engine = sampler->engine;
	uint64_t runs = atomic_load_explicit(&engine->ticks[i].runs, memory_order_relaxed), tsc = rte_rdtsc();
	struct worker_stats stats;

	worker_stats(workers_get(engine->eswitch->dpu->workers, i), &stats);
	uint64_t time = tsc - sampler->workers[i].tsc;
	sampler->workers[i].watch = (struct worker_watch){
		.busy = time ? (double)(stats.busy_cycles - sampler->workers[i].busy_cycles) / (double)time : 0,
		.worked = stats.work != sampler->workers[i].work,
		.stuck = runs == sampler->workers[i].runs && sampler->workers[i].tsc,
	};
	sampler->workers[i].runs = runs;
	sampler->workers[i].work = stats.work;
	sampler->workers[i].busy_cycles = stats.busy_cycles;
	sampler->workers[i].tsc = tsc;
}

static void look_at_rings(const struct engine *engine)
{
	struct client *client;
	struct flow_ring_stats ring;

	LIST_FOREACH(client, &engine->eswitch->clients, link)
	{
		for (unsigned i = 0; client->flow && flow_client_ring(client->flow, i, &ring); i++) {
			struct ring_watch *watch = &client->rings[i];
			uint64_t served = ring.installed + ring.destroyed + ring.refused;

			watch->stuck = ring.pending && watch->pending && served == watch->served;
			watch->pending = ring.pending;
			watch->served = served;
		}
	}
}

static void tell(const struct eswitch *eswitch, const char *by, uint64_t count, const char *sentence)
{
	if (eswitch->object && !eswitch->stopping)
		model_notice(eswitch->dpu->model, &eswitch->object->base, "rules-refused",
			     json_pack("{s:s, s:I, s:s}", "by", by, "count", (json_int_t)count, "sentence", sentence));
}

/* At most one notice a second of each kind, however many are refused. */
static void tell_refusals(struct sampler *sampler, uint64_t refused)
{
	const struct eswitch *eswitch = sampler->engine->eswitch;
	const struct report *last = NULL;
	struct flow_refusal refusal;
	uint64_t reported = reported_count(eswitch);

	if (refused != sampler->refused_told && flow_refusals_list(sampler->engine->sw, &refusal, 1) > 0)
		tell(eswitch, "dpud", refused - sampler->refused_told, refusal.sentence);
	sampler->refused_told = refused;
	for (unsigned i = 0; i < eswitch->report_count; i++)
		if (!last || eswitch->reports[i].time_ns > last->time_ns)
			last = &eswitch->reports[i];
	if (reported != sampler->reported_told && last)
		tell(eswitch, "driver", reported - sampler->reported_told, last->sentence);
	sampler->reported_told = reported;
}

static void second(struct sampler *sampler, uint64_t now_ns)
{
	struct moment *moment = &sampler->moments[sampler->count++ % MOMENTS];

	read_moment(sampler->engine, now_ns, moment);
	for (unsigned i = 0; i < sampler->engine->eswitch->workers; i++)
		look_at_worker(sampler, i);
	look_at_rings(sampler->engine);
	tell_refusals(sampler, moment->refused);
}

static void look(void *arg)
{
	struct sampler *sampler = arg;
	uint64_t now = clock_ns();

	if (now >= sampler->next_ns) {
		second(sampler, now);
		sampler->next_ns = now + CLOCK_NS_PER_S;
		sampler->looking = true;
	}
	if (sampler->looking)
		sampler->looking = flow_uses_look(sampler->engine->sw, USES_AT_ONCE, now);
	loop_timer_rearm(sampler->timer, sampler->looking ? USES_PAUSE_NS : sampler->next_ns - now);
}

void sampler_start(struct engine *engine)
{
	struct sampler *sampler = eswitch_alloc(sizeof(*sampler));
	const struct eswitch *eswitch = engine->eswitch;

	sampler->engine = engine;
	sampler->reported_told = reported_count(eswitch);
	if (loop_timer_add(eswitch->dpu->loop, 0, 0, look, sampler, &sampler->timer) != 0)
		abort();
	engine->sampler = sampler;
}

void sampler_stop(struct engine *engine)
{
	if (!engine->sampler)
		return;
	loop_timer_remove(engine->sampler->timer);
	free(engine->sampler);
	engine->sampler = NULL;
}
