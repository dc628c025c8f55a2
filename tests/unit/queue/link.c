/* A command that Redis puts off, and what it is told when it never gets an answer. */
#include "tests/unit/support/queue_test.h"

#include "queue/core.h"

struct told {
    struct link_cmd cmd;
    bool done, had_reply;
};

static void
on_told(struct link_cmd *c)
{
    struct told *t = container_of(c, struct told, cmd);
    t->done = true;
    t->had_reply = c->reply != NULL;
}

/* The reply that put it off is freed by then: what comes instead has none. */
static void
a_command_that_was_put_off_ends_without_the_old_reply(void **state)
{
    struct world *w = *state;
    struct told t = {.done = false};
    freeReplyObject(redis_ask(&w->redis, "REPLICAOF 127.0.0.1 1"));
    link_cmd_init(&t.cmd, w->a.q->links, 0, on_told);
    t.cmd.sticky = true;
    link_cmd_plain(&t.cmd, "SET");
    link_arg_str(&t.cmd, "sp:test");
    link_arg_str(&t.cmd, "1");
    link_cmd_start(&t.cmd);
    WORLD_UNTIL(w, t.cmd.place == CMD_WAITING); /* READONLY: it passes, so it waits */
    assert_false(t.done);
    link_cmd_unstick(&t.cmd);
    WORLD_UNTIL(w, t.done);
    assert_int_equal(t.cmd.outcome, LINK_UNSENT);
    assert_false(t.had_reply);
    freeReplyObject(redis_ask(&w->redis, "REPLICAOF NO ONE"));
    WORLD_UNTIL(w, queue_status(w->a.q) == QUEUE_UP);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(a_command_that_was_put_off_ends_without_the_old_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
