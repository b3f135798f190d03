// SPDX-License-Identifier: BSD-3-Clause
/* Names that are NVMe qualified names, and names that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "device/nvme/nvme_spec.h"
#include "service/nvmf/nqn.h"

static void test_names(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{ "nqn.2025-01.org.example:disks", true },
		{ "nqn.2025-12.org.example", true },
		{ "nqn.2025-09.example:\xc3\xa4", true },
		{ NVME_DISCOVERY_NQN, true },
		{ "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349", true },
		{ "nqn.2014-08.org.nvmexpress:uuid:0F01FB42-9F7F-4856-B0B3-51E60B8DE349", true },
		{ "", false },
		{ "disks", false },
		{ "nqn.", false },
		{ "nqn.disks", false },
		{ "NQN.2025-01.org.example:disks", false },
		{ "iqn.2025-01.org.example:disks", false },
		{ "nqn.2025-00.org.example:disks", false },
		{ "nqn.2025-13.org.example:disks", false },
		{ "nqn.2025-1.org.example:disks", false },
		{ "nqn.202x-01.org.example:disks", false },
		{ "nqn.2025-0x.org.example:disks", false },
		{ "nqn.2025_01.org.example:disks", false },
		{ "nqn.2025-01org.example:disks", false },
		{ "nqn.2025-01.", false },
		{ "nqn.2025-01", false },
		{ "nqn.2025-01.:disks", false },
		{ "nqn.2025-01..example:disks", false },
		{ "nqn.2025-01.org.example:two words", false },
		{ "nqn.2025-01.org.example:line\n", false },
		{ "nqn.2014-08.org.nvmexpress:uuid:", false },
		{ "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de34", false },
		{ "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349x", false },
		{ "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de34g", false },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (nqn_check(rows[i].text) != rows[i].good)
			fail_msg("'%s' is %s", rows[i].text, rows[i].good ? "refused" : "taken");
	assert_true(nqn_check_stored("nqn.2025-13.org.example:disks") && nqn_check_stored("nqn.disks"));
	assert_false(nqn_check_stored("iqn.2025-01.org.example:disks") || nqn_check_stored(""));
}

static void test_foreign(void **state)
{
	static const char *const good[] = { "nvmet-test", "nqn.2025-13.org.example:disks", "iqn.2025-01.x",
					    "\xc3\xa4" };
	static const char *const bad[] = { "", "two words", "line\n", "\x7f" };

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(nqn_check_foreign(good[i]) && nqn_check_foreign_stored(good[i]));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(nqn_check_foreign(bad[i]) || nqn_check_foreign_stored(bad[i]));
	assert_true(nqn_check_foreign_stored("nqn.two words"));
}

static void test_length(void **state)
{
	char text[NVME_NQN_LENGTH_MAX + 2] = "nqn.2025-01.org.example:";

	memset(text + strlen(text), 'x', NVME_NQN_LENGTH_MAX - strlen(text));
	assert_true(nqn_check(text));
	text[NVME_NQN_LENGTH_MAX] = 'x';
	assert_false(nqn_check(text) || nqn_check_stored(text) || nqn_check_foreign(text));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names), cmocka_unit_test(test_foreign),
					    cmocka_unit_test(test_length) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
