/* See hop.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/hop.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/text.h"
#include "fetch/hop_request.h"
#include "fetch/curl_memory.h"
#include "fetch/redirect.h"

/* The body of a redirect is read and dropped, to keep the connection, but only so far. */
#define REDIRECT_BODY_MAX 65536

enum job_phase
hop_phase(const struct transfer *transfer)
{
	long connected = 0;

	if (transfer->phase != JOB_PHASE_connect || transfer->easy == NULL)
		return transfer->phase;
	if (strcmp(transfer->hop.origin.scheme, "https") != 0)
		return JOB_PHASE_connect;
	if (transfer->proxy != NULL)
		return transfer->tls.begun ? JOB_PHASE_tls : JOB_PHASE_connect;
	/* Counted when TCP is connected; the times are only told once TLS is done, too. */
	curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connected);
	return connected > 0 ? JOB_PHASE_tls : JOB_PHASE_connect;
}

/* ---- callbacks */

/*
 * True when libcurl was told this address, or the URL names it: it has passed the guard, for the URL's port. Or it is the
 * proxy's.
 */
static bool
is_vetted(const struct transfer *transfer, const struct endpoint *to)
{
	struct address literal;

	if (transfer->proxy != NULL)
		return proxy_is_at(&transfer->proxied, to);
	if (to->port != transfer->hop.origin.port)
		return false;
	if (transfer->resolved_us == 0)
		return address_parse(transfer->hop.origin.host, &literal) == 0 && address_equal(&literal, &to->address);
	for (size_t i = 0; i < transfer->resolved.count; i++)
		if (address_equal(&transfer->resolved.addresses[i], &to->address))
			return true;
	return false;
}

static curl_socket_t
open_socket(const struct curl_sockaddr *to)
{
#ifdef SOCK_CLOEXEC
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
#else
	return socket(to->family, to->socktype, to->protocol);
#endif
}

/*
 * The last door: no socket for an address that was not vetted for this hop. libcurl may come here by itself when a
 * reused connection dies and what it had cached of the name is gone: then it would look the name up on its own.
 */
static curl_socket_t
on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct transfer *transfer = context;
	struct endpoint endpoint;

	if (purpose == CURLSOCKTYPE_IPCXN && endpoint_of_socket(&to->addr, &endpoint) && is_vetted(transfer, &endpoint))
		return open_socket(to);
	metric_add(METRIC_DENIED, 1);
	transfer_note_failure(transfer, JOB_ERROR_denied_by_policy, JOB_PHASE_policy,
		"the connection led to an address that was not checked");
	return CURL_SOCKET_BAD;
}

/*
 * A reused connection was vetted under the policy of its day: look again. By a proxy the address is the proxy's; a tunnel
 * is only reused for the address that was vetted for this hop, since libcurl compares what tunnels lead to.
 */
static bool
is_still_allowed(struct transfer *transfer, int port, const struct address *remote, const struct address *local)
{
	if (transfer->proxy != NULL)
		return true;
	struct egress_verdict verdict =
		egress_check_connection(transfer->policy, transfer->hop.origin.host, port, remote, local);
	if (verdict.allowed)
		return true;
	metric_add(METRIC_DENIED, 1);
	transfer_note_failure(transfer, JOB_ERROR_denied_by_policy, JOB_PHASE_policy, "%s", verdict.reason);
	return false;
}

/* Called when the connection is made (or reused) and the request is about to be sent on it. */
static int
on_prereq(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct transfer *transfer = context;
	struct address remote, local;

	(void)local_port;
	if (address_parse(remote_ip, &remote) != 0) {
		transfer_note_failure(transfer, JOB_ERROR_internal, JOB_PHASE_policy, "the connection has no address");
		return CURL_PREREQFUNC_ABORT;
	}
	bool know_local = local_ip != NULL && address_parse(local_ip, &local) == 0;
	if (!is_still_allowed(transfer, remote_port, &remote, know_local ? &local : NULL))
		return CURL_PREREQFUNC_ABORT;
	transfer->sent = true;
	if (++transfer->sends > 1 && !method_idempotent(transfer->method)) {
		/* libcurl found the connection dead and would send the request again: it may have been seen. */
		transfer_note_failure(transfer, JOB_ERROR_connection_lost, JOB_PHASE_send,
			"the connection was lost while the request was sent; %s is not sent twice", transfer->method);
		return CURL_PREREQFUNC_ABORT;
	}
	transfer->phase = JOB_PHASE_send;
	transfer->sent_us = 0;
	transfer->body_sent = 0;
	if (!transfer->send_body || transfer->job->spec->body_bytes <= HOP_SMALL_BODY_BYTES) {
		transfer->sent_us = mono_us();
		transfer->phase = JOB_PHASE_first_byte;
	}
	transfer_set_clock(transfer);
	return CURL_PREREQFUNC_OK;
}

