// A disk that is full while the file $FULL_DISK exists: files do not grow, but can be overwritten.
// Preloaded into a server (LD_PRELOAD).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_refused(int fd, off_t end) {
    struct stat found;
    const char *flag = getenv("FULL_DISK");
    if (flag == NULL || access(flag, F_OK) != 0) return 0;
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
    return end > found.st_size;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE return errno = ENOSPC, -1

ssize_t write(int fd, const void *data, size_t size) {
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at >= 0 && is_refused(fd, at + (off_t)size)) REFUSE;
    return NEXT(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (is_refused(fd, at + (off_t)size)) REFUSE;
    return NEXT(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (is_refused(fd, at + (off_t)size)) REFUSE;
    return NEXT(pwrite64)(fd, data, size, at);
}

static off_t total(const struct iovec *parts, int count) {
    off_t size = 0;
    for (int number = 0; number < count; number++) size += (off_t)parts[number].iov_len;
    return size;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (is_refused(fd, at + total(parts, count))) REFUSE;
    return NEXT(pwritev)(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    if (is_refused(fd, at + total(parts, count))) REFUSE;
    return NEXT(pwritev64)(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t size) {
    return is_refused(fd, at + size) ? ENOSPC : NEXT(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    return is_refused(fd, at + size) ? ENOSPC : NEXT(posix_fallocate64)(fd, at, size);
}
