/* SPDX-License-Identifier: BSD-3-Clause */
/* Reports against a link that is the test's own: counted by sentence, told now and then, kept while they cannot be. */
#include "reports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>
#include "link.h"

enum { PAUSE_US = 250000 };

static struct {
	bool away;
	unsigned count, flows;
	struct eswitch_message last;
} heard;

bool link_tell(struct link *link, const struct eswitch_message *message)
{
	if (heard.away)
		return false;
	heard.count++;
	heard.flows += message->report.count;
	heard.last = *message;
	return true;
}

static const struct eswitch_fields match = { .in_port = 7 }, mask = { .in_port = UINT16_MAX };

static struct reports *reports_up(void)
{
	struct reports *reports;

	memset(&heard, 0, sizeof(heard));
	assert_int_equal(reports_new(&reports), 0);
	reports_flush(reports, NULL);
	assert_int_equal(heard.count, 0);
	return reports;
}

static void counted_by_sentence(void **state)
{
	struct reports *reports = reports_up();

	reports_add(reports, ESWITCH_REPORT_ACTION, "no meters", &match, &mask);
	reports_flush(reports, NULL);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.last.type, ESWITCH_REPORT);
	assert_int_equal(heard.last.report.what, ESWITCH_REPORT_ACTION);
	assert_int_equal(heard.last.report.count, 1);
	assert_string_equal(heard.last.sentence, "no meters");
	assert_memory_equal(heard.last.report.match, &match, sizeof(match));
	/* What comes at once afterwards waits, and is told as one. */
	for (unsigned i = 0; i < 1000; i++) {
		reports_add(reports, ESWITCH_REPORT_ACTION, "no meters", &match, &mask);
		reports_flush(reports, NULL);
	}
	assert_int_equal(heard.count, 1);
	usleep(PAUSE_US);
	reports_flush(reports, NULL);
	assert_int_equal(heard.count, 2);
	assert_int_equal(heard.last.report.count, 1000);
	usleep(PAUSE_US);
	reports_flush(reports, NULL);
	assert_int_equal(heard.count, 2);
	reports_free(reports);
}

static void kept_while_dpud_is_away(void **state)
{
	struct reports *reports = reports_up();

	heard.away = true;
	reports_add(reports, ESWITCH_REPORT_PATTERN, "one", &match, &mask);
	reports_add(reports, ESWITCH_REPORT_PATTERN, "two", &match, &mask);
	reports_flush(reports, NULL);
	heard.away = false;
	reports_flush(reports, NULL);
	assert_int_equal(heard.count, 2);
	assert_int_equal(heard.flows, 2);
	reports_free(reports);
}

static void long_and_many_sentences(void **state)
{
	struct reports *reports = reports_up();
	char sentence[1000];

	memset(sentence, 'x', sizeof(sentence) - 1);
	sentence[sizeof(sentence) - 1] = '\0';
	reports_add(reports, ESWITCH_REPORT_PATTERN, sentence, &match, &mask);
	reports_add(reports, ESWITCH_REPORT_PATTERN, sentence, &match, &mask);
	reports_add(reports, ESWITCH_REPORT_RESOURCE, NULL, &match, &mask);
	reports_flush(reports, NULL);
	assert_int_equal(heard.count, 2);
	assert_int_equal(heard.flows, 3);
	assert_true(heard.last.sentence[0] && memchr(heard.last.sentence, '\0', sizeof(heard.last.sentence)));
	/* More than there is room for: the first ones are told, and make room when they have been. */
	for (unsigned round = 0; round < 2; round++) {
		usleep(PAUSE_US);
		for (unsigned i = 0; i < 100; i++) {
			snprintf(sentence, sizeof(sentence), "sentence %u of round %u", i, round);
			reports_add(reports, ESWITCH_REPORT_ACTION, sentence, &match, &mask);
		}
		reports_flush(reports, NULL);
	}
	assert_int_equal(heard.count, 2 + 64 + 64);
	reports_free(reports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counted_by_sentence),
		cmocka_unit_test(kept_while_dpud_is_away),
		cmocka_unit_test(long_and_many_sentences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
