/* Faults of the disk, for the files of one store only. Loaded before libc (LD_PRELOAD).
 *
 * FAULTS_PREFIX  files whose path begins with it have faults
 * FAULTS_ORDERS  a file that the parent writes: what to do, read before each call
 *
 * Orders are four 32-bit numbers: mode, how many calls are to fail, how many did, how many writes
 * were taken back.
 *   1 write: EIO   2 write: half of it, and ENOSPC for the rest, in turn   3 write: ENOSPC
 *   4 fsync: EIO
 *   5 fsync: EIO, and what was written since the last one is lost: old content is back
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct orders { volatile uint32_t mode; volatile uint32_t left; volatile uint32_t hits; volatile uint32_t back; };

/* What stood where something was written since the last fsync of its file. */
struct old { struct old *before; dev_t dev; ino_t ino; off_t at; off_t size; size_t len; char bytes[]; };

static struct orders *orders;
static const char *prefix;
static struct old *olds;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void resolve(void) {
    if (!real_write) real_write = dlsym(RTLD_NEXT, "write");
    if (!real_pwrite) real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    if (!real_pwritev) real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
    if (!real_ftruncate) real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    if (!real_fsync) real_fsync = dlsym(RTLD_NEXT, "fsync");
    if (!real_fdatasync) real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

__attribute__((constructor)) static void begin(void) {
    resolve();
    prefix = getenv("FAULTS_PREFIX");
    const char *path = getenv("FAULTS_ORDERS");
    int fd = path ? open(path, O_RDWR) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    orders = at == MAP_FAILED ? NULL : at;
}

static int ours(int fd) {
    char link[64], path[PATH_MAX];
    if (!orders || !prefix) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    size_t begins = strlen(prefix);
    if (strncmp(path, prefix, begins) != 0) return 0;
    const char *rest = path + begins;
    return strcmp(rest, "") == 0 || strcmp(rest, "-wal") == 0 || strcmp(rest, "-journal") == 0;
}

/* Whether this call of a kind is one of those that fail now: the mode, or 0. */
static uint32_t fails(int is_sync) {
    uint32_t mode = orders->mode;
    if (mode == 0 || is_sync != (mode >= 4)) return 0;
    uint32_t left = orders->left;
    while (left > 0) {
        if (__sync_bool_compare_and_swap(&orders->left, left, left - 1)) {
            __sync_fetch_and_add(&orders->hits, 1);
            return mode;
        }
        left = orders->left;
    }
    return 0;
}

/* Remembers what stands where something is about to be written. */
static void remember(int fd, off_t at, size_t len) {
    struct stat about;
    if (orders->mode != 5 || fstat(fd, &about) != 0) return;
    struct old *old = malloc(sizeof *old + len);
    if (!old) return;
    ssize_t had = pread(fd, old->bytes, len, at);
    *old = (struct old){olds, about.st_dev, about.st_ino, at, about.st_size, had > 0 ? (size_t)had : 0};
    olds = old;
}

/* Forgets what was written to a file, or puts it back. Newest first, so the oldest wins. */
static void settle(int fd, int back) {
    struct stat about;
    if (fstat(fd, &about) != 0) return;
    struct old **at = &olds;
    while (*at) {
        struct old *old = *at;
        if (old->dev != about.st_dev || old->ino != about.st_ino) { at = &old->before; continue; }
        if (back) {
            if (real_pwrite(fd, old->bytes, old->len, old->at) < 0) perror("faults: put back");
            if (real_ftruncate(fd, old->size) != 0) perror("faults: cut back");
            orders->back++;
        }
        *at = old->before;
        free(old);
    }
}

static ssize_t faulty_write(int fd, const void *bytes, size_t len, off_t at, int has_place) {
    pthread_mutex_lock(&lock);
    uint32_t mode = fails(0);
    off_t place = has_place ? at : lseek(fd, 0, SEEK_CUR);
    ssize_t done = -1;
    int error = 0;
    if (mode == 1) error = EIO;
    else if (mode == 3 || (mode == 2 && orders->hits % 2 == 0)) error = ENOSPC;
    else {
        if (mode == 2 && len > 1) len /= 2;
        remember(fd, place, len);
        done = has_place ? real_pwrite(fd, bytes, len, at) : real_write(fd, bytes, len);
        error = errno;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    resolve();
    return ours(fd) ? faulty_write(fd, bytes, len, 0, 0) : real_write(fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    resolve();
    return ours(fd) ? faulty_write(fd, bytes, len, at, 1) : real_pwrite(fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    return pwrite(fd, bytes, len, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    resolve();
    if (!ours(fd)) return real_pwritev(fd, parts, count, at);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = faulty_write(fd, parts[i].iov_base, parts[i].iov_len, at + all, 1);
        if (done < 0) return all > 0 ? all : done;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    return pwritev(fd, parts, count, at);
}

int ftruncate(int fd, off_t size) {
    resolve();
    if (!ours(fd)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    uint32_t mode = fails(0);
    int done = -1;
    if (mode == 0) {
        struct stat about;
        /* All that is cut off, so that it can come back. */
        if (orders->mode == 5 && fstat(fd, &about) == 0 && size < about.st_size)
            remember(fd, size, (size_t)(about.st_size - size));
        done = real_ftruncate(fd, size);
    } else {
        errno = mode == 3 ? ENOSPC : EIO;
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int faulty_sync(int fd, int (*real)(int)) {
    pthread_mutex_lock(&lock);
    uint32_t mode = fails(1);
    int done = mode ? -1 : real(fd);
    int error = mode ? EIO : errno;
    if (mode == 5) settle(fd, 1);
    else if (done == 0) settle(fd, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fsync(int fd) {
    resolve();
    return ours(fd) ? faulty_sync(fd, real_fsync) : real_fsync(fd);
}

int fdatasync(int fd) {
    resolve();
    return ours(fd) ? faulty_sync(fd, real_fdatasync) : real_fdatasync(fd);
}
