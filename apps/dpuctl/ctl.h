/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of dpuctl share: options, the connection, the schema; and one entry, ctl_run(), for a command that
 * came from the command line, the shell or a batch file. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "base/error.h"
#include "link.h"

enum ctl_exit {
	EXIT_OK = 0,
	EXIT_REFUSED = 1,       /* dpud refused it, or a file is wrong */
	EXIT_USAGE = 2,         /* the command is wrong */
	EXIT_UNREACHABLE = 3,   /* there is no dpud, or it does not answer */
	EXIT_NOT_IN_FORCE = 4,  /* done, but an object that was changed does not work; that has been said */
	EXIT_INTERRUPTED = 130, /* by Ctrl-C, while the work goes on */
};

enum ctl_format { FORMAT_TABLE, FORMAT_JSON, FORMAT_YAML };

/* Strings are borrowed from the words or the environment. */
struct ctl_options {
	const char *socket, *instance, *tenant, *columns, *file, *schema, *ovs;
	enum ctl_format format;
	bool read_only, dry_run, cascade, prune, transaction, help, version;
	unsigned timeout_s;
	enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color;
};

struct ctl {
	struct ctl_options options; /* of the current command */
	struct link *link;
	char *link_path; /* what link is connected to */
	json_t *schema;
	FILE *out;
	json_t *changes; /* a batch that becomes one transaction: collected here; else NULL */
	bool interactive;
};

/* What a batch or a shell begins with: options from the environment, then from the words, which are taken out. */
int ctl_init(struct ctl *ctl, char **words, size_t *count, struct dpu_error *err);

/* One command. words excludes the program's name. Prints its result or its error; returns enum ctl_exit. */
int ctl_run(struct ctl *ctl, char *const *words, size_t count);
/* The same, leaving the error to the caller. */
int ctl_command(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
void ctl_fini(struct ctl *ctl);

/* Calls dpud, connecting if need be. Returns EXIT_OK or the exit code that belongs to err. */
int ctl_call(struct ctl *ctl, const char *method, json_t *params, json_t **ret_result, struct dpu_error *err);
int ctl_connect(struct ctl *ctl, struct dpu_error *err);
/* The schema: dpud's, or the installed one when there is no dpud. Borrowed; NULL with err filled. */
const json_t *ctl_schema(struct ctl *ctl, struct dpu_error *err);
bool ctl_color(const struct ctl *ctl);
void ctl_print_error(const char *prefix, const struct dpu_error *err);
/* Fills err and returns EXIT_USAGE. */
int usage_error(struct dpu_error *err, const char *path, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- options.c ---- */

struct option_row {
	const char *name;
	char letter;
	const char *arg; /* NULL: none */
	const char *doc;
};
extern const struct option_row option_rows[];
/* Takes the options out of words; what is left is in order. */
int options_check_instance(const char *option, const char *value, struct dpu_error *err);
int options_take(struct ctl_options *options, char **words, size_t *count, struct dpu_error *err);

/* ---- commands: those of dpuctl itself, and verbs of every class ---- */

struct command {
	const char *name;
	const char *synopsis;
	const char *doc;
	const char *example;
	int (*run)(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
};
extern const struct command commands[]; /* command.c */
const struct command *command_find(const char *name);

struct request;
struct verb {
	const char *name;
	const char *other; /* another word for it; may be NULL */
	const char *synopsis;
	const char *doc;
	bool for_singleton;
	int (*run)(struct ctl *ctl, struct request *request, struct dpu_error *err);
};
extern const struct verb verbs[]; /* verb.c */
const struct verb *verb_find(const char *name);

int command_apply(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
int command_export(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
int command_watch(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
int command_help(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
int command_completion(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
int command_complete(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
int command_man(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err);
/* The action that words begin with ("why", "capture start" for capture-start), and its class; *ret_used: words that
 * name it. NULL: there is none, or more than one class has it. */
const json_t *command_action(const json_t *schema, char *const *words, size_t count, const json_t **ret_class,
			     size_t *ret_used);

/* ---- request.c: a class's verb with its words ---- */

enum word_op { WORD_SET, WORD_ADD, WORD_REMOVE };
struct request_word {
	const json_t *field;
	enum word_op op;
	const char *text; /* after the = */
};
struct request {
	const json_t *class;
	const struct verb *verb;
	const json_t *action; /* in place of verb */
	const char *tenant, *name;
	const char *generation;
	struct request_word *words;
	size_t count;
};
int request_parse(const struct ctl *ctl, const json_t *class, const char *verb, char *const *words, size_t count,
		  struct request *ret, struct dpu_error *err);
void request_fini(struct request *request);
int request_run(struct ctl *ctl, struct request *request, struct dpu_error *err);
/* {tenant, name} of the request as parameters. */
json_t *request_target(const struct request *request);
/* The object of set words; += and -= are refused. NULL with err filled. */
json_t *request_fields(const struct request *request, struct dpu_error *err);

/* ---- progress.c: actions that take long ---- */

/* Whether the request is one that is to be waited for. */
bool progress_wanted(const struct request *request, const json_t *args);
/* After it was begun: to its end, whose result is *ret_result. */
int progress_follow(struct ctl *ctl, const struct request *request, json_t **ret_result, struct dpu_error *err);

/* ---- failed.c: what was changed, and could not be brought into force ---- */

/* Says which of the objects do not work. EXIT_OK, or EXIT_NOT_IN_FORCE when there is one. */
int warn_failed(struct ctl *ctl, const json_t *changes);
int warn_failed_one(struct ctl *ctl, const json_t *class, const json_t *object);

/* ---- output ---- */

void print_value(struct ctl *ctl, const json_t *value); /* as JSON or YAML */
void print_objects(struct ctl *ctl, const json_t *class, const json_t *objects);
void print_object(struct ctl *ctl, const json_t *class, const json_t *object);
void print_result(struct ctl *ctl, const json_t *result); /* of an action */
/* Whether -c names what there is: of the class; in the rows of an action's result. EXIT_OK or EXIT_USAGE. */
int print_check_columns(const struct ctl *ctl, const json_t *class, struct dpu_error *err);
int print_check_rows(const struct ctl *ctl, const json_t *result, struct dpu_error *err);
void print_changes(struct ctl *ctl, const json_t *changes, bool applied);
void print_event(struct ctl *ctl, const json_t *event);
/* What people read in a table; malloc'd. field may be NULL. */
char *human_value(const json_t *field, const json_t *value);
/* Makes control characters, which terminals obey, to '?'. In place; returns text, which may be NULL. */
char *text_clean(char *text);

/* ---- other ways to give commands ---- */

int shell_run(struct ctl *ctl);
int batch_run(struct ctl *ctl, FILE *in, const char *name);
/* Candidates for the last of words, one call of fn each. */
void complete(struct ctl *ctl, char *const *words, size_t count, void (*fn)(void *ctx, const char *candidate),
	      void *ctx);
