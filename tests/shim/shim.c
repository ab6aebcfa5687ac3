// What the operating system may do to a process, done to it on purpose: a library for LD_PRELOAD that counts calls by file, and
// lets the n-th fail, come short, take its time, or be the last thing that the process ever did.
//
// SHIM_RULES    one rule a line, `CALLS PATH FROM TO ACTION`: in which calls (write, sync, truncate, open, read, socket, rename, link,
//               unlink, thread, connect, resolve),
//               on which file (the end of its path, or any part of it after a `*`; for connect the address, like `8.8.8.8:80`, for
//               resolve the name), from the how manyth call to the how manyth
//               (0: for ever), does what:
//               errno:N      fails with this error
//               short:N      N bytes are enough, of a write or read
//               delay:N      begins N milliseconds later
//               kill-before  the process dies instead
//               kill-after   the process dies when it is done
//               tear:N       of a write only the first N bytes are done, then the process dies
//               copy:FOLDER  when it is done, the file is copied to FOLDER under its own name: what survives a loss of power
//               count        nothing
// SHIM_COUNTS   a file with a 64-bit number for each rule: how many calls it was about so far; and one more behind those of all rules, which
//               may be written at any time: by how many seconds the time of day is off from then on
// SHIM_KILL_US  the process dies so many microseconds after its start
// SHIM_CLOCK    `EVERY OFFSET…`: the time of day is off by so many seconds, by the next offset after every so many readings
// SHIM_HOSTS    one name a line, `NAME ADDRESS,…;ADDRESS,…`: the addresses that its first, second, … question is answered with; the
//               last of them stands
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, OPEN = 8, READ = 16, SOCKET = 32, RENAME = 64, THREAD = 128, CONNECT = 256, RESOLVE = 512, LINK = 1024, UNLINK = 2048 };
enum action { COUNT, ERRNO, SHORT, DELAY, KILL_BEFORE, KILL_AFTER, TEAR, COPY };
enum { MAX_RULES = 16, MAX_OFFSETS = 16, MAX_HOSTS = 8 };

struct rule {
    unsigned calls;
    char path[256];
    unsigned long long from, to;
    enum action action;
    long number;
    char folder[PATH_MAX];
};

struct host {
    char name[128], answers[1024];
    _Atomic int asked;
};

// What the rules say about one call.
struct verdict {
    long error, most;
    int tear, kill_after;
    const char *copy;
};

static struct rule rules[MAX_RULES];
static int rule_count;
static _Atomic unsigned long long own_counts[MAX_RULES + 1];
static _Atomic unsigned long long *counts = own_counts;
static long clock_every, clock_offsets[MAX_OFFSETS];
static int offset_count;
static _Atomic long clock_readings;
static struct host hosts[MAX_HOSTS];
static int host_count;

#define REAL(type, name, ...)                                            \
    static type (*real)(__VA_ARGS__);                                    \
    if (!real)                                                           \
        *(void **)&real = dlsym(RTLD_NEXT, name)

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static unsigned call_named(const char *name) {
    static const struct { const char *name; unsigned call; } names[] = {
        {"write", WRITE}, {"sync", SYNC}, {"truncate", TRUNCATE}, {"open", OPEN},
        {"read", READ}, {"socket", SOCKET}, {"rename", RENAME}, {"link", LINK},
        {"unlink", UNLINK}, {"thread", THREAD}, {"connect", CONNECT}, {"resolve", RESOLVE},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name))
            return names[i].call;
    fprintf(stderr, "shim: there is no call %s\n", name);
    abort();
}

static void parse_action(struct rule *rule, const char *text) {
    static const struct { const char *name; enum action action; } names[] = {
        {"count", COUNT}, {"errno", ERRNO}, {"short", SHORT}, {"delay", DELAY},
        {"kill-before", KILL_BEFORE}, {"kill-after", KILL_AFTER}, {"tear", TEAR}, {"copy", COPY},
    };
    size_t length = strcspn(text, ":");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == length && !strncmp(text, names[i].name, length)) {
            rule->action = names[i].action;
            const char *argument = text[length] ? text + length + 1 : "";
            rule->number = atol(argument);
            snprintf(rule->folder, sizeof rule->folder, "%s", argument);
            return;
        }
    fprintf(stderr, "shim: there is no action %s\n", text);
    abort();
}

