/* Tells the seed of a run that dies; see storm.h. One thread. */
#include "sim/support/guard.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/support/storm.h"

/* In sanitizer builds only. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));
void __ubsan_on_report(void); /* called by its run-time, which has no death callback of ours */

static char words[512];
static const char *program = "";

void guard_tell(void) { (void)!write(STDERR_FILENO, words, strlen(words)); }

void __ubsan_on_report(void) { guard_tell(); }

/* The handler is gone when it runs, so the signal ends the program as it should. */
static void die(int number)
{
    guard_tell();
    raise(number);
}

/* Not in main: cmocka sets its own before each test. */
static void catch_signals(void)
{
    static bool caught;
    struct sigaction action = {.sa_handler = die, .sa_flags = SA_RESETHAND | SA_NODEFER};
    if (caught) return;
    caught = true;
    sigaction(SIGABRT, &action, NULL);
    if (__sanitizer_set_death_callback) return;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
}

void guard_seed(uint64_t seed, const char *more)
{
    catch_signals();
    snprintf(words, sizeof words, "seed=%llu %s\nreplay: SALLY_SEED=%llu SALLY_TRACE=1 %s\n",
             (unsigned long long)seed, more, (unsigned long long)seed, program);
}

void storm_guard(const char *name)
{
    program = name;
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(guard_tell);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

uint64_t storm_seeds(uint64_t otherwise) { return number_of("SALLY_SEEDS", otherwise); }
uint64_t storm_only_seed(void) { return number_of("SALLY_SEED", 0); }
