/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of descriptors that messages carry: the receiver has its own, without any nothing is attached, failures are
 * told. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fds.h"

static int ends[2];

static int set_up(void **state)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static int tear_down(void **state)
{
	close(ends[0]);
	close(ends[1]);
	return 0;
}

/* How many descriptors came with the next message, which is "hello". */
static unsigned receive(int *ret_fds, unsigned room)
{
	char text[16];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof(int))];
	struct iovec part = { text, sizeof(text) };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	assert_int_equal(recvmsg(ends[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), 5);
	assert_memory_equal(text, "hello", 5);
	assert_false(message.msg_flags & MSG_CTRUNC);
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (!c)
		return 0;
	assert_int_equal(c->cmsg_type, SCM_RIGHTS);
	unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	assert_true(count <= room);
	memcpy(ret_fds, CMSG_DATA(c), count * sizeof(int));
	return count;
}

static const struct iovec parts[2] = { { (char[]){ "he" }, 2 }, { (char[]){ "llo" }, 3 } };

static void descriptors_arrive(void **state)
{
	int fds[FDS_MAX], got[FDS_MAX];
	struct stat sent, received;

	for (unsigned i = 0; i < FDS_MAX; i++)
		fds[i] = i % 2 ? ends[0] : ends[1];
	for (unsigned count = 0; count <= FDS_MAX; count += count < 2 ? 1 : FDS_MAX - 2) {
		assert_int_equal(fds_send(ends[0], parts, 2, fds, count, 0), 5);
		assert_int_equal(receive(got, FDS_MAX), count);
		for (unsigned i = 0; i < count; i++) {
			assert_int_equal(fstat(fds[i], &sent), 0);
			assert_int_equal(fstat(got[i], &received), 0);
			assert_true(sent.st_ino == received.st_ino && fds[i] != got[i]);
			close(got[i]);
		}
	}
}

static void failures_are_told(void **state)
{
	const int none = 1000000;
	ssize_t sent;

	assert_int_equal(fds_send(ends[0], parts, 2, &none, 1, 0), -EBADF);
	while ((sent = fds_send(ends[0], parts, 2, NULL, 0, MSG_DONTWAIT)) == 5)
		;
	assert_int_equal(sent, -EAGAIN);
}

static void an_end_is_told(void **state)
{
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(fds_send(ends[0], parts, 2, NULL, 0, 0), -EPIPE); /* and no signal */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(descriptors_arrive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failures_are_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_end_is_told, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
