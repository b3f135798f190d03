/* SPDX-License-Identifier: BSD-3-Clause */
/* The order in which services start: each after those it requires, otherwise as given. */
#include "operating/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct service *find(const struct service *const *services, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(services[i]->name, name) == 0)
			return services[i];
	}
	return NULL;
}

/* The first requirement of service that is not in order[0..placed), or NULL. */
static const char *first_unmet(const struct service *service, const struct service **order, unsigned placed)
{
	for (const char *const *name = service->requires; name && *name; name++) {
		if (!find(order, placed, *name))
			return *name;
	}
	return NULL;
}

static int check_names(const struct service *const *services, unsigned count, struct dpu_error *err)
{
	for (unsigned i = 0; i < count; i++) {
		const struct service *service = services[i];
		if (find(services, i, service->name))
			return error_set(err, DPU_E_INVALID, service->name, "two services have this name");
		for (const char *const *name = service->requires; name && *name; name++) {
			if (!find(services, count, *name))
				return error_set(err, DPU_E_INVALID, service->name,
						 "requires the service '%s', which this build does not have", *name);
		}
	}
	return 0;
}

/* Every unplaced service has an unplaced requirement, so following these for `count` steps from any of them ends
 * inside a circle; one more turn names its members. */
static int report_circle(const struct service *const *services, unsigned count, const struct service **order,
			 unsigned placed, struct dpu_error *err)
{
	const struct service *at = NULL;
	for (unsigned i = 0; i < count && !at; i++) {
		if (!find(order, placed, services[i]->name))
			at = services[i];
	}
	for (unsigned i = 0; i < count; i++)
		at = find(services, count, first_unmet(at, order, placed));

	char circle[400];
	size_t used = 0;
	const struct service *first = at;
	do {
		const char *next = first_unmet(at, order, placed);
		size_t length = strlen(at->name);
		if (used + length + sizeof " → …" >= sizeof circle) {
			memcpy(circle + used, "…", sizeof "…");
			return error_set(err, DPU_E_INVALID, first->name,
					 "the services require each other in a circle: %s", circle);
		}
		memcpy(circle + used, at->name, length);
		used += length;
		memcpy(circle + used, " → ", sizeof " → " - 1);
		used += sizeof " → " - 1;
		at = find(services, count, next);
	} while (at != first);
	circle[used] = '\0';
	return error_set(err, DPU_E_INVALID, first->name, "the services require each other in a circle: %s%s", circle,
			 first->name);
}

int services_sort(const struct service *const *services, unsigned count, const struct service **order,
		  struct dpu_error *err)
{
	int rc = check_names(services, count, err);
	if (rc)
		return rc;
	/* Always the first that can go next: the result is unique and as close to the given order as possible. */
	for (unsigned placed = 0; placed < count; placed++) {
		unsigned i = 0;
		while (i < count && (find(order, placed, services[i]->name) || first_unmet(services[i], order, placed)))
			i++;
		if (i == count)
			return report_circle(services, count, order, placed, err);
		order[placed] = services[i];
	}
	return 0;
}
