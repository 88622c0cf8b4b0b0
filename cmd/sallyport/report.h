/* What `sallyport serve` tells on standard output: at the start, every few seconds, at the end.
 * Either lines for a person, or one JSON object on a line. */
#ifndef SALLYPORT_REPORT_H
#define SALLYPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport.h"

struct report {
    bool json;
    bool quiet; /* nothing but errors */
    const char *service;
    const char *limit_from;        /* how the connection limit came about */
    sally_server *server;          /* NULL: none */
    sally_server *server_for_data; /* of the addresses that accept with data; NULL: none */
};

/* All print whole lines and flush them. */
void report_start(const struct report *report, sally_engine *engine);
void report_stats(const struct report *report, const sally_engine_stats *stats, uint64_t ms);
void report_stop(const struct report *report, const sally_stop_report *stop,
                 const sally_engine_stats *stats);

#endif
