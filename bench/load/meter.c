/* The window in which is measured. See meter.h. */
#include "meter.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "pace.h"

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t meter_now(void) { return nanoseconds(CLOCK_MONOTONIC); }

static uint64_t task_ns(pid_t pid, const char *task)
{
    char path[96], line[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/schedstat", (int)pid, task);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    char *got = fgets(line, sizeof line, file);
    fclose(file);
    return got ? strtoull(line, NULL, 10) : 0;
}

/* Time on a processor of all the process' tasks, also those that io_uring has made: the first field
 * of schedstat, which is exact, while utime and stime come in ticks. */
static uint64_t process_ns(pid_t pid)
{
    char path[64];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks) return 0;
    for (struct dirent *task; (task = readdir(tasks));)
        if (task->d_name[0] != '.') sum += task_ns(pid, task->d_name);
    closedir(tasks);
    return sum;
}

void meter_start(struct meter *meter, double warm_s, double seconds, pid_t pid)
{
    *meter = (struct meter){.pid = pid, .pace_ns[0] = pace_measure()};
    meter->opens_ns = meter_now() + (uint64_t)(warm_s * 1e9);
    meter->closes_ns = meter->opens_ns + (uint64_t)(seconds * 1e9);
}

static void meter_open(struct meter *meter)
{
    meter->measures = true;
    meter->server_ns = meter->pid ? process_ns(meter->pid) : 0;
    meter->own_ns = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    meter->began_ns = meter_now();
    /* A late opening must not shorten the window. */
    meter->closes_ns += meter->began_ns - meter->opens_ns;
}

static void meter_close(struct meter *meter)
{
    meter->ended_ns = meter_now();
    meter->measures = false;
    meter->own_ns = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - meter->own_ns;
    uint64_t server = meter->pid ? process_ns(meter->pid) : 0;
    if (server < meter->server_ns) meter_error(meter, "the server has gone");
    meter->server_ns = server - meter->server_ns;
    meter->pace_ns[1] = pace_measure();
}

bool meter_goes_on(struct meter *meter, uint64_t now)
{
    if (meter->ended_ns) return false;
    if (!meter->measures && now >= meter->opens_ns) meter_open(meter);
    if (meter->measures && now >= meter->closes_ns) meter_close(meter);
    return !meter->ended_ns;
}

void meter_error(struct meter *meter, const char *what)
{
    if (meter->errors++ == 0) meter->error = what;
}

bool meter_report(const struct meter *meter)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};
    const struct histogram *latency = &meter->latency;
    printf("{\"requests\": %llu, \"bytes\": %llu, \"seconds\": %.6f, ",
           (unsigned long long)meter->requests, (unsigned long long)meter->bytes,
           (double)(meter->ended_ns - meter->began_ns) / 1e9);
    printf("\"server_cpu_ns\": %llu, \"client_cpu_ns\": %llu, \"errors\": %llu, ",
           (unsigned long long)meter->server_ns, (unsigned long long)meter->own_ns,
           (unsigned long long)meter->errors);
    printf("\"pace_ns\": [%llu, %llu], ", (unsigned long long)meter->pace_ns[0],
           (unsigned long long)meter->pace_ns[1]);
    if (meter->error) printf("\"error\": \"%s\", ", meter->error);
    printf("\"latency_ns\": {\"mean\": %llu",
           (unsigned long long)(latency->count ? latency->sum / latency->count : 0));
    for (unsigned n = 0; n < sizeof points / sizeof points[0]; n++)
        printf(", \"%s\": %llu", points[n].name,
               (unsigned long long)histogram_at(latency, points[n].share));
    printf(", \"max\": %llu}}\n", (unsigned long long)latency->max);
    return meter->errors == 0 && meter->requests > 0;
}
