/* SPDX-License-Identifier: BSD-3-Clause */
/* What people read about dpud's options: --help and dpud(8). */
#include "daemon/options.h"

#include <string.h>
#include "base/roff.h"
#include "daemon/options_priv.h"

enum { HELP_INDENT = 26, HELP_WIDTH = 100 };

/* Prints text from column `from` on, broken at blanks before HELP_WIDTH and indented by `from`. Columns are counted in
 * characters, not bytes. */
static void print_wrapped(FILE *out, const char *text, int from)
{
	int column = from;
	while (*text) {
		size_t bytes = strcspn(text, " ");
		int width = 0;
		for (size_t i = 0; i < bytes; i++)
			width += (text[i] & 0xc0) != 0x80;
		if (column > from && column + 1 + width > HELP_WIDTH) {
			fprintf(out, "\n%*s", from, "");
			column = from;
		} else if (column > from) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, bytes, out);
		column += width;
		text += bytes;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void list_choices(const struct option_row *row, char *buf, size_t size)
{
	size_t used = 0;
	for (unsigned i = 0; row->names[i] && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? "|" : "", row->names[i]);
}

static void describe(const struct option_row *row, char *buf, size_t size)
{
	char choices[64] = "";
	if (row->names)
		list_choices(row, choices, sizeof choices);
	char range[64] = "";
	if (row->kind == OPTION_NUMBER)
		snprintf(range, sizeof range, " From %u to %u.", row->min, row->max);
	snprintf(buf, size, "%s%s%s%s%s%s%s%s", row->doc, choices[0] ? " One of " : "", choices, choices[0] ? "." : "",
		 range, row->def ? " Default: " : "", row->def ? row->def : "", row->def ? "." : "");
}

void options_help(FILE *out)
{
	fputs("usage: dpud [OPTION]...\n\nThe daemon of softdpu, a DPU in software. It runs in the foreground; see "
	      "dpud(8).\n",
	      out);
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (!row->name) {
			fprintf(out, "\n%s:\n", row->doc);
			continue;
		}
		char left[64], text[512];
		if (row->letter)
			snprintf(left, sizeof left, "  -%c, --%s%s%s", row->letter, row->name, row->arg ? " " : "",
				 row->arg ? row->arg : "");
		else
			snprintf(left, sizeof left, "      --%s%s%s", row->name, row->arg ? " " : "",
				 row->arg ? row->arg : "");
		if (strlen(left) >= HELP_INDENT)
			fprintf(out, "%s\n%*s", left, HELP_INDENT, "");
		else
			fprintf(out, "%-*s", HELP_INDENT, left);
		describe(row, text, sizeof text);
		print_wrapped(out, text, HELP_INDENT);
	}
}

static const char man_head[] = ".Dd November 21, 2026\n"
			       ".Dt DPUD 8\n"
			       ".Os softdpu\n"
			       ".Sh NAME\n"
			       ".Nm dpud\n"
			       ".Nd daemon of softdpu, a DPU in software\n"
			       ".Sh SYNOPSIS\n"
			       ".Nm\n"
			       ".Op Ar option ...\n"
			       ".Sh DESCRIPTION\n"
			       ".Nm\n"
			       "networks tenants' virtual machines and containers without the host's network stack.\n"
			       "It runs in the foreground until\n"
			       ".Dv SIGTERM\n"
			       "or\n"
			       ".Dv SIGINT ,\n"
			       "tells a service manager when it is ready\n"
			       ".Pq Ev NOTIFY_SOCKET ,\n"
			       "and reopens its log at\n"
			       ".Dv SIGHUP .\n"
			       "It is managed by\n"
			       ".Xr dpuctl 1 ,\n"
			       "or by any client of JSON-RPC 2.0 on its sockets, one message a line.\n"
			       "What it was told is kept in its store and in force again after a restart.\n"
			       ".Sh OPTIONS\n";

static const char man_tail[] = ".Sh FILES\n"
			       ".Bl -tag -width Ds\n"
			       ".It Pa RUN_DIR/dpud.sock\n"
			       "Management socket, mode 0660.\n"
			       ".It Pa RUN_DIR/dpud-ro.sock\n"
			       "Socket on which nothing can be changed.\n"
			       ".It Pa RUN_DIR/dpud.pid\n"
			       "The running daemon's process id.\n"
			       "It is locked, so that an instance runs once.\n"
			       ".It Pa STORE_DIR/store.db\n"
			       "The configuration.\n"
			       ".El\n"
			       ".Sh EXIT STATUS\n"
			       ".Bl -tag -width Ds\n"
			       ".It 0\n"
			       "It was stopped by a signal, or printed what was asked for.\n"
			       ".It 1\n"
			       "It could not start, or could not go on.\n"
			       ".It 2\n"
			       "An option is wrong.\n"
			       ".El\n"
			       ".Sh SEE ALSO\n"
			       ".Xr dpuctl 1\n";

void options_man(FILE *out)
{
	fputs(man_head, out);
	bool open = false;
	for (const struct option_row *row = option_rows; row->doc; row++) {
		if (!row->name) {
			fprintf(out, "%s.Ss %s\n.Bl -tag -width Ds\n", open ? ".El\n" : "", row->doc);
			open = true;
			continue;
		}
		char text[512];
		if (row->letter)
			fprintf(out, ".It Fl %c , Fl -%s%s%s\n", row->letter, row->name, row->arg ? " Ar " : "",
				row->arg ? row->arg : "");
		else
			fprintf(out, ".It Fl -%s%s%s\n", row->name, row->arg ? " Ar " : "", row->arg ? row->arg : "");
		describe(row, text, sizeof text);
		roff_prose(out, text);
	}
	fputs(".El\n", out);
	fputs(man_tail, out);
}
