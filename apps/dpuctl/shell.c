/* SPDX-License-Identifier: BSD-3-Clause */
/* The interactive shell: libedit with history, completion and help on ?. */
#include <histedit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/str.h"
#include "ctl.h"
#include "table.h"
#include "words.h"

enum { HISTORY_LINES = 1000 };

struct shell {
	struct ctl *ctl;
	EditLine *edit;
	History *history;
	char *history_path;
	char prompt[96];
};

struct candidates {
	char **items;
	size_t count;
};

static void note(void *ctx, const char *candidate)
{
	struct candidates *candidates = ctx;
	char **items = reallocarray(candidates->items, candidates->count + 1, sizeof *items);
	if (!items)
		return;
	candidates->items = items;
	items[candidates->count] = strdup(candidate);
	candidates->count += items[candidates->count] != NULL;
}

static void candidates_free(struct candidates *candidates)
{
	for (size_t i = 0; i < candidates->count; i++)
		free(candidates->items[i]);
	free(candidates->items);
}

/* How far all candidates agree. */
static size_t common_length(const struct candidates *candidates)
{
	size_t length = strlen(candidates->items[0]);
	for (size_t i = 1; i < candidates->count; i++) {
		size_t same = 0;
		while (same < length && candidates->items[i][same] == candidates->items[0][same])
			same++;
		length = same;
	}
	return length;
}

static void list_candidates(const struct candidates *candidates)
{
	fputc('\n', stdout);
	for (size_t i = 0; i < candidates->count && i < 200; i++)
		printf("%s%s", i ? "  " : "", candidates->items[i]);
	if (candidates->count > 200)
		printf("  … and %zu more", candidates->count - 200);
	fputc('\n', stdout);
	fflush(stdout);
}

/* The words up to the cursor; an empty one when the next has not begun. */
static int words_at_cursor(EditLine *edit, struct words *ret)
{
	const LineInfo *info = el_line(edit);
	struct dpu_error err = { 0 };
	char *line = strndup(info->buffer, (size_t)(info->cursor - info->buffer));
	int rc = line ? words_split_unfinished(line, ret, &err) : -1;
	free(line);
	if (rc || !ret->open_end)
		return rc;
	char **items = reallocarray(ret->items, ret->count + 1, sizeof *items);
	if (!items)
		return -1;
	ret->items = items;
	items[ret->count] = strdup("");
	ret->count += items[ret->count] != NULL;
	return 0;
}

static unsigned char insert(EditLine *edit, const struct candidates *candidates, const char *word)
{
	size_t typed = strlen(word), common = common_length(candidates);
	char text[600];
	bool whole = candidates->count == 1;
	bool open = common > 0 && strchr("=/", candidates->items[0][common - 1]);
	snprintf(text, sizeof text, "%.*s%s", (int)(common - typed), candidates->items[0] + typed,
		 whole && !open ? " " : "");
	if (text[0] && el_insertstr(edit, text) == 0)
		return CC_REFRESH;
	if (whole)
		return CC_NORM;
	list_candidates(candidates);
	return CC_REDISPLAY;
}

static unsigned char on_tab(EditLine *edit, int character)
{
	struct shell *shell;
	struct words words = { 0 };
	struct candidates candidates = { 0 };
	unsigned char result = CC_ERROR;
	el_get(edit, EL_CLIENTDATA, &shell);
	if (words_at_cursor(edit, &words) == 0 && words.count > 0) {
		complete(shell->ctl, words.items, words.count, note, &candidates);
		if (candidates.count > 0)
			result = insert(edit, &candidates, words.items[words.count - 1]);
	}
	candidates_free(&candidates);
	words_free(&words);
	return result;
}

/* ? at the beginning of a word says what may come; within one it is a character. */
static unsigned char on_question(EditLine *edit, int character)
{
	struct shell *shell;
	struct words words = { 0 };
	struct candidates candidates = { 0 };
	unsigned char result = CC_REDISPLAY;
	el_get(edit, EL_CLIENTDATA, &shell);
	int rc = words_at_cursor(edit, &words);
	if (rc || words.count == 0 || words.items[words.count - 1][0]) {
		words_free(&words);
		return el_insertstr(edit, "?") == 0 ? CC_REFRESH : CC_ERROR;
	}
	complete(shell->ctl, words.items, words.count, note, &candidates);
	if (candidates.count > 0)
		list_candidates(&candidates);
	else
		result = CC_ERROR;
	candidates_free(&candidates);
	words_free(&words);
	return result;
}

