/* SPDX-License-Identifier: BSD-3-Clause */
/* Rules that were refused: by the engine, and by clients themselves, who report it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "service/eswitch/eswitch_priv.h"
#include "service/eswitch/rule_text.h"

const char *report_name(enum eswitch_report what)
{
	static const char *const names[ESWITCH_REPORTS] = { [ESWITCH_REPORT_ATTRIBUTE] = "attribute",
							    [ESWITCH_REPORT_PATTERN] = "pattern",
							    [ESWITCH_REPORT_ACTION] = "action",
							    [ESWITCH_REPORT_RESOURCE] = "resource" };

	return (unsigned)what < ESWITCH_REPORTS ? names[what] : "unknown";
}

uint64_t reported_count(const struct eswitch *eswitch)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < ESWITCH_REPORTS; i++)
		count += eswitch->reported[i];
	return count;
}

/* The place of a sentence: its own, a free one, or that which was reported longest ago. */
static struct report *place_of(struct eswitch *eswitch, const char *sentence, uint32_t what)
{
	struct report *oldest = &eswitch->reports[0];

	for (unsigned i = 0; i < eswitch->report_count; i++) {
		struct report *report = &eswitch->reports[i];

		if (report->what == what && strcmp(report->sentence, sentence) == 0)
			return report;
		if (report->time_ns < oldest->time_ns)
			oldest = report;
	}
	if (eswitch->report_count < REPORTS_KEPT)
		oldest = &eswitch->reports[eswitch->report_count++];
	*oldest = (struct report){ .what = what };
	snprintf(oldest->sentence, sizeof(oldest->sentence), "%s", sentence);
	return oldest;
}

void report_take(struct client *client, const struct eswitch_message *message)
{
	struct eswitch *eswitch = client->eswitch;
	char sentence[sizeof(message->sentence)];

	copy_printable(sentence, sizeof(sentence), message->sentence);
	struct report *report = place_of(eswitch, sentence, message->report.what);
	report->count += message->report.count;
	report->time_ns = clock_ns();
	memcpy(&report->match, message->report.match, sizeof(report->match));
	memcpy(&report->mask, message->report.mask, sizeof(report->mask));
	snprintf(report->client, sizeof(report->client), "%s", client->name);
	eswitch->reported[report->what] += message->report.count;
}

/* ---- dpuctl offload refused ---- */

static json_int_t seconds_since(uint64_t time_ns)
{
	return (json_int_t)((clock_ns() - time_ns) / CLOCK_NS_PER_S);
}

static void add_row(json_t *list, const char *by, const char *reason, const char *sentence, uint64_t count,
		    uint64_t time_ns, const struct eswitch_fields *match, const struct eswitch_fields *mask,
		    const char *client)
{
	char text[RULE_TEXT];

	json_array_append_new(list,
			      json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "by", by, "reason", reason, "sentence",
					sentence, "count", (json_int_t)count, "seconds_ago", seconds_since(time_ns),
					"match", rule_match_text(match, mask, text, sizeof(text)), "client", client));
}

static int by_time(const void *a, const void *b)
{
	const struct report *left = *(const struct report *const *)a, *right = *(const struct report *const *)b;

	return left->time_ns < right->time_ns ? 1 : left->time_ns > right->time_ns ? -1 : 0;
}

static void add_reports(const struct eswitch *eswitch, json_t *list)
{
	const struct report *reports[REPORTS_KEPT];

	for (unsigned i = 0; i < eswitch->report_count; i++)
		reports[i] = &eswitch->reports[i];
	qsort(reports, eswitch->report_count, sizeof(reports[0]), by_time);
	for (unsigned i = 0; i < eswitch->report_count; i++)
		add_row(list, "driver", report_name(reports[i]->what), reports[i]->sentence, reports[i]->count,
			reports[i]->time_ns, &reports[i]->match, &reports[i]->mask, reports[i]->client);
}

static void add_refusals(const struct eswitch *eswitch, json_t *list)
{
	struct flow_refusal *last = eswitch_alloc(FLOW_REFUSALS_KEPT * sizeof(*last));
	unsigned count = flow_refusals_list(eswitch->engine->sw, last, FLOW_REFUSALS_KEPT);

	for (unsigned i = 0; i < count && i < FLOW_REFUSALS_KEPT; i++) {
		add_row(list, "dpud", flow_refusal_name(last[i].refusal), last[i].sentence, 1, last[i].time_ns,
			&last[i].match, &last[i].mask, client_name(eswitch, last[i].client));
		json_object_set_new(json_array_get(list, json_array_size(list) - 1), "rule",
				    json_integer((json_int_t)last[i].index));
	}
	free(last);
}

/* All that there ever were, by reason: what the lists have forgotten counts, too. */
static json_t *reasons_json(const struct eswitch *eswitch)
{
	json_t *list = json_array();
	struct flow_stats stats;

	flow_switch_stats(eswitch->engine->sw, &stats);
	for (unsigned i = 0; i < ESWITCH_REPORTS; i++)
		if (eswitch->reported[i])
			json_array_append_new(list,
					      json_pack("{s:s, s:s, s:I}", "by", "driver", "reason", report_name(i),
							"count", (json_int_t)eswitch->reported[i]));
	for (unsigned i = 0; i < ESWITCH_REFUSALS; i++)
		if (stats.refusals[i])
			json_array_append_new(list,
					      json_pack("{s:s, s:s, s:I}", "by", "dpud", "reason", flow_refusal_name(i),
							"count", (json_int_t)stats.refusals[i]));
	return list;
}

int refused_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct eswitch *eswitch = ctx;
	int rc = engine_of(eswitch, err);

	(void)object, (void)args;
	if (rc != 0)
		return rc;
	json_t *list = json_array();
	add_reports(eswitch, list);
	add_refusals(eswitch, list);
	*ret_result = json_pack("{s:o, s:o}", "reasons", reasons_json(eswitch), "refused", list);
	return 0;
}
