/* How a WebSocket begins, and what is answered where none does, byte for byte; our client against
 * our server and against servers that break the rules; what may not be put together. On each port.
 */
#include "filter/ws_frame.h"
#include "filter/ws_handshake.h"
#include "net/support/ws_hall.h"

enum { TEXT = 0x81, BYE = 0x88 };

static enum hall_port port;
static atomic_int told[4];

#define PLAIN "Content-Type: text/plain; charset=utf-8\r\n"
#define CLOSE "Connection: close\r\n\r\n"
#define UPGRADE                                                                                    \
    "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                                     \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* ---- Server ---- */

static bool serve_page(sally_conn *conn, const sally_http_head *request)
{
    sally_http_response page = {.status = 200, .content = "page", .content_len = 4};
    if (sally_http_text_is(sally_http_path(request), "/later")) {
        if (sally_ws_send(conn, SALLY_WS_TEXT, "x", 1) != SALLY_ECLOSED)
            atomic_fetch_add(&told[0], 1);
        return sally_conn_timer(conn, 20) == 0;
    }
    if (sally_http_text_is(sally_http_path(request), "/abort")) {
        sally_conn_abort(conn);
        return false;
    }
    if (sally_http_text_is(sally_http_path(request), "/nothing")) {
        page.status = 204; /* its content is left out */
        return sally_ws_answer(conn, &page) == 0;
    }
    if (!sally_http_text_is(sally_http_path(request), "/")) return false;
    sally_http_response bad = {.status = 17};
    if (sally_ws_answer(conn, &bad) != SALLY_EINVAL) atomic_fetch_add(&told[0], 1);
    if (sally_ws_answer(conn, &page) != 0) atomic_fetch_add(&told[0], 1);
    if (sally_ws_answer(conn, &page) != SALLY_ESTATE) atomic_fetch_add(&told[0], 1);
    return true;
}

static void answer_later(sally_conn *conn)
{
    sally_http_response page = {.status = 503};
    if (sally_ws_answer(conn, &page)) atomic_fetch_add(&told[0], 1);
}

static unsigned judge(sally_conn *conn, const sally_http_head *request, const char **protocol)
{
    (void)conn;
    sally_http_text path = sally_http_path(request);
    const sally_http_field *origin = sally_http_find(request, "Origin");
    if (origin && !sally_http_text_is(origin->value, "http://good")) return 403;
    if (sally_http_text_is(path, "/chat")) *protocol = "chat";
    if (sally_http_text_is(path, "/other")) *protocol = "not offered";
    return sally_http_text_is(path, "/odd") ? 200 : 0;
}

struct answer {
    const char *request;
    const char *answer;
};

