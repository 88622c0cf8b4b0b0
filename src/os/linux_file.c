#include "os/file.h"

#include <sys/stat.h>
#include <unistd.h>

void os_remove_socket_file(const char *path)
{
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path);
}
