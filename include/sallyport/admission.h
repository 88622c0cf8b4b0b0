/* Sallyport: admission, which is who may connect, how many, and how fast.
 *
 *     sally_bans *bans;
 *     if (sally_bans_create(&bans, NULL) || sally_bans_load(bans, "bans.txt", NULL)) return 1;
 *     sally_admission admission = {
 *         .bans = bans,
 *         .limits = {.conns_per_address = 16, .connects_per_s_address = 20},
 *         .strikes = {.max = 5},
 *     };
 *     sally_server_options options = {.conns_max = 10000, .admission = &admission};
 *     if (sally_listen(engine, "*:5002", &handler, &options, NULL)) return 1;
 *     sally_bans_destroy(bans);
 *
 * A newcomer is judged in this order, and the first that is against it ends it:
 *   1. a ban of its address                    reset
 *   2. the limits and the rate of its address  as at_limit says, but never waiting: others would
 *                                              wait behind it
 *   3. on_accept                               what it says
 *   4. the server's rate, then its limit and   as at_limit says
 *      the engine's
 * A refused newcomer causes no callback but on_accept, if it came so far, and is counted by cause
 * (sally_admission_stats). It has been accepted by the system: what refuses before that, as
 * the conditional accept of Windows does, is not used on any system, so that all behave alike.
 *
 * Addresses are those of the system, or, behind trusted proxies, what those say of their clients
 * (sallyport/proxy.h). IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) are the
 * IPv4 ones everywhere here. IPv6 is counted, and banned by strikes, by /64, which is what one
 * subscriber has at least (RFC 6177), and counted by /48 as well. Peers of Unix sockets have no
 * address: nothing of this applies to them but step 3 and 4.
 *
 * Threads and errors as in sallyport.h. */
#ifndef SALLYPORT_ADMISSION_H
#define SALLYPORT_ADMISSION_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- Bans ----
 *
 * A list of networks that may not connect: any number of servers and engines may share one. It
 * counts references: its maker has one, and each server made with it has one until its engine is
 * destroyed. */

typedef struct sally_bans_options {
    uint32_t bans_max; /* 0: 65536; at most 4194304 */
    /* A clock of the program's own in milliseconds, such as sally_sim_now_ms; NULL: the machine's,
     * which setting the date doesn't move. With it, dates in files count from 1970 by it. */
    uint64_t (*now_ms)(void *user);
    void *clock_user;
    sally_allocator allocator; /* zero: the C library's */
} sally_bans_options;

/* An empty list. `options` may be NULL. SALLY_EINVAL, SALLY_ENOMEM. [any] */
SALLY_API int sally_bans_create(sally_bans **bans,
                                const sally_bans_options *options) SALLY_MUST_USE;

/* Gives the maker's reference back: nothing changes for servers that were made with it. NULL does
 * nothing. [any] */
SALLY_API void sally_bans_destroy(sally_bans *bans);

/* Bans a network for so many seconds (SALLY_FOREVER: until it is removed), counted by a clock that
 * the date doesn't move; a ban of exactly that network is replaced and keeps its hits. The network
 * is an address or a prefix: "192.0.2.7", "192.0.2.0/24", "2001:db8::/32"; bits set behind the
 * prefix are refused ("10.1.2.3/8" is more often a slip than a wish). `reason` may be NULL: at most
 * 127 bytes, no control characters, no blank at its ends. Holds for newcomers from then on; for
 * those who are in: sally_server_cut_banned. SALLY_ENETWORK, SALLY_EINVAL (reason, 0 seconds),
 * SALLY_ELIMIT (bans_max, and none of them is over), SALLY_ENOMEM. [any] */
SALLY_API int sally_bans_add(sally_bans *bans, const char *network, uint32_t for_s,
                             const char *reason) SALLY_MUST_USE;

/* Ends the ban of exactly that network; a wider one may still hold. SALLY_ENETWORK, SALLY_ENOENTRY.
 * [any] */
SALLY_API int sally_bans_remove(sally_bans *bans, const char *network);

/* Ends all. [any] */
SALLY_API void sally_bans_clear(sally_bans *bans);

/* How many there are, those that are over and not yet swept away among them. [any] */
SALLY_API uint32_t sally_bans_count(const sally_bans *bans);

typedef struct sally_ban {
    char network[64];
    uint32_t left_s; /* rounded up; SALLY_FOREVER: it has no end */
    uint64_t hits;   /* newcomers it has refused */
    char reason[128];
} sally_ban;

/* Whether a peer of that address would be refused: 1 (`ban`, if not NULL, says by which ban, the
 * longest prefix that holds it), 0, or SALLY_ENETWORK. The address may have a port, as
 * sally_conn_peer writes it. No hit is counted. [any] */
