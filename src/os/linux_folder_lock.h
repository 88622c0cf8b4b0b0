/* One at a time in a folder: for what takes several steps on a file of it and has to be seen as one
 * by everybody who asks here, in any process. No memory; any thread. */
#ifndef OS_LINUX_FOLDER_LOCK_H
#define OS_LINUX_FOLDER_LOCK_H

enum { FOLDER_LOCK_BUSY = -1, FOLDER_LOCK_NONE = -2, FOLDER_LOCK_TRIES = 500 };

/* Locks the folder that the path lies in, by flock(2) on the folder itself: that leaves no file
 * behind and ends with its process. Waits for another at most FOLDER_LOCK_TRIES milliseconds. A
 * descriptor for linux_folder_unlock; FOLDER_LOCK_BUSY; FOLDER_LOCK_NONE where there is no such
 * lock (a folder that may not be read, some network file systems). */
int linux_folder_lock(const char *path);

/* Also FOLDER_LOCK_NONE, for which it does nothing. Keeps errno. */
void linux_folder_unlock(int lock);

#endif
