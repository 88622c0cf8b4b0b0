/* Runs a fuzz target's entry without a fuzzer: over the files named, or over seeded inputs.
 *   fuzz_NAME_replay [FILE]...
 * SALLY_SEEDS says how many inputs (default 20000), SALLY_SEED runs one alone; it is printed when
 * one fails. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "fuzz.h"

enum { INPUT_MAX = 4096 };

static char running[64];

static void tell_and_die(int number)
{
    (void)!write(STDERR_FILENO, running, strlen(running));
    (void)number;
    _exit(1);
}

static uint64_t next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Three ways: anything, small numbers, and a few bytes again and again, which marks and lengths are
 * made of. */
static size_t draw(uint64_t seed, uint8_t *input)
{
    uint64_t state = seed;
    size_t len = (size_t)(next(&state) % (next(&state) % 4 ? 100 : INPUT_MAX));
    unsigned way = (unsigned)(next(&state) % 3);
    uint8_t few[4];
    for (int i = 0; i < 4; i++) few[i] = (uint8_t)next(&state);
    for (size_t i = 0; i < len; i++) {
        uint64_t x = next(&state);
        input[i] = (uint8_t)(i < 12 || way == 0 ? x : way == 1 ? x % 12 : few[x % 4]);
        if (way == 2 && x >> 60 == 0) input[i] = '\n';
    }
    return len;
}

/* As libFuzzer does: in memory of just its size, so that a sanitizer sees who looks behind it. */
static int run(const uint8_t *input, size_t len)
{
    uint8_t *copy = fuzz_copy(input, len);
    int result = LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    return result;
}

static int replay_file(const char *path)
{
    static uint8_t input[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t len = fread(input, 1, sizeof input, file);
    fclose(file);
    snprintf(running, sizeof running, "died in %.50s\n", path);
    return run(input, len);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *given = getenv(name);
    return given ? strtoull(given, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
    static uint8_t input[INPUT_MAX];
    static const int deadly[] = {SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction action = {.sa_handler = tell_and_die};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) sigaction(deadly[i], &action, NULL);
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= replay_file(argv[i]);
    if (argc > 1) return failed;
    uint64_t only = number("SALLY_SEED", 0), seeds = only ? 1 : number("SALLY_SEEDS", 20000);
    for (uint64_t i = 0; i < seeds; i++) {
        uint64_t seed = only ? only : i + 1;
        snprintf(running, sizeof running, "died in SALLY_SEED=%" PRIu64 "\n", seed);
        (void)run(input, draw(seed, input));
    }
    printf("%" PRIu64 " inputs\n", seeds);
    return 0;
}
