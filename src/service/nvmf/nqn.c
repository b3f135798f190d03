// SPDX-License-Identifier: BSD-3-Clause
/* NVMe qualified names, form by form. */
#include "service/nvmf/nqn.h"

#include <string.h>
#include "base/netaddr.h"
#include "device/nvme/nvme_spec.h"

static bool is_number(const char *text, unsigned digits)
{
	for (unsigned i = 0; i < digits; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return true;
}

/* "YYYY-MM." */
static bool is_date(const char *text)
{
	if (!is_number(text, 4) || text[4] != '-' || !is_number(text + 5, 2) || text[7] != '.')
		return false;
	unsigned month = (unsigned)(text[5] - '0') * 10 + (unsigned)(text[6] - '0');

	return month >= 1 && month <= 12;
}

static const char prefix[] = "nqn.";

bool nqn_check_stored(const char *text)
{
	return strncmp(text, prefix, sizeof(prefix) - 1) == 0 && strlen(text) <= NVME_NQN_LENGTH_MAX;
}

static bool has_blank(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return true;
	return false;
}

bool nqn_check_foreign(const char *text)
{
	return *text && strlen(text) <= NVME_NQN_LENGTH_MAX && !has_blank(text);
}

bool nqn_check_foreign_stored(const char *text)
{
	return nqn_check_foreign(text) || nqn_check_stored(text);
}

bool nqn_check(const char *text)
{
	static const char by_uuid[] = "nqn.2014-08.org.nvmexpress:uuid:";
	enum { DOMAIN_AT = sizeof("nqn.YYYY-MM.") - 1 };
	size_t length = strlen(text);
	struct uuid uuid;

	if (!nqn_check_stored(text) || has_blank(text))
		return false;
	if (strncmp(text, by_uuid, sizeof(by_uuid) - 1) == 0)
		return uuid_parse(text + sizeof(by_uuid) - 1, &uuid) == 0;
	return length > DOMAIN_AT && is_date(text + sizeof(prefix) - 1) && text[DOMAIN_AT] != '.' &&
	       text[DOMAIN_AT] != ':';
}