size_t
hop_on_read(char *buffer, size_t size, size_t count, void *context)
{
	struct transfer *transfer = context;
	const struct job_spec *spec = transfer->job->spec;
	size_t left = spec->body_bytes - transfer->body_sent, room = size * count;

	if (left > room)
		left = room;
	memcpy(buffer, (const char *)spec->body + transfer->body_sent, left);
	transfer->body_sent += left;
	if (transfer->body_sent == spec->body_bytes && transfer->phase == JOB_PHASE_send) {
		transfer->sent_us = mono_us();
		transfer->phase = JOB_PHASE_first_byte;
		transfer_set_clock(transfer);
	}
	return left;
}

static bool
status_expected(const struct job_expect *expect, int status)
{
	for (size_t i = 0; i < expect->status_count; i++)
		if (status >= expect->statuses[i].low && status <= expect->statuses[i].high)
			return true;
	return expect->status_count == 0;
}

static int
on_decoded(void *context, const void *bytes, size_t count)
{
	struct transfer *transfer = context;

	return sink_write(&transfer->sink, bytes, count);
}

/* The values of all Content-Encoding fields as one list. */
static void
content_encoding(const struct fields *fields, struct buffer *list)
{
	for (size_t i = 0; i < fields->count; i++)
		if (strcmp(fields->items[i].name, "content-encoding") == 0)
			buffer_printf(list, "%s%s", list->count > 0 ? ", " : "", fields->items[i].value);
	if (list->count > 0)
		buffer_append_char(list, '\0');
}

static bool
open_decoder(struct transfer *transfer)
{
	struct buffer codings = {0};
	int error = 0;

	content_encoding(&transfer->head.fields, &codings);
	if (codings.failed)
		error = -ENOMEM;
	else if (codings.count > 0)
		transfer->decoder = decoder_new(codings.data, on_decoded, transfer, &error);
	if (transfer->decoder != NULL)
		decoder_limit_ratio(transfer->decoder, transfer->settings->max_decode_ratio);
	if (error == -ENOMEM)
		transfer_note_failure(transfer, JOB_ERROR_internal, JOB_PHASE_body, "the server ran out of memory");
	else if (error == -E2BIG)
		transfer_note_failure(transfer, JOB_ERROR_bad_content_encoding, JOB_PHASE_body,
			"the answer has over %d content encodings one upon the other", DECODE_MAX_CODINGS);
	else if (error != 0)
		transfer_note_failure(transfer, JOB_ERROR_bad_content_encoding, JOB_PHASE_body,
			"the content encoding %.80s is not known; with decompress false it is taken as it comes",
			codings.data);
	buffer_release(&codings);
	return error == 0;
}

/* Without a length and last chunk it is the connection's end that tells that the body is whole. */
static bool
watch_end(struct transfer *transfer)
{
	const char *coding = fields_get(&transfer->head.fields, "transfer-encoding");
	bool no_memory = false;

	if (transfer->head.content_length < 0 && (coding == NULL || !text_equal_nocase(coding, "chunked")) &&
		strcmp(transfer->hop.origin.scheme, "https") == 0)
		transfer->tls_end = tls_end_watch(transfer->easy, &no_memory);
	if (no_memory)
		transfer_note_failure(transfer, JOB_ERROR_internal, JOB_PHASE_body, "the server ran out of memory");
	return !no_memory;
}

