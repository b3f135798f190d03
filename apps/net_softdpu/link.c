/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a connection: greeting, questions and answers, loss and return. */
#include "link.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "link_region.h"

enum {
	ANSWER_SECONDS = 5,
	PAUSE_FIRST_MS = 50, /* between attempts: each twice as long as the one before … */
	PAUSE_LAST_MS = 1600,
	LIFE_SECONDS = 2,  /* … as long as dpud does not live longer than this */
	WAIT_SECONDS = 3,  /* for a dpud that is starting, when the first device is attached */
	VAIN_SECONDS = 10, /* who has waited in vain does not wait again for so long */
	MAX_FDS = 1 + LINK_MAX_WAKE_FDS,
};

struct link {
	struct sockaddr_un address;
	char eswitch[ESWITCH_NAME_BYTES];
	unsigned refs;     /* under registry_lock */
	struct link *next; /* likewise */
	pthread_mutex_t lock;
	int fd;              /* -1 = dpud is away */
	unsigned connection; /* which one, counted */
	uint32_t request;
	/* Of this connection and of the one before, by its number's last bit. */
	struct link_region regions[2];
	struct link_region *_Atomic region;
	struct link_listener *listeners;
	/* Held by who changes listeners, and while they attend; outside of lock. */
	pthread_mutex_t attending;
	bool unattended;
	/* The watcher's own. */
	pthread_t watcher;
	unsigned pause_ms;
	time_t since; /* of the connection */
	_Atomic bool stopping;
	int nudge_fd; /* eventfd */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct link *registry;

/* ---- messages ---- */

/* 0, or -errno. Takes file descriptors that came along; *ret_count of them are the caller's. */
static int receive(int fd, int flags, struct eswitch_message *ret, int *ret_fds, unsigned *ret_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec vector = { ret, sizeof(*ret) };
	struct msghdr header = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t bytes = recvmsg(fd, &header, flags | MSG_CMSG_CLOEXEC);

	*ret_count = 0;
	if (bytes < 0)
		return -errno;
	for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned count = (unsigned)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(ret_fds, CMSG_DATA(part), count * sizeof(int));
		*ret_count = count;
	}
	ret->sentence[sizeof(ret->sentence) - 1] = '\0';
	if (bytes == (ssize_t)sizeof(*ret))
		return 0;
	while (*ret_count > 0)
		close(ret_fds[--*ret_count]);
	return bytes == 0 ? -ECONNRESET : -EPROTO;
}

