#include "relay/sys/proc/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

/* The length of the address; 0: there is none, or it cannot be one. A path, or
 * with '@' a name in the abstract namespace (unix(7)). */
static socklen_t
address(struct sockaddr_un *to)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path != NULL ? strlen(path) : 0;
    if (n < 2 || n >= sizeof to->sun_path || (path[0] != '/' && path[0] != '@'))
        return 0;
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, path, n);
    if (path[0] == '@')
        to->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static void
say(const char *text)
{
    struct sockaddr_un to;
    socklen_t n = address(&to);
    if (n == 0)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, n) < 0)
        LOG0(LOG_WARN, "supervisor.notify-failed");
    if (fd >= 0)
        close(fd);
}

void
notify_ready(void)
{
    say("READY=1");
}

/* The time must be that of the message (Type=notify-reload). */
void
notify_reloading(void)
{
    char text[64];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_us());
    say(text);
}

void
notify_stopping(void)
{
    say("STOPPING=1");
}
