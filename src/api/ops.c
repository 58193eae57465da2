/* See ops.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/ops.h"

#include <string.h>

#include "api/codec.h"
#include "api/front.h"
#include "api/openapi.h"
#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "base/options.h"

static void
send_text(struct http_request *request, int status, const char *type, struct buffer *text)
{
	struct http_reply reply = {.status = status, .buffer = *text};

	http_reply_header(&reply, "Content-Type", "%s", type);
	http_reply_header(&reply, "Cache-Control", "no-store");
	if (status == 503)
		http_reply_header(&reply, "Retry-After", "1");
	http_send(request, &reply);
}

void
ops_livez(struct http_request *request)
{
	struct buffer text = {0};

	buffer_append_string(&text, "ok\n");
	send_text(request, 200, "text/plain; charset=utf-8", &text);
}

/* Why jobs are not taken in; NULL when they are. */
static const char *
unready(struct api *api, char *why, size_t size)
{
	if (service_draining(api->service))
		return "the server drains";
	if (service_recovering(api->service))
		return "the jobs of the last run are taken up";
	return service_store_accepts(api->service, why, size) ? NULL : why;
}

void
ops_readyz(struct http_request *request)
{
	struct api *api = api_of(request);
	struct buffer text = {0};
	char why[300];
	const char *reason = unready(api, why, sizeof why);

	if (http_param(request, "verbose") != NULL) {
		struct service_gauges gauges;
		service_gauges(api->service, &gauges);
		bool stores = service_store_accepts(api->service, why, sizeof why);
		buffer_printf(&text, "[%c] accepting jobs%s%s\n", reason != NULL ? '-' : '+',
			reason != NULL ? ": " : "", reason != NULL ? reason : "");
		buffer_printf(&text, "[%c] store %s: %zu jobs%s%s\n", stores ? '+' : '-',
			service_store_name(api->service), gauges.store.jobs, stores ? "" : "; ", stores ? "" : why);
		buffer_printf(&text, "[+] queue: %zu of %lld\n", gauges.queued, (long long)api->config->max_queued);
		buffer_printf(
			&text, "[+] in flight: %zu of %lld\n", gauges.in_flight, (long long)api->config->max_in_flight);
	}
	buffer_append_string(&text,
		reason == NULL                             ? "ok\n"
			: service_draining(api->service)   ? "draining\n"
			: service_recovering(api->service) ? "recovering\n"
							   : "store unavailable\n");
	send_text(request, reason != NULL ? 503 : 200, "text/plain; charset=utf-8", &text);
}

/* ---- /metrics */

static void
write_gauges(struct api *api, struct buffer *text)
{
	struct service_gauges gauges;

	service_gauges(api->service, &gauges);
	metrics_write_gauge(
		text, "jobs", "state=\"queued\"", "Jobs that are not done, by state.", (double)gauges.queued);
	metrics_write_gauge(text, "jobs", "state=\"running\"", NULL, (double)gauges.running);
	metrics_write_gauge(text, "jobs", "state=\"retrying\"", NULL, (double)gauges.retrying);
	metrics_write_gauge(text, "in_flight", "", "Fetches on the wire.", (double)gauges.in_flight);
	metrics_write_gauge(text, "origins", "", "Origins with jobs that are not done.", (double)gauges.origins);
	metrics_write_gauge(text, "waiters", "", "Requests that wait.", (double)gauges.waiting);
	metrics_write_gauge(
		text, "client_connections", "", "Connections of clients.", (double)http_connections(api->http));
	metrics_write_gauge(
		text, "dns_cached_names", "", "Names in the resolver's cache.", (double)gauges.names.cached);
	metrics_write_gauge(
		text, "dns_lookups_in_flight", "", "Name look-ups under way.", (double)gauges.names.in_flight);
	metrics_write_gauge(text, "dns_lookups_waiting", "", "Name look-ups that wait, as 4096 are under way.",
		(double)gauges.names.waiting);
	for (int kind = 0; kind < MEMORY_KIND_COUNT; kind++) {
		char label[40];

		snprintf(label, sizeof label, "kind=\"%s\"", memory_kind_name((enum memory_kind)kind));
		metrics_write_gauge(text, "memory_bytes", label,
			kind == 0 ? "Memory that counts against max-memory, by what it holds." : NULL,
			(double)memory_used((enum memory_kind)kind));
	}
	metrics_write_gauge(text, "store_jobs", "", "Jobs in the store, done or not.", (double)gauges.store.jobs);
	metrics_write_gauge(
		text, "store_finished_jobs", "", "Finished jobs in the store.", (double)gauges.store.finished);
	metrics_write_gauge(text, "store_bytes", "", "Memory of finished jobs, or the size of the database.",
		(double)gauges.store.bytes);
	metrics_write_gauge(
		text, "store_wal_bytes", "", "Size of the database's write-ahead log.", (double)gauges.store.wal_bytes);
	metrics_write_gauge(text, "store_accepts", "", "1 while jobs can be stored.",
		service_store_accepts(api->service, NULL, 0) ? 1 : 0);
	metrics_write_gauge(
		text, "store_disk_bytes", "", "Disk space of large bodies.", (double)gauges.store.disk_bytes);
	metrics_write_gauge(
		text, "uptime_seconds", "", "Time since the start.", (double)(mono_ms() - api->started_mono_ms) / 1000);
	if (http_certificate_expires(api->http) != 0)
		metrics_write_gauge(text, "tls_certificate_expires_timestamp_seconds", "",
			"When the server's certificate ends, since 1970.", (double)http_certificate_expires(api->http));
	metrics_write_gauge(text, "build_info", "version=\"" FETCHPOOL_VERSION "\"", "The version; always 1.", 1);
}

