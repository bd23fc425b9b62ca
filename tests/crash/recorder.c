/* Records what a program and its children do to the files below one directory, system call by system
 * call, in one order, with the bytes written.
 *
 *     recorder DIRECTORY LOG PROGRAM [ARGUMENT...]
 *
 * It stands between the program and the kernel (ptrace, with a seccomp filter so that other calls run
 * at full speed), and not between the program and libc: the daemon makes some calls, renameat2 among
 * them, without libc, and what is not recorded cannot be lost in a replay.
 *
 * A call is recorded when it has come back, before the thread that made it goes on: whoever hears of
 * its success finds it in LOG. A sync is recorded twice, as it begins and as it ends: it makes durable
 * what was recorded before its beginning, from its end on.
 *
 * TERM and INT are passed on. USR1 kills the program at a moment when none of its threads is within a
 * recorded call, so that LOG and the directory agree. LOG is appended to: programs that follow each
 * other on one directory may share one. Exit status: the program's, or 128 + its signal; 125 if
 * recording failed; 126 if the program did something whose effect on files is not recorded.
 *
 * LOG is a row of records in the machine's byte order: a `struct record`, then its two byte strings.
 * replay.py reads it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <linux/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "only the calls of x86-64 are known here"
#endif

enum kind {
    OPENED = 'O',    /* inode, extra: 1 if truncated; path */
    WRITTEN = 'W',   /* inode, offset; bytes */
    TRUNCATED = 'T', /* inode, offset: the new size */
    RESERVED = 'A',  /* inode, offset, length, extra: the mode of fallocate */
    DIRECTORY = 'D', /* inode; path */
    LINKED = 'L',    /* inode; old path, new path */
    RENAMED = 'R',   /* extra: the flags of renameat2; old path, new path */
    REMOVED = 'U',   /* path; of a file or a directory */
    SYNCING = 'f',   /* inode; a sync of one file or directory begins */
    SYNCED = 'F',    /* inode; the last one of this thread has ended well */
    STARTED = 'P',   /* a program starts; its pid is in `thread` */
};

struct record {
    uint32_t kind, thread;
    uint64_t inode, offset, length, extra;
    uint32_t size1, size2;
};

enum { THREADS_MAX = 4096, PATH_SIZE = 4096, WRITE_MAX = 1 << 28 };

/* A thread within a recorded call. */
struct thread {
    pid_t id;
    int busy;
    long call;
    uint64_t arguments[6];
    uint64_t inode;
    char path1[PATH_SIZE], path2[PATH_SIZE];
    char *bytes;
    size_t size;
};

static struct thread *threads[THREADS_MAX];
static const char *root;
static size_t root_length;
static int log_fd;
static volatile sig_atomic_t child, killing, busy;
static int unrecorded;

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("recorder: ", stderr);
    vfprintf(stderr, format, values);
    fprintf(stderr, " (%s)\n", strerror(errno));
    va_end(values);
    if (child) kill(child, SIGKILL);
    exit(125);
}

/* ---- the log ---- */

static void append(struct record record, const void *bytes1, const void *bytes2) {
    struct iovec parts[3] = {{&record, sizeof record},
                             {(void *)bytes1, record.size1},
                             {(void *)bytes2, record.size2}};
    ssize_t size = sizeof record + record.size1 + record.size2;
    if (writev(log_fd, parts, 3) != size) fail("cannot append to the log");
}

static void append_path(enum kind kind, struct thread *thread, uint64_t inode, uint64_t extra) {
    struct record record = {.kind = kind, .thread = thread->id, .inode = inode, .extra = extra};
    record.size1 = strlen(thread->path1);
    record.size2 = strlen(thread->path2);
    append(record, thread->path1, thread->path2);
}

static void append_range(enum kind kind, struct thread *thread, uint64_t offset, uint64_t length, uint64_t extra) {
    struct record record = {.kind = kind, .thread = thread->id, .inode = thread->inode,
                            .offset = offset, .length = length, .extra = extra};
    append(record, NULL, NULL);
}

/* ---- looking into the program ---- */

static struct thread *find(pid_t id) {
    for (size_t place = id % THREADS_MAX, tried = 0; tried < THREADS_MAX; tried++) {
        struct thread *thread = threads[(place + tried) % THREADS_MAX];
        if (thread && thread->id == id) return thread;
    }
    for (size_t place = id % THREADS_MAX, tried = 0; tried < THREADS_MAX; tried++) {
        struct thread **slot = &threads[(place + tried) % THREADS_MAX];
        if (*slot) continue;
        *slot = calloc(1, sizeof **slot);
        if (!*slot) fail("no memory");
        (*slot)->id = id;
        return *slot;
    }
    fail("more than %d threads", THREADS_MAX);
    return NULL;
}

