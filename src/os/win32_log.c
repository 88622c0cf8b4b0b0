/* One write, so that the lines of several threads don't mix; a longer line is cut. Any thread. */
#include "os/log.h"

#include <stdio.h>
#include <windows.h>

enum { LINE_MAX_BYTES = 1024 };

void os_log_line(const char *line)
{
    char text[LINE_MAX_BYTES];
    int len = snprintf(text, sizeof text - 1, "sallyport: %s", line);
    if (len < 0) return;
    if (len > (int)sizeof text - 2) len = (int)sizeof text - 2;
    text[len++] = '\n';
    DWORD written;
    (void)WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, (DWORD)len, &written, NULL);
}
