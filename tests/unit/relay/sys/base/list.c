#include "relay/sys/base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct item {
    int n;
    struct list_node node;
};

static void
keeps_order_and_survives_removal_while_walking(void **state)
{
    (void)state;
    struct list l;
    struct item items[5];
    int seen = 0;
    list_init(&l);
    assert_null(list_pop(&l));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_node_init(&items[i].node);
        assert_false(list_node_linked(&items[i].node));
        if (i == 0)
            list_push_front(&l, &items[i].node);
        else
            list_push(&l, &items[i].node);
    }
    LIST_EACH(&l, it)
    {
        struct item *x = container_of(it, struct item, node);
        assert_int_equal(x->n, seen++);
        if (x->n % 2 == 0)
            list_remove(it);
    }
    assert_int_equal(seen, 5);
    assert_ptr_equal(list_pop(&l), &items[1].node);
    assert_ptr_equal(list_pop(&l), &items[3].node);
    assert_true(list_empty(&l));
    list_remove(&items[3].node); /* in no list: no effect */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_and_survives_removal_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