/* The head of an answer that is not followed as a redirect: is it what the client wants? */
static bool
head_acceptable(struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;
	const struct head *head = &transfer->head;
	int64_t announced = head->content_length;
	bool has_body = strcmp(transfer->method, "HEAD") != 0 && head->status != 204 && head->status != 304;

	if (!status_expected(&spec->expect, head->status)) {
		transfer_note_failure(transfer, JOB_ERROR_expect_failed, JOB_PHASE_expect,
			"the status is %d, which was not expected", head->status);
		return false;
	}
	if (spec->expect.content_type != NULL && !head_is_type(head, spec->expect.content_type)) {
		const char *type = fields_get(&head->fields, "content-type");
		transfer_note_failure(transfer, JOB_ERROR_expect_failed, JOB_PHASE_expect,
			"the content type is %.80s, %.60s was expected", type == NULL ? "missing" : type,
			spec->expect.content_type);
		return false;
	}
	if (has_body && !watch_end(transfer))
		return false;
	if (has_body && announced != 0 && spec->decompress && !open_decoder(transfer))
		return false;
	if (has_body && transfer->decoder == NULL && announced > spec->max_body_bytes) {
		transfer_note_failure(transfer, JOB_ERROR_too_large, JOB_PHASE_body,
			"the answer announces %" PRId64 " bytes, above max_body_bytes of %" PRId64, announced,
			spec->max_body_bytes);
		return false;
	}
	return true;
}

static bool
head_ended(struct transfer *transfer)
{
	const struct head *head = &transfer->head;
	const char *location = fields_get(&head->fields, "location");
	int max_redirects = transfer->job->spec->max_redirects;

	transfer->phase = JOB_PHASE_body;
	transfer_set_clock(transfer);
	transfer->outcome->attempt->status = head->status;
	snprintf(transfer->outcome->attempt->http_version, sizeof transfer->outcome->attempt->http_version, "%s",
		head->version);
	if (max_redirects > 0 && redirect_followed(head->status) && location != NULL && *location != '\0') {
		transfer->redirecting = true;
		transfer->redirect_body_bytes = 0;
		if (transfer->outcome->attempt->redirect_count < (size_t)max_redirects)
			return true;
		transfer_note_failure(transfer, JOB_ERROR_too_many_redirects, JOB_PHASE_redirect,
			"more than %d redirects", max_redirects);
		return false;
	}
	atomic_store_explicit(&transfer->job->total_bytes, head->content_length, memory_order_relaxed);
	return head_acceptable(transfer);
}

/* A byte of the answer: the first one counts once the request is out; before that only a final answer does. */
static void
see_answer(struct transfer *transfer)
{
	transfer->last_byte_us = mono_us();
	if (transfer->first_byte_us != 0 || (transfer->sent_us == 0 && transfer->head.status < 200))
		return;
	transfer->first_byte_us = transfer->last_byte_us;
	transfer->phase = JOB_PHASE_first_byte;
	transfer_set_clock(transfer);
}

/* Returning anything but the length makes libcurl end the transfer. */
static size_t
on_header(char *line, size_t size, size_t count, void *context)
{
	struct transfer *transfer = context;
	size_t length = size * count;
	enum head_step step = head_line(&transfer->head, line, length);

	see_answer(transfer);
	if (transfer->head.status == 101) {
		transfer_note_failure(transfer, JOB_ERROR_protocol_error, JOB_PHASE_first_byte,
			"the origin switched protocols, which was not asked for");
		return 0;
	}
	switch (step) {
	case HEAD_MORE:
		return length;
	case HEAD_ENDED:
		return head_ended(transfer) ? length : 0;
	case HEAD_TOO_LONG:
	case HEAD_BROKEN:
		transfer_note_failure(transfer, JOB_ERROR_protocol_error,
			transfer->phase == JOB_PHASE_body ? JOB_PHASE_body : JOB_PHASE_first_byte, "%s",
			transfer->head.why);
		return 0;
	case HEAD_NO_MEMORY:
		break;
	}
	transfer_note_failure(transfer, JOB_ERROR_internal, JOB_PHASE_first_byte, "the server ran out of memory");
	return 0;
}