static void forget(pid_t id) {
    for (size_t place = 0; place < THREADS_MAX; place++)
        if (threads[place] && threads[place]->id == id) {
            /* It died within a call: whether that took effect is not known. */
            if (threads[place]->busy) busy--, unrecorded = 1;
            free(threads[place]->bytes);
            free(threads[place]);
            threads[place] = NULL;
        }
}

static void read_memory(pid_t id, uint64_t from, void *to, size_t size) {
    struct iovec local = {to, size}, remote = {(void *)from, size};
    if (size && process_vm_readv(id, &local, 1, &remote, 1, 0) != (ssize_t)size) fail("cannot read memory");
}

/* A string of unknown length: up to the end of a page at a time, as the next may not be there. */
static void read_string(pid_t id, uint64_t from, char *to, size_t room) {
    for (size_t done = 0; done < room;) {
        size_t part = 4096 - (from + done) % 4096;
        if (part > room - done) part = room - done;
        struct iovec local = {to + done, part}, remote = {(void *)(from + done), part};
        if (process_vm_readv(id, &local, 1, &remote, 1, 0) != (ssize_t)part) break;
        if (memchr(to + done, 0, part)) return;
        done += part;
    }
    to[0] = 0;
}

/* The path without ".", ".." and doubled slashes. There are no symbolic links below the directory. */
static void normalise(char *path) {
    char copy[PATH_SIZE], *rest = copy, *part;
    size_t length = 0;
    snprintf(copy, sizeof copy, "%s", path);
    while ((part = strsep(&rest, "/"))) {
        if (!*part || !strcmp(part, ".")) continue;
        if (!strcmp(part, "..")) {
            while (length && path[--length] != '/') {}
            continue;
        }
        path[length++] = '/';
        memmove(path + length, part, strlen(part));
        length += strlen(part);
    }
    path[length] = 0;
}