SALLY_API int sally_bans_check(sally_bans *bans, const char *address, sally_ban *ban);

/* Calls `each` for every ban that is not over, in no order, on the calling thread, from copies:
 * nobody waits meanwhile, and what changes meanwhile may be in it or not. Return false to stop.
 * `each` may call the functions here. [any] */
SALLY_API int sally_bans_each(sally_bans *bans, bool (*each)(const sally_ban *ban, void *arg),
                              void *arg);

/* Where and why a text was refused. */
typedef struct sally_bans_fault {
    uint32_t line; /* from 1; 0: not a line's matter */
    int sys_error; /* the system's own code, 0 without one */
    char why[160];
} sally_bans_fault;

/* Replaces the whole list by that of a file, or of a text: every line is read first, and if one is
 * wrong, nothing changes, and `fault` (may be NULL) says which and why. Shards go on meanwhile.
 * Hits begin at 0. A line is
 *
 *     NETWORK [EXPIRY] [REASON]
 *
 * with blanks between. NETWORK is as for sally_bans_add. EXPIRY is a time from now (90s, 10m, 24h,
 * 30d), a date in UTC (2026-11-22T10:00:00Z) or never, which is also meant when it is left out; a
 * second word that begins with a digit is always one, so a reason that does so has to follow an
 * expiry. REASON goes to the end of the line. Empty lines and those that begin with # are skipped,
 * and so are lines whose date is over. Of two lines for one network the later holds.
 * SALLY_EBANFILE (a line), SALLY_ELIMIT (more than bans_max, or more than 1 GiB), SALLY_EACCES,
 * SALLY_ESYSTEM (the file can't be read), SALLY_ENOMEM. Reads a file: blocks. [outside] */
SALLY_API int sally_bans_load(sally_bans *bans, const char *path,
                              sally_bans_fault *fault) SALLY_MUST_USE;
/* The same from memory. [any] */
SALLY_API int sally_bans_load_text(sally_bans *bans, const char *text, size_t len,
                                   sally_bans_fault *fault) SALLY_MUST_USE;

/* Writes what sally_bans_load reads, expiries as dates, to a new file that then takes the place of
 * the old one (rename(2), MoveFileEx): a reader finds the old or the new one and never a half.
 * SALLY_EACCES, SALLY_ESYSTEM, SALLY_ENOMEM. Writes a file: blocks. [outside] */
SALLY_API int sally_bans_save(sally_bans *bans, const char *path,
                              sally_bans_fault *fault) SALLY_MUST_USE;

/* ---- A server's admission ---- */

/* Zero: no limit. */
typedef struct sally_admission_limits {
    uint32_t conns_per_address;      /* live connections of one address (IPv6: of a /64) */
    uint32_t conns_per_site;         /* of an IPv6 /48; 0: four times conns_per_address */
    uint32_t connects_per_s_address; /* newcomers a second from one address (IPv6: /64; from a /48
                                        four times as many) */
    uint32_t connects_burst_address; /* of those, at once after a pause; 0: those of a second */
    uint32_t connects_per_s;         /* newcomers a second in all */
    uint32_t connects_burst;         /* 0: those of a second */
} sally_admission_limits;

typedef enum sally_strike {
    SALLY_STRIKE_MALFORMED, /* what it sent can't be read as messages */
    SALLY_STRIKE_HANDSHAKE, /* a handshake (TLS, PROXY) failed */
    SALLY_STRIKE_SILENCE,   /* it sent nothing within first_byte_ms and was closed for that */
    SALLY_STRIKE_RATE,      /* it came faster than connects_per_s_address */
    SALLY_STRIKE_OWN,       /* sally_conn_strike */
    SALLY_STRIKES
} sally_strike;

/* What an address may do wrong before it is banned (IPv4: it alone; IPv6: its /64). Off unless max
 * is set. Connections it has live on. */
typedef struct sally_strike_options {
    uint32_t max;      /* so many strikes */
    uint32_t within_s; /* from the first of them on; 0: 60 */
    uint32_t
        ban_s; /* the first ban; each further one of that address lasts twice as long; 0: 600 */
    uint32_t ban_max_s;             /* but not longer; 0: 86400 */
    uint32_t weight[SALLY_STRIKES]; /* what one of that kind counts; 0: 1; of SALLY_STRIKE_OWN:
                                        times the weight given */
    uint32_t off;                   /* kinds that don't count: bits, 1 << SALLY_STRIKE_RATE */
} sally_strike_options;

