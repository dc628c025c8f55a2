/* The supervisor's side, with children that are sockets. */
#include "relay/sys/proc/reload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

enum { PARTS = 3, SNAPSHOT = 0 /* any descriptor */ };

struct rig {
    struct loop *loop;
    struct reload reload;
    struct reload_part parts[PARTS];
    int child[PARTS]; /* the child's end */
    unsigned done;
    bool ok;
    char why[300];
};

static void
on_done(struct reload *r, bool ok, const char *why)
{
    struct rig *g = container_of(r, struct rig, reload);
    g->done++;
    g->ok = ok;
    snprintf(g->why, sizeof g->why, "%s", why);
    if (g->loop != NULL)
        loop_stop(g->loop);
}

static void
child_start(struct rig *g, unsigned i)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    g->child[i] = pair[1];
    reload_part_started(&g->reload, &g->parts[i], pair[0]);
}

static void
child_end(struct rig *g, unsigned i)
{
    int fd = g->parts[i].control_fd;
    reload_part_ended(&g->reload, &g->parts[i]);
    close(fd);
    close(g->child[i]);
    g->child[i] = -1;
}

static void
rig_init(struct rig *g, unsigned running)
{
    *g = (struct rig){.loop = loop_new()};
    reload_init(&g->reload, g->loop, on_done);
    for (unsigned i = 0; i < PARTS; i++) {
        g->child[i] = -1;
        g->parts[i] = (struct reload_part){.name = "worker", .number = i};
        reload_add(&g->reload, &g->parts[i]);
        g->parts[i].snapshot_fd = SNAPSHOT;
        if (i < running)
            child_start(g, i);
    }
}

static void
rig_fini(struct rig *g)
{
    for (unsigned i = 0; i < PARTS; i++)
        if (g->child[i] >= 0)
            child_end(g, i);
    loop_free(g->loop);
}

/* All that was said to child i since the last time; what comes with a
 * descriptor comes by itself. */
static const char *
heard(struct rig *g, unsigned i)
{
    static char text[512];
    size_t all = 0;
    for (ssize_t n; (n = recv(g->child[i], text + all, sizeof text - 1 - all, MSG_DONTWAIT)) > 0;)
        all += (size_t)n;
    text[all] = '\0';
    return text;
}

static void
say(struct rig *g, unsigned i, const char *line)
{
    assert_true(reload_part_said(&g->reload, &g->parts[i], slice_str(line)));
}

static void
all_switch_when_all_are_prepared(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, PARTS);
    reload_begin(&g.reload, 7);
    for (unsigned i = 0; i < PARTS; i++) {
        assert_string_equal(heard(&g, i), "prepare 7\n");
        assert_int_equal(g.done, 0);
        say(&g, i, "prepared 7");
    }
    assert_int_equal(g.done, 1);
    assert_true(g.ok);
    for (unsigned i = 0; i < PARTS; i++)
        assert_string_equal(heard(&g, i), "commit 7\n");
    rig_fini(&g);
}

static void
one_refusal_is_everybodys(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, PARTS);
    reload_begin(&g.reload, 2);
    say(&g, 0, "prepared 2");
    say(&g, 1, "refused 2 /k.pem: no key");
    assert_int_equal(g.done, 1);
    assert_false(g.ok);
    assert_string_equal(g.why, "worker 1: /k.pem: no key");
    say(&g, 2, "prepared 2"); /* too late */
    for (unsigned i = 0; i < PARTS; i++)
        assert_string_equal(heard(&g, i), "prepare 2\nforget 2\n");
    reload_begin(&g.reload, 3);
    say(&g, 0, "prepared 2"); /* of the one before */
    for (unsigned i = 0; i < PARTS; i++)
        say(&g, i, "prepared 3");
    assert_int_equal(g.done, 2);
    assert_true(g.ok);
    rig_fini(&g);
}

static void
a_successor_is_asked_again(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, PARTS);
    reload_begin(&g.reload, 2);
    say(&g, 0, "prepared 2");
    say(&g, 1, "prepared 2");
    child_end(&g, 2);
    child_end(&g, 1); /* it had answered: nobody waits for it */
    assert_int_equal(g.done, 0);
    child_start(&g, 2);
    assert_string_equal(heard(&g, 2), "prepare 2\n");
    say(&g, 2, "prepared 2");
    assert_true(g.ok);
    assert_string_equal(heard(&g, 2), "commit 2\n");
    rig_fini(&g);
}

/* What does not run at all may be what the reload mends. */
static void
who_does_not_run_is_not_waited_for(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, 1);
    reload_begin(&g.reload, 2);
    child_start(&g, 1); /* comes back in between: now it is */
    say(&g, 0, "prepared 2");
    assert_int_equal(g.done, 0);
    say(&g, 1, "prepared 2");
    assert_true(g.ok);
    rig_fini(&g);
    rig_init(&g, 0);
    reload_begin(&g.reload, 2);
    assert_true(g.ok);
    rig_fini(&g);
}

static void
silence_is_a_refusal(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, 2);
    reload_begin(&g.reload, 2);
    say(&g, 0, "prepared 2");
    loop_run(g.loop);
    assert_int_equal(g.done, 1);
    assert_false(g.ok);
    assert_string_equal(g.why, "worker 1: no answer in time");
    rig_fini(&g);
}

static void
cancelled(void **state)
{
    struct rig g;
    (void)state;
    rig_init(&g, 2);
    reload_cancel(&g.reload);
    assert_int_equal(g.done, 0);
    reload_begin(&g.reload, 2);
    reload_cancel(&g.reload);
    assert_int_equal(g.done, 1);
    assert_false(g.ok);
    assert_false(reload_part_said(&g.reload, &g.parts[0], SLICE("ready")));
    rig_fini(&g);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "400", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_switch_when_all_are_prepared),
        cmocka_unit_test(one_refusal_is_everybodys),
        cmocka_unit_test(a_successor_is_asked_again),
        cmocka_unit_test(who_does_not_run_is_not_waited_for),
        cmocka_unit_test(silence_is_a_refusal),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
