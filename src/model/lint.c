/* SPDX-License-Identifier: BSD-3-Clause */
/* Rules that every table of fields, actions and classes keeps. */
#include <stdlib.h>
#include <string.h>
#include "model/model_priv.h"

/* Words that dpuctl uses for every class, so that no action can have them. */
static const char *const reserved_actions[] = { "create", "get",  "list",   "show",   "set",
						"update", "edit", "delete", "export", "help" };
/* Keys of documents beside the classes' plurals. */
static const char *const reserved_plurals[] = { "version" };

static int fault(struct dpu_error *err, const char *where, const char *message)
{
	return error_set(err, DPU_E_INTERNAL, where, "faulty table: %s", message);
}

static bool is_word(const char *text, char separator)
{
	if (!text || text[0] < 'a' || text[0] > 'z' || text[strlen(text) - 1] == separator)
		return false;
	for (const char *c = text; *c; c++) {
		bool letter = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9');
		if (!letter && (*c != separator || c[1] == separator))
			return false;
	}
	return true;
}

static bool is_sentence(const char *doc)
{
	size_t length = doc ? strlen(doc) : 0;

	return length >= 10 && doc[length - 1] == '.' && doc[0] != ' ' && !strchr(doc, '\n');
}

/* ---- rows ---- */

static const char *names_fault(const struct field *field)
{
	if (field->type != FIELD_ENUM)
		return field->names ? "only an enumeration has names" : NULL;
	if (!field->names || !field->names[0])
		return "an enumeration needs names";
	for (unsigned i = 0; field->names[i]; i++) {
		if (i > UINT8_MAX)
			return "an enumeration has at most 256 names";
		if (!field->names[i][0] || strpbrk(field->names[i], " ,\"/\n"))
			return "names of an enumeration are words";
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(field->names[i], field->names[j]) == 0)
				return "an enumeration has a name twice";
		}
	}
	return NULL;
}

static const char *limits_fault(const struct field *field)
{
	struct field unlimited = *field;
	bool limited =
		field_type_is_number(field->type) || field_type_is_list(field->type) || field->type == FIELD_STRING;

	unlimited.max = 0;
	if (!limited && (field->min || field->max))
		return "this type has no range";
	if (field->max > field_limit(&unlimited))
		return "max is beyond the type's limit";
	if (field->min > field_limit(field))
		return "min is above max";
	return NULL;
}

static const char *type_fault(const struct field *field)
{
	bool reference = field->type == FIELD_REF || field->type == FIELD_REFS;
	bool text = field->type == FIELD_STRING || field->type == FIELD_STRINGS;

	if (reference && !field->target)
		return "a reference needs a target";
	if (!reference && field->target)
		return "only a reference has a target";
	if (field->check && (!text || !field->check_doc))
		return "a check belongs to strings and needs check_doc";
	if (field->check_stored && (!field->check || field->type != FIELD_STRING))
		return "a check of what is stored belongs to a single string that has a check";
	if (reference && field->def)
		return "a reference has no default";
	if ((field->flags & FIELD_F_SECRET) && field->type != FIELD_STRING)
		return "a secret is a string";
	if ((field->flags & FIELD_F_PARENT) && field->type != FIELD_REF)
		return "a parent is a single reference";
	if ((field->flags & FIELD_F_UNIQUE) && (field_type_is_list(field->type) || field->type == FIELD_BOOL))
		return "lists and booleans cannot be unique";
	return NULL;
}

static const char *flags_fault(const struct field *field)
{
	const uint32_t configured = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_SECRET | FIELD_F_UNIQUE |
				    FIELD_F_PARENT | FIELD_F_GENERATED;
	uint32_t kind = field->flags & FIELD_F_READ_ONLY;
	bool metric = field->flags & (FIELD_F_COUNTER | FIELD_F_GAUGE);

	if (kind & (kind - 1))
		return "a field is state, counter or gauge, one of them";
	if (kind && (field->flags & configured))
		return "a read-only field is not configured";
	if (kind && field->def)
		return "a read-only field has no default";
	if (metric && !field_type_is_number(field->type) && !(field->type == FIELD_BOOL && kind == FIELD_F_GAUGE))
		return "counters and gauges are numbers";
	if ((field->flags & FIELD_F_REQUIRED) && (field->def || (field->flags & FIELD_F_GENERATED)))
		return "a required field has no default and is not generated";
	return NULL;
}

static const char *field_fault(const struct field *field)
{
	const char *fault = NULL;

	if (!is_word(field->name, '_'))
		return "the name is not snake_case";
	if ((unsigned)field->type > FIELD_REFS)
		return "there is no such type";
	if (!is_sentence(field->doc))
		return "doc must be a sentence that ends with a full stop";
	if (field->unit && !is_word(field->unit, '_'))
		return "the unit must be words in snake_case";
	fault = names_fault(field);
	if (!fault)
		fault = limits_fault(field);
	if (!fault)
		fault = type_fault(field);
	return fault ? fault : flags_fault(field);
}

