/* SPDX-License-Identifier: BSD-3-Clause */
/* dpuctl: one command, a batch of them, or a shell. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ctl.h"

static int run_batch(struct ctl *ctl)
{
	const char *path = ctl->options.file;
	ctl->options.file = NULL;
	if (!path || strcmp(path, "-") == 0)
		return batch_run(ctl, stdin, "standard input");
	FILE *in = fopen(path, "re");
	if (!in) {
		fprintf(stderr, "dpuctl: %s: cannot be opened: %s\n", path, strerror(errno));
		return EXIT_REFUSED;
	}
	int status = batch_run(ctl, in, path);
	fclose(in);
	return status;
}

int main(int argc, char **argv)
{
	struct ctl ctl;
	struct dpu_error err = { 0 };
	char **words = argv + 1;
	size_t count = (size_t)argc - 1;
	int status = ctl_init(&ctl, words, &count, &err);
	signal(SIGPIPE, SIG_IGN);
	if (status)
		ctl_print_error("dpuctl: ", &err);
	else if (count > 0 || ctl.options.help || ctl.options.version)
		status = ctl_run(&ctl, words, count);
	else if (ctl.options.file || !isatty(STDIN_FILENO))
		status = run_batch(&ctl);
	else
		status = shell_run(&ctl);
	ctl_fini(&ctl);
	if (fflush(stdout) || ferror(stdout)) {
		/* A reader that has seen enough (head) is no failure worth a word. */
		if (errno != EPIPE)
			fprintf(stderr, "dpuctl: the output cannot be written: %s\n", strerror(errno));
		return status ? status : EXIT_REFUSED;
	}
	return status;
}