static void
note_body_failure(struct transfer *transfer, int error)
{
	if (error == -EBADMSG)
		transfer_note_failure(transfer, JOB_ERROR_bad_content_encoding, JOB_PHASE_body,
			"the body is not what its Content-Encoding says");
	else if (error == -EFBIG)
		transfer_note_failure(transfer, JOB_ERROR_too_large, JOB_PHASE_body,
			"the body is above max_body_bytes of %" PRId64, transfer->job->spec->max_body_bytes);
	else if (error == -EOVERFLOW)
		transfer_note_failure(transfer, JOB_ERROR_too_large, JOB_PHASE_body,
			"the body grew to over %" PRId64 " times its size when decoded (--max-decode-ratio)",
			transfer->settings->max_decode_ratio);
	else
		transfer_note_failure(
			transfer, JOB_ERROR_internal, JOB_PHASE_body, "cannot keep the body: %s", strerror(-error));
}

static size_t
on_write(char *bytes, size_t size, size_t count, void *context)
{
	struct transfer *transfer = context;
	size_t length = size * count;

	transfer->last_byte_us = mono_us();
	if (transfer->redirecting) {
		transfer->redirect_body_bytes += length;
		return transfer->redirect_body_bytes <= REDIRECT_BODY_MAX ? length : 0;
	}
	transfer->wire_bytes += (int64_t)length;
	int error = transfer->decoder != NULL ? decoder_write(transfer->decoder, bytes, length)
					      : sink_write(&transfer->sink, bytes, length);
	if (error != 0) {
		note_body_failure(transfer, error);
		return 0;
	}
	atomic_store_explicit(&transfer->job->received_bytes, transfer->wire_bytes, memory_order_relaxed);
	return length;
}

/* ---- the request */

/* Our clocks end a connect; libcurl's own is there to make it turn to the next address in time. */
static long
connect_timeout_ms(const struct transfer *transfer)
{
	int64_t ms = transfer->job->spec->connect_timeout_ms;

	return ms == 0 || ms > INT_MAX - 1000 ? INT_MAX : (long)ms + 1000;
}

static void
set_common(struct transfer *transfer)
{
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_URL, transfer->hop.text);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, transfer->settings->user_agent);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 16384L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms(transfer));
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, -1L);
}

/* To another origin than the job's own no certificate is shown. */
static void
choose_tls(struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;

	transfer->tls = (struct tls_choice){
		.store = ways_store(transfer->ways, spec->tls_ca),
		.proxy_store = ways_store(transfer->ways, NULL),
		.identity = transfer->send_secret ? ways_identity(transfer->ways, spec->tls_client_cert) : NULL,
		.insecure = spec->tls_insecure,
		.way = transfer->proxy != NULL ? transfer->proxy->id : 0,
	};
	bool proxy_tls = transfer->proxy != NULL && transfer->proxy->kind == PROXY_HTTPS;
	if (proxy_tls || strcmp(transfer->hop.origin.scheme, "https") == 0)
		tls_prepare(transfer->easy, &transfer->tls);
}

static void
set_callbacks(struct transfer *transfer)
{
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_prereq);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
}

/* All addresses are judged, but only so many are tried. */
static size_t
tried(const struct resolved *resolved)
{
	return resolved->count < RESOLVER_MAX_TRIED ? resolved->count : RESOLVER_MAX_TRIED;
}

/*
 * The vetted addresses, for libcurl's cache: it makes no look-up of its own, so nothing can change between the check
 * and the connect. Given anew with each hop, since what is in that cache may be gone or another's.
 */
static bool
pin_addresses(struct transfer *transfer)
{
	struct buffer line = {0};
	char text[ADDRESS_TEXT_BYTES];

	if (transfer->resolved_us == 0)
		return true; /* an address literal */
	buffer_printf(&line, "+%s:%d:", transfer->hop.origin.host, transfer->hop.origin.port);
	for (size_t i = 0; i < tried(&transfer->resolved); i++) {
		const struct address *address = &transfer->resolved.addresses[i];

		address_format(address, text);
		buffer_printf(&line, address->family == 6 ? "%s[%s]" : "%s%s", i == 0 ? "" : ",", text);
	}
	char *pinned = buffer_steal(&line);
	bool ok = pinned != NULL && hop_append(&transfer->resolve, pinned);
	free(pinned);
	return ok;
}