/* The watcher looks whether there is something to do. */
static void nudge(struct link *link)
{
	const uint64_t one = 1;

	if (write(link->nudge_fd, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is readable */
}

/* Locked. What dpud says of itself. */
static void tell(struct link *link, const struct eswitch_message *event)
{
	link->unattended = true;
	nudge(link);
	for (struct link_listener *listener = link->listeners; listener; listener = listener->next) {
		if (event->type == ESWITCH_PORT_CHANGED && listener->changed)
			listener->changed(listener->ctx, &event->port);
		if (event->type == ESWITCH_PORT_GONE && listener->gone)
			listener->gone(listener->ctx, event->number);
	}
}

static int say(char *sentence, int status, const char *text, const char *about)
{
	snprintf(sentence, LINK_SENTENCE_BYTES, "%s%s", text, about);
	return status;
}

static int refusal(uint32_t status)
{
	static const int numbers[] = {
		[ESWITCH_E_VERSION] = -EPROTONOSUPPORT, [ESWITCH_E_NOT_FOUND] = -ENODEV, [ESWITCH_E_BUSY] = -EBUSY,
		[ESWITCH_E_INVALID] = -EINVAL,          [ESWITCH_E_LIMIT] = -ENOSPC,     [ESWITCH_E_INTERNAL] = -EIO,
	};

	return status < sizeof(numbers) / sizeof(numbers[0]) ? numbers[status] : -EPROTO;
}

/* Locked. Asks and waits for the answer, which must be OK. A connection that fails is shut down; the watcher sees that.
 * Events that come first are told. */
static int exchange(struct link *link, struct eswitch_message *message, int *ret_fds, unsigned *ret_count,
		    char *sentence)
{
	uint32_t request = message->request = ++link->request;
	int status = send(link->fd, message, sizeof(*message), MSG_NOSIGNAL) == sizeof(*message) ? 0 : -errno;

	while (status == 0) {
		status = receive(link->fd, 0, message, ret_fds, ret_count);
		if (status < 0) {
			status = status == -EAGAIN ? -ETIMEDOUT : status; /* SO_RCVTIMEO says it so */
			break;
		}
		if (message->type == ESWITCH_REPLY && message->request == request) {
			if (message->status == ESWITCH_OK)
				return 0;
			while (*ret_count > 0)
				close(ret_fds[--*ret_count]);
			return say(sentence, refusal(message->status), message->sentence, "");
		}
		tell(link, message);
		while (*ret_count > 0)
			close(ret_fds[--*ret_count]);
	}
	shutdown(link->fd, SHUT_RDWR);
	return say(sentence, status, "dpud does not answer: ", strerror(-status));
}

/* ---- connecting ---- */

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static int socket_connect(struct link *link, char *sentence)
{
	struct timeval patience = { .tv_sec = ANSWER_SECONDS };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return say(sentence, -errno, "there is no socket to be had: ", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&link->address, sizeof(link->address)) < 0) {
		int status = -errno;
		close(fd);
		snprintf(sentence, LINK_SENTENCE_BYTES, "no dpud with an eswitch listens at %s: %s",
			 link->address.sun_path, strerror(-status));
		return status;
	}
	link->fd = fd;
	return 0;
}

/* Locked. */
static int greet(struct link *link, char *sentence)
{
	struct eswitch_message message = {
		.type = ESWITCH_HELLO,
		.hello = { .magic = ESWITCH_MAGIC,
			   .version = ESWITCH_ABI_VERSION,
			   .pid = (uint32_t)getpid(),
			   .command_rings = ESWITCH_MAX_COMMAND_RINGS },
	};
	struct link_region *region = &link->regions[(link->connection + 1) & 1];
	int fds[MAX_FDS];
	unsigned count = 0;

	snprintf(message.hello.program, sizeof(message.hello.program), "%s", program_invocation_short_name);
	memcpy(message.hello.eswitch, link->eswitch, sizeof(link->eswitch));
	int status = exchange(link, &message, fds, &count, sentence);
	if (status < 0)
		return status;
	link_region_unmap(region);
	status = link_region_map(&message, fds, count, region);
	if (status < 0)
		return say(sentence, status, "dpud's switch region makes no sense", "");
	link->connection++;
	link->since = seconds();
	link->unattended = true;
	atomic_store(&link->region, region);
	return 0;
}

/* Locked. */
static int bring_up(struct link *link, char *sentence)
{
	int status = socket_connect(link, sentence);

	if (status == 0)
		status = greet(link, sentence);
	if (status < 0 && link->fd >= 0) {
		close(link->fd);
		link->fd = -1;
	}
	return status;
}

/* ---- the watcher: events, loss, return ---- */

static void take_down(struct link *link)
{
	close(link->fd);
	link->fd = -1;
	if (seconds() - link->since >= LIFE_SECONDS)
		link->pause_ms = PAUSE_FIRST_MS;
	for (struct link_listener *listener = link->listeners; listener; listener = listener->next)
		if (listener->lost)
			listener->lost(listener->ctx);
}

static void try_again(struct link *link)
{
	char sentence[LINK_SENTENCE_BYTES];

	if (bring_up(link, sentence) < 0)
		return;
	for (struct link_listener *listener = link->listeners; listener; listener = listener->next)
		if (listener->back)
			listener->back(listener->ctx);
}

static void read_event(struct link *link)
{
	struct eswitch_message message;
	int fds[MAX_FDS];
	unsigned count;
	int status = receive(link->fd, MSG_DONTWAIT, &message, fds, &count);

	while (count > 0)
		close(fds[--count]);
	if (status == 0)
		tell(link, &message);
	else if (status != -EAGAIN) /* else somebody's exchange has taken it */
		take_down(link);
}

/* True when something is left to do. */
static bool attend(struct link *link)
{
	bool more = false;

	pthread_mutex_lock(&link->attending);
	for (struct link_listener *listener = link->listeners; listener; listener = listener->next)
		if (listener->attend)
			more |= listener->attend(listener->ctx);
	pthread_mutex_unlock(&link->attending);
	return more;
}

/* One look at the connection. True when there is another to be taken after a pause. */
static bool look(struct link *link, bool readable)
{
	bool up, wanted;

	pthread_mutex_lock(&link->lock);
	if (link->fd < 0)
		try_again(link);
	else if (readable)
		read_event(link);
	up = link->fd >= 0;
	wanted = link->unattended;
	link->unattended = false;
	pthread_mutex_unlock(&link->lock);
	if (!up || !wanted || !attend(link))
		return !up;
	pthread_mutex_lock(&link->lock);
	link->unattended = true;
	pthread_mutex_unlock(&link->lock);
	return true;
}

static void *watch(void *arg)
{
	struct link *link = arg;
	struct pollfd polled[2] = { { .fd = link->nudge_fd, .events = POLLIN } };
	bool again = false;
	uint64_t nudges;

	while (!link->stopping) {
		polled[1] = (struct pollfd){ .fd = link->fd, .events = POLLIN };
		int ready = poll(polled, 2, again ? (int)link->pause_ms : -1);
		if (ready > 0 && polled[0].revents && read(link->nudge_fd, &nudges, sizeof(nudges)) < 0)
			continue;
		if (again && ready == 0)
			link->pause_ms = link->pause_ms < PAUSE_LAST_MS ? 2 * link->pause_ms : PAUSE_LAST_MS;
		again = look(link, ready > 0 && polled[1].revents);
	}
	return NULL;
}

/* ---- sharing ---- */

static void link_free(struct link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	if (link->nudge_fd >= 0)
		close(link->nudge_fd);
	link_region_unmap(&link->regions[0]);
	link_region_unmap(&link->regions[1]);
	pthread_mutex_destroy(&link->lock);
	pthread_mutex_destroy(&link->attending);
	free(link);
}

/* A socket that nobody listens on, or a folder where there is none: a dpud that starts again, perhaps. */
static bool may_be_starting(const struct link *link, int status)
{
	char folder[sizeof(link->address.sun_path)];

	memcpy(folder, link->address.sun_path, sizeof(folder));
	return status == -ECONNREFUSED || (status == -ENOENT && access(dirname(folder), F_OK) == 0);
}

/* An application that starts together with dpud, after both have died, would not try again by itself. Registry locked.
 */
static int bring_up_patiently(struct link *link, char *sentence)
{
	static time_t vain_until;
	time_t now = seconds(), end = now < vain_until ? now : now + WAIT_SECONDS;
	int status = bring_up(link, sentence);

	while (status < 0 && may_be_starting(link, status) && seconds() < end) {
		usleep(PAUSE_FIRST_MS * 1000);
		status = bring_up(link, sentence);
	}
	if (status < 0 && may_be_starting(link, status))
		vain_until = seconds() + VAIN_SECONDS;
	return status;
}

static int link_new(const char *path, const char *eswitch, struct link **ret, char *sentence)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return say(sentence, -ENOMEM, "out of memory", "");
	pthread_mutex_init(&link->lock, NULL);
	pthread_mutex_init(&link->attending, NULL);
	link->pause_ms = PAUSE_FIRST_MS;
	link->address.sun_family = AF_UNIX;
	memcpy(link->address.sun_path, path, strlen(path) + 1);
	memcpy(link->eswitch, eswitch, strlen(eswitch) + 1);
	link->fd = -1;
	link->nudge_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int status = link->nudge_fd < 0 ? say(sentence, -errno, "no eventfd: ", strerror(errno))
					: bring_up_patiently(link, sentence);
	if (status == 0) {
		status = -pthread_create(&link->watcher, NULL, watch, link);
		if (status < 0)
			say(sentence, status, "no thread: ", strerror(-status));
	}
	if (status < 0) {
		link_free(link);
		return status;
	}
	link->refs = 1;
	link->next = registry;
	registry = *ret = link;
	return 0;
}

