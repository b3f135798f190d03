/* SPDX-License-Identifier: BSD-3-Clause */
/* What may come next: candidates for the last of some words, from the tables, the schema and the objects there are. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"
#include "schema.h"

struct completion {
	struct ctl *ctl;
	const json_t *schema;
	const char *word; /* being typed */
	void (*fn)(void *ctx, const char *candidate);
	void *ctx;
};

static void offer(const struct completion *c, const char *candidate)
{
	if (strncmp(candidate, c->word, strlen(c->word)) == 0)
		c->fn(c->ctx, candidate);
}

/* prefix + name + suffix. */
static void offer_parts(const struct completion *c, const char *prefix, const char *name, const char *suffix)
{
	char *candidate;
	if (asprintf(&candidate, "%s%s%s", prefix, name, suffix) < 0)
		return;
	offer(c, candidate);
	free(candidate);
}

/* ---- objects ---- */

enum { OBJECTS_MAX = 2000 };

/* Names of a class's objects, as they must be written: TENANT/NAME unless the tenant is known. */
static void offer_objects(const struct completion *c, const char *class_name, const char *tenant, const char *prefix)
{
	const json_t *class = schema_class(c->schema, class_name);
	char method[96];
	json_t *result = NULL, *object;
	struct dpu_error err = { 0 };
	size_t index;
	if (!class)
		return;
	bool global = schema_is(class, "global");
	snprintf(method, sizeof method, "%s.list", class_name);
	json_t *params = json_pack("{s:i, s:s*}", "limit", OBJECTS_MAX, "tenant", global ? NULL : tenant);
	if (ctl_call(c->ctl, method, params, &result, &err) != EXIT_OK)
		return;
	json_array_foreach(json_object_get(result, "objects"), index, object)
	{
		if (global || tenant) {
			offer_parts(c, prefix, schema_name(object), "");
			continue;
		}
		char *name;
		if (asprintf(&name, "%s/%s", schema_text(object, "tenant"), schema_name(object)) >= 0) {
			offer_parts(c, prefix, name, "");
			free(name);
		}
	}
	json_decref(result);
}

/* ---- values ---- */

/* The value of a field, after prefix ("mode=", or "groups=a," of a list). */
static void offer_values(const struct completion *c, const json_t *field, const char *tenant, const char *prefix)
{
	size_t index;
	json_t *value;
	if (strcmp(schema_text(field, "type"), "bool") == 0) {
		offer_parts(c, prefix, "true", "");
		offer_parts(c, prefix, "false", "");
	}
	json_array_foreach(json_object_get(field, "values"), index, value)
	{
		offer_parts(c, prefix, json_string_value(value), "");
	}
	if (schema_text(field, "target")[0])
		offer_objects(c, schema_text(field, "target"), tenant, prefix);
}

/* The word is "field=…": completes what is behind the last = or comma. */
static void complete_value(const struct completion *c, const json_t *rows, const char *tenant)
{
	char name[64], *prefix = strdup(c->word);
	size_t length = strcspn(c->word, "=");
	size_t index;
	json_t *field;
	if (!prefix || length >= sizeof name) {
		free(prefix);
		return;
	}
	memcpy(name, c->word, length);
	name[length] = '\0';
	if (length > 0 && strchr("+-", name[length - 1]))
		name[length - 1] = '\0';
	char *comma = strrchr(prefix, ',');
	(comma && comma > prefix + length ? comma : prefix + length)[1] = '\0';
	json_array_foreach(rows, index, field)
	{
		if (strcmp(schema_name(field), name) == 0)
			offer_values(c, field, tenant, prefix);
	}
	free(prefix);
}

static bool is_given(char *const *words, size_t count, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = 0; i + 1 < count; i++) {
		if (strncmp(words[i], name, length) == 0 && words[i][length] == '=')
			return true;
	}
	return false;
}

/* What may be written by a verb: everything can be asked for, little can be set. */
static bool may_be_given(const json_t *field, const struct verb *verb)
{
	if (!verb || strcmp(verb->name, "list") == 0)
		return true;
	if (field_is_read_only(field) || strcmp(schema_name(field), "uuid") == 0)
		return false;
	return strcmp(verb->name, "set") != 0 || !field_has_flag(field, "immutable");
}

static void complete_fields(const struct completion *c, const json_t *rows, const struct verb *verb, char *const *words,
			    size_t count)
{
	size_t index;
	json_t *field;
	json_array_foreach(rows, index, field)
	{
		const char *name = schema_name(field);
		if (may_be_given(field, verb) && !is_given(words, count, name))
			offer_parts(c, "", name, "=");
	}
}

/* ---- a class's verb ---- */

static const char *tenant_of(const struct ctl *ctl, char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strncmp(words[i], "tenant=", 7) == 0 && words[i][7])
			return words[i] + 7;
	}
	return ctl->options.tenant;
}