static void parse_rule(const char *line) {
    char calls[128], action[PATH_MAX];
    struct rule *rule = &rules[rule_count];
    if (rule_count == MAX_RULES ||
        sscanf(line, "%127s %255s %llu %llu %4095s", calls, rule->path, &rule->from, &rule->to, action) != 5) {
        fprintf(stderr, "shim: this is no rule, or one too many: %s\n", line);
        abort();
    }
    for (char *rest, *name = strtok_r(calls, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        rule->calls |= call_named(name);
    parse_action(rule, action);
    rule_count++;
}

static void parse_host(const char *line) {
    struct host *host = &hosts[host_count];
    if (host_count == MAX_HOSTS || sscanf(line, "%127s %1023s", host->name, host->answers) != 2) {
        fprintf(stderr, "shim: this is no host, or one too many: %s\n", line);
        abort();
    }
    host_count++;
}

static void set_timer(const char *microseconds) {
    long long us = atoll(microseconds);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {.it_value = {us / 1000000, us % 1000000 * 1000 + 1}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL))
        abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SHIM_RULES"), *file = getenv("SHIM_COUNTS");
    char *copy = strdup(text ? text : "");
    for (char *rest, *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        parse_rule(line);
    free(copy);
    copy = strdup((text = getenv("SHIM_HOSTS")) ? text : "");
    for (char *rest, *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        parse_host(line);
    free(copy);
    if (file) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
        void *shared = mmap(NULL, sizeof own_counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (shared == MAP_FAILED)
            abort();
        counts = shared;
        syscall(SYS_close, fd);
    }
    if ((text = getenv("SHIM_CLOCK"))) {
        char *end;
        clock_every = strtol(text, &end, 10);
        for (const char *at = end; *at && offset_count < MAX_OFFSETS; at = end)
            clock_offsets[offset_count++] = strtol(at, &end, 10);
    }
    if ((text = getenv("SHIM_KILL_US")))
        set_timer(text);
}

static int is_of(const struct rule *rule, const char *path) {
    size_t length = strlen(path), wanted = strlen(rule->path);
    if (rule->path[0] == '*')
        return strstr(path, rule->path + 1) != NULL;
    return length >= wanted && !strcmp(path + length - wanted, rule->path);
}

// Counts the call, does what comes before it, and says what else is to be done.
static struct verdict judge(unsigned call, const char *path) {
    struct verdict verdict = {.most = -1};
    for (struct rule *rule = rules; rule < rules + rule_count; rule++) {
        if (!(rule->calls & call) || !is_of(rule, path))
            continue;
        unsigned long long n = atomic_fetch_add(&counts[rule - rules], 1) + 1;
        if (n < rule->from || (rule->to && n > rule->to))
            continue;
        switch (rule->action) {
        case COUNT: break;
        case ERRNO: verdict.error = rule->number; break;
        case SHORT: verdict.most = rule->number; break;
        case DELAY: nanosleep(&(struct timespec){rule->number / 1000, rule->number % 1000 * 1000000}, NULL); break;
        case KILL_BEFORE: die(); break;
        case KILL_AFTER: verdict.kill_after = 1; break;
        case TEAR: verdict.tear = 1, verdict.most = rule->number; break;
        case COPY: verdict.copy = rule->folder; break;
        }
    }
    return verdict;
}

static struct verdict judge_fd(unsigned call, int fd) {
    char link[64], path[PATH_MAX] = "";
    if (!rule_count)
        return (struct verdict){.most = -1};
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    errno = before;
    return judge(call, path);
}

// What was synced survives: the file as it is now takes the place of its earlier copy, as a whole.
static void keep_copy(int fd, const char *folder) {
    char link[64], path[PATH_MAX], target[2 * PATH_MAX], draft[2 * PATH_MAX + 8], block[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    struct stat stat;
    if (length < 0 || fstat(fd, &stat) || !S_ISREG(stat.st_mode))
        return;
    path[length] = 0;
    snprintf(target, sizeof target, "%s/%s", folder, strrchr(path, '/') + 1);
    snprintf(draft, sizeof draft, "%s.draft", target);
    int from = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    int to = (int)syscall(SYS_openat, AT_FDCWD, draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (ssize_t n; (n = syscall(SYS_read, from, block, sizeof block)) > 0;)
        if (syscall(SYS_write, to, block, n) != n)
            abort();
    syscall(SYS_close, from);
    syscall(SYS_close, to);
    if (syscall(SYS_renameat2, AT_FDCWD, draft, AT_FDCWD, target, 0))
        abort();
}

#define BOUNDED(fd, size, verdict, call)                                 \
    do {                                                                 \
        if ((verdict).error)                                             \
            return errno = (int)(verdict).error, -1;                     \
        if ((verdict).most >= 0 && (size_t)(verdict).most < size)        \
            size = (size_t)(verdict).most;                               \
        ssize_t done = (call);                                           \
        if ((verdict).tear || (verdict).kill_after)                      \
            die();                                                       \
        return done;                                                     \
    } while (0)

#define PLAIN(fd, verdict, call)                                         \
    do {                                                                 \
        if ((verdict).error)                                             \
            return errno = (int)(verdict).error, -1;                     \
        int done = (call);                                               \
        if ((verdict).copy && done == 0)                                 \
            keep_copy(fd, (verdict).copy);                               \
        if ((verdict).kill_after)                                        \
            die();                                                       \
        return done;                                                     \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    struct verdict verdict = judge_fd(WRITE, fd);
    BOUNDED(fd, size, verdict, real(fd, bytes, size));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    struct verdict verdict = judge_fd(WRITE, fd);
    PLAIN(fd, verdict, (int)real(fd, parts, count));
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    struct verdict verdict = judge_fd(WRITE, fd);
    BOUNDED(fd, size, verdict, real(fd, bytes, size, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    struct verdict verdict = judge_fd(WRITE, fd);
    BOUNDED(fd, size, verdict, real(fd, bytes, size, at));
}

ssize_t read(int fd, void *bytes, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    struct verdict verdict = judge_fd(READ, fd);
    BOUNDED(fd, size, verdict, real(fd, bytes, size));
}

ssize_t pread64(int fd, void *bytes, size_t size, off64_t at) {
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    struct verdict verdict = judge_fd(READ, fd);
    BOUNDED(fd, size, verdict, real(fd, bytes, size, at));
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    struct verdict verdict = judge_fd(SYNC, fd);
    PLAIN(fd, verdict, real(fd));
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    struct verdict verdict = judge_fd(SYNC, fd);
    PLAIN(fd, verdict, real(fd));
}

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    struct verdict verdict = judge_fd(TRUNCATE, fd);
    PLAIN(fd, verdict, real(fd, size));
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    struct verdict verdict = judge_fd(TRUNCATE, fd);
    PLAIN(fd, verdict, real(fd, size));
}

#define MODE(flags, mode)                                                \
    mode_t mode = 0;                                                     \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                               \
        va_list rest;                                                    \
        va_start(rest, flags);                                           \
        mode = va_arg(rest, mode_t);                                     \
        va_end(rest);                                                    \
    }

int open(const char *path, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    MODE(flags, mode)
    struct verdict verdict = judge(OPEN, path);
    PLAIN(-1, verdict, real(path, flags, mode));
}

int open64(const char *path, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    MODE(flags, mode)
    struct verdict verdict = judge(OPEN, path);
    PLAIN(-1, verdict, real(path, flags, mode));
}

int socket(int domain, int type, int protocol) {
    REAL(int, "socket", int, int, int);
    struct verdict verdict = judge(SOCKET, "");
    PLAIN(-1, verdict, real(domain, type, protocol));
}

int connect(int fd, const struct sockaddr *to, socklen_t size) {
    REAL(int, "connect", int, const struct sockaddr *, socklen_t);
    char address[INET6_ADDRSTRLEN + 2] = "", path[sizeof address + 8] = "";
    if (to->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)to;
        inet_ntop(AF_INET, &in->sin_addr, address, sizeof address);
        snprintf(path, sizeof path, "%s:%d", address, ntohs(in->sin_port));
    } else if (to->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)to;
        inet_ntop(AF_INET6, &in->sin6_addr, address, sizeof address);
        snprintf(path, sizeof path, "[%s]:%d", address, ntohs(in->sin6_port));
    }
    struct verdict verdict = judge(CONNECT, path);
    PLAIN(-1, verdict, real(fd, to, size));
}

// The addresses of the how manyth answer, between its `;`s.
static void nth_answer(const char *answers, int n, char *out, size_t size) {
    for (; n > 0 && strchr(answers, ';'); n--)
        answers = strchr(answers, ';') + 1;
    snprintf(out, size, "%.*s", (int)strcspn(answers, ";"), answers);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    REAL(int, "getaddrinfo", const char *, const char *, const struct addrinfo *, struct addrinfo **);
    judge(RESOLVE, name ? name : "");
    for (struct host *host = hosts; name && host < hosts + host_count; host++) {
        if (strcmp(host->name, name))
            continue;
        char answer[sizeof host->answers];
        nth_answer(host->answers, atomic_fetch_add(&host->asked, 1), answer, sizeof answer);
        struct addrinfo **last = found;
        for (char *rest, *address = strtok_r(answer, ",", &rest); address; address = strtok_r(NULL, ",", &rest)) {
            int failed = real(address, service, hints, last);
            if (failed)
                return failed;
            while (*last)
                last = &(*last)->ai_next;
        }
        return 0;
    }
    return real(name, service, hints, found);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    struct verdict verdict = judge(RENAME, to);
    PLAIN(-1, verdict, real(from, to));
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    struct verdict verdict = judge(LINK, to);
    PLAIN(-1, verdict, real(from, to));
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    struct verdict verdict = judge(LINK, to);
    PLAIN(-1, verdict, real(from_fd, from, to_fd, to, flags));
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    struct verdict verdict = judge(UNLINK, path);
    PLAIN(-1, verdict, real(path));
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *argument) {
    REAL(int, "pthread_create", pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    struct verdict verdict = judge(THREAD, "");
    return verdict.error ? (int)verdict.error : real(thread, how, start, argument);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int done = real(clock, now);
    if (done || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return done;
    now->tv_sec += (long long)atomic_load(&counts[MAX_RULES]);
    if (offset_count) {
        long n = atomic_fetch_add(&clock_readings, 1);
        now->tv_sec += clock_offsets[n / (clock_every ? clock_every : 1) % offset_count];
    }
    return done;
}
