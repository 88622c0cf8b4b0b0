/* bench_bans: nanoseconds for one look-up in the table of bans, by how many there are, by whether
 * the address is banned or innocent, and by how the bans lie: spread over all addresses, or in
 * clusters as real lists are; without and with the public list's lock and clock. Then what changing
 * a list of a million takes.
 *
 * Tables of all sizes are there at once and take turns, each for a few milliseconds, round after
 * round: so a machine that is busy for a second is busy for all of them. The least and the median
 * of the rounds are printed. With an argument it does so many look-ups of one kind and ends, for
 * perf stat or valgrind: bench_bans BANS innocent|banned LOOKS. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admission/ban_table.h"
#include "admission/bans.h"

enum { SIZES = 3, PROBES = 1 << 16, ROUNDS = 31, LIST_LOOKS = 50, BANS_MOST = 1000000 };

static const uint32_t sizes[SIZES] = {1000, 65536, BANS_MOST};
static uint64_t lot = 12345;
static unsigned found;

static uint64_t draw(void)
{
    lot = lot * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return lot >> 33;
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void give_up(const char *what)
{
    fprintf(stderr, "bench_bans: %s\n", what);
    exit(1);
}

/* ---- Bans and probes ---- */

static struct addr addr_any(void)
{
    struct addr addr = {.family = draw() % 2 ? ADDR_V4 : ADDR_V6};
    for (int i = 0; i < 16; i++) addr.ip[i] = (uint8_t)draw();
    return addr;
}

/* In a cluster the first bytes are one of a few: 256 networks of 16 (32) bits. */
static struct addr addr_near(bool clustered)
{
    struct addr addr = addr_any();
    if (!clustered) return addr;
    unsigned which = (unsigned)(draw() % 256);
    addr.ip[0] = (uint8_t)(which * 7 + 1);
    addr.ip[1] = (uint8_t)(which * 13);
    if (addr.family == ADDR_V6) addr.ip[2] = addr.ip[3] = 0;
    return addr;
}

static struct cidr cidr_any(bool clustered)
{
    static const unsigned v4[2][4] = {{32, 32, 24, 20}, {32, 32, 28, 24}};
    static const unsigned v6[2][4] = {{64, 64, 48, 32}, {128, 64, 64, 56}};
    struct addr addr = addr_near(clustered);
    return cidr_around(&addr, (addr.family == ADDR_V4 ? v4 : v6)[clustered][draw() % 4]);
}

struct subject {
    uint32_t count;
    bool clustered;
    struct cidr *list;
    struct ban_table *table;
    sally_bans *bans;
    struct addr probes[2][PROBES]; /* innocent, banned */
    double ns[2][2][ROUNDS];       /* by probes, by without and with the lock */
};

static void subject_fill(struct subject *subject, struct mem *mem)
{
    struct hash_seed seed = {1, 2};
    sally_bans_options options = {.bans_max = subject->count};
    subject->list = calloc(subject->count, sizeof *subject->list);
    if (!subject->list) give_up("no memory");
    if (ban_table_create(&subject->table, mem, subject->count, seed) != 0) give_up("no table");
    if (sally_bans_create(&subject->bans, &options) != 0) give_up("no list");
    for (uint32_t n = 0; n < subject->count;) {
        struct cidr cidr = cidr_any(subject->clustered);
        if (ban_table_get(subject->table, &cidr)) continue;
        if (ban_table_room(subject->table) != 0) give_up("no room");
        (void)ban_table_add(subject->table, &cidr, BAN_NEVER, NULL);
        if (bans_add(subject->bans, &cidr, SALLY_FOREVER, NULL) != 0) give_up("not added");
        subject->list[n++] = cidr;
    }
}

/* Innocent ones are near the bans, where there are clusters. */
static void subject_draw_probes(struct subject *subject)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct addr *innocent = &subject->probes[0][i], *banned = &subject->probes[1][i];
        do *innocent = addr_near(subject->clustered);
        while (ban_table_find(subject->table, innocent, 0, NULL));
        const struct cidr *cidr = &subject->list[draw() % subject->count];
        *banned = addr_any();
        banned->family = cidr->family;
        for (int b = 0; b < cidr->bits / 8; b++) banned->ip[b] = cidr->ip[b];
        if (cidr->bits % 8) banned->ip[cidr->bits / 8] = cidr->ip[cidr->bits / 8];
    }
}

static struct subject *subject_make(uint32_t count, bool clustered, struct mem *mem)
{
    struct subject *subject = calloc(1, sizeof *subject);
    if (!subject) give_up("no memory");
    subject->count = count;
    subject->clustered = clustered;
    subject_fill(subject, mem);
    subject_draw_probes(subject);
    return subject;
}

static void subject_free(struct subject *subject)
{
    ban_table_destroy(subject->table);
    sally_bans_destroy(subject->bans);
    free(subject->list);
    free(subject);
}

/* ---- Looking ---- */

static void table_looks(const struct subject *subject, int banned, uint32_t looks)
{
    const struct addr *probes = subject->probes[banned];
    for (uint32_t i = 0; i < looks; i++)
        found += ban_table_find(subject->table, &probes[i % PROBES], 0, NULL) != NULL;
}

static void bans_looks(const struct subject *subject, int banned, uint32_t looks)
{
    const struct addr *probes = subject->probes[banned];
    for (uint32_t i = 0; i < looks; i++) found += bans_refuse(subject->bans, &probes[i % PROBES]);
}