int link_get(const char *path, const char *eswitch, struct link **ret, char sentence[LINK_SENTENCE_BYTES])
{
	struct link *link;
	int status = 0;

	if (strlen(path) >= sizeof(link->address.sun_path))
		return say(sentence, -ENAMETOOLONG, "a socket's path has 107 bytes at most: ", path);
	if (strlen(eswitch) >= sizeof(link->eswitch))
		return say(sentence, -ENAMETOOLONG, "the name of an eswitch has 255 bytes at most", "");
	pthread_mutex_lock(&registry_lock);
	for (link = registry; link; link = link->next)
		if (strcmp(link->address.sun_path, path) == 0 && strcmp(link->eswitch, eswitch) == 0)
			break;
	if (link) {
		link->refs++;
		*ret = link;
	} else {
		status = link_new(path, eswitch, ret, sentence);
	}
	pthread_mutex_unlock(&registry_lock);
	return status;
}

void link_put(struct link *link)
{
	struct link **at = &registry;

	pthread_mutex_lock(&registry_lock);
	if (--link->refs == 0) {
		while (*at != link)
			at = &(*at)->next;
		*at = link->next;
		link->stopping = true;
		nudge(link);
		pthread_join(link->watcher, NULL);
		link_free(link);
	}
	pthread_mutex_unlock(&registry_lock);
}

