/* The handlers of the mixture: each callback does one of all the things that a handler may do, and
 * holds the library to the order of callbacks and to the bytes that the peer has sent. One thread.
 */
#include "sim/support/mixture.h"

#include "sallyport/flow.h"

struct mixture mixture;

/* ---- What a handler does ---- */

static struct one *enter(sally_conn *conn)
{
    struct one *one = sally_conn_user(conn);
    HOLDS(mixture.depth == 0);
    HOLDS(one->id == sally_conn_id(conn) && !one->closed);
    mixture.depth++;
    return one;
}

static void leave(void) { mixture.depth--; }

void mixture_sent(struct one *one, int err)
{
    HOLDS(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM || err == SALLY_ECLOSED ||
          err == SALLY_ELIMIT || err == SALLY_ENOCONN);
    if (err == SALLY_EFULL) one->owed = true;
    mixture.refused += err == SALLY_EFULL;
}

static void on_note(sally_conn *conn, void *arg, bool went)
{
    struct one *one = arg;
    (void)went;
    HOLDS(mixture.depth == 0 && !one->closed && one->id == sally_conn_id(conn));
    one->notes--;
    mixture.notes--;
    mixture.notes_told++;
}

static void note(sally_conn *conn, struct one *one)
{
    static const unsigned char bytes[MOST];
    int err = draw(2) ? sally_conn_when_sent(conn, on_note, one)
                      : sally_conn_send_owned(conn, bytes, 1 + draw(MOST), on_note, one);
    if (err != SALLY_EFULL || one->notes < 4096) mixture_sent(one, err);
    one->notes += err == 0;
    mixture.notes += err == 0;
}

static void work(void *arg) { (void)arg; }

void mixture_draw_rates(sally_rates *rates)
{
    *rates = (sally_rates){.shared = NULL};
    if (draw(2)) rates->recv.bytes_s = 200 + draw(20000);
    if (draw(2)) rates->send.bytes_s = 200 + draw(20000);
    if (draw(2)) rates->shared = mixture.bandwidths[draw(BANDWIDTHS)];
}

static void act(sally_conn *conn, struct one *one);

static void on_job(sally_conn *conn, void *arg, int status)
{
    struct one *one = arg;
    HOLDS(mixture.depth == 0);
    HOLDS((conn == NULL) == (status == SALLY_ENOCONN));
    one->jobs--;
    mixture.jobs--;
    mixture.jobs_told++;
    if (!conn) return;
    mixture.depth++;
    act(conn, one);
    leave();
}

static void submit(sally_conn *conn, struct one *one)
{
    int err = sally_work(conn, mixture.pool, work, on_job, one, NULL, NULL);
    HOLDS(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
    one->jobs += err == 0;
    mixture.jobs += err == 0;
}

static void want(sally_conn *conn, struct one *one)
{
    if (!one->frames) return;
    uint32_t bytes = 1 + draw(draw(4) ? 40 : MOST);
    int err = sally_conn_want(conn, bytes);
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED || err == SALLY_ESTATE);
    HOLDS((err == SALLY_ESTATE) == (one->wants && err != SALLY_ECLOSED && err != SALLY_ENOMEM));
    if (err == 0) one->wants = bytes;
    if (err == SALLY_ENOMEM) (void)sally_conn_abort(conn);
}

static void send_here(sally_conn *conn, struct one *one)
{
    static const unsigned char bytes[MOST * 8];
    size_t len = 1 + draw(draw(6) ? MOST : MOST * 8);
    mixture_sent(one, one->ws ? sally_ws_send(conn, SALLY_WS_BINARY, bytes, len)
                              : sally_conn_send(conn, bytes, len));
}

static void end_it(sally_conn *conn, struct one *one)
{
    if (one->ws && draw(2)) {
        one->ending = sally_ws_close(conn, SALLY_WS_NORMAL, "enough") == 0;
        return;
    }
    one->ending = true;
    if (draw(3))
        HOLDS(sally_conn_close(conn) == 0);
    else
        HOLDS(sally_conn_abort(conn) == 0);
}

static void pause_it(sally_conn *conn, struct one *one)
{
    if (sally_conn_pause(conn)) return;
    one->paused = draw(3) && sally_conn_timer(conn, 1 + draw(600)) == 0;
    if (!one->paused) HOLDS(sally_conn_resume(conn) == 0);
}

static void limit_it(sally_conn *conn)
{
    sally_rates rates;
    mixture_draw_rates(&rates);
    int err = sally_conn_set_rates(conn, draw(4) ? &rates : NULL);
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
}

static void gather(sally_conn *conn)
{
    int err = draw(4) ? sally_group_join(mixture.group, sally_conn_id(conn)) : 0;
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED || err == SALLY_ELIMIT);
    if (draw(4) == 0) (void)sally_group_leave(mixture.group, sally_conn_id(conn));
}

/* One of all the things that a handler may do. */
static void act(sally_conn *conn, struct one *one)
{
    switch (mixture.calm ? 13 : draw(20)) {
    case 0:
    case 1: send_here(conn, one); break;
    case 2: note(conn, one); break;
    case 3: limit_it(conn); break;
    case 4:
        if (!one->paused) (void)sally_conn_timer(conn, 1 + draw(800));
        break;
    case 5: want(conn, one); break;
    case 6: pause_it(conn, one); break;
    case 7: submit(conn, one); break;
    case 8: gather(conn); break;
    case 9:
        if (sally_conn_cork(conn) == 0) (void)sally_conn_timer(conn, 1 + draw(200));
        break;
    case 10: (void)sally_conn_uncork(conn); break;
    case 11:
        if (draw(6) == 0) (void)sally_conn_shutdown(conn);
        break;
    case 12:
        if (draw(8) == 0) end_it(conn, one);
        break;
    default: want(conn, one); break;
    }
}

