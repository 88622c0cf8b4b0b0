/* A small file read or written in one piece: settings and lists. Blocks; so never on a shard's
 * thread. Any other. */
#ifndef OS_WHOLE_FILE_H
#define OS_WHOLE_FILE_H

#include <stddef.h>

#include "base/mem.h"

/* Memory of the caller's, who frees it: *size bytes; NULL and 0 for an empty file. SALLY_EACCES,
 * SALLY_ELIMIT (longer than bytes_max), SALLY_ENOMEM, SALLY_ESYSTEM (it is not there, is a folder,
 * or can't be read), with the system's code beside it or 0. */
int whole_file_read(const char *path, size_t bytes_max, struct mem *mem, char **data, size_t *size,
                    int *sys_error);

/* Puts a new file in the place of the old one, so that whoever reads it finds one or the other and
 * never a half, also after a power cut (fsync(2), rename(2); MoveFileEx). PATH.new beside it is
 * used on the way and gone after, unless the machine stops meanwhile. Errors as above. */
int whole_file_replace(const char *path, const char *data, size_t size, int *sys_error);

#endif