bool link_is_up(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	bool up = link->fd >= 0;
	pthread_mutex_unlock(&link->lock);
	return up;
}

bool link_tell(struct link *link, const struct eswitch_message *message)
{
	if (pthread_mutex_trylock(&link->lock))
		return false;
	bool sent = link->fd >= 0 &&
		    send(link->fd, message, sizeof(*message), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*message);
	pthread_mutex_unlock(&link->lock);
	return sent;
}

void link_listen(struct link *link, struct link_listener *listener)
{
	pthread_mutex_lock(&link->attending);
	pthread_mutex_lock(&link->lock);
	listener->next = link->listeners;
	link->listeners = listener;
	pthread_mutex_unlock(&link->lock);
	pthread_mutex_unlock(&link->attending);
}

void link_unlisten(struct link *link, struct link_listener *listener)
{
	pthread_mutex_lock(&link->attending);
	pthread_mutex_lock(&link->lock);
	for (struct link_listener **at = &link->listeners; *at; at = &(*at)->next)
		if (*at == listener) {
			*at = listener->next;
			break;
		}
	pthread_mutex_unlock(&link->lock);
	pthread_mutex_unlock(&link->attending);
}

const struct link_region *link_region(const struct link *link)
{
	return atomic_load_explicit(&link->region, memory_order_acquire);
}

/* ---- ports ---- */

int link_open_port(struct link *link, const char *representor, unsigned queue_pairs, unsigned to_host, uint32_t slots,
		   uint64_t offloads, struct link_port *ret, char sentence[LINK_SENTENCE_BYTES])
{
	struct eswitch_message message = {
		.type = ESWITCH_OPEN_PORT,
		.open_port = { .to_host_queues = (uint16_t)to_host,
			       .from_host_queues = (uint16_t)queue_pairs,
			       .ring_slots = slots,
			       .offloads = offloads },
	};
	int fds[MAX_FDS], status;
	unsigned count = 0;

	if (to_host == 0 || to_host > queue_pairs || queue_pairs > ESWITCH_MAX_QUEUES)
		return say(sentence, -EINVAL, "a port has 1 to 16 queues", "");
	if (strlen(representor) >= sizeof(message.open_port.name))
		return say(sentence, -ENAMETOOLONG, "the name of a representor has 255 bytes at most", "");
	memcpy(message.open_port.name, representor, strlen(representor) + 1);
	pthread_mutex_lock(&link->lock);
	if (link->fd < 0)
		status = say(sentence, -ENOTCONN, "dpud is away: ", link->address.sun_path);
	else
		status = exchange(link, &message, fds, &count, sentence);
	if (status == 0) {
		status = link_port_map(&message, queue_pairs, slots, fds, count, ret);
		if (status < 0)
			say(sentence, status, "the port's region makes no sense: ", representor);
	}
	if (status == 0)
		ret->connection = link->connection;
	pthread_mutex_unlock(&link->lock);
	return status;
}

bool link_is_current(struct link *link, const struct link_port *port)
{
	pthread_mutex_lock(&link->lock);
	bool current = link->fd >= 0 && port->connection == link->connection;
	pthread_mutex_unlock(&link->lock);
	return current;
}

void link_close_port(struct link *link, struct link_port *port)
{
	struct eswitch_message message = { .type = ESWITCH_CLOSE_PORT, .number = port->info.number };
	char sentence[LINK_SENTENCE_BYTES];
	int fds[MAX_FDS];
	unsigned count = 0;

	pthread_mutex_lock(&link->lock);
	if (link->fd >= 0 && port->connection == link->connection &&
	    exchange(link, &message, fds, &count, sentence) == 0)
		while (count > 0)
			close(fds[--count]);
	pthread_mutex_unlock(&link->lock);
	link_port_unmap(port);
}