static const struct answer answers[] = {
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" PLAIN "Content-Length: 4\r\n" CLOSE "page"},
    {"GET /?query HTTP/1.0\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" PLAIN "Content-Length: 4\r\n" CLOSE "page"},
    {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
     "HTTP/1.1 200 OK\r\n" PLAIN "Content-Length: 4\r\n" CLOSE},
    {"GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
     "HTTP/1.1 503 Service Unavailable\r\n" PLAIN "Content-Length: 20\r\n" CLOSE
     "Service Unavailable\n"},
    {"GET /none HTTP/1.1\r\nHost: h\r\n\r\n",
     "HTTP/1.1 404 Not Found\r\n" PLAIN "Content-Length: 10\r\n" CLOSE "Not Found\n"},
    {"HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n",
     "HTTP/1.1 404 Not Found\r\n" PLAIN "Content-Length: 10\r\n" CLOSE},
    {"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 204 No Content\r\n" CLOSE},
    {"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
     "HTTP/1.1 413 Content Too Large\r\n" PLAIN "Content-Length: 18\r\n" CLOSE},
    {"GET /abort HTTP/1.1\r\nHost: h\r\n\r\n", ""},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
     "HTTP/1.1 413 Content Too Large\r\n" PLAIN "Content-Length: 18\r\n" CLOSE
     "Content Too Large\n"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
     "HTTP/1.1 501 Not Implemented\r\n" PLAIN "Content-Length: 16\r\n" CLOSE "Not Implemented\n"},
    {"GET / HTTP/1.1\r\n\r\n",
     "HTTP/1.1 400 Bad Request\r\n" PLAIN "Content-Length: 12\r\n" CLOSE "Bad Request\n"},
    {"GET\x01\r\n\r\n",
     "HTTP/1.1 400 Bad Request\r\n" PLAIN "Content-Length: 12\r\n" CLOSE "Bad Request\n"},
    {"\x81\x80"
     "abcd",
     "HTTP/1.1 400 Bad Request\r\n" PLAIN "Content-Length: 12\r\n" CLOSE "Bad Request\n"},
    {"\x16\x03\x01 TLS",
     "HTTP/1.1 400 Bad Request\r\n" PLAIN "Content-Length: 12\r\n" CLOSE "Bad Request\n"},
    {"GET /ws HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 8\r\n\r\n",
     "HTTP/1.1 426 Upgrade Required\r\n" PLAIN
     "Content-Length: 17\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
     "Connection: Upgrade\r\n" CLOSE "Upgrade Required\n"},
    {"GET /ws HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 13\r\nOrigin: http://evil\r\n\r\n",
     "HTTP/1.1 403 Forbidden\r\n" PLAIN "Content-Length: 10\r\n" CLOSE "Forbidden\n"},
    {"GET /odd HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 13\r\n\r\n",
     "HTTP/1.1 500 Internal Server Error\r\n" PLAIN "Content-Length: 22\r\n" CLOSE
     "Internal Server Error\n"},
    {"GET /other HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 13\r\n"
     "Sec-WebSocket-Protocol: chat\r\n\r\n",
     "HTTP/1.1 500 Internal Server Error\r\n" PLAIN "Content-Length: 22\r\n" CLOSE
     "Internal Server Error\n"},
};

static void each_request_has_its_answer(void **state)
{
    (void)state;
    char heard[1024];
    atomic_store(&told[0], 0);
    struct hall *hall =
        hall_begin(port, &(struct hall_options){.handler = {.on_page = serve_page,
                                                            .on_timer = answer_later,
                                                            .on_request = judge}});
    if (!hall) skip();
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct peer peer = hall_dial(hall);
        peer_say(&peer, answers[i].request, strlen(answers[i].request));
        size_t len = peer_hear_end(&peer, heard, sizeof heard);
        if (len != strlen(answers[i].answer) || memcmp(heard, answers[i].answer, len) != 0)
            fail_msg("case %zu: %.*s", i, (int)len, heard);
        peer_leave(&peer);
    }
    struct peer peer = hall_dial(hall);
    static const char request[] = "GET /chat HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 13\r\n"
                                  "Origin: http://good\r\n"
                                  "Sec-WebSocket-Protocol: log, chat\r\n\r\n";
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                 "Sec-WebSocket-Protocol: chat\r\n\r\n";
    peer_say(&peer, request, sizeof request - 1);
    assert_true(peer_hear(&peer, heard, sizeof answer - 1));
    assert_memory_equal(heard, answer, sizeof answer - 1);
    peer_leave(&peer);
    assert_int_equal(atomic_load(&told[0]), 0);
    assert_int_equal(atomic_load(&hall->opened), 1);
    hall_end(hall);
}

