/* sallyport serve: an engine with one server and a service, from options to the report at the end.
 * Everything is on the main thread but the service's callbacks, which are on the shards. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "commands.h"
#include "door.h"
#include "echo.h"
#include "machine.h"
#include "options.h"
#include "report.h"
#include "sallyport.h"
#include "sallyport/framing.h"
#include "sallyport/rate.h"

struct serve {
    struct texts listen;
    struct texts listen_for_data;
    bool echo;
    int port_kind; /* index in port_kinds, and a sally_port_kind */
    int profile;   /* index in profiles, and a sally_profile */
    uint32_t shards;
    uint32_t conns_max;
    int at_limit; /* index in at_limits, and a sally_at_limit */
    struct door door;
    uint32_t backlog;
    uint32_t first_byte_ms;
    uint32_t accept_data_ms;
    uint32_t idle_ms;
    uint32_t write_ms;
    uint32_t linger_ms;
    uint32_t drain_ms;
    uint32_t send_bytes_max;
    uint32_t memory_max;
    uint32_t server_memory_max;
    uint32_t conn_memory_max;
    int framing; /* index in framings */
    uint32_t message_bytes_max;
    uint32_t send_buf_bytes;
    uint32_t recv_buf_bytes;
    uint32_t stats_ms;
    sally_rates conn_rates;
    sally_rate rate_in; /* of all together */
    sally_rate rate_out;
    int log_level; /* index in log_levels, and a sally_log_level */
    bool json;
    bool quiet;
};

static const char *port_kinds[] = {"auto", "uring", "epoll", "iocp", NULL};
static const char *profiles[] = {"default", "many-idle", "throughput", "latency", NULL};
enum { FRAMING_NONE, FRAMING_LENGTH, FRAMING_LINE, FRAMING_IOCPS };
static const char *framings[] = {"none", "length", "line", "iocps", NULL};
static const char *at_limits[] = {"wait", "reset", "farewell", NULL};
static const char *log_levels[] = {"error", "warn", "info", "debug", NULL};

enum {
    CONNS_MAX = 16000000,
    BACKLOG_MAX = 1 << 20,
    STATS_MIN_MS = 100,
    STATS_MAX_MS = 86400000,
    RATE_MAX = 1000000
};
enum { DRAIN_MS = 10000, DRAIN_LOOK_MS = 20 };
/* Below the least a queue could not take one whole receive buffer. */
enum { SEND_MIN = 256 << 10, SEND_MAX = 1 << 30 };
enum { MEMORY_MIN = 1 << 20, MESSAGE_MIN = 64, SOCKET_BUF_MIN = 4096 };

#define AT(member) offsetof(struct serve, member)

