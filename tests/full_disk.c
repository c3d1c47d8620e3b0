// A disk that is full while the file $FULL_DISK exists: files do not grow, but can be overwritten.
// Preloaded into a server (LD_PRELOAD). Declares what it uses, so that it needs no headers.
typedef long ssize_t, off_t;
typedef unsigned long size_t;
struct iovec { void *data; size_t size; };

extern int access(const char *, int);
extern int *__errno_location(void);
extern void *dlsym(void *, const char *);
extern char *getenv(const char *);
extern off_t lseek(int, off_t, int);

enum { FROM_START, FROM_HERE, FROM_END };
enum { ENOSPC = 28 };
#define NEXT(name) ((__typeof__(&name))dlsym((void *)-1, #name))
#define REFUSE return *__errno_location() = ENOSPC, -1

static int is_refused(int fd, off_t end) {
    const char *flag = getenv("FULL_DISK");
    if (flag == 0 || access(flag, 0) != 0) return 0;
    off_t here = lseek(fd, 0, FROM_HERE);
    if (here < 0) return 0;
    off_t size = lseek(fd, 0, FROM_END);
    lseek(fd, here, FROM_START);
    return end > size;
}

static off_t total(const struct iovec *parts, int count) {
    off_t size = 0;
    for (int number = 0; number < count; number++) size += (off_t)parts[number].size;
    return size;
}

ssize_t write(int fd, const void *data, size_t size) {
    off_t at = lseek(fd, 0, FROM_HERE);
    if (at >= 0 && is_refused(fd, at + (off_t)size)) REFUSE;
    return NEXT(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (is_refused(fd, at + (off_t)size)) REFUSE;
    return NEXT(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    if (is_refused(fd, at + (off_t)size)) REFUSE;
    return NEXT(pwrite64)(fd, data, size, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (is_refused(fd, at + total(parts, count))) REFUSE;
    return NEXT(pwritev)(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
    if (is_refused(fd, at + total(parts, count))) REFUSE;
    return NEXT(pwritev64)(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t size) {
    return is_refused(fd, at + size) ? ENOSPC : NEXT(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off_t at, off_t size) {
    return is_refused(fd, at + size) ? ENOSPC : NEXT(posix_fallocate64)(fd, at, size);
}