/* The tenant of "TENANT/NAME" where that is the first word. */
static const char *tenant_of_name(char *const *words, size_t count, char *buf, size_t size)
{
	const char *slash = count > 1 ? strchr(words[0], '/') : NULL;
	if (!slash || (size_t)(slash - words[0]) >= size)
		return NULL;
	memcpy(buf, words[0], (size_t)(slash - words[0]));
	buf[slash - words[0]] = '\0';
	return buf;
}

/* words: those after the verb, the last being typed. */
static void complete_request(const struct completion *c, const json_t *class, const json_t *action,
			     const struct verb *verb, char *const *words, size_t count)
{
	char buf[256];
	const char *tenant = tenant_of(c->ctl, words, count - 1);
	const json_t *rows = action ? json_object_get(action, "args") : json_object_get(class, "fields");
	bool names = action ? schema_is(action, "per_object") : strcmp(verb->name, "list") != 0;
	if (!tenant)
		tenant = tenant_of_name(words, count, buf, sizeof buf);
	if (strchr(c->word, '=')) {
		complete_value(c, rows, tenant);
		return;
	}
	if (names && count == 1 && !schema_is(class, "singleton")) {
		if (!verb || strcmp(verb->name, "create") != 0)
			offer_objects(c, schema_name(class), tenant, "");
		return;
	}
	if (!verb || (strcmp(verb->name, "show") != 0 && strcmp(verb->name, "delete") != 0))
		complete_fields(c, rows, verb, words, count);
}

static void complete_verbs(const struct completion *c, const json_t *class)
{
	size_t index;
	json_t *action;
	for (const struct verb *verb = verbs; verb->name; verb++) {
		if (verb->for_singleton || !schema_is(class, "singleton"))
			offer(c, verb->name);
	}
	json_array_foreach(json_object_get(class, "actions"), index, action)
	{
		offer(c, schema_name(action));
	}
}

/* ---- the first words ---- */

/* Actions that need no class before them: "why", and the halves of "capture start". */
static void complete_actions(const struct completion *c, const char *first)
{
	size_t index, row, length = first ? strlen(first) : 0;
	json_t *class, *action;
	json_array_foreach(json_object_get(c->schema, "classes"), index, class)
	{
		json_array_foreach(json_object_get(class, "actions"), row, action)
		{
			const char *name = schema_name(action), *joint = strpbrk(name, "-_");
			if (schema_class_of_action(c->schema, name) != class)
				continue;
			if (first && joint && (size_t)(joint - name) == length && strncmp(name, first, length) == 0)
				offer(c, joint + 1);
			if (first)
				continue;
			char head[64];
			snprintf(head, sizeof head, "%.*s", joint ? (int)(joint - name) : (int)strlen(name), name);
			offer(c, head);
		}
	}
}

static void complete_first(const struct completion *c)
{
	size_t index;
	json_t *class;
	json_array_foreach(json_object_get(c->schema, "classes"), index, class)
	{
		offer(c, schema_name(class));
	}
	for (const struct command *command = commands; command->name; command++) {
		if (command->doc)
			offer(c, command->name);
	}
	complete_actions(c, NULL);
}

static void complete_help(const struct completion *c, char *const *words, size_t count)
{
	const json_t *class = count > 1 ? schema_class(c->schema, words[0]) : NULL;
	size_t index;
	json_t *field;
	if (count == 1)
		complete_first(c);
	if (count != 2 || !class)
		return;
	complete_verbs(c, class);
	json_array_foreach(json_object_get(class, "fields"), index, field)
	{
		offer(c, schema_name(field));
	}
}

static void complete_command(const struct completion *c, char *const *words, size_t count)
{
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	size_t index;
	json_t *class;
	if (strcmp(words[0], "help") == 0)
		complete_help(c, words + 1, count - 1);
	if (strcmp(words[0], "completion") == 0)
		offer(c, "bash");
	for (unsigned i = 0; i < 4 && strcmp(words[0], "log-level") == 0; i++)
		offer(c, levels[i]);
	if (strcmp(words[0], "watch") == 0) {
		json_array_foreach(json_object_get(c->schema, "classes"), index, class)
		{
			offer(c, schema_name(class));
		}
	}
}

static void complete_words(const struct completion *c, char *const *words, size_t count)
{
	const json_t *class = NULL;
	size_t used = 0;
	if (count == 1) {
		complete_first(c);
		return;
	}
	if (command_find(words[0])) {
		complete_command(c, words, count);
		return;
	}
	class = schema_class(c->schema, words[0]);
	if (class && count == 2) {
		complete_verbs(c, class);
		return;
	}
	if (class) {
		const json_t *action = schema_action(class, words[1]);
		const struct verb *verb = action ? NULL : verb_find(words[1]);
		if (action || verb)
			complete_request(c, class, action, verb, words + 2, count - 2);
		return;
	}
	const json_t *action = command_action(c->schema, words, count - 1, &class, &used);
	if (action)
		complete_request(c, class, action, NULL, words + used, count - used);
	else if (count == 2)
		complete_actions(c, words[0]);
}

