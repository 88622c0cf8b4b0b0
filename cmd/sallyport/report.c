/* The reports of `sallyport serve`; see report.h. The main thread only. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_pair(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    print_text(text);
}

static void print_addresses(const char *name, sally_server *server)
{
    char address[256];
    printf(",\"%s\":[", name);
    for (unsigned i = 0; sally_server_address(server, i, address, sizeof address); i++) {
        if (i) putchar(',');
        print_text(address);
    }
    putchar(']');
}

static void start_json(const struct report *report, sally_engine *engine,
                       const sally_engine_stats *stats)
{
    printf("{\"event\":\"start\"");
    print_pair("version", sally_version_string());
    print_pair("service", report->service);
    print_addresses("listening", report->server);
    print_addresses("listening_for_data", report->server_for_data);
    print_pair("port", sally_engine_port(engine));
    print_pair("port_reason", sally_engine_port_reason(engine));
    printf(",\"shards\":%u,\"conns_max\":%u", stats->shards, stats->conns_max);
    print_pair("conns_max_from", report->limit_from);
    printf("}\n");
}

static void say_addresses(sally_server *server, const char *how)
{
    char address[256];
    for (unsigned i = 0; sally_server_address(server, i, address, sizeof address); i++)
        printf("listening on %s%s\n", address, how);
}

static void start_plain(const struct report *report, sally_engine *engine,
                        const sally_engine_stats *stats)
{
    printf("sallyport %s, %s\n", sally_version_string(), report->service);
    say_addresses(report->server, "");
    say_addresses(report->server_for_data, ", which accepts with first data");
    printf("port kind: %s (%s)\n", sally_engine_port(engine), sally_engine_port_reason(engine));
    printf("shards: %u\n", stats->shards);
    printf("connections: at most %u (%s)\n", stats->conns_max, report->limit_from);
}

void report_start(const struct report *report, sally_engine *engine)
{
    sally_engine_stats stats = {0};
    if (report->quiet || sally_engine_get_stats(engine, &stats) != 0) return;
    if (report->json)
        start_json(report, engine, &stats);
    else
        start_plain(report, engine, &stats);
    fflush(stdout);
}

void report_stats(const struct report *report, const sally_engine_stats *stats, uint64_t ms)
{
    char seconds[32];
    if (ms % 1000)
        snprintf(seconds, sizeof seconds, "%" PRIu64 ".%03" PRIu64, ms / 1000, ms % 1000);
    else
        snprintf(seconds, sizeof seconds, "%" PRIu64, ms / 1000);
    if (report->json)
        printf("{\"event\":\"stats\",\"seconds\":%s,\"conns\":%u,\"accepted\":%" PRIu64
               ",\"closed\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"accept_failures\":%" PRIu64
               ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"memory_bytes\":%" PRIu64
               "}\n",
               seconds, stats->conns, stats->accepted, stats->closed, stats->refused,
               stats->accept_failures, stats->bytes_in, stats->bytes_out, stats->memory_bytes);
    else
        printf("%s s: %u connections, %" PRIu64 " accepted, %" PRIu64 " closed, %" PRIu64
               " refused, %" PRIu64 " accepts failed, %" PRIu64 " bytes in, %" PRIu64
               " bytes out, %" PRIu64 " bytes of memory\n",
               seconds, stats->conns, stats->accepted, stats->closed, stats->refused,
               stats->accept_failures, stats->bytes_in, stats->bytes_out, stats->memory_bytes);
    fflush(stdout);
}

void report_stop(const struct report *report, const sally_stop_report *stop,
                 const sally_engine_stats *stats)
{
    if (report->quiet) return;
    if (report->json)
        printf(
            "{\"event\":\"stop\",\"conns\":%u,\"finished\":%u,\"cut\":%u,\"bytes_unsent\":%" PRIu64
            ",\"took_ms\":%u,\"accepted\":%" PRIu64 ",\"bytes_in\":%" PRIu64
            ",\"bytes_out\":%" PRIu64 "}\n",
            stop->conns, stop->finished, stop->cut, stop->bytes_unsent, stop->took_ms,
            stats->accepted, stats->bytes_in, stats->bytes_out);
    else
        printf("stopped in %u ms: %u connections were open, %u finished, %u were cut, %" PRIu64
               " bytes not sent\nin all: %" PRIu64 " connections, %" PRIu64 " bytes in, %" PRIu64
               " bytes out\n",
               stop->took_ms, stop->conns, stop->finished, stop->cut, stop->bytes_unsent,
               stats->accepted, stats->bytes_in, stats->bytes_out);
    fflush(stdout);
}