/* Twice: the first time for the caches, which the others have had meanwhile. */
static double look_ns(void (*looks)(const struct subject *, int, uint32_t),
                      const struct subject *subject, int banned)
{
    looks(subject, banned, PROBES);
    double began = now_ns();
    looks(subject, banned, PROBES);
    return (now_ns() - began) / PROBES;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double list_ns(const struct subject *subject)
{
    double began = now_ns();
    for (uint32_t i = 0; i < LIST_LOOKS; i++)
        for (uint32_t n = 0; n < subject->count; n++)
            found += cidr_covers(&subject->list[n], &subject->probes[0][i]);
    return (now_ns() - began) / LIST_LOOKS;
}

static void print_subject(struct subject *subject)
{
    for (int banned = 0; banned < 2; banned++) {
        double *plain = subject->ns[banned][0], *locked = subject->ns[banned][1];
        qsort(plain, ROUNDS, sizeof *plain, compare);
        qsort(locked, ROUNDS, sizeof *locked, compare);
        printf("%9u %-9s %-8s %8.0f %8.0f %12.0f %8.0f", subject->count,
               subject->clustered ? "clusters" : "spread", banned ? "banned" : "innocent", plain[0],
               plain[ROUNDS / 2], locked[0], locked[ROUNDS / 2]);
        if (!banned) printf(" %14.0f", list_ns(subject));
        printf("\n");
    }
}

static void compare_sizes(bool clustered)
{
    static struct mem mem;
    struct subject *subjects[SIZES];
    mem_init(&mem);
    for (int i = 0; i < SIZES; i++) subjects[i] = subject_make(sizes[i], clustered, &mem);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SIZES; i++)
            for (int banned = 0; banned < 2; banned++) {
                struct subject *subject = subjects[i];
                subject->ns[banned][0][round] = look_ns(table_looks, subject, banned);
                subject->ns[banned][1][round] = look_ns(bans_looks, subject, banned);
            }
    for (int i = 0; i < SIZES; i++) print_subject(subjects[i]);
    for (int i = 0; i < SIZES; i++) subject_free(subjects[i]);
}

/* ---- Changing ---- */

struct changes {
    double add_ns[BANS_MOST];
    double held_ns[BANS_MOST]; /* of those, with the lock that who looks takes */
    struct cidr list[BANS_MOST];
};

/* One add after the other up to a million; the longest is the last doubling of the index. */
static void time_adds(struct changes *changes)
{
    static struct mem mem;
    struct ban_table *table;
    mem_init(&mem);
    if (ban_table_create(&table, &mem, BANS_MOST, (struct hash_seed){3, 4})) give_up("no table");
    for (uint32_t n = 0; n < BANS_MOST; n++) {
        const struct cidr *cidr = &changes->list[n];
        double began = now_ns();
        if (!ban_table_get(table, cidr) && ban_table_room(table)) give_up("no room");
        double roomy = now_ns();
        (void)ban_table_add(table, cidr, BAN_NEVER, NULL);
        double ended = now_ns();
        changes->add_ns[n] = ended - began;
        changes->held_ns[n] = ended - roomy;
    }
    printf("\none add to a million, ns: ");
    qsort(&changes->add_ns[BANS_MOST - 1000], 1000, sizeof(double), compare);
    printf("%.0f (median of the last 1000)", changes->add_ns[BANS_MOST - 500]);
    qsort(changes->add_ns, BANS_MOST, sizeof(double), compare);
    qsort(changes->held_ns, BANS_MOST, sizeof(double), compare);
    printf("; the longest %.1f ms\nholding up who looks, ns: %.0f (median), at most %.0f but for "
           "100 of a million\n",
           changes->add_ns[BANS_MOST - 1] / 1e6, changes->held_ns[BANS_MOST / 2],
           changes->held_ns[BANS_MOST - 100]);
    printf("bytes a ban: %.0f\n", (double)mem_in_use(&mem) / table->count);
    double began = now_ns();
    ban_table_destroy(table);
    printf("destroying it: %.1f ms\n", (now_ns() - began) / 1e6);
}

static void time_file(const struct changes *changes)
{
    char text[CIDR_TEXT_MAX], path[] = "/tmp/bench_bans.XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    sally_bans *bans;
    sally_bans_options options = {.bans_max = BANS_MOST};
    if (!file || sally_bans_create(&bans, &options) != 0) give_up("no file");
    for (uint32_t n = 0; n < BANS_MOST; n++)
        fprintf(file, "%s\n", cidr_format(&changes->list[n], text, sizeof text));
    if (fclose(file) != 0) give_up("the disk is full");
    for (int i = 0; i < 2; i++) {
        double began = now_ns();
        if (sally_bans_load(bans, path, NULL) != 0) give_up("not loaded");
        printf("%s a file of a million: %.0f ms\n", i ? "and again, in place of it," : "reading",
               (now_ns() - began) / 1e6);
    }
    remove(path);
    sally_bans_destroy(bans);
}

static void time_changes(void)
{
    struct changes *changes = calloc(1, sizeof *changes);
    if (!changes) give_up("no memory");
    for (uint32_t n = 0; n < BANS_MOST; n++) changes->list[n] = cidr_any(false);
    time_adds(changes);
    time_file(changes);
    free(changes);
}

/* ---- One kind alone ---- */

static int look_alone(char **words)
{
    static struct mem mem;
    mem_init(&mem);
    struct subject *subject = subject_make((uint32_t)strtoul(words[1], NULL, 10), false, &mem);
    table_looks(subject, strcmp(words[2], "banned") == 0, (uint32_t)strtoul(words[3], NULL, 10));
    subject_free(subject);
    printf("%u found\n", found);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4) return look_alone(argv);
    printf("%9s %-9s %-8s %8s %8s %12s %8s %14s\n", "bans", "lie", "look-up", "ns least", "median",
           "locked least", "median", "list, ns");
    compare_sizes(false);
    compare_sizes(true);
    time_changes();
    return found == 0;
}
