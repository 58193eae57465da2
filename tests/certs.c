/* See certs.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "certs.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

#include "rig.h"

#define must(code) ck_assert_msg((code) >= 0, "%s: %s", #code, gnutls_strerror(code))
#define DAY_S (24L * 3600)

struct signer {
	gnutls_x509_crt_t cert;
	gnutls_x509_privkey_t key;
};

static struct signer authority, below;
static unsigned long serials;

static gnutls_x509_privkey_t
new_private_key(enum cert_kind kind)
{
	gnutls_x509_privkey_t key;

	must(gnutls_x509_privkey_init(&key));
	if (kind == CERT_RSA)
		must(gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA, 2048, 0));
	else
		must(gnutls_x509_privkey_generate(
			key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	return key;
}

static void
set_serial(gnutls_x509_crt_t cert)
{
	unsigned char serial[8];
	unsigned long number = ((unsigned long)time(NULL) << 16) + ++serials;

	for (size_t i = 0; i < sizeof serial; i++)
		serial[i] = (unsigned char)(number >> (8 * (sizeof serial - 1 - i)));
	must(gnutls_x509_crt_set_serial(cert, serial, sizeof serial));
}

static gnutls_x509_crt_t
new_cert(const char *common_name, gnutls_x509_privkey_t key, bool expired)
{
	gnutls_x509_crt_t cert;
	time_t now = time(NULL);

	must(gnutls_x509_crt_init(&cert));
	must(gnutls_x509_crt_set_version(cert, 3));
	set_serial(cert);
	must(gnutls_x509_crt_set_dn_by_oid(
		cert, GNUTLS_OID_X520_COMMON_NAME, 0, common_name, (unsigned)strlen(common_name)));
	must(gnutls_x509_crt_set_activation_time(cert, now - 10 * DAY_S));
	must(gnutls_x509_crt_set_expiration_time(cert, expired ? now - DAY_S : now + 30 * DAY_S));
	must(gnutls_x509_crt_set_key(cert, key));
	return cert;
}

/* signer NULL: by itself. */
static struct signer
new_authority(const char *common_name, const struct signer *signer)
{
	struct signer made = {.key = new_private_key(CERT_EC)};

	made.cert = new_cert(common_name, made.key, false);
	must(gnutls_x509_crt_set_basic_constraints(made.cert, 1, -1));
	must(gnutls_x509_crt_set_key_usage(made.cert, GNUTLS_KEY_KEY_CERT_SIGN));
	must(gnutls_x509_crt_sign2(
		made.cert, signer ? signer->cert : made.cert, signer ? signer->key : made.key, GNUTLS_DIG_SHA256, 0));
	return made;
}

static const char *
pem_of_cert(gnutls_x509_crt_t cert)
{
	gnutls_datum_t pem;

	must(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem));
	const char *kept = text("%.*s", (int)pem.size, (char *)pem.data);
	gnutls_free(pem.data);
	return kept;
}

static const char *
pem_of_key(gnutls_x509_privkey_t key)
{
	gnutls_datum_t pem;

	must(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, 0, &pem));
	const char *kept = text("%.*s", (int)pem.size, (char *)pem.data);
	gnutls_free(pem.data);
	return kept;
}

const char *
cert_authority(void)
{
	if (!authority.cert) {
		authority = new_authority("a test's authority", NULL);
		below = new_authority("one below it", &authority);
	}
	return file_with("authority.crt", pem_of_cert(authority.cert));
}

static void
add_names(gnutls_x509_crt_t cert, const char *host)
{
	const unsigned char v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};

	must(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET));
	must(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, v4, sizeof v4, GNUTLS_FSAN_APPEND));
	must(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, v6, sizeof v6, GNUTLS_FSAN_APPEND));
	if (host)
		must(gnutls_x509_crt_set_subject_alt_name(
			cert, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host), GNUTLS_FSAN_APPEND));
}

struct cert_pair
cert_make(const struct cert_wish *wish)
{
	struct cert_pair pair;
	unsigned char serial[20];
	size_t serial_size = sizeof serial;
	gnutls_x509_privkey_t key = new_private_key(wish->kind);
	gnutls_x509_crt_t cert = new_cert("a test's server", key, wish->expired);

	cert_authority();
	const struct signer *signer = wish->intermediate ? &below : &authority;
	add_names(cert, wish->host);
	must(gnutls_x509_crt_sign2(cert, signer->cert, signer->key, GNUTLS_DIG_SHA256, 0));
	const char *own = pem_of_cert(cert), *other = wish->intermediate ? pem_of_cert(below.cert) : "";
	pair.cert = file_with(
		text("%s.crt", wish->name), text("%s%s", wish->reversed ? other : own, wish->reversed ? own : other));
	pair.key = file_with(text("%s.key", wish->name), pem_of_key(key));
	must(gnutls_x509_crt_get_serial(cert, serial, &serial_size));
	snprintf(pair.serial, sizeof pair.serial, "%s", hex_of(serial, serial_size));
	gnutls_x509_crt_deinit(cert);
	gnutls_x509_privkey_deinit(key);
	return pair;
}
