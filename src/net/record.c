/* The flight recorder and what it tells; see record.h. */
#include "net/record.h"

#include <stdarg.h>
#include <stdio.h>

#include "net/conn.h"
#include "net/flow.h"
#include "net/greeting.h"
#include "os/address.h"
#include "sallyport/proxy.h"

enum { DELTA_BITS = 26 };
#define DELTA_MAX ((1u << DELTA_BITS) - 1)

/* ---- Recording ---- */

static uint32_t conn__age_ms(const sally_conn *conn)
{
    uint64_t age = conn->shard->now_ms - conn->opened_ms;
    return age < UINT32_MAX ? (uint32_t)age : UINT32_MAX;
}

static void record__append(struct record *record, enum record_kind kind, uint32_t age_ms)
{
    uint32_t newest = record->events[(record->next + RECORD_EVENTS - 1) % RECORD_EVENTS];
    if (record->count && newest >> DELTA_BITS == kind) return;
    uint32_t delta = age_ms - record->last_ms;
    record->events[record->next] =
        (uint32_t)kind << DELTA_BITS | (delta < DELTA_MAX ? delta : DELTA_MAX);
    record->last_ms = age_ms;
    record->next = (uint16_t)((record->next + 1) % RECORD_EVENTS);
    if (record->count < RECORD_EVENTS) record->count++;
}

void record_add(sally_conn *conn, enum record_kind kind)
{
    if (conn->policy->no_recorder || flow_need(conn)) return;
    struct flow *flow = conn_flow(conn);
    if (!flow->record) flow->record = mem_zalloc(&conn->shard->engine->mem, sizeof *flow->record);
    if (flow->record) record__append(flow->record, kind, conn__age_ms(conn));
}

void record_add_more(sally_conn *conn, enum record_kind kind)
{
    if (conn_flow(conn) && conn_flow(conn)->record) record_add(conn, kind);
}

void record_drop(sally_conn *conn)
{
    struct record *record = conn_flow(conn)->record;
    if (record) mem_free(&conn->shard->engine->mem, record, sizeof *record);
    conn_flow(conn)->record = NULL;
}

/* ---- Who ---- */

static const uint8_t initiators[] = {
    [SALLY_CLOSE_LOCAL] = SALLY_INITIATOR_HANDLER,
    [SALLY_CLOSE_ABORTED] = SALLY_INITIATOR_HANDLER,
    [SALLY_CLOSE_PEER_CLOSED] = SALLY_INITIATOR_PEER,
    [SALLY_CLOSE_PEER_RESET] = SALLY_INITIATOR_PEER,
    [SALLY_CLOSE_NETWORK] = SALLY_INITIATOR_SYSTEM,
    [SALLY_CLOSE_CONNECT_FAILED] = SALLY_INITIATOR_SYSTEM,
    [SALLY_CLOSE_CONNECT_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_FIRST_BYTE_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_IDLE_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_WRITE_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_LINGER_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_NO_MEMORY] = SALLY_INITIATOR_SYSTEM,
    [SALLY_CLOSE_SHUTDOWN] = SALLY_INITIATOR_ENGINE,
    [SALLY_CLOSE_DRAIN_TIMEOUT] = SALLY_INITIATOR_ENGINE,
    [SALLY_CLOSE_MESSAGE_TOO_LONG] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_MALFORMED] = SALLY_INITIATOR_PEER,
    [SALLY_CLOSE_MESSAGE_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_IDLE_READ_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_IDLE_WRITE_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_SEND_RATE] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_RECV_RATE] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_MAX_AGE] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_HEARTBEAT_TIMEOUT] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_TOO_SLOW] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_BANNED] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_PRODUCER] = SALLY_INITIATOR_HANDLER,
    [SALLY_CLOSE_FILE] = SALLY_INITIATOR_SYSTEM,
    [SALLY_CLOSE_HANDSHAKE] = SALLY_INITIATOR_PEER,
    [SALLY_CLOSE_FILTER] = SALLY_INITIATOR_PEER,
    [SALLY_CLOSE_MEMORY] = SALLY_INITIATOR_LIMIT,
    [SALLY_CLOSE_SEND_LIMIT] = SALLY_INITIATOR_LIMIT,
};

