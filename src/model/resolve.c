/* SPDX-License-Identifier: BSD-3-Clause */
/* From a name as people write it to an object. */
#include <string.h>
#include "base/str.h"
#include "model/model_priv.h"

struct node *model_tenant(const struct model *model, const char *text)
{
	struct uuid uuid;

	if (!model->tenants)
		return NULL;
	if (uuid_parse(text, &uuid) < 0)
		return names_find(model, model->tenants, NULL, text);
	struct node *node = uuids_find(model, &uuid);
	return node && node->class == model->tenants ? node : NULL;
}

static int resolve_uuid(const struct model *model, const struct class_state *state, const struct uuid *uuid,
			struct object **ret, struct dpu_error *err)
{
	struct node *node = uuids_find(model, uuid);
	char text[UUID_TEXT];

	if (!node)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no %s with the UUID %s", state->class->name,
				 uuid_format(uuid, text));
	if (node->class != state)
		return error_set(err, DPU_E_INVALID, NULL, "%s is %s %s: give %s %s", uuid_format(uuid, text),
				 str_article(node->class->class->name), node->class->class->name,
				 str_article(state->class->name), state->class->name);
	*ret = node->object;
	return 0;
}

static int resolve_elsewhere(const struct model *model, const struct class_state *state, const char *text,
			     const char *slash, struct object **ret, struct dpu_error *err)
{
	char quoted[FIELD_QUOTE];

	if (class_is_global(state))
		return error_set(err, DPU_E_INVALID, NULL, "%s %s belongs to no tenant: give its name alone, not %s",
				 str_article(state->class->name), state->class->name, field_quote(text, quoted));
	CLEANUP(free_pointer) char *tenant_name = strndup(text, (size_t)(slash - text));
	if (!tenant_name)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	struct node *tenant = model_tenant(model, tenant_name);
	if (!tenant)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no tenant %s", field_quote(tenant_name, quoted));
	struct node *node = names_find(model, state, tenant, slash + 1);
	if (!node)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no %s %s", state->class->name,
				 field_quote(text, quoted));
	*ret = node->object;
	return 0;
}

int model_resolve(const struct model *model, const char *class_name, const struct object *tenant, const char *text,
		  struct object **ret, struct dpu_error *err)
{
	const struct class_state *state = model ? model_class_state(model, class_name) : NULL;
	const char *slash = strchr(text, '/');
	char quoted[FIELD_QUOTE], quoted_tenant[FIELD_QUOTE];
	struct uuid uuid;

	if (!state)
		return error_set(err, DPU_E_INTERNAL, NULL, "there is no class \"%s\" to look in", class_name);
	if (uuid_parse(text, &uuid) == 0)
		return resolve_uuid(model, state, &uuid, ret, err);
	if (slash)
		return resolve_elsewhere(model, state, text, slash, ret, err);
	if (class_is_global(state))
		tenant = NULL;
	else if (!tenant)
		return error_set(err, DPU_E_INVALID, NULL, "say whose %s: write TENANT/NAME instead of %s",
				 state->class->name, field_quote(text, quoted));
	struct node *node = names_find(model, state, tenant ? tenant->node : NULL, text);
	if (!node && tenant)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no %s %s in tenant %s", state->class->name,
				 field_quote(text, quoted), field_quote(tenant->name, quoted_tenant));
	if (!node)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "there is no %s %s", state->class->name,
				 field_quote(text, quoted));
	*ret = node->object;
	return 0;
}