static int is_below(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int link_of(pid_t id, const char *what, long number, char *to) {
    char name[64];
    if (number < 0) snprintf(name, sizeof name, "/proc/%d/%s", id, what);
    else snprintf(name, sizeof name, "/proc/%d/%s/%ld", id, what, number);
    ssize_t length = readlink(name, to, PATH_SIZE - 1);
    to[length < 0 ? 0 : length] = 0;
    return length > 0;
}

/* The path that a call names: absolute, or below an open directory. Empty if not below ours. */
static int path_of(pid_t id, int directory, uint64_t string, char *to) {
    char name[PATH_SIZE], base[PATH_SIZE] = "";
    read_string(id, string, name, sizeof name);
    if (name[0] != '/')
        directory == AT_FDCWD ? link_of(id, "cwd", -1, base) : link_of(id, "fd", directory, base);
    if (snprintf(to, PATH_SIZE, "%s/%s", base, name) >= PATH_SIZE) fail("a path is too long");
    normalise(to);
    if (!is_below(to)) to[0] = 0;
    return to[0] != 0;
}

/* Which file a descriptor means: 0 if it is not below the directory. */
static uint64_t inode_of(pid_t id, long descriptor) {
    char path[PATH_SIZE], name[64];
    struct stat about;
    if (descriptor < 0 || !link_of(id, "fd", descriptor, path) || !is_below(path)) return 0;
    snprintf(name, sizeof name, "/proc/%d/fd/%ld", id, descriptor);
    if (stat(name, &about) || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return 0;
    return about.st_ino;
}

static uint64_t inode_at(const char *path) {
    struct stat about;
    return lstat(path, &about) ? 0 : about.st_ino;
}

static uint64_t position_of(pid_t id, long descriptor) {
    char name[64], line[128];
    unsigned long long position = 0;
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%ld", id, descriptor);
    FILE *file = fopen(name, "r");
    if (!file) fail("cannot open %s", name);
    if (!fgets(line, sizeof line, file) || sscanf(line, "pos: %llu", &position) != 1) fail("cannot read %s", name);
    fclose(file);
    return position;
}

static int appends(pid_t id, long descriptor) {
    char name[64], line[128];
    unsigned flags = 0;
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%ld", id, descriptor);
    FILE *file = fopen(name, "r");
    if (!file) fail("cannot open %s", name);
    while (fgets(line, sizeof line, file) && sscanf(line, "flags: %o", &flags) != 1) {}
    fclose(file);
    return (flags & O_APPEND) != 0;
}

static void take_bytes(struct thread *thread, uint64_t from, uint64_t size) {
    if (size > WRITE_MAX) fail("a write of %lu bytes", (unsigned long)size);
    thread->bytes = malloc(size ? size : 1);
    thread->size = size;
    if (!thread->bytes) fail("no memory");
    read_memory(thread->id, from, thread->bytes, size);
}

static void take_vectors(struct thread *thread, uint64_t from, uint64_t count) {
    struct iovec parts[1024];
    size_t size = 0, done = 0;
    if (count > 1024) count = 1024;
    read_memory(thread->id, from, parts, count * sizeof *parts);
    for (size_t part = 0; part < count; part++) size += parts[part].iov_len;
    if (size > WRITE_MAX) fail("a write of %zu bytes", size);
    thread->bytes = malloc(size ? size : 1);
    thread->size = size;
    if (!thread->bytes) fail("no memory");
    for (size_t part = 0; part < count; done += parts[part++].iov_len)
        read_memory(thread->id, (uint64_t)parts[part].iov_base, thread->bytes + done, parts[part].iov_len);
}

/* ---- calls ---- */

static void complain(struct thread *thread, const char *call) {
    char path[PATH_SIZE] = "";
    link_of(thread->id, "fd", thread->arguments[0], path);
    fprintf(stderr, "recorder: %s of a recorded file is not understood: %s\n", call, path);
    unrecorded = 1;
}

/* Looks at a call that is about to be made; true if it has to be looked at again when it is done. */
static int enters(struct thread *thread) {
    const uint64_t *given = thread->arguments;
    pid_t id = thread->id;
    thread->path1[0] = thread->path2[0] = 0;
    switch (thread->call) {
    case SYS_open: case SYS_creat: case SYS_truncate: case SYS_mkdir: case SYS_unlink: case SYS_rmdir:
        return path_of(id, AT_FDCWD, given[0], thread->path1);
    case SYS_openat: case SYS_openat2: case SYS_mkdirat: case SYS_unlinkat:
        return path_of(id, given[0], given[1], thread->path1);
    case SYS_rename: case SYS_link:
        path_of(id, AT_FDCWD, given[0], thread->path1);
        path_of(id, AT_FDCWD, given[1], thread->path2);
        return thread->path1[0] || thread->path2[0];
    case SYS_renameat: case SYS_renameat2: case SYS_linkat:
        path_of(id, given[0], given[1], thread->path1);
        path_of(id, given[2], given[3], thread->path2);
        return thread->path1[0] || thread->path2[0];
    case SYS_symlink:
        return path_of(id, AT_FDCWD, given[1], thread->path1);
    case SYS_symlinkat:
        return path_of(id, given[1], given[2], thread->path1);
    case SYS_write: case SYS_pwrite64:
        if (!(thread->inode = inode_of(id, given[0]))) return 0;
        take_bytes(thread, given[1], given[2]);
        return 1;
    case SYS_writev: case SYS_pwritev: case SYS_pwritev2:
        if (!(thread->inode = inode_of(id, given[0]))) return 0;
        take_vectors(thread, given[1], given[2]);
        return 1;
    case SYS_ftruncate: case SYS_fallocate:
        return (thread->inode = inode_of(id, given[0])) != 0;
    case SYS_fsync: case SYS_fdatasync:
        if (!(thread->inode = inode_of(id, given[0]))) return 0;
        append_range(SYNCING, thread, 0, 0, thread->call == SYS_fdatasync);
        return 1;
    case SYS_mmap:
        if (inode_of(id, (int)given[4])) complain(thread, "a shared writable mapping");
        return 0;
    case SYS_sendfile: case SYS_ioctl:
        if (inode_of(id, given[0])) complain(thread, "sendfile or a clone");
        return 0;
    case SYS_copy_file_range: case SYS_splice:
        if (inode_of(id, given[2])) complain(thread, "copy_file_range or splice");
        return 0;
    case SYS_io_uring_setup:
        complain(thread, "io_uring");
        return 0;
    }
    return 0;
}

static void opened(struct thread *thread, long result, uint64_t flags) {
    uint64_t inode = inode_of(thread->id, result);
    int writable = (flags & O_ACCMODE) != O_RDONLY;
    if (!inode || (flags & O_PATH)) return;
    if ((flags & O_TMPFILE) == O_TMPFILE) complain(thread, "O_TMPFILE");
    if (flags & O_CREAT || (flags & O_TRUNC && writable))
        append_path(OPENED, thread, inode, flags & O_TRUNC && writable);
}

static void written(struct thread *thread, uint64_t offset, long result) {
    struct record record = {.kind = WRITTEN, .thread = thread->id, .inode = thread->inode,
                            .offset = offset, .length = result, .size2 = result};
    append(record, NULL, thread->bytes);
}

static void renamed(struct thread *thread, uint64_t flags) {
    if (!thread->path1[0] || !thread->path2[0]) complain(thread, "a rename out of or into the directory");
    else append_path(RENAMED, thread, inode_at(thread->path2), flags);
}

/* Records a call that has been made. */
static void leaves(struct thread *thread, long result) {
    const uint64_t *given = thread->arguments;
    struct { uint64_t flags, mode, resolve; } how = {0};
    if (result < 0) return;
    switch (thread->call) {
    case SYS_open: opened(thread, result, given[1]); break;
    case SYS_creat: opened(thread, result, O_CREAT | O_WRONLY | O_TRUNC); break;
    case SYS_openat: opened(thread, result, given[2]); break;
    case SYS_openat2:
        read_memory(thread->id, given[2], &how, sizeof how);
        opened(thread, result, how.flags);
        break;
    case SYS_write: case SYS_writev:
        written(thread, position_of(thread->id, given[0]) - result, result);
        break;
    case SYS_pwrite64: case SYS_pwritev: case SYS_pwritev2:
        if (appends(thread->id, given[0]) || (int64_t)given[3] < 0) complain(thread, "pwrite with O_APPEND");
        written(thread, given[3], result);
        break;
    case SYS_truncate:
        thread->inode = inode_at(thread->path1);
        append_range(TRUNCATED, thread, given[1], 0, 0);
        break;
    case SYS_ftruncate: append_range(TRUNCATED, thread, given[1], 0, 0); break;
    case SYS_fallocate: append_range(RESERVED, thread, given[2], given[3], given[1]); break;
    case SYS_mkdir: case SYS_mkdirat: append_path(DIRECTORY, thread, inode_at(thread->path1), 0); break;
    case SYS_unlink: case SYS_rmdir: case SYS_unlinkat: append_path(REMOVED, thread, 0, 0); break;
    case SYS_rename: case SYS_renameat: renamed(thread, 0); break;
    case SYS_renameat2: renamed(thread, given[4]); break;
    case SYS_link: case SYS_linkat:
        if (!thread->path1[0] || !thread->path2[0]) complain(thread, "a link out of or into the directory");
        else append_path(LINKED, thread, inode_at(thread->path2), 0);
        break;
    case SYS_symlink: case SYS_symlinkat: complain(thread, "a symbolic link"); break;
    case SYS_fsync: case SYS_fdatasync: append_range(SYNCED, thread, 0, 0, 0); break;
    }
}

/* ---- following the program ---- */

/* The calls that stop the program. sync, syncfs, sync_file_range and msync are not among them: nothing
 * that they do counts as durable. */
static const int calls[] = {
    SYS_open, SYS_openat, SYS_openat2, SYS_creat, SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev,
    SYS_pwritev2, SYS_truncate, SYS_ftruncate, SYS_fallocate, SYS_rename, SYS_renameat, SYS_renameat2,
    SYS_link, SYS_linkat, SYS_symlink, SYS_symlinkat, SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_mkdir,
    SYS_mkdirat, SYS_fsync, SYS_fdatasync, SYS_sendfile, SYS_copy_file_range, SYS_splice,
    SYS_io_uring_setup,
};
enum { CALLS = sizeof calls / sizeof *calls };

#define ARGUMENT(number) (offsetof(struct seccomp_data, args) + 8 * (number))

static void filter(void) {
    struct sock_filter program[2 * CALLS + 32];
    unsigned short length = 0;
#define DO(...) program[length++] = (struct sock_filter)__VA_ARGS__
#define LOAD(offset) DO(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset))
#define UNLESS(condition, value, skip) DO(BPF_JUMP(BPF_JMP | condition | BPF_K, value, 0, skip))
#define ANSWER(value) DO(BPF_STMT(BPF_RET | BPF_K, value))
    LOAD(offsetof(struct seccomp_data, arch));
    UNLESS(BPF_JEQ, AUDIT_ARCH_X86_64, 1);
    DO(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
    ANSWER(SECCOMP_RET_KILL_PROCESS);
    LOAD(offsetof(struct seccomp_data, nr));
    for (int call = 0; call < CALLS; call++) {
        UNLESS(BPF_JEQ, calls[call], 1);
        ANSWER(SECCOMP_RET_TRACE);
    }
    /* Mappings are made all the time: only shared ones to write through matter. */
    UNLESS(BPF_JEQ, SYS_mmap, 5);
    LOAD(ARGUMENT(2));
    UNLESS(BPF_JSET, PROT_WRITE, 7);
    LOAD(ARGUMENT(3));
    UNLESS(BPF_JSET, MAP_SHARED, 5);
    ANSWER(SECCOMP_RET_TRACE);
    UNLESS(BPF_JEQ, SYS_ioctl, 3);
    LOAD(ARGUMENT(1));
    UNLESS(BPF_JEQ, (uint32_t)FICLONE, 1);
    ANSWER(SECCOMP_RET_TRACE);
    ANSWER(SECCOMP_RET_ALLOW);
    struct sock_fprog whole = {length, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole)) fail("the filter is refused");
}

static void on_signal(int signal) {
    if (signal != SIGUSR1) {
        kill(child, signal);
        return;
    }
    killing = 1;
    if (!busy) kill(child, SIGKILL);
}

static void done(struct thread *thread) {
    free(thread->bytes);
    thread->bytes = NULL;
    thread->busy = 0;
    busy--;
    if (killing && !busy) kill(child, SIGKILL);
}

/* A thread stands before or after a call: what to resume it with, or -1 to leave it where it is. */
static int at_call(pid_t id) {
    struct ptrace_syscall_info info;
    struct thread *thread = find(id);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, id, sizeof info, &info) <= 0) return PTRACE_CONT;
    if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
        if (!thread->busy) return PTRACE_CONT;
        leaves(thread, info.exit.rval);
        done(thread);
        return PTRACE_CONT;
    }
    if (info.op != PTRACE_SYSCALL_INFO_SECCOMP) return thread->busy ? PTRACE_SYSCALL : PTRACE_CONT;
    /* It never makes this call: a fatal signal comes first. */
    if (killing) return -1;
    thread->call = info.seccomp.nr;
    memcpy(thread->arguments, info.seccomp.args, sizeof thread->arguments);
    if (!enters(thread)) return PTRACE_CONT;
    thread->busy = 1;
    busy++;
    return PTRACE_SYSCALL;
}