sally_initiator sally_conn_initiator(const sally_conn *conn)
{
    if (!conn || !conn->has_reason) return SALLY_INITIATOR_HANDLER;
    sally_initiator who = (sally_initiator)initiators[conn->reason];
    return who == SALLY_INITIATOR_HANDLER && conn->by_id ? SALLY_INITIATOR_BY_ID : who;
}

const char *sally_initiator_text(sally_initiator initiator)
{
    static const char *const texts[] = {
#define TEXT(name, sentence) sentence,
        SALLY_INITIATORS(TEXT)
#undef TEXT
    };
    return (unsigned)initiator < sizeof texts / sizeof *texts ? texts[initiator] : "?";
}

/* ---- The line ---- */

struct line {
    char *buf;
    size_t size;
    size_t at;
};

__attribute__((format(printf, 2, 3))) static void line__add(struct line *line, const char *format,
                                                            ...)
{
    va_list args;
    if (line->at + 1 >= line->size) return;
    va_start(args, format);
    int n = vsnprintf(line->buf + line->at, line->size - line->at, format, args);
    va_end(args);
    size_t room = line->size - line->at - 1;
    line->at += (size_t)n < room ? (size_t)n : room;
}

static void line__record(struct line *line, const struct record *record)
{
    static const char *const texts[] = {
#define TEXT(name, sentence) sentence,
        RECORD_KINDS(TEXT)
#undef TEXT
    };
    /* the oldest's time, by going back from the newest */
    uint64_t back = 0;
    unsigned oldest = (record->next + RECORD_EVENTS - record->count) % RECORD_EVENTS;
    for (unsigned i = 1; i < record->count; i++)
        back += record->events[(oldest + i) % RECORD_EVENTS] & DELTA_MAX;
    uint64_t at_ms = record->last_ms > back ? record->last_ms - back : 0;
    for (unsigned i = 0; i < record->count; i++) {
        uint32_t event = record->events[(oldest + i) % RECORD_EVENTS];
        if (i) at_ms += event & DELTA_MAX;
        line__add(line, "%s+%u.%03u %s", i ? ", " : "; before: ", (unsigned)(at_ms / 1000),
                  (unsigned)(at_ms % 1000), texts[event >> DELTA_BITS]);
    }
}

const char *sally_conn_why(const sally_conn *conn, char *buf, size_t size)
{
    struct line line = {.buf = buf, .size = size};
    if (!size) return buf;
    *buf = 0;
    if (!conn) return buf;
    uint32_t age = conn__age_ms(conn);
    if (conn->has_reason) {
        line__add(&line, "%s (%s)", sally_close_reason_text((sally_close_reason)conn->reason),
                  sally_initiator_text(sally_conn_initiator(conn)));
        if (conn->error) line__add(&line, ", %s", sally_err_name(conn->error));
        if (conn->sys_error) line__add(&line, ", system error %d", (int)conn->sys_error);
    } else {
        line__add(&line, "open");
    }
    line__add(&line, " after %u.%03u s; in %llu, out %llu, %s %u bytes", age / 1000, age % 1000,
              (unsigned long long)conn_bytes_in(conn), (unsigned long long)conn->bytes_out,
              conn->has_reason ? "unsent" : "queued", conn_unsent(conn));
    if (conn_proxied(conn)) {
        char proxy[ADDRESS_TEXT_MAX];
        line__add(&line, "; by the proxy %s", sally_conn_socket_peer(conn, proxy, sizeof proxy));
    }
    if (conn_flow(conn) && conn_flow(conn)->record) line__record(&line, conn_flow(conn)->record);
    return buf;
}