enum { OWNER_WAITING, OWNER_RUNNING, OWNER_SUBMITTED, OWNER_GAUGES };

static const struct {
	const char *name, *help;
} owner_gauges[OWNER_GAUGES] = {
	[OWNER_WAITING] = {"token_waiting_jobs", "Jobs of a token that wait: queued, retrying or being submitted."},
	[OWNER_RUNNING] = {"token_running_jobs", "Jobs of a token that run."},
	[OWNER_SUBMITTED] = {"token_submitted_jobs", "Jobs of a token that were taken in since the start."},
};

static void
write_owner(const struct service_owner_gauges *owner, int which, bool first, struct buffer *text)
{
	const double values[OWNER_GAUGES] = {(double)owner->waiting, (double)owner->running, (double)owner->submitted};
	char label[TOKEN_NAME_BYTES + 16];

	snprintf(label, sizeof label, "token=\"%s\"", owner->name);
	metrics_write_gauge(
		text, owner_gauges[which].name, label, first ? owner_gauges[which].help : NULL, values[which]);
}

/* What each token has, for admins; for others what their own has. */
static void
write_owners(struct http_request *request, struct buffer *text)
{
	struct service_owner_gauges *owners;
	int count = service_owner_gauges(api_of(request)->service, front_sees(request), &owners);

	for (int which = 0; which < OWNER_GAUGES; which++)
		for (int i = 0; i < count; i++)
			write_owner(&owners[i], which, i == 0, text);
	if (count >= 0)
		service_owner_gauges_free(owners, count);
}

/* Every option that is a number, so that usage can be put in proportion. */
static void
write_limits(struct api *api, struct buffer *text)
{
	const char *help = "The settings that are numbers: units, bytes or milliseconds.";

	for (size_t i = 0; i < options_count(); i++) {
		struct option_view option = options_view(i);
		char label[64];
		int64_t value;

		if (!options_value_number(api->config, i, &value))
			continue;
		snprintf(label, sizeof label, "option=\"%s\"", option.name);
		metrics_write_gauge(text, "limit", label, help, (double)value);
		help = NULL;
	}
}

void
ops_metrics(struct http_request *request)
{
	struct buffer text = {0};

	metrics_write(&text);
	write_gauges(api_of(request), &text);
	write_owners(request, &text);
	write_limits(api_of(request), &text);
	send_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

/* ---- /v1/info */

/* "max-body-bytes" as max_body_bytes, "max-wait" as max_wait_ms. */
static void
write_limit(struct json_out *out, const struct option_view *option, int64_t value)
{
	char key[64];

	snprintf(key, sizeof key, "%s%s", option->name, option->kind == OPTION_DURATION ? "-ms" : "");
	for (char *c = key; *c != '\0'; c++)
		if (*c == '-')
			*c = '_';
	out_integer(out, key, value);
}

static void
write_libraries(struct json_out *out, const struct service *service)
{
	out_open(out, "libraries", '{');
	out_string(out, "libmicrohttpd", http_library_version());
	out_string(out, "libcurl", service_curl_version(service));
	out_string(out, "c-ares", service_resolver_version());
	out_string(out, "jansson", codec_library_version());
	out_string(out, "sqlite", ledger_sqlite_version());
	out_close(out, '}');
}

void
ops_info(struct http_request *request)
{
	struct api *api = api_of(request);
	struct http_reply reply = {.status = 200};
	struct buffer json = {0};
	struct json_out out = {.buffer = &json};
	int64_t value;

	out_open(&out, NULL, '{');
	out_string(&out, "version", FETCHPOOL_VERSION);
	out_integer(&out, "uptime_ms", mono_ms() - api->started_mono_ms);
	out_string(&out, "store", service_store_name(api->service));
	out_open(&out, "limits", '{');
	for (size_t i = 0; i < options_count(); i++) {
		struct option_view option = options_view(i);

		if (options_value_number(api->config, i, &value))
			write_limit(&out, &option, value);
	}
	out_close(&out, '}');
	write_libraries(&out, api->service);
	out_close(&out, '}');
	front_send_json(request, &reply, &json);
}

/* ---- /openapi.json */

void
ops_openapi(struct http_request *request)
{
	struct http_reply reply = {.status = 200};
	struct buffer json = {0};

	buffer_append_string(&json, openapi_json);
	front_send_json(request, &reply, &json);
}
