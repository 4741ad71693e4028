/* Makes calls of the system fail, for tests: loaded by LD_PRELOAD, ruled by variables of the environment.

   REFUSE_CALLS    which calls, separated by commas: open, read, write, fsync, rename, lock
   REFUSE_ERRNO    the number of the error that they give
   REFUSE_PATH     only files whose path holds one of these words, separated by commas
   REFUSE_FIRST    the first matching call that may fail, counted from 1 over all processes
   REFUSE_COUNT    how many fail at most
   REFUSE_CHANCE   share of those that fail, in thousandths, drawn from REFUSE_SEED
   REFUSE_UNTIL    second of the monotonic clock after which nothing fails any more
   REFUSE_COUNTER  a file of 16 bytes that all processes share: matching calls so far, refused calls so far */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct counter { _Atomic uint64_t seen, refused; } *counter;
static const char *calls, *words;
static int number;
static uint64_t first, most, chance, seed;
static double until;

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 10) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("REFUSE_COUNTER");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared == MAP_FAILED) return;
    calls = getenv("REFUSE_CALLS");
    words = getenv("REFUSE_PATH");
    number = (int)number_of("REFUSE_ERRNO", EIO);
    first = number_of("REFUSE_FIRST", 1);
    most = number_of("REFUSE_COUNT", UINT64_MAX);
    chance = number_of("REFUSE_CHANCE", 1000);
    seed = number_of("REFUSE_SEED", 1);
    until = (double)number_of("REFUSE_UNTIL", UINT64_MAX);
    counter = shared;
}

/* Whether one of the words of a list, which commas part, is in a text (or is the whole of it). */
static int has_word(const char *list, const char *text, int whole) {
    char word[256];
    while (list && *list) {
        size_t length = strcspn(list, ",");
        if (length > 0 && length < sizeof word) {
            memcpy(word, list, length);
            word[length] = 0;
            if (whole ? !strcmp(word, text) : strstr(text, word) != NULL) return 1;
        }
        list += length + (list[length] == ',');
    }
    return 0;
}

static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static int refuses(const char *call, const char *path) {
    if (!counter || !has_word(calls, call, 1) || !has_word(words, path, 0)) return 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((double)now.tv_sec >= until) return 0;
    uint64_t place = atomic_fetch_add(&counter->seen, 1) + 1;
    if (place < first || mix(seed * 1000003u + place) % 1000 >= chance) return 0;
    if (atomic_load(&counter->refused) >= most) return 0;
    atomic_fetch_add(&counter->refused, 1);
    errno = number;
    return 1;
}

static int refuses_file(const char *call, int file) {
    char link[64], path[PATH_MAX];
    if (!counter || !has_word(calls, call, 1)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return refuses(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE_OF(flags)                                      \
    mode_t mode = 0;                                        \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                \
        va_list rest;                                       \
        va_start(rest, flags);                              \
        mode = va_arg(rest, mode_t);                        \
        va_end(rest);                                       \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags)
    return refuses("open", path) ? -1 : NEXT(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    return refuses("open", path) ? -1 : NEXT(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    return refuses("open", path) ? -1 : NEXT(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    return refuses("open", path) ? -1 : NEXT(openat64)(folder, path, flags, mode);
}
ssize_t read(int file, void *to, size_t size) {
    return refuses_file("read", file) ? -1 : NEXT(read)(file, to, size);
}
ssize_t write(int file, const void *from, size_t size) {
    return refuses_file("write", file) ? -1 : NEXT(write)(file, from, size);
}
ssize_t pwrite(int file, const void *from, size_t size, off_t place) {
    return refuses_file("write", file) ? -1 : NEXT(pwrite)(file, from, size, place);
}
ssize_t pwrite64(int file, const void *from, size_t size, off64_t place) {
    return refuses_file("write", file) ? -1 : NEXT(pwrite64)(file, from, size, place);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    return refuses_file("write", file) ? -1 : NEXT(writev)(file, parts, count);
}
int fsync(int file) { return refuses_file("fsync", file) ? -1 : NEXT(fsync)(file); }
int fdatasync(int file) { return refuses_file("fsync", file) ? -1 : NEXT(fdatasync)(file); }
int rename(const char *from, const char *to) {
    return refuses("rename", to) ? -1 : NEXT(rename)(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return refuses("rename", to) ? -1 : NEXT(renameat)(from_folder, from, to_folder, to);
}
int flock(int file, int kind) {
    int (*next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    return refuses_file("lock", file) ? -1 : next(file, kind);
}

static int is_lock(int command) {
    return command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK ||
           command == F_OFD_SETLKW || command == F_OFD_GETLK;
}
int fcntl(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *value = va_arg(rest, void *);
    va_end(rest);
    return is_lock(command) && refuses_file("lock", file) ? -1 : NEXT(fcntl)(file, command, value);
}
int fcntl64(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *value = va_arg(rest, void *);
    va_end(rest);
    return is_lock(command) && refuses_file("lock", file) ? -1 : NEXT(fcntl64)(file, command, value);
}
