#include <errno.h>
#include <netinet/in.h>
#include <sys/time.h>

#include "net/support/admission_tools.h"

/* A client from 127.0.0.LAST, with time limits. */
int dial_from(unsigned last, const char *address)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000000u + last);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = LIMIT_S};
    check(fd >= 0);
    check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    check(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    check(bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
    struct sockaddr_storage to;
    socklen_t len = address_of(address, &to);
    if (connect(fd, (struct sockaddr *)&to, len) == 0) return fd;
    if (errno == EINTR && connected_after_all(fd)) return fd;
    check(errno == ECONNRESET); /* refused before this thread ran again */
    hang_up(fd);
    return -1;
}

enum heard hear_from(int fd, unsigned ms) { return fd < 0 ? HEARD_RESET : hear_next(fd, ms); }

sally_admission_stats admission_stats(sally_server *server)
{
    sally_admission_stats stats;
    check_error(sally_server_admission_stats(server, &stats), 0);
    uint64_t sum = 0;
    for (int why = 0; why < SALLY_REFUSALS; why++) sum += stats.refused_for[why];
    check(sum <= server_stats(server).refused); /* counted a moment later */
    return stats;
}

uint64_t refused(sally_server *server, sally_refusal why)
{
    return admission_stats(server).refused_for[why];
}

sally_bans *bans_new(void)
{
    sally_bans *bans = NULL;
    check_error(sally_bans_create(&bans, NULL), 0);
    return bans;
}

void check_served_from(unsigned last, const char *address) { check(is_served_from(last, address)); }

void check_reset_from(unsigned last, const char *address)
{
    int fd = dial_from(last, address);
    check_equal(hear_from(fd, LIMIT_S * 1000), HEARD_RESET);
    if (fd >= 0) hang_up(fd);
}

void serve_with(struct rig *rig, struct tally *tally, const struct setting *setting,
                const sally_server_options *options, sally_server **server, char *address)
{
    rig_open(rig, setting);
    rig_start(rig);
    *server = serve(rig, tally, options, address);
}

bool is_served_from(unsigned last, const char *address)
{
    int fd = dial_from(last, address);
    bool served = fd >= 0 && echoes(fd);
    if (fd >= 0) hang_up(fd);
    return served;
}
