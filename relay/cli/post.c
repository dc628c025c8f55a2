#include "relay/cli/post.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/limits.h"

enum { READ_BYTES = 64 << 10 };

const char *
post_credential(const struct cli *c, const char *as)
{
    const char *said = getenv("STAGEPOST_CREDENTIAL");
    if (as != NULL)
        return as;
    return said != NULL && said[0] != '\0' ? said : c->place.credential;
}

void
post_make_key(char key[ID_TEXT_BYTES + 1])
{
    id_format(id_new(0), key);
}

int
post_raw(const struct cli *c, const struct post *p, struct client_answer *a, struct err *err)
{
    char key[ID_TEXT_BYTES + 1];
    struct buf path;
    post_make_key(key);
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/messages/raw?from=");
    cli_path_segment(&path, p->from);
    for (unsigned i = 0; i < p->to_count; i++) {
        buf_add_str(&path, "&to=");
        cli_path_segment(&path, p->to[i]);
    }
    struct client_request q = {.method = "POST",
                               .path = cli_path(&path),
                               .credential = p->credential,
                               .idempotency_key = p->key != NULL ? p->key : key,
                               .content_type = "message/rfc822",
                               .body = p->message};
    int rc = client_ask_patiently(&c->place.socket, &q, a, err);
    buf_fini(&path);
    return rc;
}

static int
read_all(int fd, struct buf *out, struct err *err)
{
    for (;;) {
        char *to = buf_reserve(out, READ_BYTES);
        if (to == NULL)
            return err_set(err, ERR_FULL, "larger than is accepted");
        ssize_t n = read(fd, to, READ_BYTES);
        if (n == 0)
            return 0;
        if (n > 0)
            buf_commit(out, (size_t)n);
        else if (errno != EINTR)
            return err_set_errno(err, ERR_IO, "cannot be read");
    }
}

int
post_read_input(const char *path, struct buf *out, struct err *err)
{
    bool standard = strcmp(path, "-") == 0;
    buf_init(out, MESSAGE_BYTES_MAX + READ_BYTES);
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_NOT_FOUND, "%s", path);
    int rc = read_all(fd, out, err);
    if (!standard)
        close(fd);
    return rc == 0 ? 0 : err_context(err, "%s", standard ? "standard input" : path);
}
