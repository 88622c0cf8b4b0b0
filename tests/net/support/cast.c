/* See cast.h. */
#include "net/support/cast.h"

#include <string.h>

void ticket_done(const sally_broadcast_report *report, void *arg)
{
    struct ticket *ticket = arg;
    ticket->report = *report;
    atomic_fetch_add(&ticket->told, 1);
}

void ticket_wait(struct ticket *ticket)
{
    STAGE_WAIT(atomic_load(&ticket->told) > 0);
    assert_int_equal(atomic_load(&ticket->told), 1);
}

sally_buf *cast_buf(struct stage *stage, const void *data, size_t len)
{
    sally_buf *buf = sally_buf_create(stage->engine, len);
    assert_non_null(buf);
    memcpy(sally_buf_data(buf), data, len);
    return buf;
}

int cast_send_ticket(sally_server *server, sally_group *group, sally_buf *buf,
                     const sally_broadcast_options *options, struct ticket *ticket)
{
    sally_broadcast_options with = {.slow = SALLY_SLOW_SKIP};
    if (options) with = *options;
    memset(ticket, 0, sizeof *ticket);
    with.done = ticket_done;
    with.arg = ticket;
    return group ? sally_group_send(group, buf, &with) : sally_broadcast(server, buf, &with);
}

int cast_text(struct stage *stage, sally_server *server, sally_group *group, const char *text,
              const sally_broadcast_options *options, struct ticket *ticket)
{
    sally_buf *buf = cast_buf(stage, text, strlen(text));
    int err = cast_send_ticket(server, group, buf, options, ticket);
    sally_buf_release(buf);
    return err;
}
