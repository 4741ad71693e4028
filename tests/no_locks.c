/* A file system without locks: refuses those of fcntl and flock with the error number in NO_LOCKS_ERRNO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

static int refused(void) {
    const char *number = getenv("NO_LOCKS_ERRNO");
    errno = number ? atoi(number) : ENOLCK;
    return -1;
}

int flock(int file, int kind) {
    (void)file;
    (void)kind;
    return refused();
}

static int pass_on(const char *name, int file, int command, void *argument) {
    int (*next)(int, int, void *) = (int (*)(int, int, void *))dlsym(RTLD_NEXT, name);
    return next(file, command, argument);
}

static int is_lock(int command) {
    return command == F_SETLK || command == F_SETLKW || command == F_GETLK;
}

int fcntl(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return is_lock(command) ? refused() : pass_on("fcntl", file, command, argument);
}

int fcntl64(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return is_lock(command) ? refused() : pass_on("fcntl64", file, command, argument);
}
