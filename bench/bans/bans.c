/* bench_bans: nanoseconds for one look-up in the table of bans, by how many there are, with the
 * public list's lock and clock and without. Half of the addresses are banned. The same addresses
 * are looked up in a list that is searched line by line, to see what the table is for. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "admission/ban_table.h"
#include "admission/bans.h"

enum { LOOKS = 2000000, PROBES = 1 << 16, LIST_LOOKS = 200 };

static uint64_t lot = 12345;

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

static struct addr addr_any(void)
{
    struct addr addr = {.family = draw() % 2 ? ADDR_V4 : ADDR_V6};
    for (int i = 0; i < 16; i++) addr.ip[i] = (uint8_t)draw();
    return addr;
}

static struct cidr cidr_any(void)
{
    static const unsigned v4[] = {32, 32, 24, 16}, v6[] = {64, 64, 48, 32};
    struct addr addr = addr_any();
    return cidr_around(&addr, (addr.family == ADDR_V4 ? v4 : v6)[draw() % 4]);
}

static struct addr probes[PROBES];

static void fill(struct ban_table *table, struct cidr *list, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        list[n] = cidr_any();
        if (!ban_table_get(table, &list[n]) && ban_table_room(table) != 0) exit(1);
        (void)ban_table_add(table, &list[n], BAN_NEVER, NULL);
    }
    for (uint32_t i = 0; i < PROBES; i++) {
        probes[i] = addr_any();
        if (i % 2) continue;
        const struct cidr *cidr = &list[draw() % count];
        probes[i].family = cidr->family;
        for (int b = 0; b < cidr->bits / 8; b++) probes[i].ip[b] = cidr->ip[b];
    }
}

static double table_ns(const struct ban_table *table, unsigned *hits)
{
    double began = now_ns();
    for (uint32_t i = 0; i < LOOKS; i++)
        *hits += ban_table_find(table, &probes[i % PROBES], 0, NULL) != NULL;
    return (now_ns() - began) / LOOKS;
}

static double list_ns(const struct cidr *list, uint32_t count, unsigned *hits)
{
    double began = now_ns();
    for (uint32_t i = 0; i < LIST_LOOKS; i++)
        for (uint32_t n = 0; n < count; n++) *hits += cidr_covers(&list[n], &probes[i]);
    return (now_ns() - began) / LIST_LOOKS;
}

static double public_ns(const struct cidr *list, uint32_t count, unsigned *hits)
{
    sally_bans *bans;
    sally_bans_options options = {.bans_max = count};
    if (sally_bans_create(&bans, &options) != 0) exit(1);
    for (uint32_t n = 0; n < count; n++)
        if (bans_add(bans, &list[n], SALLY_FOREVER, NULL) != 0) exit(1);
    double began = now_ns();
    for (uint32_t i = 0; i < LOOKS; i++) *hits += bans_refuse(bans, &probes[i % PROBES]);
    double ns = (now_ns() - began) / LOOKS;
    sally_bans_destroy(bans);
    return ns;
}

int main(void)
{
    static const uint32_t counts[] = {1000, 65536, 1000000};
    static struct mem mem;
    unsigned hits = 0;
    mem_init(&mem);
    printf("%9s %12s %16s %14s %12s\n", "bans", "table, ns", "with lock, ns", "list, ns",
           "bytes/ban");
    for (int i = 0; i < 3; i++) {
        struct ban_table *table;
        struct cidr *list = calloc(counts[i], sizeof *list);
        struct hash_seed seed = {1, 2};
        if (!list || ban_table_create(&table, &mem, counts[i], seed) != 0) return 1;
        fill(table, list, counts[i]);
        printf("%9u %12.0f %16.0f %14.0f %12.0f\n", counts[i], table_ns(table, &hits),
               public_ns(list, counts[i], &hits), list_ns(list, counts[i], &hits),
               (double)mem_in_use(&mem) / counts[i]);
        ban_table_destroy(table);
        free(list);
    }
    return hits == 0;
}
