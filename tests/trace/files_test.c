/* Every scenario file of tests/trace/ on every port, with one shard and with two: what an engine's
 * handler and its peers see has to be what the file says, so it is the same on all of them.
 *
 *   trace_files [PATTERN]     as in "close*epoll*"
 *   SALLY_SEED=n              of the simulated world; printed
 *   SALLY_RECORD=1            plays without judging and prints the file with what happened */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/support/play.h"

enum { FILES_MAX = 256, FILES_MIN = 60, SHARDS_MAX = 2, DEFAULT_SEED = 20261121 };

static char *files[FILES_MAX];
static unsigned files_count;

struct run {
    const char *file;
    const struct column *column;
    unsigned shards;
    uint64_t seed;
    char name[120];
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_files(void)
{
    DIR *dir = opendir(TRACE_FOLDER);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && files_count < FILES_MAX;) {
        size_t len = strlen(entry->d_name);
        if (len < 7 || strcmp(entry->d_name + len - 6, ".trace") != 0) continue;
        files[files_count] = calloc(1, len + 1);
        if (!files[files_count]) abort();
        memcpy(files[files_count++], entry->d_name, len - 6);
    }
    closedir(dir);
    qsort(files, files_count, sizeof files[0], by_name);
}

static struct script *script_of(const char *file)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.trace", TRACE_FOLDER, file);
    char *text = script_load(path);
    if (!text) fail_msg("%s can't be read", path);
    struct script *script = script_read(text);
    if (script->wrong[0]) fail_msg("%s.trace, %s", file, script->wrong);
    return script;
}

static void play_file(void **state)
{
    const struct run *run = *state;
    const char *why = NULL;
    char wrong[500];
    struct script *script = script_of(run->file);
    if (script->skip_ports && script_meant_for(script->skip_ports, run->column->name)) {
        printf("skipped: %s\n", script->skip_reason);
        script_free(script);
        skip();
    }
    struct world *world = world_make(run->column, run->shards, run->seed, &why);
    if (!world) {
        printf("skipped: %s can't be used here: %s\n", run->column->name, why);
        script_free(script);
        skip();
    }
    bool right = play_script(world, script, getenv("SALLY_RECORD") != NULL, wrong, sizeof wrong);
    world_free(world);
    script_free(script);
    if (!right) fail_msg("%s.trace on %s: %s", run->file, run->column->name, wrong);
}

static void there_are_files_and_each_proves_something_else(void **state)
{
    (void)state;
    char *proves[FILES_MAX] = {NULL};
    assert_true(files_count >= FILES_MIN && files_count < FILES_MAX);
    for (unsigned i = 0; i < files_count; i++) {
        struct script *script = script_of(files[i]);
        size_t bytes = strlen(script->proves) + 1;
        proves[i] = malloc(bytes);
        if (!proves[i]) abort();
        memcpy(proves[i], script->proves, bytes);
        script_free(script);
        for (unsigned k = 0; k < i; k++)
            if (strcmp(proves[i], proves[k]) == 0)
                fail_msg("%s proves the same as %s", files[i], files[k]);
    }
    for (unsigned i = 0; i < files_count; i++) free(proves[i]);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    find_files();
    const char *given = getenv("SALLY_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : DEFAULT_SEED;
    printf("SALLY_SEED=%llu\n", (unsigned long long)seed);
    size_t most = (size_t)files_count * trace_columns_count * SHARDS_MAX + 1;
    struct run *runs = calloc(most, sizeof *runs);
    struct CMUnitTest *tests = calloc(most, sizeof *tests);
    if (!runs || !tests) return 1;
    tests[0] = (struct CMUnitTest)cmocka_unit_test(there_are_files_and_each_proves_something_else);
    size_t count = 1;
    for (size_t i = 0; i < most - 1; i++) {
        struct run *run = &runs[i];
        unsigned rest = (unsigned)(i / SHARDS_MAX);
        run->shards = 1 + (unsigned)(i % SHARDS_MAX);
        run->column = &trace_columns[rest % trace_columns_count];
        run->file = files[rest / trace_columns_count];
        run->seed = seed;
        snprintf(run->name, sizeof run->name, "%s [%s, %u]", run->file, run->column->name,
                 run->shards);
        tests[count++] =
            (struct CMUnitTest){.name = run->name, .test_func = play_file, .initial_state = run};
    }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    int failed = _cmocka_run_group_tests("trace_files", tests, count, NULL, NULL);
    for (unsigned i = 0; i < files_count; i++) free(files[i]);
    free(tests);
    free(runs);
    return failed != 0;
}