static void follow(pid_t id, int status) {
    int event = status >> 16, signal = WSTOPSIG(status), pass = 0, how = PTRACE_CONT;
    if (event == PTRACE_EVENT_SECCOMP || (!event && signal == (SIGTRAP | 0x80))) {
        how = at_call(id);
    } else if (event == PTRACE_EVENT_STOP && (signal == SIGSTOP || signal == SIGTSTP)) {
        how = PTRACE_LISTEN;
    } else if (!event) {
        pass = signal;
        how = find(id)->busy ? PTRACE_SYSCALL : PTRACE_CONT;
    }
    if (how >= 0 && ptrace(how, id, 0, pass) && errno != ESRCH) fail("cannot resume thread %d", id);
}

static int run(void) {
    int status, code = -1;
    for (;;) {
        pid_t id = waitpid(-1, &status, __WALL);
        if (id < 0 && errno == EINTR) continue;
        if (id < 0 && errno == ECHILD) return code;
        if (id < 0) fail("cannot wait");
        if (WIFSTOPPED(status)) {
            follow(id, status);
            continue;
        }
        forget(id);
        if (id == child) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static void start(char **command) {
    int go[2];
    char byte;
    if (pipe2(go, O_CLOEXEC)) fail("no pipe");
    child = fork();
    if (child < 0) fail("cannot fork");
    if (!child) {
        close(go[1]);
        while (read(go[0], &byte, 1) < 0 && errno == EINTR) {}
        filter();
        execvp(command[0], command);
        fail("cannot start %s", command[0]);
    }
    long options = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD;
    if (ptrace(PTRACE_SEIZE, child, 0, options)) fail("cannot follow");
    append((struct record){.kind = STARTED, .thread = child}, NULL, NULL);
    if (write(go[1], "", 1) != 1) fail("no pipe");
    close(go[0]);
    close(go[1]);
}

int main(int count, char **words) {
    if (count < 4) {
        fputs("usage: recorder DIRECTORY LOG PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    root = realpath(words[1], NULL);
    if (!root) fail("no directory %s", words[1]);
    root_length = strlen(root);
    log_fd = open(words[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) fail("cannot open %s", words[2]);
    start(words + 3);
    /* Without SA_RESTART, so that waiting is interrupted; before `start` there is nobody to pass it to. */
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    int code = run();
    return unrecorded ? 126 : code;
}
