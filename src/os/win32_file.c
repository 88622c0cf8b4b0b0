#include "os/file.h"

#include <windows.h>

#include "os/error.h"
#include "sallyport/error.h"

enum { PATH_UNITS_MAX = 4096 };

static int file__failed(DWORD sys, int *sys_error)
{
    int error = os_error_map((int)sys);
    *sys_error = (int)sys;
    return error == SALLY_EACCES || error == SALLY_EEXHAUSTED ? error : SALLY_EFILE;
}

int os_file_judge(os_file file, uint64_t *bytes, int *sys_error)
{
    LARGE_INTEGER size = {0};
    *sys_error = 0;
    if (GetFileType((HANDLE)file) != FILE_TYPE_DISK)
        return file__failed(ERROR_BAD_FILE_TYPE, sys_error);
    if (!GetFileSizeEx((HANDLE)file, &size)) return file__failed(GetLastError(), sys_error);
    *bytes = (uint64_t)size.QuadPart;
    return 0;
}

/* Not overlapped: a transfer takes its offset from its own struct in any case, and a plain read
 * needs no event. SEQUENTIAL_SCAN is what Microsoft's page of TransmitFile advises. */
int os_file_open(const char *path, os_file *file, uint64_t *bytes, int *sys_error)
{
    WCHAR wide[PATH_UNITS_MAX];
    *file = OS_NO_FILE;
    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, PATH_UNITS_MAX))
        return file__failed(GetLastError(), sys_error);
    HANDLE handle =
        CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, NULL);
    if (handle == INVALID_HANDLE_VALUE) return file__failed(GetLastError(), sys_error);
    int err = os_file_judge((os_file)handle, bytes, sys_error);
    if (err)
        CloseHandle(handle);
    else
        *file = (os_file)handle;
    return err;
}

void os_file_close(os_file file) { CloseHandle((HANDLE)file); }

int64_t os_file_read(os_file file, uint64_t offset, void *to, uint32_t len, int *sys_error)
{
    OVERLAPPED at = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
    DWORD got = 0;
    *sys_error = 0;
    if (offset > (uint64_t)INT64_MAX - len) return 0; /* no file goes so far */
    if (ReadFile((HANDLE)file, to, len, &got, &at)) return got;
    DWORD sys = GetLastError();
    if (sys == ERROR_HANDLE_EOF) return 0;
    *sys_error = (int)sys;
    return SALLY_EFILE;
}

/* No port of this system listens on a path, so no such file was made. */
void os_remove_socket_file(const char *path) { (void)path; }