static void without_pages_an_upgrade_is_asked_for(void **state)
{
    (void)state;
    char heard[512];
    static const char begin[] = "GET / HTTP/1.1\r\nHost: h\r\nA: ";
    static char head[SALLY_HTTP_HEAD_MAX + 1];
    struct hall *hall = hall_begin(port, &(struct hall_options){0});
    if (!hall) skip();
    struct peer peer = hall_dial(hall);
    static const char page[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    peer_say(&peer, page, sizeof page - 1);
    assert_true(peer_hear_end(&peer, heard, sizeof heard) > 100);
    assert_memory_equal(heard, "HTTP/1.1 426 ", 13);
    peer_leave(&peer);
    memset(head, 'x', sizeof head);
    memcpy(head, begin, sizeof begin - 1);
    peer = hall_dial(hall);
    peer_say(&peer, head, sizeof head); /* and no end */
    assert_true(peer_hear_end(&peer, heard, sizeof heard) > 100);
    assert_memory_equal(heard, "HTTP/1.1 431 ", 13);
    peer_leave(&peer);
    assert_int_equal(atomic_load(&hall->closed), 0); /* no callback was called, so none is */
    hall_end(hall);
}

/* ---- Client ---- */

static void greet(sally_conn *conn)
{
    static char big[5000];
    bool bad = sally_ws_send(conn, SALLY_WS_TEXT, "hello", 5) || sally_ws_ping(conn, "?", 1) ||
               sally_ws_send(conn, SALLY_WS_BINARY, NULL, 0) ||
               sally_ws_send(conn, SALLY_WS_BINARY, big, sizeof big);
    if (bad) atomic_fetch_add(&told[0], 1);
}

static atomic_uint client_messages, client_closed, client_bytes;
static unsigned client_code, client_sent, client_opened;
static sally_close_reason client_why;

static void count_message(sally_conn *conn, sally_ws_type type, const void *data, size_t len)
{
    (void)type;
    (void)data;
    atomic_fetch_add(&client_bytes, (unsigned)len);
    if (atomic_fetch_add(&client_messages, 1) == 3 && sally_ws_close(conn, 3001, "enough"))
        atomic_fetch_add(&told[0], 1);
}

static void note_response(sally_conn *conn, const sally_http_head *response)
{
    (void)conn;
    atomic_store(&told[1], (int)response->status);
    atomic_store(&told[2], sally_http_has_token(response, "Sec-WebSocket-Protocol", "chat"));
}

static void note_end(sally_conn *conn, const sally_ws_end *end)
{
    (void)conn;
    client_code = end->code;
    client_sent = end->code_sent;
    client_opened = end->opened;
    client_why = end->info->reason;
    atomic_fetch_add(&client_closed, 1);
}

static sally_id dial_with(struct hall *hall, const sally_ws_options *options)
{
    sally_ws *ws;
    sally_id id;
    sally_ws_handler handler = {.user = hall,
                                .on_response = note_response,
                                .on_open = greet,
                                .on_message = count_message,
                                .on_close = note_end};
    atomic_store(&client_messages, 0);
    atomic_store(&client_closed, 0);
    atomic_store(&client_bytes, 0);
    for (int i = 0; i < 4; i++) atomic_store(&told[i], 0);
    assert_int_equal(sally_ws_create(hall->engine, &handler, options, &ws), 0);
    sally_handler base = sally_ws_base(ws);
    sally_framing framing = sally_ws_framing(ws);
    sally_connect_options connect = {.conn = {.framing = &framing, .message_ms = 3000}};
    assert_int_equal(sally_connect(hall->engine, hall->address, &base, &connect, &id), 0);
    return id;
}

static void our_client_and_our_server_understand_each_other(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(port, &(struct hall_options){.handler.on_request = judge});
    if (!hall) skip();
    sally_id id = dial_with(
        hall, &(sally_ws_options){.client = true, .target = "/chat", .protocols = "log, chat"});
    hall_wait(hall, &client_messages, 3);
    assert_int_equal(sally_ws_send_id(hall->engine, id, SALLY_WS_TEXT, "by id", 5), 0);
    hall_wait(hall, &client_closed, 1);
    hall_wait(hall, &hall->closed, 1);
    assert_int_equal(atomic_load(&client_bytes), 5 + 0 + 5000 + 5);
    assert_int_equal(client_code, 3001);
    assert_int_equal(client_sent, 3001);
    assert_int_equal(client_why, SALLY_CLOSE_PEER_CLOSED); /* the server ended it */
    assert_int_equal(hall_last(hall)->code, 3001);
    assert_string_equal(hall_last(hall)->reason, "enough");
    assert_int_equal(atomic_load(&told[0]), 0);
    assert_int_equal(atomic_load(&told[1]), 101);
    assert_int_equal(atomic_load(&told[2]), 1);
    dial_with(hall, &(sally_ws_options){.client = true, .origin = "http://evil"});
    hall_wait(hall, &client_closed, 1);
    assert_int_equal(atomic_load(&told[1]), 403);
    assert_int_equal(client_opened, 0);
    assert_int_equal(client_code, 1006);
    assert_int_equal(client_why, SALLY_CLOSE_CONNECT_FAILED);
    snprintf(hall->address, sizeof hall->address, "127.0.0.1:1");
    dial_with(hall, &(sally_ws_options){.client = true});
    hall_wait(hall, &client_closed, 1);
    assert_int_equal(client_opened, 0);
    assert_int_equal(client_why, SALLY_CLOSE_CONNECT_FAILED);
    hall_end(hall);
}

/* Hears a client's request and answers it well. */
static struct peer switch_client(struct hall *hall)
{
    char request[1024], answer[512];
    size_t len = 0;
    sally_http_head head;
    struct peer peer = hall_accept(hall);
    while (!sally_http_head_bytes(request, len)) {
        assert_true(len < sizeof request && peer_hear(&peer, request + len, 1));
        len++;
    }
    assert_int_equal(sally_http_read_request(&head, request, len), 0);
    assert_int_equal(ws_judge_request(&head), 101);
    assert_int_equal(sally_http_find(&head, "Host")->value.len, strlen(hall->address));
    sally_writer writer = sally_writer_over(answer, sizeof answer);
    assert_int_equal(ws_write_switch(&writer, &head, NULL), 0);
    peer_say(&peer, answer, writer.len);
    return peer;
}

/* The next frame of the client, unmasked; its mask goes to `mask`. */
static size_t hear_frame(struct peer *peer, unsigned char *payload, unsigned char *mask,
                         unsigned *first)
{
    unsigned char bytes[WS_HEAD_MAX];
    struct ws_head head;
    size_t len = 0;
    while (ws_head_read(&head, bytes, len, true) == WS_MORE)
        assert_true(peer_hear(peer, bytes + len++, 1));
    assert_int_equal(ws_head_read(&head, bytes, len, true), WS_READ);
    assert_true(peer_hear(peer, payload, (size_t)head.payload_bytes));
    ws_mask(payload, payload, (size_t)head.payload_bytes, head.mask);
    memcpy(mask, head.mask, WS_MASK_BYTES);
    *first = bytes[0];
    return (size_t)head.payload_bytes;
}

/* What a server may not say, and what it hears for it. */
static void a_client_does_not_put_up_with_a_bad_server(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        size_t len;
        unsigned code;
    } cases[] = {
        {"\x81\x81"
         "abcdx",
         7, 1002}, /* masked */
        {"\x83\x00", 2, 1002},
        {"\x80\x01x", 3, 1002},
        {"\xc1\x01x", 3, 1002},
        {"\x48\x01x", 3, 1002}, /* reserved bits, and an H */
        {"HTTP/1.1 101 Again\r\n\r\n", 22, 1002},
        {"\x81\x01\xff", 3, 1007},
        {"\x88\x01\x03", 3, 1002},
        {"\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x01", 10, 1009},
    };
    static unsigned char payload[6000], mask[2][WS_MASK_BYTES];
    struct hall *hall = hall_begin(port, &(struct hall_options){.no_server = true});
    if (!hall) skip();
    hall_listen(hall);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned first;
        dial_with(hall, &(sally_ws_options){.client = true});
        struct peer peer = switch_client(hall);
        assert_int_equal(hear_frame(&peer, payload, mask[0], &first), 5);
        assert_memory_equal(payload, "hello", 5);
        assert_int_equal(hear_frame(&peer, payload, mask[1], &first), 1);
        if (port != HALL_SIM) assert_true(memcmp(mask[0], mask[1], WS_MASK_BYTES) != 0);
        assert_int_equal(hear_frame(&peer, payload, mask[1], &first), 0);
        assert_int_equal(hear_frame(&peer, payload, mask[1], &first), 5000);
        peer_say(&peer, cases[i].says, cases[i].len);
        assert_int_equal(hear_frame(&peer, payload, mask[1], &first), 2);
        assert_int_equal(first, BYE);
        if ((unsigned)(payload[0] << 8 | payload[1]) != cases[i].code) fail_msg("case %zu", i);
        peer_leave(&peer);
        hall_wait(hall, &client_closed, 1);
        assert_int_equal(client_sent, cases[i].code);
        assert_int_equal(client_opened, 1);
    }
    hall_end(hall);
}

