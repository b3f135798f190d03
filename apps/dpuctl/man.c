/* SPDX-License-Identifier: BSD-3-Clause */
/* dpuctl(1) in mdoc(7), from the same tables as the help. */
#include <string.h>
#include "base/roff.h"
#include "ctl.h"

static const char head[] = ".Dd November 21, 2026\n"
			   ".Dt DPUCTL 1\n"
			   ".Os softdpu\n"
			   ".Sh NAME\n"
			   ".Nm dpuctl\n"
			   ".Nd manage a DPU in software\n"
			   ".Sh SYNOPSIS\n"
			   ".Nm\n"
			   ".Op Ar option ...\n"
			   ".Ar class verb\n"
			   ".Op Ar name\n"
			   ".Op Ar field Ns = Ns Ar value ...\n"
			   ".Nm\n"
			   ".Op Ar option ...\n"
			   ".Ar command\n"
			   ".Op Ar word ...\n"
			   ".Nm\n"
			   ".Op Ar option ...\n"
			   ".Op Fl f Ar file\n"
			   ".Sh DESCRIPTION\n"
			   ".Nm\n"
			   "asks and changes a running\n"
			   ".Xr dpud 8 .\n"
			   "What it manages are objects of classes\n"
			   ".Pq tenant, vpc, subnet, vnic and others ;\n"
			   "each class has the same verbs and its own fields and actions.\n"
			   ".Dq dpuctl help\n"
			   "lists them and\n"
			   ".Dq dpuctl help Ar class\n"
			   "describes one.\n"
			   ".Pp\n"
			   "An object is named by its name, preceded by its tenant\n"
			   ".Pq Ar tenant Ns / Ns Ar name ,\n"
			   "or by its UUID.\n"
			   "A value that is empty puts the default back; items of lists are separated by commas, and\n"
			   ".Ar list Ns += Ns Ar item\n"
			   "and\n"
			   ".Ar list Ns -= Ns Ar item\n"
			   "change a list.\n"
			   "The text argument of an action may be in a file:\n"
			   ".Ar name Ns =@ Ns Ar file ;\n"
			   "of a pcap or pcapng file the first packet is taken in hexadecimal, or the N-th with\n"
			   ".Ar name Ns =@ Ns Ar file : Ns Ar N .\n"
			   ".Pp\n"
			   "Without a command it reads commands from a file or from standard input, one a line,\n"
			   "and stops at the first that fails; on a terminal it is a shell.\n"
			   ".Sh VERBS\n";

static const char tail[] = ".Sh ENVIRONMENT\n"
			   ".Bl -tag -width Ds\n"
			   ".It Ev DPUCTL_INSTANCE\n"
			   "Instance, as with\n"
			   ".Fl i .\n"
			   ".It Ev DPUCTL_SOCKET\n"
			   "Socket, as with\n"
			   ".Fl s .\n"
			   ".It Ev DPUCTL_TENANT\n"
			   "Tenant, as with\n"
			   ".Fl t .\n"
			   ".It Ev DPUCTL_SCHEMA\n"
			   "Schema for help and completion when there is no dpud.\n"
			   ".It Ev NO_COLOR\n"
			   "If set, nothing is coloured unless\n"
			   ".Fl -color\n"
			   "asks for it.\n"
			   ".El\n"
			   ".Sh FILES\n"
			   ".Bl -tag -width Ds\n"
			   ".It Pa ~/.dpuctl_history\n"
			   "What was typed in the shell.\n"
			   ".El\n"
			   ".Sh EXIT STATUS\n"
			   ".Bl -tag -width Ds\n"
			   ".It 0\n"
			   "Done.\n"
			   ".It 1\n"
			   "Refused by dpud, or a file is wrong.\n"
			   ".It 2\n"
			   "The command is wrong.\n"
			   ".It 3\n"
			   "There is no dpud, or it does not answer.\n"
			   ".It 4\n"
			   "Done, but an object that was changed does not work: standard error says which, and why.\n"
			   "The change stays.\n"
			   "A batch goes on after that, and ends with it.\n"
			   ".It 130\n"
			   "Interrupted while the work that was followed goes on.\n"
			   ".El\n"
			   ".Sh EXAMPLES\n"
			   ".Dl dpuctl vnic create blue/web1 subnet=front\n"
			   ".Dl dpuctl vnic list tenant=blue\n"
			   ".Dl dpuctl vnic set blue/web1 security_groups+=ssh\n"
			   ".Dl dpuctl apply -f net.yaml --dry-run\n"
			   ".Sh SEE ALSO\n"
			   ".Xr dpud 8\n";

int command_man(struct ctl *ctl, char *const *words, size_t count, struct dpu_error *err)
{
	FILE *out = ctl->out;
	fputs(head, out);
	fputs(".Bl -tag -width Ds\n", out);
	for (const struct verb *verb = verbs; verb->name; verb++) {
		fprintf(out, ".It Ar class Cm %s %s\n", verb->name, verb->synopsis);
		roff_prose(out, verb->doc);
	}
	fputs(".El\n.Sh COMMANDS\n.Bl -tag -width Ds\n", out);
	for (const struct command *command = commands; command->name; command++) {
		if (!command->doc)
			continue;
		fprintf(out, ".It Cm %s%s%s\n", command->name, command->synopsis[0] ? " " : "", command->synopsis);
		roff_prose(out, command->doc);
	}
	fputs(".El\n.Sh OPTIONS\n.Bl -tag -width Ds\n", out);
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (row->letter)
			fprintf(out, ".It Fl %c , Fl -%s%s%s\n", row->letter, row->name, row->arg ? " Ar " : "",
				row->arg ? row->arg : "");
		else
			fprintf(out, ".It Fl -%s%s%s\n", row->name, row->arg ? " Ar " : "", row->arg ? row->arg : "");
		roff_prose(out, row->doc);
	}
	fputs(".El\n", out);
	fputs(tail, out);
	return EXIT_OK;
}