static int
go_direct(struct transfer *transfer)
{
	if (!pin_addresses(transfer))
		return -ENOMEM;
	/* Neither from the environment. */
	curl_easy_setopt(transfer->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(transfer->easy, CURLOPT_NOPROXY, "*");
	if (transfer->resolve != NULL)
		curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->resolve);
	return 0;
}

static int
go_by_proxy(struct transfer *transfer)
{
	const struct resolved *target = &transfer->resolved;

	transfer->proxied = (struct proxy_hop){
		.proxy = transfer->proxy,
		.proxy_addresses = transfer->proxy_resolved.addresses,
		.proxy_count = tried(&transfer->proxy_resolved),
		.target = target->count > 0 ? &target->addresses[transfer->target] : NULL,
		.port = transfer->hop.origin.port,
	};
	return proxy_prepare(transfer->easy, &transfer->proxied, &transfer->resolve, &transfer->connect_to) == 0
		? 0
		: -ENOMEM;
}

int
hop_prepare(struct transfer *transfer)
{
	*transfer->curl_error = '\0';
	set_common(transfer);
	choose_tls(transfer);
	if ((transfer->proxy != NULL ? go_by_proxy(transfer) : go_direct(transfer)) != 0)
		return -ENOMEM;
	set_callbacks(transfer);
	if (hop_set_request(transfer) != 0)
		return -ENOMEM;
	/* libcurl copies texts: without one of them it would make another request, or by another way. */
	return curl_memory_failed() ? -ENOMEM : 0;
}

/* ---- the result */

static void
explain(struct transfer *transfer, enum job_error_code code, enum job_phase phase, CURLcode result)
{
	transfer_note_failure(transfer, code, phase, "%s",
		*transfer->curl_error != '\0' ? transfer->curl_error : curl_easy_strerror(result));
}

/* What libcurl's codes mean here; the rest depends on how far the hop was. */
static const struct {
	CURLcode result;
	enum job_error_code code;
} meanings[] = {
	{CURLE_COULDNT_CONNECT, JOB_ERROR_connect_failed},
	{CURLE_COULDNT_RESOLVE_HOST, JOB_ERROR_dns_failed},
	{CURLE_OPERATION_TIMEDOUT, JOB_ERROR_connect_timeout},
	{CURLE_SSL_CONNECT_ERROR, JOB_ERROR_tls_failed},
	{CURLE_PEER_FAILED_VERIFICATION, JOB_ERROR_tls_failed},
	{CURLE_SSL_CERTPROBLEM, JOB_ERROR_tls_failed},
	{CURLE_SSL_CIPHER, JOB_ERROR_tls_failed},
	{CURLE_SSL_CACERT_BADFILE, JOB_ERROR_tls_failed},
	{CURLE_SSL_ISSUER_ERROR, JOB_ERROR_tls_failed},
	{CURLE_SSL_ENGINE_INITFAILED, JOB_ERROR_tls_failed},
	{CURLE_SSL_INVALIDCERTSTATUS, JOB_ERROR_tls_failed},
	{CURLE_SEND_ERROR, JOB_ERROR_connection_lost},
	{CURLE_SEND_FAIL_REWIND, JOB_ERROR_connection_lost},
	{CURLE_RECV_ERROR, JOB_ERROR_connection_lost},
	{CURLE_GOT_NOTHING, JOB_ERROR_connection_lost},
	{CURLE_ABORTED_BY_CALLBACK, JOB_ERROR_connection_lost},
	{CURLE_PARTIAL_FILE, JOB_ERROR_truncated},
	{CURLE_WEIRD_SERVER_REPLY, JOB_ERROR_protocol_error},
	{CURLE_UNSUPPORTED_PROTOCOL, JOB_ERROR_protocol_error},
#if LIBCURL_VERSION_NUM >= 0x080600
	{CURLE_TOO_LARGE, JOB_ERROR_protocol_error},
#endif
};

/* True when the hop has come to its proxy at most: what went wrong is between us and the proxy, or the proxy's word. */
static bool
failed_at_proxy(const struct transfer *transfer, CURLcode result)
{
	return transfer->proxy != NULL && transfer->phase == JOB_PHASE_connect && !transfer->tls.begun &&
		result != CURLE_OUT_OF_MEMORY && result != CURLE_OPERATION_TIMEDOUT && !curl_memory_failed();
}