/* ---- options ---- */

static void offer_instances(const struct completion *c)
{
	DIR *dir = opendir("/run/softdpu");
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		if (entry->d_name[0] != '.')
			offer(c, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* Control sockets where Open vSwitch has them, or $OVS_RUNDIR. */
static void offer_ovs(const struct completion *c)
{
	const char *place = getenv("OVS_RUNDIR");
	char prefix[300];
	DIR *dir = opendir(place ? place : "/run/openvswitch");
	snprintf(prefix, sizeof prefix, "%.280s/", place ? place : "/run/openvswitch");
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		size_t length = strlen(entry->d_name);
		if (strncmp(entry->d_name, "ovs-vswitchd", 12) == 0 && length > 4 &&
		    strcmp(entry->d_name + length - 4, ".ctl") == 0)
			offer_parts(c, prefix, entry->d_name, "");
	}
	if (dir)
		closedir(dir);
}

/* The value of the option that the word before is. */
static bool complete_option_value(const struct completion *c, const char *before)
{
	static const struct {
		const char *name;
		const char *values[4];
	} choices[] = { { "output", { "table", "json", "yaml" } }, { "color", { "auto", "always", "never" } } };
	const struct option_row *row = option_rows;
	if (before[0] != '-' || strchr(before, '='))
		return false;
	for (; row->name; row++) {
		if ((before[1] == '-' && strcmp(before + 2, row->name) == 0) ||
		    (row->letter && before[1] == row->letter && !before[2]))
			break;
	}
	if (!row->name || !row->arg)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < 3 && strcmp(choices[i].name, row->name) == 0; j++)
			offer(c, choices[i].values[j]);
	}
	if (strcmp(row->name, "instance") == 0)
		offer_instances(c);
	if (strcmp(row->name, "ovs") == 0)
		offer_ovs(c);
	if (strcmp(row->name, "tenant") == 0)
		offer_objects(c, "tenant", NULL, "");
	return true;
}

void complete(struct ctl *ctl, char *const *words, size_t count, void (*fn)(void *ctx, const char *candidate),
	      void *ctx)
{
	struct completion c = { .ctl = ctl, .word = words[count - 1], .fn = fn, .ctx = ctx };
	struct dpu_error err = { 0 };
	char **copy = reallocarray(NULL, count + 1, sizeof *copy);
	size_t kept = count - 1;
	if (!copy)
		return;
	memcpy(copy, words, count * sizeof *copy);
	/* A wrong option before the word does not matter here; the unfinished word is no option yet. */
	struct ctl_options base = ctl->options;
	bool value = count > 1 && complete_option_value(&c, words[count - 2]);
	if (!value && options_take(&ctl->options, copy, &kept, &err) == EXIT_OK) {
		copy[kept] = words[count - 1];
		c.schema = ctl_schema(ctl, &err);
		if (c.word[0] == '-') {
			for (const struct option_row *row = option_rows; row->name; row++)
				offer_parts(&c, "--", row->name, "");
		} else {
			complete_words(&c, copy, kept + 1);
		}
	}
	ctl->options = base;
	free(copy);
}

/* ---- for the shell's own completion ---- */

static void print_candidate(void *ctx, const char *candidate)
{
	fprintf(ctx, "%s\n", candidate);
}

int command_complete(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	if (count > 0) {
		ctl->options.timeout_s = 2; /* somebody waits at a prompt */
		complete(ctl, words, count, print_candidate, ctl->out);
	}
	return EXIT_OK;
}

/* bash takes = and : for ends of words; what it replaces is only what is behind the last of them. */
static const char bash_script[] = "# bash completion for dpuctl: source <(dpuctl completion bash)\n"
				  "_dpuctl() {\n"
				  "\tlocal line=${COMP_LINE:0:COMP_POINT} words word head\n"
				  "\tIFS=$' \\t\\n' read -r -a words <<<\"$line\"\n"
				  "\t[[ $line == *[[:space:]] ]] && words+=('')\n"
				  "\tword=${words[${#words[@]}-1]}\n"
				  "\thead=${word%\"${word##*[=:]}\"}\n"
				  "\tlocal IFS=$'\\n'\n"
				  "\tCOMPREPLY=($(\"${words[0]}\" __complete \"${words[@]:1}\" 2>/dev/null))\n"
				  "\tCOMPREPLY=(\"${COMPREPLY[@]#\"$head\"}\")\n"
				  "\t[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
				  "\treturn 0\n"
				  "}\n"
				  "complete -o default -F _dpuctl dpuctl\n";

int command_completion(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	if (count != 1 || strcmp(words[0], "bash") != 0)
		return usage_error(err, "completion", "say for which shell: bash");
	fputs(bash_script, ctl->out);
	return EXIT_OK;
}