static void a_bad_handshake_opens_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        sally_close_reason why;
    } cases[] = {
        {"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 404 \r\n\r\n", SALLY_CLOSE_CONNECT_FAILED},
        {"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         SALLY_CLOSE_MALFORMED}, /* not the answer to this key */
        {"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", SALLY_CLOSE_MALFORMED},
        {"SSH-2.0", SALLY_CLOSE_MALFORMED},
        {"\x81\x01x", SALLY_CLOSE_MALFORMED},
        {"", SALLY_CLOSE_MESSAGE_TIMEOUT}, /* message_ms: nothing comes */
    };
    struct hall *hall = hall_begin(port, &(struct hall_options){.no_server = true});
    if (!hall) skip();
    hall_listen(hall);
    size_t count = sizeof cases / sizeof *cases;
    for (size_t i = 0; i < (port == HALL_SIM ? count : count - 1); i++) {
        dial_with(hall, &(sally_ws_options){.client = true});
        struct peer peer = hall_accept(hall);
        peer_say(&peer, cases[i].says, strlen(cases[i].says));
        if (*cases[i].says) peer_finish(&peer);
        hall_wait(hall, &client_closed, 1);
        if (client_opened || client_why != cases[i].why || client_sent)
            fail_msg("case %zu: %d", i, (int)client_why);
        peer_leave(&peer);
    }
    hall_end(hall);
}

