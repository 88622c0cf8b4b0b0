/* The handlers of the storm's connections: they do one of all the things that a handler may do, and
 * hold the library to what sallyport.h says about the order of callbacks. One thread. */
#include "sim/support/record.h"

#include <string.h>

const unsigned char *body_from(struct storm *storm, uint32_t tag, uint32_t at, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) storm->body[i] = body_at(tag, at + i);
    return storm->body;
}

/* ---- In and out of callbacks ---- */

/* Callbacks come one at a time, and never inside a call. */
static struct record *enter(sally_conn *conn)
{
    struct record *record = sally_conn_user(conn);
    struct storm *storm = record->storm;
    CHECK(storm, storm->depth == 0);
    CHECK(storm, record->opened && !record->closed);
    CHECK(storm, record->id == sally_conn_id(conn));
    storm->depth++;
    return record;
}

static void leave(struct record *record) { record->storm->depth--; }

static void end_gently(struct record *record, sally_conn *conn)
{
    record->ending = true;
    CHECK(record->storm, sally_conn_close(conn) == 0);
}

static void end_now(struct record *record, sally_conn *conn)
{
    record->ending = true;
    CHECK(record->storm, sally_conn_abort(conn) == 0);
}

/* All or nothing; what can't be queued ends the connection, since an echo with holes is none. */
static void put(struct record *record, sally_conn *conn, const void *data, size_t len)
{
    struct storm *storm = record->storm;
    uint32_t before = sally_conn_queued(conn);
    int err = sally_conn_send(conn, data, len);
    CHECK(storm, err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM || err == SALLY_ECLOSED ||
                     err == SALLY_ELIMIT);
    if (err == 0) record->out += (uint32_t)len;
    if (err) CHECK(storm, sally_conn_queued(conn) == before);
    if (!err || err == SALLY_ECLOSED) return;
    storm->cut_by_us++;
    end_now(record, conn);
}

/* ---- Callbacks ---- */

static void begin(struct record *record, sally_conn *conn)
{
    record->opened = true;
    record->id = sally_conn_id(conn);
    CHECK(record->storm, record->id != 0);
}

static struct record *record_new(struct storm *storm)
{
    CHECK(storm, storm->records < RECORDS);
    struct record *record = &storm->record[storm->records++];
    record->storm = storm;
    record->tag = storm->records;
    return record;
}

static void on_open(sally_conn *conn)
{
    struct storm *storm = sally_conn_user(conn);
    CHECK(storm, storm->depth == 0);
    storm->depth++;
    struct record *record = record_new(storm);
    begin(record, conn);
    record->mode = (uint8_t)one_of(storm, storm->calm ? MODES_SERVING : MODES);
    sally_conn_set_user(conn, record);
    if (!storm->calm && one_of(storm, 16) == 0) end_gently(record, conn);
    storm->depth--;
}

static void unpause(sally_conn *conn, void *arg)
{
    struct record *record = arg;
    struct storm *storm = record->storm;
    CHECK(storm, storm->depth == 0);
    storm->posts_done++;
    if (!conn) return;
    record->paused = false;
    int err = sally_conn_resume(conn);
    CHECK(storm, err == 0 || err == SALLY_ECLOSED);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct record *record = enter(conn);
    struct storm *storm = record->storm;
    CHECK(storm, len > 0 && !record->eof && !record->paused && !record->ending);
    record->in += (uint32_t)len;
    put(record, conn, data, len);
    if (record->ending) {
        leave(record);
        return;
    }
    switch (record->mode) {
    case MODE_PAUSE:
        record->paused = true;
        CHECK(storm, sally_conn_pause(conn) == 0);
        CHECK(storm, sally_conn_timer(conn, 1 + one_of(storm, 300)) == 0);
        break;
    case MODE_BLINK: /* again before the stop has ended */
        CHECK(storm, sally_conn_pause(conn) == 0);
        record->paused =
            one_of(storm, 2) && sally_post(storm->engine, record->id, unpause, record) == 0;
        storm->posts += record->paused;
        if (!record->paused) CHECK(storm, sally_conn_resume(conn) == 0);
        break;
    case MODE_CLOSE: end_gently(record, conn); break;
    case MODE_ABORT: end_now(record, conn); break;
    case MODE_SHUT: CHECK(storm, sally_conn_shutdown(conn) == 0); break;
    default: break;
    }
    leave(record);
}

static void on_timer(sally_conn *conn)
{
    struct record *record = enter(conn);
    CHECK(record->storm, record->mode == MODE_PAUSE);
    record->paused = false;
    CHECK(record->storm, sally_conn_resume(conn) == 0);
    leave(record);
}

static void on_sent(sally_conn *conn, size_t bytes)
{
    struct record *record = enter(conn);
    CHECK(record->storm, bytes > 0);
    leave(record);
}

static void on_drain(sally_conn *conn) { leave(enter(conn)); }

static void on_eof(sally_conn *conn)
{
    struct record *record = enter(conn);
    CHECK(record->storm, !record->eof && !record->paused && !record->ending);
    record->eof = true;
    end_gently(record, conn);
    leave(record);
}

