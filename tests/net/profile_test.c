/* Profiles and spinning, through the public interface but for what a profile sets. */
#include <string.h>

#include "net/profile.h"
#include "net/support/accept_tools.h"

enum { ECHOES = 2000, NAPS = 6, NAP_MS = 20 };

static void a_profile_sets_what_is_zero(const struct setting *setting)
{
    (void)setting;
    sally_engine_options options = {.profile = SALLY_PROFILE_LATENCY};
    check_equal(profile_apply(&options), 0);
    check_equal(options.spin_us, 50);
    check_equal(options.turn_events_max, 64);
    check_equal(options.send_chunk_bytes, 0);
    options = (sally_engine_options){.profile = SALLY_PROFILE_MANY_IDLE};
    check_equal(profile_apply(&options), 0);
    check_equal(options.send_chunk_bytes, 1024);
    check_equal(options.spin_us, 0);
    options = (sally_engine_options){.profile = SALLY_PROFILE_THROUGHPUT};
    check_equal(profile_apply(&options), 0);
    check_equal(options.send_chunk_bytes, 16384);
    check_equal(options.turn_events_max, 1024);
    check_equal(options.spin_us, 0);
}

static void a_profile_leaves_what_is_set(const struct setting *setting)
{
    (void)setting;
    for (int profile = SALLY_PROFILE_DEFAULT; profile <= SALLY_PROFILE_LATENCY; profile++) {
        sally_engine_options options = {.profile = (sally_profile)profile,
                                        .spin_us = 7,
                                        .turn_events_max = 8,
                                        .send_chunk_bytes = 900};
        sally_engine_options before = options;
        check_equal(profile_apply(&options), 0);
        check_equal(memcmp(&options, &before, sizeof options), 0);
    }
    sally_engine_options options = {0};
    check_equal(profile_apply(&options), 0);
    check_equal(options.spin_us + options.turn_events_max + options.send_chunk_bytes, 0);
}

static void what_there_is_not_is_refused(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine = NULL;
    sally_engine_options options = {.profile = (sally_profile)(SALLY_PROFILE_LATENCY + 1)};
    check_error(sally_engine_create(&engine, &options), SALLY_EINVAL);
    options = (sally_engine_options){.spin_us = SALLY_SPIN_US_MAX + 1};
    check_error(sally_engine_create(&engine, &options), SALLY_EINVAL);
    check_equal(engine == NULL, 1);
}

static void echo_often(const char *address)
{
    int fd = dial(address);
    char byte = 'x';
    for (int n = 0; n < ECHOES; n++) {
        say(fd, &byte, 1);
        check(hear(fd, &byte, 1));
    }
    hang_up(fd);
}

static void every_profile_serves(const struct setting *setting)
{
    for (int profile = SALLY_PROFILE_DEFAULT; profile <= SALLY_PROFILE_LATENCY; profile++) {
        struct rig rig;
        struct tally tally;
        char address[TEXT_MAX];
        rig_prepare(&rig, setting);
        rig.options.profile = (sally_profile)profile;
        rig_create(&rig);
        rig_start(&rig);
        tally_init(&tally);
        serve(&rig, &tally, NULL, address);
        echo_often(address);
        /* whether it pays is the machine's business, that it never does without is ours */
        if (profile != SALLY_PROFILE_LATENCY) check_equal(rig_stats(&rig).spins, 0);
        rig_end(&rig);
        tally_check(&tally);
    }
}

static bool sleeps(struct rig *rig)
{
    uint64_t before = rig_stats(rig).turns;
    /* several: a thread that spins may have lost its core for one of them */
    for (int n = 0; n < NAPS; n++) {
        tools_nap_ms(NAP_MS);
        if (rig_stats(rig).turns != before) return false;
    }
    return true;
}

/* The limit is so long that the next request comes within it on any machine. */
static void it_spins_under_traffic_and_sleeps_without(const struct setting *setting)
{
    struct rig rig;
    struct tally tally;
    char address[TEXT_MAX];
    rig_prepare(&rig, setting);
    rig.options.spin_us = SALLY_SPIN_US_MAX;
    rig_create(&rig);
    rig_start(&rig);
    tally_init(&tally);
    serve(&rig, &tally, NULL, address);
    until(sleeps(&rig));
    echo_often(address);
    check(rig_stats(&rig).spins > 0);
    until(sleeps(&rig));
    rig_end(&rig);
    tally_check(&tally);
}

int main(void)
{
    const struct behaviour list[] = {
        BEHAVIOUR(a_profile_sets_what_is_zero, ANYWHERE),
        BEHAVIOUR(a_profile_leaves_what_is_set, ANYWHERE),
        BEHAVIOUR(what_there_is_not_is_refused, ANYWHERE),
        BEHAVIOUR(every_profile_serves, ON_ONE),
        BEHAVIOUR(it_spins_under_traffic_and_sleeps_without, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