static const struct option_row rows[] = {
    {OPTION_HEADING, .help = "Where and what"},
    {OPTION_TEXTS, "listen", "ADDR",
     "where to listen; may be repeated\n(default 127.0.0.1:5002). host:port,\n[v6]:port, *:port "
     "(all addresses),\nport 0 (any free one), unix:/path,\nunix:@name, fd:3",
     AT(listen)},
    {OPTION_TEXTS, "accept-with-data", "ADDR",
     "the same, and a newcomer is accepted\nwhen its first bytes are there", AT(listen_for_data)},
    {OPTION_FLAG, "echo", NULL, "send back what comes in (the default\nand only service)",
     AT(echo)},
    {OPTION_CHOICE, "framing", "KIND",
     "echo whole messages: length (32 bits,\nhighest byte first, before each), line,\nor iocps; "
     "none "
     "(default): bytes as they\ncome",
     AT(framing), framings},
    {OPTION_CHOICE, "port-kind", "KIND",
     "uring, epoll, iocp (Windows), or auto\n(default): uring where the system allows\nit",
     AT(port_kind), port_kinds},
    {OPTION_CHOICE, "profile", "NAME",
     "default, many-idle, throughput, or\nlatency (spins before it sleeps: costs\nprocessor time)",
     AT(profile), profiles},
    {OPTION_NUMBER, "shards", "N", "threads; 0 (default): one for each core", AT(shards),
     .max = 64},
    {OPTION_HEADING, .help = "Limits"},
    {OPTION_NUMBER, "max-conns", "N",
     "connections at a time; default: what\nthe descriptor limit allows", AT(conns_max), .min = 1,
     .max = CONNS_MAX},
    {OPTION_CHOICE, "at-limit", "WHAT",
     "wait (default): newcomers wait in the\nbacklog; reset: they are refused;\nfarewell: they get "
     "a line of text and\nthe end",
     AT(at_limit), at_limits},
    {OPTION_NUMBER, "conns-per-address", "N",
     "connections of one address at a time\n(IPv6: of a /64; four times as many of\na /48)",
     AT(door.conns_per_address), .min = 1, .max = CONNS_MAX},
    {OPTION_NUMBER, "connect-rate", "N",
     "newcomers a second from one address;\nfurther ones are "
     "refused",
     AT(door.connect_rate), .min = 1, .max = RATE_MAX},
    {OPTION_TEXT, "bans", "FILE",
     "networks that may not connect, one a\nline; read again at SIGHUP", AT(door.bans_file)},
    {OPTION_TEXT, "proxy-from", "NETWORKS",
     "proxies, with commas between: each\nconnection of theirs begins with a PROXY\nheader, and "
     "all "
     "others are refused",
     AT(door.proxies.trusted)},
    {OPTION_NUMBER, "backlog", "N", "newcomers the system queues; default:\nthe system's maximum",
     AT(backlog), .min = 1, .max = BACKLOG_MAX},
    {OPTION_SIZE, "send-max", "SIZE", "send queue of a connection (default 4m)", AT(send_bytes_max),
     .min = SEND_MIN, .max = SEND_MAX},
    {OPTION_SIZE, "message-max", "SIZE", "a message, with --framing (default 1m;\niocps: 512)",
     AT(message_bytes_max), .min = MESSAGE_MIN, .max = SEND_MAX - 1},
    {OPTION_SIZE, "memory-max", "SIZE",
     "all of the engine's memory: towards it\nqueues stop growing, newcomers wait, and\nthe worst "
     "are "
     "closed",
     AT(memory_max), .min = MEMORY_MIN, .max = UINT32_MAX},
    {OPTION_SIZE, "server-memory-max", "SIZE",
     "the same for the queues of all\nconnections of a server", AT(server_memory_max),
     .min = MEMORY_MIN, .max = UINT32_MAX},
    {OPTION_SIZE, "conn-memory-max", "SIZE",
     "all that a connection may have queued\nor half received; past it the peer is\nreset",
     AT(conn_memory_max), .min = SEND_MIN, .max = SEND_MAX},
    {OPTION_SIZE, "socket-send-buf", "SIZE",
     "the system's buffer for what goes\n(SO_SNDBUF); default: the system's", AT(send_buf_bytes),
     .min = SOCKET_BUF_MIN, .max = SEND_MAX},
    {OPTION_SIZE, "socket-recv-buf", "SIZE", "and for what comes (SO_RCVBUF)", AT(recv_buf_bytes),
     .min = SOCKET_BUF_MIN, .max = SEND_MAX},
    {OPTION_SIZE, "conn-rate-in", "SIZE", "bytes a second taken of each connection",
     AT(conn_rates.recv.bytes_s), .min = 1, .max = UINT32_MAX},
    {OPTION_SIZE, "conn-rate-out", "SIZE", "bytes a second sent to each",
     AT(conn_rates.send.bytes_s), .min = 1, .max = UINT32_MAX},
    {OPTION_SIZE, "rate-in", "SIZE", "bytes a second taken of all together", AT(rate_in.bytes_s),
     .min = 1, .max = UINT32_MAX},
    {OPTION_SIZE, "rate-out", "SIZE", "bytes a second sent to all together", AT(rate_out.bytes_s),
     .min = 1, .max = UINT32_MAX},
    {OPTION_HEADING, .help = "Times (500ms, 10s, 5m, 2h, never)"},
    {OPTION_TIME, "first-byte-timeout", "TIME", "for a peer's first byte (default 30s)",
     AT(first_byte_ms), .never = true},
    {OPTION_TIME, "accept-data-timeout", "TIME",
     "the same before it is accepted, with\n--accept-with-data (default 30s)", AT(accept_data_ms)},
    {OPTION_TIME, "idle-timeout", "TIME", "without a byte in or out (default 10m)", AT(idle_ms),
     .never = true},
    {OPTION_TIME, "write-timeout", "TIME", "bytes wait and the peer takes none\n(default 30s)",
     AT(write_ms), .never = true},
    {OPTION_TIME, "linger-timeout", "TIME", "for the peer's end after ours\n(default 10s)",
     AT(linger_ms), .never = true},
    {OPTION_TIME, "drain", "TIME",
     "how long open connections may take to\nfinish after SIGINT or SIGTERM (default\n10s); a "
     "second signal cuts them",
     AT(drain_ms)},
    {OPTION_HEADING, .help = "Output"},
    {OPTION_TIME, "stats", "TIME", "print a line of counters so often; a\nnumber alone is seconds",
     AT(stats_ms), .min = STATS_MIN_MS, .max = STATS_MAX_MS, .seconds = true},
    {OPTION_CHOICE, "log-level", "LEVEL",
     "error, warn (default), info or debug;\nto standard error", AT(log_level), log_levels},
    {OPTION_FLAG, "json", NULL, "reports as one JSON object a line", AT(json)},
    {OPTION_FLAG, "quiet", NULL, "no report at start and stop", AT(quiet)},
};