/* ---- What may not be put together ---- */

static void what_does_not_belong_together_is_refused(void **state)
{
    (void)state;
    struct hall *hall = hall_begin(port, &(struct hall_options){.no_server = true});
    if (!hall) skip();
    static const char *const odd[] = {"A", NULL}, *const split[] = {"A", "b\r\nC: d", NULL};
    const sally_ws_options bad[] = {
        {.message_bytes_max = (512 << 20) + 1}, {.client = true, .target = "/a b"},
        {.client = true, .host = "h\r\nA: b"},  {.client = true, .origin = "\n"},
        {.client = true, .protocols = "\x01"},  {.client = true, .fields = odd},
        {.client = true, .fields = split}};
    sally_ws_handler handler = {0};
    sally_ws *ws = NULL, *client;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sally_ws_create(hall->engine, &handler, &bad[i], &ws), SALLY_EINVAL);
    assert_int_equal(sally_ws_create(hall->engine, NULL, NULL, &ws), SALLY_EINVAL);
    assert_int_equal(sally_ws_create(hall->engine, &handler, NULL, &ws), 0);
    assert_int_equal(
        sally_ws_create(hall->engine, &handler, &(sally_ws_options){.client = true}, &client), 0);
    sally_handler base = sally_ws_base(ws), none = {0};
    sally_framing framing = sally_ws_framing(ws), clients = sally_ws_framing(client);
    const sally_framing line = {.kind = SALLY_FRAMING_LINE};
    const char *address = "127.0.0.1:0";
    sally_server_options options = {.conn.framing = &framing};
    assert_int_equal(sally_listen(hall->engine, address, &none, &options, NULL), SALLY_EINVAL);
    assert_int_equal(sally_listen(hall->engine, address, &base, NULL, NULL), SALLY_EINVAL);
    options.conn.framing = &line;
    assert_int_equal(sally_listen(hall->engine, address, &base, &options, NULL), SALLY_EINVAL);
    options.conn.framing = &clients;
    assert_int_equal(sally_listen(hall->engine, address, &base, &options, NULL), SALLY_EINVAL);
    sally_connect_options connect = {.conn.framing = &framing};
    assert_int_equal(sally_connect(hall->engine, "127.0.0.1:1", &base, &connect, NULL),
                     SALLY_EINVAL);
    int err = 0;
    for (int i = 3; i < 256 && !err; i++) /* the hall has one */
        err = sally_ws_create(hall->engine, &handler, NULL, &ws);
    assert_int_equal(err, 0);
    assert_int_equal(sally_ws_create(hall->engine, &handler, NULL, &ws), SALLY_ELIMIT);
    hall_end(hall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_has_its_answer),
        cmocka_unit_test(without_pages_an_upgrade_is_asked_for),
        cmocka_unit_test(our_client_and_our_server_understand_each_other),
        cmocka_unit_test(a_client_does_not_put_up_with_a_bad_server),
        cmocka_unit_test(a_bad_handshake_opens_nothing),
        cmocka_unit_test(what_does_not_belong_together_is_refused),
    };
    static const char *const names[] = {"uring or iocp", "epoll", "sim"};
    int failed = 0;
    for (port = 0; port < HALL_PORTS; port++)
        failed += cmocka_run_group_tests_name(names[port], tests, NULL, NULL);
    return failed != 0;
}