static char *prompt(EditLine *edit)
{
	struct shell *shell;
	el_get(edit, EL_CLIENTDATA, &shell);
	return shell->prompt;
}

/* The history may hold secrets that were typed: it is the user's alone. */
static void open_history(struct shell *shell)
{
	HistEvent event;
	const char *home = getenv("HOME");
	struct text path = { 0 };
	shell->history = history_init();
	if (!shell->history)
		return;
	history(shell->history, &event, H_SETSIZE, HISTORY_LINES);
	history(shell->history, &event, H_SETUNIQUE, 1);
	if (home) {
		text_printf(&path, "%s/.dpuctl_history", home);
		shell->history_path = text_take(&path);
	}
	if (shell->history_path)
		history(shell->history, &event, H_LOAD, shell->history_path);
	el_set(shell->edit, EL_HIST, history, shell->history);
}

static void close_history(struct shell *shell)
{
	HistEvent event;
	if (!shell->history)
		return;
	if (shell->history_path) {
		mode_t old = umask(077);
		history(shell->history, &event, H_SAVE, shell->history_path);
		umask(old);
	}
	history_end(shell->history);
	free(shell->history_path);
}

static int open_shell(struct shell *shell)
{
	shell->edit = el_init("dpuctl", stdin, stdout, stderr);
	if (!shell->edit)
		return -1;
	el_set(shell->edit, EL_CLIENTDATA, shell);
	el_set(shell->edit, EL_PROMPT, prompt);
	el_set(shell->edit, EL_EDITOR, "emacs");
	el_set(shell->edit, EL_SIGNAL, 1);
	el_set(shell->edit, EL_ADDFN, "dpuctl-complete", "Complete the word", on_tab);
	el_set(shell->edit, EL_ADDFN, "dpuctl-help", "Say what may come", on_question);
	el_set(shell->edit, EL_BIND, "^I", "dpuctl-complete", NULL);
	el_set(shell->edit, EL_BIND, "?", "dpuctl-help", NULL);
	el_set(shell->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
	open_history(shell);
	return 0;
}

/* Returns false at the end of the shell. */
static bool run_line(struct shell *shell, const char *line)
{
	struct words words = { 0 };
	struct dpu_error err = { 0 };
	HistEvent event;
	bool go_on = true;
	if (words_split(line, &words, &err)) {
		ctl_print_error("", &err);
		return true;
	}
	if (words.count > 0 && shell->history)
		history(shell->history, &event, H_ENTER, line);
	if (words.count > 0 && (strcmp(words.items[0], "quit") == 0 || strcmp(words.items[0], "exit") == 0))
		go_on = false;
	else if (words.count > 0)
		ctl_run(shell->ctl, words.items, words.count);
	words_free(&words);
	return go_on;
}

int shell_run(struct ctl *ctl)
{
	struct shell shell = { .ctl = ctl };
	struct dpu_error err = { 0 };
	int length, status = ctl_connect(ctl, &err);
	if (status) {
		ctl_print_error("dpuctl: ", &err);
		return status;
	}
	if (open_shell(&shell)) {
		fputs("dpuctl: this terminal cannot be used for a shell; give a command, or -f FILE\n", stderr);
		return EXIT_REFUSED;
	}
	ctl->interactive = true;
	snprintf(shell.prompt, sizeof shell.prompt, "%.80s> ", ctl->options.socket ? "dpuctl" : ctl->options.instance);
	puts("Tab completes, ? says what may come, help explains, quit ends.");
	for (;;) {
		const char *line = el_gets(shell.edit, &length);
		if (!line || length <= 0)
			break;
		if (!run_line(&shell, line))
			break;
	}
	close_history(&shell);
	el_end(shell.edit);
	return EXIT_OK;
}
