#include "relay/sys/config/material.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static int
read_all(int fd, char *out, size_t cap, size_t *n)
{
    ssize_t got;
    *n = 0;
    while ((got = read(fd, out + *n, cap - *n)) > 0)
        *n += (size_t)got;
    return got < 0 || *n == cap ? -1 : 0;
}

static void
make_ascii(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80 || text[i] == '\0')
            text[i] = '?';
}

/* The file as a JSON string, NULL with err filled. Not blocking: a fifo in its
 * place would hold up the start for ever. */
static json_t *
read_file(const char *path, size_t most, struct err *err)
{
    size_t n = 0;
    json_t *value = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char *text = malloc(most + 1);
    BUG_ON(text == NULL);
    if (fd < 0)
        err_set_errno(err, ERR_CONFIG, "%s", path);
    else if (read_all(fd, text, most + 1, &n) != 0)
        err_set(err, ERR_CONFIG, "%s: cannot be read, or has more than %zu bytes", path, most);
    else {
        make_ascii(text, n);
        value = json_stringn(text, n);
        BUG_ON(value == NULL);
    }
    OPENSSL_cleanse(text, most + 1);
    free(text);
    if (fd >= 0)
        close(fd);
    return value;
}

static int
put_file(json_t *object, const char *key, const char *path, size_t most, struct err *err)
{
    json_t *value = read_file(path, most, err);
    if (value == NULL)
        return -1;
    json_object_set_new(object, key, value);
    return 0;
}

int
material_add(json_t *root, const struct config *c, enum config_reader reader, struct err *err)
{
    json_t *keys = json_object_get(root, "dkim_keys");
    if (reader == CONFIG_READER_WORKER)
        return put_file(root, "tls_cert_pem", c->tls_cert_path, CERT_FILE_BYTES_MAX, err) != 0
                   ? -1
                   : put_file(root, "tls_key_pem", c->tls_key_path, KEY_FILE_BYTES_MAX, err);
    for (unsigned i = 0; reader == CONFIG_READER_SIGNER && i < c->dkim_key_count; i++)
        if (put_file(json_array_get(keys, i), "pem", c->dkim_keys[i].path, KEY_FILE_BYTES_MAX,
                     err) != 0)
            return -1;
    return 0;
}

static void
wipe_string(json_t *value)
{
    if (json_is_string(value))
        OPENSSL_cleanse((char *)(uintptr_t)json_string_value(value), json_string_length(value));
}

void
material_wipe(json_t *root)
{
    json_t *keys = json_object_get(root, "dkim_keys");
    wipe_string(json_object_get(root, "tls_key_pem"));
    for (size_t i = 0; i < json_array_size(keys); i++)
        wipe_string(json_object_get(json_array_get(keys, i), "pem"));
}
