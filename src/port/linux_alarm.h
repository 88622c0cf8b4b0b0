/* A port's alarm: a timer descriptor that becomes readable when its time is over. Who watches it
 * has to be told of each expiry once (edge-triggered), for it is never read; setting it anew makes
 * it unreadable again. */
#ifndef PORT_LINUX_ALARM_H
#define PORT_LINUX_ALARM_H

#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>

/* The descriptor, or -1 with errno. */
static inline int linux_alarm_open(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}

/* 0 ms is the shortest time that there is. */
static inline int linux_alarm_set(int fd, uint32_t delay_ms)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = delay_ms / 1000, .tv_nsec = delay_ms % 1000 * 1000000L}};
    if (!delay_ms) when.it_value.tv_nsec = 1;
    return timerfd_settime(fd, 0, &when, NULL);
}

#endif
