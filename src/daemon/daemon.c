/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting everything in order, running, and stopping in reverse. */
#include "daemon/daemon.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "daemon/daemon_metrics.h"
#include "daemon/describe.h"
#include "daemon/instance.h"
#include "daemon/loader.h"
#include "daemon/machine.h"
#include "daemon/metrics.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/rpc.h"
#include "daemon/signals.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STOP_SECONDS = 20 };

struct daemon {
	struct options options;
	struct instance instance;
	struct dpu dpu;
	struct loader *loader;
	struct signals *signals;
	struct rpc *rpc;
	struct metrics *metrics;
	struct daemon_metrics source;
	bool stopping;
};

/* ---- start ---- */

/* A transaction that waits for the services, then for the workers. */
struct barrier {
	struct workers *workers;
	void (*done)(void *arg);
	void *arg;
};

static void services_settled(void *arg)
{
	struct barrier *barrier = arg;

	workers_barrier(barrier->workers, barrier->done, barrier->arg);
	free(barrier);
}

static void wait_for_all(void *ctx, void (*done)(void *arg), void *arg)
{
	struct daemon *daemon = ctx;
	struct barrier *barrier = malloc(sizeof(*barrier));

	if (!barrier)
		abort(); /* what services have noted must be done */
	*barrier = (struct barrier){ daemon->dpu.workers, done, arg };
	loader_settle(daemon->loader, services_settled, barrier);
}

static void outdated(void *ctx, const struct dpu_error *what)
{
	log_warn("dpud", "a stored value is kept that is not valid any more", "path=\"%s\" why=\"%s\"", what->path,
		 what->message);
}

static int start_model(struct daemon *daemon, struct dpu_error *err)
{
	struct dpu *dpu = &daemon->dpu;
	const struct model_options options = { .store_path = daemon->instance.store_path,
					       .loop = dpu->loop,
					       .barrier = wait_for_all,
					       .barrier_ctx = daemon,
					       .outdated = outdated };
	int rc = model_new(&options, &dpu->model, err);
	if (!rc)
		rc = loader_init(daemon->loader, dpu, err);
	if (!rc)
		rc = model_load(dpu->model, err);
	return rc ? rc : loader_start(daemon->loader, err);
}

static int start_faces(struct daemon *daemon, struct dpu_error *err)
{
	const struct rpc_options options = { .loop = daemon->dpu.loop,
					     .model = daemon->dpu.model,
					     .instance = daemon->instance.name,
					     .software = DPUD_VERSION,
					     .socket_path = daemon->instance.socket_path,
					     .read_only_path = daemon->instance.read_only_path,
					     .group = daemon->instance.group };
	int rc = rpc_start(&options, &daemon->rpc, err);
	if (rc || !daemon->options.metrics)
		return rc;
	daemon->source = (struct daemon_metrics){ &daemon->dpu, daemon->loader, daemon->rpc, clock_ns() };
	return metrics_start(daemon->dpu.loop, daemon->options.metrics, daemon->instance.group, daemon_metrics_text,
			     &daemon->source, &daemon->metrics, err);
}

static void on_signal(void *ctx, int number);

static int start(struct daemon *daemon, struct dpu_error *err)
{
	struct dpu *dpu = &daemon->dpu;
	int rc = machine_limits(&daemon->options, err);
	if (!rc)
		rc = instance_open(&daemon->options, &daemon->instance, err);
	if (rc)
		return rc;
	dpu->instance = daemon->instance.name;
	dpu->run_dir = daemon->instance.run_dir;
	dpu->state_dir = daemon->instance.state_dir;
	dpu->store_dir = daemon->instance.store_dir;
	dpu->capture_dir = daemon->instance.capture_dir;
	dpu->image_dir = daemon->options.image_dir;
	dpu->module_dir = daemon->options.module_dir;
	if (loop_new(&dpu->loop) || signals_start(dpu->loop, on_signal, daemon, &daemon->signals))
		return error_set(err, DPU_E_LIMIT, NULL, "no event loop can be made");
	rc = machine_start(&daemon->options, &daemon->instance, dpu, err);
	if (!rc)
		rc = start_model(daemon, err);
	return rc ? rc : start_faces(daemon, err);
}

/* ---- stop ---- */

static void services_stopped(void *arg)
{
	loop_stop(((struct daemon *)arg)->dpu.loop);
}

