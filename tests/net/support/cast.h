/* What the tests of broadcasts and groups share: messages, and tickets that wait for the report. */
#ifndef NET_SUPPORT_CAST_H
#define NET_SUPPORT_CAST_H

#include "net/support/stage.h"
#include "sallyport/group.h"

/* One send's report. In memory that outlives it. */
struct ticket {
    atomic_uint told;
    sally_broadcast_report report; /* once told */
};

/* As a `done`, with a ticket as its arg. */
void ticket_done(const sally_broadcast_report *report, void *arg);

/* The report has come, and once only. */
void ticket_wait(struct ticket *ticket);

/* A buffer with a copy; one reference. */
sally_buf *cast_buf(struct stage *stage, const void *data, size_t len);

/* To the server, or to the group if that is not NULL. The ticket becomes the options' done. */
int cast_send_ticket(sally_server *server, sally_group *group, sally_buf *buf,
                     const sally_broadcast_options *options, struct ticket *ticket);
int cast_text(struct stage *stage, sally_server *server, sally_group *group, const char *text,
              const sally_broadcast_options *options, struct ticket *ticket);

#endif