static void act_twice(sally_conn *conn, struct one *one)
{
    act(conn, one);
    if (!one->ending && draw(2)) act(conn, one);
}

/* ---- Callbacks ---- */

static void take_in(struct one *one, const unsigned char *bytes, size_t len)
{
    HOLDS(!one->eof && !one->ending && !one->paused);
    for (size_t i = 0; i < len; i++) HOLDS(bytes[i] == stream_byte(one->in + i));
    one->in += len;
}

static void on_open(sally_conn *conn)
{
    HOLDS(mixture.depth == 0 && mixture.count < CONNS);
    mixture.depth++;
    struct one *one = &mixture.one[mixture.count++];
    bool server = sally_conn_server(conn);
    one->id = sally_conn_id(conn);
    one->ws = server ? mixture.ws : mixture.away_ws;
    one->frames = mixture.framed && server;
    mixture.opened_here += server;
    sally_conn_set_user(conn, one);
    mixture.opened++;
    want(conn, one);
    if (!one->ending) act_twice(conn, one);
    leave();
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct one *one = enter(conn);
    HOLDS(len > 0 && !one->frames);
    take_in(one, data, len);
    act_twice(conn, one);
    leave();
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    struct one *one = enter(conn);
    HOLDS(len == (one->frames ? one->wants : FIXED));
    take_in(one, data, len);
    one->wants = 0;
    act_twice(conn, one);
    if (!one->ending && draw(8)) want(conn, one);
    leave();
}

static void ws_on_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    struct one *one = enter(conn);
    HOLDS(one->ws && type == SALLY_WS_BINARY);
    take_in(one, data, len);
    act_twice(conn, one);
    leave();
}

static void on_sent(sally_conn *conn, size_t bytes)
{
    if (!sally_conn_user(conn)) return; /* of a WebSocket's handshake */
    struct one *one = enter(conn);
    HOLDS(bytes > 0);
    if (draw(4) == 0 && !one->ending) act(conn, one);
    leave();
}

static void on_drain(sally_conn *conn)
{
    if (!sally_conn_user(conn)) return;
    struct one *one = enter(conn);
    one->owed = false;
    if (draw(2) && !one->ending) act(conn, one);
    leave();
}

static void on_eof(sally_conn *conn)
{
    struct one *one = enter(conn);
    HOLDS(!one->eof && !one->paused && !one->ending);
    one->eof = true;
    if (draw(4))
        end_it(conn, one);
    else
        act(conn, one);
    leave();
}

static void on_timer(sally_conn *conn)
{
    struct one *one = enter(conn);
    one->paused = false;
    (void)sally_conn_resume(conn);
    (void)sally_conn_uncork(conn);
    act(conn, one);
    leave();
}

static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    (void)which;
    if (!sally_conn_user(conn)) return true;
    (void)enter(conn);
    bool ends = mixture.calm || draw(4);
    leave();
    return ends;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct one *one = enter(conn);
    HOLDS(one->notes == 0);
    HOLDS(one->in + info->bytes_truncated <= info->bytes_in);
    HOLDS(!one->eof || one->in + info->bytes_truncated == info->bytes_in);
    HOLDS(one->ws || info->bytes_truncated <= MOST);
    /* nothing was queued for long enough to be told */
    HOLDS(!one->owed || info->reason != SALLY_CLOSE_IDLE_TIMEOUT || info->bytes_unsent);
    one->closed = true;
    mixture.closed++;
    HOLDS(sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
    HOLDS(sally_conn_set_rates(conn, &mixture.rates) == SALLY_ECLOSED);
    leave();
}

/* Also of those whose handshake was asked about, and which never opened. */
static void ws_on_close(sally_conn *conn, const sally_ws_end *end)
{
    HOLDS(end->opened == (sally_conn_user(conn) != NULL));
    if (end->opened) on_close(conn, end->info);
}

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    HOLDS(mixture.depth == 0);
    return mixture.calm || draw(4) ? SALLY_ALLOW : (sally_verdict)draw(4);
}

sally_handler mixture_handler(bool server)
{
    sally_handler handler = {.on_open = on_open,
                             .on_timer = on_timer,
                             .on_timeout = on_timeout,
                             .on_drain = on_drain,
                             .on_close = on_close};
    if (server) handler.on_accept = on_accept;
    if (server && (mixture.framed || mixture.fixed))
        handler.on_message = on_message;
    else
        handler.on_data = on_data;
    if (draw(2)) handler.on_sent = on_sent;
    if (draw(2)) handler.on_eof = on_eof;
    return handler;
}

sally_ws_handler mixture_ws_handler(bool server)
{
    sally_ws_handler handler = {.on_open = on_open,
                                .on_message = ws_on_message,
                                .on_timer = on_timer,
                                .on_timeout = on_timeout,
                                .on_drain = on_drain,
                                .on_close = ws_on_close};
    if (server) handler.on_accept = on_accept;
    if (draw(2)) handler.on_sent = on_sent;
    return handler;
}