static void answers_given(void *arg)
{
	struct daemon *daemon = arg;
	loader_stop(daemon->loader, services_stopped, daemon);
}

/* What cannot stop is ended as by SIGKILL, which leaves nothing that the next start could stumble over. */
static void give_up(void *arg)
{
	log_error("dpud", "it did not stop in time", "seconds=%d", STOP_SECONDS);
	_exit(STATUS_FAILED);
}

static void on_signal(void *ctx, int number)
{
	struct daemon *daemon = ctx;
	struct loop_timer *timer;
	if (number == SIGHUP) {
		int rc = log_reopen();
		if (rc)
			log_error("dpud", "the log cannot be reopened", "error=\"%s\"", strerror(-rc));
		else
			log_info("dpud", "log reopened", NULL);
		return;
	}
	if (daemon->stopping)
		give_up(NULL);
	daemon->stopping = true;
	log_info("dpud", "stopping", "signal=%s", sigabbrev_np(number));
	notify_manager("STOPPING=1");
	loop_timer_add(daemon->dpu.loop, STOP_SECONDS * CLOCK_NS_PER_S, 0, give_up, NULL, &timer);
	rpc_stop(daemon->rpc, answers_given, daemon);
}

/* After model_free() memory and ports still wait for the workers. */
static void let_workers_finish(struct daemon *daemon)
{
	for (unsigned round = 0; round < 2; round++) {
		workers_barrier(daemon->dpu.workers, services_stopped, daemon);
		loop_run(daemon->dpu.loop);
	}
}

static void finish(struct daemon *daemon)
{
	metrics_stop(daemon->metrics);
	rpc_free(daemon->rpc);
	model_free(daemon->dpu.model);
	let_workers_finish(daemon);
	loader_fini(daemon->loader);
	loader_free(daemon->loader);
	machine_stop(&daemon->dpu);
	signals_stop(daemon->signals);
	loop_free(daemon->dpu.loop);
	instance_close(&daemon->instance);
	log_info("dpud", "stopped", NULL);
	options_free(&daemon->options);
}

/* ---- all together ---- */

static int run(struct daemon *daemon)
{
	struct dpu_error err = { 0 };
	int rc = start(daemon, &err);
	if (rc) {
		log_error("dpud", "cannot start", "path=\"%s\" error=\"%s\"", err.path, err.message);
		rpc_free(daemon->rpc);
		instance_close(&daemon->instance);
		_exit(STATUS_FAILED);
	}
	log_info("dpud", "ready", "version=%s instance=%s socket=%s workers=%u huge_pages=%s", DPUD_VERSION,
		 daemon->instance.name, daemon->instance.socket_path, workers_count(daemon->dpu.workers),
		 daemon->dpu.huge_pages ? "yes" : "no");
	rc = notify_manager("READY=1");
	if (rc)
		log_warn("dpud", "the service manager cannot be told", "error=\"%s\"", strerror(-rc));
	rc = loop_run(daemon->dpu.loop);
	if (rc)
		log_error("dpud", "the event loop failed", "error=\"%s\"", strerror(-rc));
	finish(daemon);
	return rc ? STATUS_FAILED : STATUS_OK;
}

static int usage(const struct dpu_error *err)
{
	fprintf(stderr, "dpud: %s%s%s\n", err->path, err->path[0] ? ": " : "", err->message);
	return STATUS_USAGE;
}

int daemon_main(int argc, char *const *argv, const struct service *const *services)
{
	static struct daemon daemon;
	struct dpu_error err = { 0 };
	daemon.instance = (struct instance){ .locks = { -1, -1, -1 } };
	if (options_parse(argc, argv, &daemon.options, &err))
		return usage(&err);
	if (daemon.options.print != PRINT_NOTHING) {
		int rc = describe(&daemon.options, services, stdout, &err);
		options_free(&daemon.options);
		return rc ? usage(&err) : STATUS_OK;
	}
	umask(027);
	signals_block();
	log_set_level((enum log_level)daemon.options.log_level);
	int rc = log_open(daemon.options.log, daemon.options.log_json);
	if (rc)
		error_set(&err, DPU_E_IO, "--log", "%s cannot be opened: %s", daemon.options.log, strerror(-rc));
	else
		rc = loader_new(services, &daemon.loader, &err);
	if (rc) {
		usage(&err);
		return STATUS_FAILED;
	}
	return run(&daemon);
}
