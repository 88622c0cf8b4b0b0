/* How many entries a folder of /proc has: descriptors, threads.
 *
 * Not by opendir(3): ThreadSanitizer doesn't see its descriptor made, but sees it closed, and takes
 * that for a race with whoever used the same number before. */
#ifndef SUPPORT_FOLDER_H
#define SUPPORT_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

static inline DIR *folder_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) abort();
    return dir;
}

static inline unsigned folder_entries(const char *path)
{
    unsigned count = 0;
    DIR *dir = folder_open(path);
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2; /* without "." and ".." */
}

#endif
