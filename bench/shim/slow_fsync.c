/* LD_PRELOAD shim: a slow disk, and a count of its flushes.
   SLOW_FSYNC_US: sleep so long after each fsync and fdatasync.  SLOW_FSYNC_COUNT: a file whose first 8 bytes count them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int (*real_fsync)(int), (*real_fdatasync)(int);
static useconds_t delay;
static _Atomic unsigned long long nowhere, *count = &nowhere;

__attribute__((constructor)) static void load(void) {
    const char *us = getenv("SLOW_FSYNC_US"), *path = getenv("SLOW_FSYNC_COUNT");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    delay = us ? (useconds_t)atol(us) : 0;
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED) count = page;
        close(fd);
    }
}

static int slowed(int (*real)(int), int fd) {
    int result = real(fd);
    if (delay) usleep(delay);
    atomic_fetch_add(count, 1);
    return result;
}

int fsync(int fd) { return slowed(real_fsync, fd); }
int fdatasync(int fd) { return slowed(real_fdatasync, fd); }
