/* Tells the seed of a run that dies of a fault; see storm.h. Of a failed assertion it says nothing:
 * that leaves by abort(), which the C library here gives nobody to see. One thread. */
#include "sim/support/guard.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "sim/support/storm.h"

static char words[512];
static const char *program = "";

void guard_tell(void)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), words, (DWORD)strlen(words), &written, NULL);
}

static LONG WINAPI die(EXCEPTION_POINTERS *exception)
{
    (void)exception;
    guard_tell();
    return EXCEPTION_CONTINUE_SEARCH;
}

void guard_seed(uint64_t seed, const char *more)
{
    snprintf(words, sizeof words, "seed=%llu %s\nreplay: SALLY_SEED=%llu SALLY_TRACE=1 %s\n",
             (unsigned long long)seed, more, (unsigned long long)seed, program);
}

void storm_guard(const char *name)
{
    program = name;
    SetUnhandledExceptionFilter(die);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

uint64_t storm_seeds(uint64_t otherwise) { return number_of("SALLY_SEEDS", otherwise); }
uint64_t storm_only_seed(void) { return number_of("SALLY_SEED", 0); }
