/* Where lines go that nobody asked for elsewhere. */
#ifndef OS_LOG_H
#define OS_LOG_H

/* One line to stderr, whole. */
void os_log_line(const char *line);

#endif