bool
hop_elsewhere(const struct transfer *transfer, CURLcode result)
{
	char text[sizeof transfer->failure.message];
	bool elsewhere = false;

	if (transfer->target + 1 >= tried(&transfer->resolved) || !failed_at_proxy(transfer, result))
		return false;
	proxy_explain(transfer->easy, transfer->proxy, result, transfer->curl_error, text, sizeof text, &elsewhere);
	return elsewhere;
}

static void
explain_by_proxy(struct transfer *transfer, CURLcode result)
{
	char text[sizeof transfer->failure.message];
	bool elsewhere;

	proxy_explain(transfer->easy, transfer->proxy, result, transfer->curl_error, text, sizeof text, &elsewhere);
	transfer_note_failure(transfer, JOB_ERROR_connect_failed, JOB_PHASE_connect, "%s", text);
}

void
hop_explain_failure(struct transfer *transfer, CURLcode result)
{
	if (failed_at_proxy(transfer, result)) {
		explain_by_proxy(transfer, result);
		return;
	}
	enum job_error_code code = JOB_ERROR_internal;
	enum job_phase phase = hop_phase(transfer);

	if (curl_memory_failed()) { /* which may come as any of its codes */
		transfer_note_failure(transfer, JOB_ERROR_internal, phase, "the server ran out of memory");
		return;
	}
	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
		if (meanings[i].result == result)
			code = meanings[i].code;
	if (result == CURLE_GOT_NOTHING && transfer->head.bytes > 0)
		code = JOB_ERROR_truncated; /* an interim answer came, and no other */
	/* libcurl's own limit of a header line comes as a lack of memory. */
	if (result == CURLE_OUT_OF_MEMORY && phase == JOB_PHASE_first_byte && !transfer->head.whole)
		code = JOB_ERROR_protocol_error;
	/* A broken chunk comes as a receive error; its message alone tells it from a lost connection. */
	if (result == CURLE_RECV_ERROR && strstr(transfer->curl_error, "chunked-encoding") != NULL)
		code = JOB_ERROR_protocol_error;
	if (code == JOB_ERROR_tls_failed)
		phase = JOB_PHASE_tls;
	else if (phase == JOB_PHASE_tls && code == JOB_ERROR_connection_lost)
		code = JOB_ERROR_tls_failed;
	explain(transfer, code, phase, result);
}

void
hop_take_figures(struct transfer *transfer)
{
	struct attempt *attempt = transfer->outcome->attempt;
	struct timings *timings = &attempt->timings;
	int64_t before_us = transfer->hop_started_us - transfer->started_us;
	int64_t prepared_us = transfer->resolved_us != 0 ? transfer->resolved_us - transfer->hop_started_us : 0;
	curl_off_t connect = 0, tls = 0, received = 0;
	long opened = 0;
	char *ip = NULL;

	curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &opened);
	curl_easy_getinfo(transfer->easy, CURLINFO_CONNECT_TIME_T, &connect);
	curl_easy_getinfo(transfer->easy, CURLINFO_APPCONNECT_TIME_T, &tls);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
	metric_add(METRIC_CONNECTIONS_OPENED, (uint64_t)opened);
	curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &ip);
	if (ip != NULL)
		snprintf(attempt->remote_ip, sizeof attempt->remote_ip, "%s", ip);
	if (!transfer->redirecting)
		attempt->received_bytes = received;
	*timings = (struct timings){
		.queue = timings->queue, .dns = -1, .connect = -1, .tls = -1, .first_byte = -1, .total = -1};
	if (transfer->resolved_us != 0)
		timings->dns = (before_us + prepared_us) / 1000;
	if (opened > 0 && connect > 0)
		timings->connect = (before_us + prepared_us + connect) / 1000;
	if (opened > 0 && tls > 0)
		timings->tls = (before_us + prepared_us + tls) / 1000;
	if (transfer->first_byte_us != 0)
		timings->first_byte = (transfer->first_byte_us - transfer->started_us) / 1000;
}
