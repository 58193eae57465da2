/* See tls_end.h. The watch is shared with OpenSSL's session, which may outlive the transfer; whoever comes last frees it. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/tls_end.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>

struct tls_end {
	unsigned references; /* one thread has both */
	bool announced;
};

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int session_index = -1;

void
tls_end_release(struct tls_end *end)
{
	if (end != NULL && --end->references == 0)
		free(end);
}

/* The session goes, or another watch takes the place. */
static void
on_session_free(void *parent, void *watch, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
	(void)parent, (void)data, (void)index, (void)argl, (void)argp;
	tls_end_release(watch);
}

static void
make_index(void)
{
	session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_session_free);
}

static void
on_session_info(const SSL *session, int where, int alert)
{
	struct tls_end *end = SSL_get_ex_data(session, session_index);

	if (end != NULL && (where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (alert & 0xff) == SSL_AD_CLOSE_NOTIFY)
		end->announced = true;
}

struct tls_end *
tls_end_watch(CURL *easy, bool *ret_no_memory)
{
	struct curl_tlssessioninfo *info = NULL;

	*ret_no_memory = false;
	pthread_once(&index_once, make_index);
	if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || info == NULL ||
		info->backend != CURLSSLBACKEND_OPENSSL || info->internals == NULL)
		return NULL;
	SSL *session = info->internals;
	struct tls_end *end = calloc(1, sizeof *end), *before = SSL_get_ex_data(session, session_index);
	if (session_index < 0 || end == NULL || SSL_set_ex_data(session, session_index, end) != 1) {
		free(end);
		*ret_no_memory = true;
		return NULL;
	}
	tls_end_release(before);
	end->references = 2;
	end->announced = (SSL_get_shutdown(session) & SSL_RECEIVED_SHUTDOWN) != 0;
	SSL_set_info_callback(session, on_session_info);
	return end;
}

bool
tls_end_announced(const struct tls_end *end)
{
	return end->announced;
}