static const struct option_table table = {
    .command = "sallyport serve",
    .synopsis = "[OPTION]...",
    .summary = "Serves until SIGINT or SIGTERM, then lets open connections finish and reports.",
    .examples = "  sallyport serve\n"
                "  sallyport serve --listen '*:5002' --listen unix:/run/echo --max-conns 10000\n"
                "  sallyport serve --port-kind epoll --shards 2 --idle-timeout 30s --json\n",
    .rows = rows,
    .count = sizeof rows / sizeof rows[0],
};

/* The engine's log. While it is being made, by one thread, the last error is kept instead of
 * printed: it becomes the one sentence that says why there is no server. */
struct log {
    bool starting;
    char error[256];
};

static void print_log(void *user, sally_log_level level, const char *line)
{
    struct log *log = user;
    if (log->starting && level == SALLY_LOG_ERROR)
        snprintf(log->error, sizeof log->error, "%s", line);
    else
        fprintf(stderr, "sallyport: %s: %s\n", log_levels[level], line);
}

static sally_engine_options engine_options(const struct serve *serve, struct log *log)
{
    return (sally_engine_options){
        .shards = serve->shards,
        .port = (sally_port_kind)serve->port_kind,
        .profile = (sally_profile)serve->profile,
        .conns_max = serve->conns_max,
        .memory_max = serve->memory_max,
        .log = print_log,
        .log_user = log,
        .log_level = (sally_log_level)serve->log_level,
    };
}

/* Without it accepting costs less. */
static bool admission_is_asked_for(const struct serve *serve)
{
    const struct door *door = &serve->door;
    return door->bans || door->conns_per_address || door->connect_rate ||
           serve->at_limit == SALLY_AT_LIMIT_FAREWELL;
}

