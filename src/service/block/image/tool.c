// SPDX-License-Identifier: BSD-3-Clause
/* A helper process: begun, listened to, waited for by a pidfd. */
#include "service/block/image/tool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/str.h"
#include "service/block/image/words.h"

#define STARTER "setpriv"

extern char **environ;

struct tool {
	pid_t pid;
	int pidfd, output;
	struct loop_fd *ended_watch, *output_watch;
	struct tool_words words;
	void (*done)(void *ctx, const char *why);
	void *ctx;
};

static bool output_take(struct tool *tool)
{
	char text[256];
	ssize_t got = read(tool->output, text, sizeof(text));

	if (got <= 0)
		return false;
	tool_words_take(&tool->words, text, (size_t)got);
	return true;
}

static void output_readable(void *ctx, uint32_t events)
{
	struct tool *tool = ctx;

	(void)events;
	if (output_take(tool))
		return;
	loop_fd_remove(tool->output_watch);
	tool->output_watch = NULL;
}

/* One that was killed from outside has no last word on that. */
static void ending_say(struct tool *tool, const siginfo_t *info, char *ret, size_t bytes)
{
	const char *last = tool_words_last(&tool->words);

	if (info->si_code != CLD_EXITED)
		str_format(ret, bytes, "qemu-img was ended by signal %d (%s): begin again", info->si_status,
			   strsignal(info->si_status));
	else
		str_format(ret, bytes, "%s", last[0] ? last : "qemu-img ended without a word");
}

static void process_ended(void *ctx, uint32_t events)
{
	struct tool *tool = ctx;
	siginfo_t info = { 0 };
	char why[320];

	(void)events;
	while (output_take(tool))
		;
	waitid(P_PID, (id_t)tool->pid, &info, WEXITED);
	bool good = info.si_code == CLD_EXITED && info.si_status == 0;
	ending_say(tool, &info, why, sizeof(why));
	loop_fd_remove(tool->ended_watch);
	loop_fd_remove(tool->output_watch);
	close(tool->pidfd);
	close(tool->output);
	void (*done)(void *ctx, const char *why) = tool->done;
	void *done_ctx = tool->ctx;
	free(tool);
	done(done_ctx, good ? NULL : why);
}

static int not_there(const char *name, const char *package, struct dpu_error *err)
{
	return error_set(err, DPU_E_UNSUPPORTED, NULL, "%s cannot be run: it is not installed (package %s)", name,
			 package);
}

/* As posix_spawnp() looks for it. */
static bool is_there(const char *name)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	for (path = path ? path : "/bin:/usr/bin"; path; path = strchr(path, ':'), path += path != NULL) {
		snprintf(file, sizeof(file), "%.*s/%s", (int)strcspn(path, ":"), path, name);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

int tool_check(const char *name, struct dpu_error *err)
{
	if (!is_there(name))
		return not_there(name, "qemu-utils", err);
	return is_there(STARTER) ? 0 : not_there(STARTER, "util-linux", err);
}

/* posix_spawn() itself cannot say that the child is to end with us. */
static char **with_starter(const char *const *argv)
{
	static const char *const starter[] = { STARTER, "--pdeathsig", "KILL", "--no-new-privs", "--" };
	unsigned own = sizeof(starter) / sizeof(starter[0]), count = 0;

	while (argv[count])
		count++;
	char **all = calloc(own + count + 1, sizeof(*all));
	if (!all)
		return NULL;
	memcpy(all, starter, sizeof(starter));
	memcpy(all + own, argv, count * sizeof(*argv));
	return all;
}

static int spawn(const char *const *argv, int source, int target, int output, pid_t *ret)
{
	CLEANUP(free_pointer) char **all = with_starter(argv);
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none;
	int rc;

	if (!all)
		return -ENOMEM;
	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&files, source, TOOL_SOURCE);
	posix_spawn_file_actions_adddup2(&files, target, TOOL_TARGET);
	posix_spawn_file_actions_addclosefrom_np(&files, TOOL_TARGET + 1);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	rc = posix_spawnp(ret, STARTER, &files, &attributes, all, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return -rc;
}

int tool_start(struct loop *loop, const char *const *argv, int source, int target,
	       void (*done)(void *ctx, const char *why), void *ctx, struct tool **ret, struct dpu_error *err)
{
	struct tool *tool = calloc(1, sizeof(*tool));
	int pipes[2];

	assert(source > TOOL_TARGET && target > TOOL_TARGET);
	if (!tool || pipe2(pipes, O_CLOEXEC) < 0) {
		free(tool);
		return error_set(err, DPU_E_LIMIT, NULL, "no memory or descriptor for a process");
	}
	int rc = spawn(argv, source, target, pipes[1], &tool->pid);
	close(pipes[1]);
	if (rc < 0) {
		close(pipes[0]);
		free(tool);
		return error_set(err, DPU_E_LIMIT, NULL, "%s cannot be run: %s", argv[0], strerror(-rc));
	}
	tool->output = pipes[0];
	fcntl(tool->output, F_SETFL, O_NONBLOCK); /* our end alone */
	tool->pidfd = (int)syscall(SYS_pidfd_open, tool->pid, 0);
	tool->done = done;
	tool->ctx = ctx;
	if (tool->pidfd < 0 || loop_fd_add(loop, tool->pidfd, EPOLLIN, process_ended, tool, &tool->ended_watch) != 0 ||
	    loop_fd_add(loop, tool->output, EPOLLIN, output_readable, tool, &tool->output_watch) != 0)
		abort(); /* out of memory or descriptors, with a process that nobody would wait for */
	*ret = tool;
	return 0;
}

unsigned tool_percent(const struct tool *tool)
{
	return tool->words.percent;
}

void tool_kill(struct tool *tool)
{
	kill(tool->pid, SIGKILL);
}
