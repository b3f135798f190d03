/* SPDX-License-Identifier: BSD-3-Clause */
/* Directories and locks of an instance: who is kept out, and what a killed process leaves behind. */
#include "daemon/instance.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "daemon/listen.h"
#include "daemon/notify.h"

static char top[64];

static int make_top(void **state)
{
	strcpy(top, "/tmp/dpud-instance-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", top);
	return system(command);
}

static char *below(const char *name)
{
	char *path;
	assert_true(asprintf(&path, "%s/%s", top, name) > 0);
	return path;
}

static struct options options_for(const char *run)
{
	struct options options = { .instance = strdup("test") };
	options.run_dir = below(run);
	options.state_dir = below("state");
	options.store_dir = below("deep/er/store");
	return options;
}

static void free_options(struct options *options)
{
	free(options->instance);
	free(options->run_dir);
	free(options->state_dir);
	free(options->store_dir);
}

static void makes_and_locks(void **state)
{
	struct options options = options_for("run");
	struct instance instance, second;
	struct dpu_error err = { 0 };
	assert_int_equal(instance_open(&options, &instance, &err), 0);
	char *pid_path = below("run/dpud.pid"), *capture = below("state/capture");
	struct stat status;
	assert_int_equal(stat(pid_path, &status), 0);
	assert_int_equal(stat(capture, &status), 0);
	assert_int_equal(stat(instance.store_dir, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);

	/* The same run directory, and another one with the same state directory. */
	char expect[64];
	snprintf(expect, sizeof expect, "is used by the dpud with process id %ld", (long)getpid());
	assert_int_equal(instance_open(&options, &second, &err), -EEXIST);
	assert_string_equal(err.path, options.run_dir);
	assert_string_equal(err.message, expect);
	struct options other = options_for("run2");
	assert_int_equal(instance_open(&other, &second, &err), -EEXIST);
	assert_string_equal(err.path, other.state_dir);
	assert_string_equal(err.message, expect);

	instance_close(&instance);
	assert_int_equal(stat(pid_path, &status), -1);
	assert_int_equal(instance_open(&other, &second, &err), 0);
	assert_string_not_equal(second.file_prefix, "softdpu-test-");
	instance_close(&second);
	free_options(&other);
	free_options(&options);
	free(pid_path);
	free(capture);
}

static void killed_holder_is_no_obstacle(void **state)
{
	struct options options = options_for("run");
	struct instance instance;
	struct dpu_error err = { 0 };
	pid_t child = fork();
	if (child == 0)
		_exit(instance_open(&options, &instance, &err) ? 1 : 0); /* leaves its files */
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(instance_open(&options, &instance, &err), 0);
	instance_close(&instance);
	free_options(&options);
}

static void one_directory_for_everything(void **state)
{
	struct options options = { .instance = (char *)"test" };
	options.run_dir = options.state_dir = options.store_dir = below("one");
	struct instance instance;
	struct dpu_error err = { 0 };
	assert_int_equal(instance_open(&options, &instance, &err), 0);
	instance_close(&instance);
	free(options.run_dir);
}

static void foreign_places(void **state)
{
	struct options options = options_for("run3");
	struct instance instance;
	struct dpu_error err = { 0 };
	assert_int_equal(mkdir(options.run_dir, 0777), 0);
	assert_int_equal(chmod(options.run_dir, 0777), 0);
	assert_int_equal(instance_open(&options, &instance, &err), -EACCES);
	assert_string_equal(err.message, "may be written by everybody; chmod o-w it");
	free(options.run_dir);
	options.run_dir = strdup("/proc/version/run");
	assert_int_equal(instance_open(&options, &instance, &err), -EIO);
	assert_string_equal(err.path, options.run_dir);
	options.group = (char *)"no-such-group";
	assert_int_equal(instance_open(&options, &instance, &err), -ENOENT);
	assert_string_equal(err.message, "there is no group 'no-such-group'");
	free_options(&options);
}

static void sockets(void **state)
{
	char *path = below("listen.sock"), *file = below("file");
	struct dpu_error err = { 0 };
	int fd = listen_unix(path, (gid_t)-1, &err);
	assert_true(fd >= 0);
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);
	assert_int_equal(listen_unix(path, (gid_t)-1, &err), -EEXIST);
	assert_string_equal(err.message, "another process listens on this socket");
	close(fd); /* as after a crash: the name stays */
	fd = listen_unix(path, (gid_t)-1, &err);
	assert_true(fd >= 0);
	close(fd);

	fclose(fopen(file, "w"));
	assert_int_equal(listen_unix(file, (gid_t)-1, &err), -EEXIST);
	assert_string_equal(err.message, "a file that is no socket is in the way");
	char longest[200];
	memset(longest, 'x', sizeof longest);
	memcpy(longest, "/tmp/", 5);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(listen_unix(longest, (gid_t)-1, &err), -EINVAL);
	assert_string_equal(err.message, "the path of a socket has at most 107 bytes, this one 199");
	free(path);
	free(file);
}

static void check_notified(const struct sockaddr_un *address, socklen_t length, const char *name)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)address, length), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(notify_manager("READY=1"), 0);
	char text[32] = "";
	assert_int_equal(recv(fd, text, sizeof text - 1, 0), 7);
	assert_string_equal(text, "READY=1");
	close(fd);
}

static void notifies(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_manager("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_manager("READY=1"), -EINVAL);

	char *path = below("notify");
	strcpy(address.sun_path, path);
	check_notified(&address, sizeof address, path);
	unlink(path);
	char name[64];
	int length = snprintf(name, sizeof name, "@dpud-test-%d", (int)getpid());
	memset(address.sun_path, 0, sizeof address.sun_path);
	memcpy(address.sun_path + 1, name + 1, (size_t)length - 1);
	check_notified(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length), name);
	unsetenv("NOTIFY_SOCKET");
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_and_locks),
		cmocka_unit_test(killed_holder_is_no_obstacle),
		cmocka_unit_test(one_directory_for_everything),
		cmocka_unit_test(foreign_places),
		cmocka_unit_test(sockets),
		cmocka_unit_test(notifies),
	};
	return cmocka_run_group_tests_name("instance", tests, make_top, remove_top);
}