/* How the stream becomes messages; of kind SALLY_FRAMING_NONE when it doesn't. */
static sally_framing framing_of(const struct serve *serve)
{
    sally_framing framing = {.kind = SALLY_FRAMING_NONE};
    if (serve->framing == FRAMING_LENGTH) framing.kind = SALLY_FRAMING_LENGTH;
    if (serve->framing == FRAMING_LINE) framing.kind = SALLY_FRAMING_LINE;
    if (serve->framing == FRAMING_IOCPS) framing = sally_framing_iocps();
    if (serve->message_bytes_max) framing.message_bytes_max = serve->message_bytes_max;
    return framing;
}

static sally_server_options server_options(const struct serve *serve,
                                           const sally_admission *admission,
                                           const sally_framing *framing)
{
    return (sally_server_options){
        .conn = {.first_byte_ms = serve->first_byte_ms,
                 .idle_ms = serve->idle_ms,
                 .write_stall_ms = serve->write_ms,
                 .linger_ms = serve->linger_ms,
                 .send_bytes_max = serve->send_bytes_max,
                 .memory_max = serve->conn_memory_max,
                 .send_buf_bytes = serve->send_buf_bytes,
                 .recv_buf_bytes = serve->recv_buf_bytes,
                 .framing = serve->framing ? framing : NULL,
                 .rates = &serve->conn_rates},
        .memory_max = serve->server_memory_max,
        .at_limit = (sally_at_limit)serve->at_limit,
        .backlog = (int)serve->backlog,
        .admission = admission_is_asked_for(serve) ? admission : NULL,
        .proxy = serve->door.proxies.trusted ? &serve->door.proxies : NULL,
        .accept_data_ms = serve->accept_data_ms,
    };
}

/* One sentence: what failed, why, and what to do about it. */
static int fail(const struct log *log, const char *what, const char *which, int err)
{
    unsigned long long limit;
    const char *why = log->error[0] ? log->error : sally_strerror(err);
    fprintf(stderr, "sallyport: %s%s: ", what, which);
    if (err == SALLY_EEXHAUSTED && machine_descriptor_limit(&limit))
        fprintf(stderr, "%s; the descriptor limit is %llu, raise it with ulimit -n",
                sally_strerror(err), limit);
    else
        fprintf(stderr, "%s%s", why, err == SALLY_ENOPORT ? "; leave out --port-kind" : "");
    fprintf(stderr, " (%s)\n", sally_err_name(err));
    return EXIT_FAILED;
}

/* One server for each kind of accepting, with all its addresses. */
static int listen_on(const struct texts *addresses, const sally_server_options *options,
                     const struct log *log, sally_engine *engine, sally_server **server)
{
    sally_handler handler = echo_handler(options->conn.framing != NULL);
    for (unsigned i = 0; i < addresses->count; i++) {
        const char *address = addresses->items[i];
        int err = i == 0 ? sally_listen(engine, address, &handler, options, server)
                         : sally_server_add(*server, address);
        if (err == SALLY_ENETWORK) /* no address is a network */
            return fail(log, "--proxy-from ", options->proxy->trusted, err);
        if (err) return fail(log, "can't listen on ", address, err);
    }
    return EXIT_DONE;
}

/* It goes with the engine. */
static int share_rates(struct serve *serve, const struct log *log, sally_engine *engine)
{
    if (!serve->rate_in.bytes_s && !serve->rate_out.bytes_s) return EXIT_DONE;
    int err =
        sally_bandwidth_create(&serve->conn_rates.shared, engine, serve->rate_in, serve->rate_out);
    return err ? fail(log, "can't start", "", err) : EXIT_DONE;
}

static int listen_all(const struct serve *serve, const struct log *log, sally_engine *engine,
                      struct report *report)
{
    sally_admission admission = serve_door_admission(&serve->door);
    sally_framing framing = framing_of(serve);
    sally_server_options options = server_options(serve, &admission, &framing);
    int status = listen_on(&serve->listen, &options, log, engine, &report->server);
    options.accept_with_data = true;
    if (status == EXIT_DONE)
        status =
            listen_on(&serve->listen_for_data, &options, log, engine, &report->server_for_data);
    return status;
}