/* Extending every limit for ever would keep the dead. */
static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    struct record *record = enter(conn);
    struct storm *storm = record->storm;
    CHECK(storm, (unsigned)which <= SALLY_TIMEOUT_MESSAGE);
    bool ends = storm->calm || one_of(storm, 4) != 0;
    leave(record);
    return ends;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct record *record = sally_conn_user(conn);
    struct storm *storm = record->storm;
    CHECK(storm, storm->depth == 0);
    CHECK(storm, !record->closed);
    CHECK(storm, record->opened || record->outgoing);
    storm->depth++;
    record->closed = true;
    storm->closed++;
    CHECK(storm, (unsigned)info->reason <= SALLY_CLOSE_MESSAGE_TIMEOUT);
    if (!record->opened) CHECK(storm, info->bytes_in == 0 && info->bytes_out == 0);
    CHECK(storm, info->bytes_in >= record->in);
    if (!record->foreign) CHECK(storm, info->bytes_out + info->bytes_unsent == record->out);
    CHECK(storm, sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
    storm->gone = sally_conn_id(conn);
    storm->depth--;
}

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    struct storm *storm = sally_server_user(server);
    CHECK(storm, storm->depth == 0);
    CHECK(storm, info->server_conns <= CONNS_MAX);
    return !storm->calm && one_of(storm, 16) == 0 ? SALLY_RESET : SALLY_ALLOW;
}

static void on_error(sally_server *server, const sally_server_event *event)
{
    struct storm *storm = sally_server_user(server);
    CHECK(storm, storm->depth == 0);
    CHECK(storm, event->count > 0);
}

void record_server_handler(struct storm *storm, sally_handler *handler)
{
    *handler = (sally_handler){
        .user = storm,
        .on_accept = on_accept,
        .on_open = on_open,
        .on_data = on_data,
        .on_sent = on_sent,
        .on_drain = on_drain,
        .on_timer = on_timer,
        .on_timeout = on_timeout,
        .on_close = on_close,
        .on_error = on_error,
    };
    if (storm->with_eof) handler->on_eof = on_eof;
}

/* ---- Outgoing ---- */

static void out_open(sally_conn *conn)
{
    struct record *record = sally_conn_user(conn);
    struct storm *storm = record->storm;
    CHECK(storm, storm->depth == 0 && !record->opened && !record->closed && record->outgoing);
    storm->depth++;
    begin(record, conn);
    uint32_t len = 1 + one_of(storm, BODY_MAX);
    put(record, conn, body_from(storm, record->tag, 0, len), len);
    storm->depth--;
}

static void out_data(sally_conn *conn, const void *data, size_t len)
{
    struct record *record = enter(conn);
    struct storm *storm = record->storm;
    CHECK(storm, len > 0 && !record->ending && !record->eof);
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len && !record->foreign; i++)
        CHECK(storm, bytes[i] == body_at(record->tag, record->in + (uint32_t)i));
    record->in += (uint32_t)len;
    if (!record->foreign) CHECK(storm, record->in <= record->out);
    if (record->in >= record->out) {
        if (one_of(storm, 4))
            end_gently(record, conn);
        else
            end_now(record, conn);
    }
    leave(record);
}

void record_connect(struct storm *storm, const char *address)
{
    if (storm->records == RECORDS) return;
    struct record *record = record_new(storm);
    record->outgoing = true;
    sally_handler handler = {.user = record,
                             .on_open = out_open,
                             .on_data = out_data,
                             .on_drain = on_drain,
                             .on_timeout = on_timeout,
                             .on_close = on_close};
    sally_connect_options options = {.connect_ms = 1000 + one_of(storm, 4000),
                                     .attempt_ms = 1 + one_of(storm, 2000),
                                     .conn = {.idle_ms = 3000, .linger_ms = 1000}};
    sally_id id = 0;
    storm->depth++;
    int err = sally_connect(storm->engine, address, &handler, &options, &id);
    storm->depth--;
    CHECK(storm, err == 0 || err == SALLY_ENOMEM || err == SALLY_ELIMIT || err == SALLY_EFULL);
    record->begun = err == 0;
    record->id = id;
    CHECK(storm, (err == 0) == (id != 0));
}

/* ---- From outside ---- */

static void posted(sally_conn *conn, void *arg)
{
    struct storm *storm = arg;
    CHECK(storm, storm->depth == 0);
    storm->posts_done++;
    if (!conn) return;
    char text[64];
    CHECK(storm, sally_conn_peer(conn, text, sizeof text) == text);
}

static void meddle_with(struct storm *storm, struct record *record)
{
    sally_id id = record->id;
    int err = 0;
    switch (one_of(storm, 8)) {
    case 0:
    case 1:
    case 2:
        if (!record->outgoing) return; /* the visitor would not know what it gets */
        record->foreign = true;
        err = sally_send(storm->engine, id, storm->body, 1 + one_of(storm, BODY_MAX));
        break;
    case 3: err = sally_close(storm->engine, id); break; /* travels: data may still come */
    case 4: err = sally_abort(storm->engine, id); break;
    default: err = sally_post(storm->engine, id, posted, storm); storm->posts += err == 0;
    }
    CHECK(storm, err == 0 || err == SALLY_ENOCONN || err == SALLY_EFULL || err == SALLY_ENOMEM ||
                     err == SALLY_ELIMIT || (err == SALLY_ECLOSED && !record->closed));
    if (record->closed) CHECK(storm, err == SALLY_ENOCONN);
}

void record_meddle(struct storm *storm)
{
    storm->depth++;
    if (storm->gone) {
        CHECK(storm, sally_send(storm->engine, storm->gone, "x", 1) == SALLY_ENOCONN);
        CHECK(storm, sally_abort(storm->engine, storm->gone) == SALLY_ENOCONN);
    }
    if (storm->records) {
        struct record *record = &storm->record[one_of(storm, storm->records)];
        if (record->id) meddle_with(storm, record);
    }
    storm->depth--;
}
