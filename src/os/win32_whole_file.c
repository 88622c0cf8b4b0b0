#include "os/whole_file.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <windows.h>

#include "sallyport/error.h"

static int file__failed(int *sys_error)
{
    *sys_error = (int)GetLastError();
    return *sys_error == ERROR_ACCESS_DENIED ? SALLY_EACCES : SALLY_ESYSTEM;
}

static int file__read(HANDLE file, size_t bytes_max, struct mem *mem, char **data, size_t *size,
                      int *sys_error)
{
    LARGE_INTEGER bytes;
    DWORD got = 0;
    if (!GetFileSizeEx(file, &bytes)) return file__failed(sys_error);
    if ((uint64_t)bytes.QuadPart > bytes_max || (uint64_t)bytes.QuadPart > UINT32_MAX)
        return SALLY_ELIMIT;
    *size = (size_t)bytes.QuadPart;
    if (!*size) return 0;
    *data = mem_alloc(mem, *size);
    if (!*data) return SALLY_ENOMEM;
    if (ReadFile(file, *data, (DWORD)*size, &got, NULL) && got == *size) return 0;
    int err = file__failed(sys_error);
    mem_free(mem, *data, *size);
    *data = NULL;
    return err;
}

int whole_file_read(const char *path, size_t bytes_max, struct mem *mem, char **data, size_t *size,
                    int *sys_error)
{
    *data = NULL;
    *size = 0;
    *sys_error = 0;
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) return file__failed(sys_error);
    int err = file__read(file, bytes_max, mem, data, size, sys_error);
    CloseHandle(file);
    return err;
}

static bool file__write(HANDLE file, const char *data, size_t size)
{
    while (size) {
        DWORD took = 0, piece = size < 1 << 30 ? (DWORD)size : 1 << 30;
        if (!WriteFile(file, data, piece, &took, NULL)) return false;
        data += took;
        size -= took;
    }
    return FlushFileBuffers(file);
}

int whole_file_replace(const char *path, const char *data, size_t size, int *sys_error)
{
    char beside[MAX_PATH];
    *sys_error = 0;
    int len = snprintf(beside, sizeof beside, "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof beside) {
        *sys_error = ERROR_FILENAME_EXCED_RANGE;
        return SALLY_ESYSTEM;
    }
    HANDLE file =
        CreateFileA(beside, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) return file__failed(sys_error);
    int err = file__write(file, data, size) ? 0 : file__failed(sys_error);
    CloseHandle(file);
    if (!err && !MoveFileExA(beside, path, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
        err = file__failed(sys_error);
    if (err) DeleteFileA(beside);
    return err;
}