/* How the connection limit came about, for the report. */
static void explain_limit(const struct serve *serve, char *text, size_t size)
{
    unsigned long long limit;
    if (serve->conns_max)
        snprintf(text, size, "from --max-conns");
    else if (machine_descriptor_limit(&limit))
        snprintf(text, size, "the descriptor limit is %llu, some are kept back", limit);
    else
        snprintf(text, size, "what the library takes for this system");
}

/* Until the first signal, with a line of counters so often when that was asked for. */
static void serve_until_signal(const struct serve *serve, sally_engine *engine,
                               const struct report *report)
{
    uint32_t every_ms = serve->stats_ms ? serve->stats_ms : STATS_MAX_MS;
    for (uint64_t ms = every_ms; !machine_wait_stop(every_ms); ms += every_ms) {
        sally_engine_stats stats;
        if (serve->stats_ms && sally_engine_get_stats(engine, &stats) == 0)
            report_stats(report, &stats, ms);
    }
}

/* From the first signal to the end of the engine; a second signal cuts it short. */
static void drain(const struct serve *serve, sally_engine *engine)
{
    sally_engine_drain(engine, serve->drain_ms);
    while (sally_engine_get_state(engine) != SALLY_ENGINE_STOPPED)
        if (machine_wait_stop(DRAIN_LOOK_MS)) sally_engine_stop(engine);
    sally_engine_wait(engine);
}

static int run(const struct serve *serve, const struct log *log, sally_engine *engine,
               const struct report *report)
{
    sally_stop_report stop;
    sally_engine_stats stats;
    serve_until_signal(serve, engine, report);
    drain(serve, engine);
    int err = sally_engine_stop_report(engine, &stop);
    if (!err) err = sally_engine_get_stats(engine, &stats);
    if (err) return fail(log, "the server failed", "", err);
    report_stop(report, &stop, &stats);
    return EXIT_DONE;
}

/* Everything from the engine on; the caller destroys it. */
static int start_and_run(struct serve *serve, struct log *log, sally_engine **engine)
{
    char limit_from[96];
    struct report report = {serve->json, serve->quiet, "echo", limit_from, NULL, NULL};
    sally_engine_options options = engine_options(serve, log);
    if (serve->memory_max) machine_return_big_blocks();
    machine_hold_stops();
    if (!serve_door_open(&serve->door)) return EXIT_FAILED;
    if (serve->door.bans) machine_hold_reloads(serve_door_reload, &serve->door);
    int err = sally_engine_create(engine, &options);
    if (err) return fail(log, "can't start", "", err);
    int status = share_rates(serve, log, *engine);
    if (status == EXIT_DONE) status = listen_all(serve, log, *engine, &report);
    if (status != EXIT_DONE) return status;
    log->starting = false;
    err = sally_engine_start(*engine);
    if (err) return fail(log, "can't start", "", err);
    explain_limit(serve, limit_from, sizeof limit_from);
    report_start(&report, *engine);
    return run(serve, log, *engine, &report);
}

int serve_command(int argc, char **argv)
{
    struct serve serve = {
        .log_level = SALLY_LOG_WARN, .port_kind = SALLY_PORT_AUTO, .drain_ms = DRAIN_MS};
    enum options_result result = options_read(&table, &serve, argc, argv);
    if (result != OPTIONS_READ) return result == OPTIONS_HELP ? EXIT_DONE : EXIT_USAGE;
    if (!serve.listen.count && !serve.listen_for_data.count)
        serve.listen.items[serve.listen.count++] = "127.0.0.1:5002";

    struct log log = {.starting = true};
    sally_engine *engine = NULL;
    int status = start_and_run(&serve, &log, &engine);
    sally_engine_destroy(engine);
    serve_door_close(&serve.door);
    return status;
}