/* Copied by sally_listen; the farewell too. */
typedef struct sally_admission {
    sally_bans *bans; /* NULL: nobody is banned; needed for strikes */
    sally_admission_limits limits;
    uint32_t addresses_max; /* addresses without a connection whose rate and strikes are remembered:
                                 those that left last; 0: 65536 */
    const void *farewell;   /* what SALLY_AT_LIMIT_FAREWELL and SALLY_FAREWELL send before closing
                                 gently; NULL: nothing */
    uint32_t farewell_bytes; /* at most 512 */
    uint32_t delay_ms;       /* between two times on_accept is asked; 0: 1000 */
    uint32_t delay_max_ms;   /* for all of it, then a reset; 0: 10000 */
    uint32_t delayed_max; /* who is held at a time, further ones are reset; 0: 64, at most 4096 */
    sally_strike_options strikes;
} sally_admission;

/* Changes the limits of a running server, for newcomers. Addresses are counted from the first time
 * on that a limit or a rate of theirs, or strikes, are set. SALLY_ESTATE: it was made without
 * admission; SALLY_EINVAL. [any] */
SALLY_API int sally_server_set_limits(sally_server *server,
                                      const sally_admission_limits *limits) SALLY_MUST_USE;

/* The list it was made with, or NULL; valid as long as the server. [any] */
SALLY_API sally_bans *sally_server_bans(const sally_server *server);

/* Aborts those of its connections whose address is banned now (reason SALLY_CLOSE_BANNED), on each
 * shard in its next turn; those of its outgoing peers are none of it. [any] */
SALLY_API int sally_server_cut_banned(sally_server *server);

/* Live connections from that address (IPv6: from its /64); it may have a port. SALLY_ENETWORK;
 * SALLY_ESTATE: nothing is counted here, for no option wants it. [any] */
SALLY_API int sally_server_conns_from(sally_server *server, const char *address);

/* Counts `weight` strikes against the peer's address for a reason of the program's own. The
 * connection goes on. 0; 1: the address is banned now; SALLY_EINVAL (weight 0); SALLY_ESTATE: no
 * strikes are configured, or the peer has no address. [shard] */
SALLY_API int sally_conn_strike(sally_conn *conn, uint32_t weight);

/* Why a newcomer was refused. */
typedef enum sally_refusal {
    SALLY_REFUSED_BANNED,
    SALLY_REFUSED_ADDRESS_LIMIT, /* connections of its address or site */
    SALLY_REFUSED_ADDRESS_RATE,  /* its address or site comes too fast */
    SALLY_REFUSED_BY_HANDLER,    /* on_accept */
    SALLY_REFUSED_DELAY,         /* too many were delayed, or it for too long */
    SALLY_REFUSED_RATE,          /* newcomers in all come too fast */
    SALLY_REFUSED_LIMIT,         /* conns_max of the server or the engine */
    SALLY_REFUSED_CLOSING,       /* it waited when the server closed, paused closed or stopped */
    SALLY_REFUSED_NO_MEMORY,
    SALLY_REFUSED_PROXY_UNTRUSTED, /* with sallyport/proxy.h: its address is no trusted proxy's */
    SALLY_REFUSED_PROXY_MALFORMED, /* what it began with was no header, or not a whole one */
    SALLY_REFUSED_PROXY_LATE,      /* no whole header in time, or more wait than may */
    SALLY_REFUSED_HANDSHAKE,       /* with sallyport/filter.h: it failed, or took too long */
    SALLY_REFUSALS
} sally_refusal;

typedef struct sally_admission_stats {
    uint64_t refused_for[SALLY_REFUSALS]; /* their sum is sally_server_stats.refused */
    uint64_t farewells;                   /* of those, sent off with the farewell */
    uint64_t delayed_times;               /* on_accept said SALLY_DELAY */
    uint64_t strike_bans;                 /* bans that strikes have made */
    uint32_t delayed;                     /* held now, because on_accept said so */
    uint32_t addresses; /* IPv4 addresses and IPv6 /64s with live connections; 0 unless an option
                           makes the server count them */
} sally_admission_stats;

/* Of a server with or without admission. [any] */
SALLY_API int sally_server_admission_stats(sally_server *server,
                                           sally_admission_stats *stats) SALLY_MUST_USE;

/* ---- Pausing with the door shut ---- */

/* As sally_server_pause, with the listening sockets closed, so that the system refuses newcomers at
 * once, and those that waited are reset; a Unix socket's file is removed. sally_server_resume opens
 * the same addresses again. When another program has taken one meanwhile, it is tried again with a
 * growing pause of up to a second (SALLY_SERVER_LISTEN_FAILED, then SALLY_SERVER_LISTENING). Also
 * from a plain pause; sally_server_pause after it changes nothing. SALLY_ENOTSUP: an address was
 * given as "fd:", which can't be opened again; SALLY_ESTATE: closed. [any] */
SALLY_API int sally_server_pause_closed(sally_server *server);

#if defined(__cplusplus)
}
#endif
#endif