/* first and size: where the struct has room for members. */
static int table_lint(const struct field *table, size_t first, size_t size, struct dpu_error *err)
{
	unsigned count = 0;

	for (const struct field *field = table; field && field->name; field++) {
		const char *message = field_fault(field);
		if (!message && (field->offset < first || field->offset + field_size(field) > size))
			message = "the member lies outside the struct";
		for (const struct field *other = table; other < field && !message; other++) {
			if (strcmp(other->name, field->name) == 0)
				message = "the name is there twice";
			else if (other->offset < field->offset + field_size(field) &&
				 field->offset < other->offset + field_size(other))
				message = "two rows share a member";
		}
		if (!message && ++count > FIELDS_MAX - BASE_FIELDS)
			message = "too many fields";
		if (message)
			return fault(err, field->name, message);
	}
	void *defaults = calloc(1, size);
	int status = defaults ? field_table_defaults(table, defaults, err) : fault(err, NULL, "no memory to check it");
	if (defaults)
		field_table_clear(table, defaults);
	free(defaults);
	return status;
}

/* ---- actions ---- */

static int action_lint(const struct action *table, const struct action *action, struct dpu_error *err)
{
	const char *message = NULL;
	int status = 0;

	if (!is_word(action->name, '-'))
		message = "the name is not of lower-case words joined by hyphens";
	else if (!is_sentence(action->doc))
		message = "doc must be a sentence that ends with a full stop";
	else if (!action->run == !action->start)
		message = "an action has either run or start";
	else if (!action->args != !action->args_size)
		message = "args and args_size go together";
	for (size_t i = 0; i < sizeof(reserved_actions) / sizeof(reserved_actions[0]); i++) {
		if (!message && strcmp(action->name, reserved_actions[i]) == 0)
			message = "the name is reserved";
	}
	for (const struct action *other = table; other < action; other++) {
		if (!message && strcmp(action->name, other->name) == 0)
			message = "the name is there twice";
	}
	for (const struct field *field = action->args; field && field->name; field++) {
		if (field->flags & ~(uint32_t)(FIELD_F_REQUIRED | FIELD_F_SECRET))
			message = "an argument is required or secret and nothing else";
	}
	if (message)
		return fault(err, action->name, message);
	if (action->args)
		status = table_lint(action->args, 0, action->args_size, err);
	if (status < 0)
		error_prefix(err, action->name);
	return status;
}

/* ---- classes ---- */

static const char *class_fault(const struct object_class *class)
{
	bool read_only = false, generated = false;

	if (!is_word(class->name, '_') || !is_word(class->plural, '_'))
		return "name and plural must be snake_case";
	if (strcmp(class->name, class->plural) == 0 && !(class->flags & CLASS_F_SINGLETON))
		return "name and plural are the same";
	if (!is_sentence(class->doc))
		return "doc must be a sentence that ends with a full stop";
	if ((class->flags & CLASS_F_SINGLETON) && !(class->flags & CLASS_F_GLOBAL))
		return "a singleton is global";
	if (class->size < sizeof(struct object))
		return "the struct must begin with struct object";
	if (strcmp(class->name, "tenant") == 0 && !(class->flags & CLASS_F_GLOBAL))
		return "the class tenant is global";
	for (size_t i = 0; i < sizeof(reserved_plurals) / sizeof(reserved_plurals[0]); i++) {
		if (strcmp(class->plural, reserved_plurals[i]) == 0)
			return "the plural is reserved";
	}
	for (const struct field *field = class->fields; field && field->name; field++) {
		read_only |= !field_is_config(field);
		generated |= (field->flags & FIELD_F_GENERATED) != 0;
	}
	if (read_only && !class->observe)
		return "read-only fields need observe()";
	if (generated && !class->complete)
		return "generated fields need complete()";
	return NULL;
}

int class_lint(const struct object_class *class, struct dpu_error *err)
{
	static const char *const base_names[] = { "name", "tenant", "uuid", "generation", "labels" };
	const char *where = class->name ? class->name : "class";
	const char *message = class_fault(class);
	int status;

	if (message)
		return fault(err, where, message);
	for (unsigned i = 0; i < BASE_FIELDS; i++) {
		if (field_find(class->fields, base_names[i]))
			return fault(err, where, "a row has the name of a base field");
	}
	status = table_lint(class->fields, sizeof(struct object), class->size, err);
	for (const struct action *action = class->actions; status == 0 && action && action->name; action++)
		status = action_lint(class->actions, action, err);
	if (status < 0)
		error_prefix(err, where);
	return status;
}

/* Action arguments are not part of the order of classes, but their targets must be there, too. */
static int targets_lint(const struct model *model, const struct object_class *class, struct dpu_error *err)
{
	for (const struct action *action = class->actions; action && action->name; action++) {
		for (const struct field *field = action->args; field && field->name; field++) {
			if (!field->target || model_class_state(model, field->target))
				continue;
			fault(err, field->name, "the target is not a class");
			error_prefix(err, action->name);
			error_prefix(err, class->name);
			return error_errno(DPU_E_INTERNAL);
		}
	}
	return 0;
}

int model_lint(const struct model *model, struct dpu_error *err)
{
	/* The order of classes is kept in the model, but says nothing new. */
	int status = model_rank_classes((struct model *)model, err);

	for (unsigned i = 0; i < model->class_count && status == 0; i++) {
		status = class_lint(model->classes[i]->class, err);
		if (status == 0)
			status = targets_lint(model, model->classes[i]->class, err);
	}
	return status;
}
