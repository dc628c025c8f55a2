#include "relay/cli/scram_key_print.h"

#include <stdio.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "relay/accept/scram.h"

enum { LINE_BYTES_MAX = SCRAM_PASSWORD_MAX + 3 }; /* CRLF and NUL */

/* On a terminal it is not shown. False: nothing was there. */
static bool
read_password(char line[LINE_BYTES_MAX])
{
    struct termios shown, hidden;
    bool is_terminal = isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &shown) == 0;
    if (is_terminal) {
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        fputs("Password: ", stderr);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    bool got = fgets(line, LINE_BYTES_MAX, stdin) != NULL;
    if (is_terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputc('\n', stderr);
    }
    return got;
}

/* Spaces may be part of a password, the end of the line is not. */
static struct slice
without_line_end(struct slice line)
{
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    return line;
}

static int
complain(const char *why)
{
    fprintf(stderr, "stagepost: credential scram: %s\n", why);
    return EX_DATAERR;
}

int
scram_key_print(const char *like)
{
    char line[LINE_BYTES_MAX] = "", text[SCRAM_KEY_TEXT_MAX];
    struct scram_key other, key;
    if (like != NULL && !scram_key_parse(slice_str(like), &other))
        return complain("--like wants a line that this command has printed");
    bool good = read_password(line) && scram_key_make(without_line_end(slice_str(line)),
                                                      like != NULL ? &other : NULL, &key);
    OPENSSL_cleanse(line, sizeof line);
    if (!good)
        return complain("a password is wanted on standard input: one line of UTF-8");
    scram_key_format(&key, text);
    printf("%s\n", text);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}
