/*
 * LJTRIM_STATS_FILE, and the page that other processes read.
 */
#include "lab.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stats.h"
#include "stats_file.h"
#include "stats_page.h"

static char directory[64], path[128];

static void begin(void)
{
    lab_init();
    strcpy(directory, "/tmp/ljt-stats-XXXXXX");
    cr_assert(mkdtemp(directory) != NULL);
    snprintf(path, sizeof(path), "%s/figures", directory);
}

static unsigned files(bool remove_them)
{
    unsigned n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char name[sizeof(directory) + 256];
        if (e->d_name[0] == '.')
            continue;
        n++;
        snprintf(name, sizeof(name), "%s/%s", directory, e->d_name);
        if (remove_them)
            unlink(name);
    }
    closedir(d);
    return n;
}

static void end(void)
{
    files(true);
    rmdir(directory);
}

TestSuite(stats_file, .init = begin, .fini = end, .timeout = LAB_TIMEOUT);

static const char *contents(const char *of)
{
    static char buf[1 << 16];
    FILE *f = fopen(of, "r");
    if (f == NULL)
        return NULL;
    buf[fread(buf, 1, sizeof(buf) - 1, f)] = '\0';
    fclose(f);
    return buf;
}

static int put(const char *text)
{
    return ljt_stats_file_write(path, text, strlen(text));
}

Test(stats_file, is_replaced_as_a_whole_and_is_the_owners_alone)
{
    struct stat old, new;
    umask(0);
    cr_assert(put("one\n") == 0 && stat(path, &old) == 0);
    FILE *reader = fopen(path, "r");
    cr_assert(put("two\n") == 0 && stat(path, &new) == 0);
    char line[8];
    cr_expect(strcmp(fgets(line, sizeof(line), reader), "one\n") == 0,
              "who has it open reads on in the old one");
    fclose(reader);
    cr_expect_str_eq(contents(path), "two\n");
    cr_expect(old.st_ino != new.st_ino && (new.st_mode & 07777) == 0600);
    cr_expect(files(false) == 1);
}

Test(stats_file, name_has_the_pid_and_tells_the_format)
{
    char pattern[160];
    snprintf(pattern, sizeof(pattern), "%s/%%p.prom", directory);
    cr_expect(ljt_stats_file_write(pattern, "x", 1) == 0);
    snprintf(path, sizeof(path), "%s/%d.prom", directory, (int)getpid());
    cr_expect_str_eq(contents(path), "x");
    cr_expect(ljt_stats_file_format(pattern, LJT_STATS_AUTO) == LJT_STATS_PROMETHEUS);
    cr_expect(ljt_stats_file_format("a.json", LJT_STATS_AUTO) == LJT_STATS_JSON);
    cr_expect(ljt_stats_file_format("json", LJT_STATS_AUTO) == LJT_STATS_TEXT);
    cr_expect(ljt_stats_file_format(pattern, LJT_STATS_JSON) == LJT_STATS_JSON);
}

Test(stats_file, symbolic_link_is_replaced_and_not_followed)
{
    char victim[128], temporary[160];
    snprintf(victim, sizeof(victim), "%s/victim", directory);
    fclose(fopen(victim, "w"));
    cr_assert(symlink(victim, path) == 0);
    snprintf(temporary, sizeof(temporary), "%s.%d.tmp", path, (int)getpid());
    cr_assert(symlink(victim, temporary) == 0, "there, too");
    cr_expect(put("figures\n") == 0);
    cr_expect_str_eq(contents(victim), "");
    cr_expect_str_eq(contents(path), "figures\n");
    cr_expect(files(false) == 2);
}

Test(stats_file, short_write_costs_one_line_and_no_file)
{
    static char large[100000];
    struct rlimit limit, small;
    memset(large, 'x', sizeof(large) - 1);
    lab_catch_stderr();
    cr_assert(put("whole\n") == 0);
    getrlimit(RLIMIT_FSIZE, &limit);
    small = (struct rlimit){50000, limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 3; i++)
        cr_expect(put(large) == -EFBIG, "and SIGXFSZ has not ended us");
    sigset_t pending;
    cr_expect(sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 0);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "limit on file sizes") != NULL, "%s", lab_said());
    cr_expect_str_eq(contents(path), "whole\n");
    cr_expect(files(false) == 1);
    setrlimit(RLIMIT_FSIZE, &limit);
    cr_expect(put("again\n") == 0);
    setrlimit(RLIMIT_FSIZE, &small);
    cr_expect(put(large) != 0);
    cr_expect(lab_said_lines() == 2, "it had worked meanwhile");
}

Test(stats_file, missing_directory_costs_one_line)
{
    lab_catch_stderr();
    snprintf(path, sizeof(path), "%s/none/figures", directory);
    cr_expect(put("x") == -ENOENT && put("x") == -ENOENT);
    cr_expect(lab_said_lines() == 1 && strstr(lab_said(), "no such directory") != NULL, "%s", lab_said());
}

Test(stats_file, only_its_writer_removes_it)
{
    cr_assert(put("x") == 0);
    pid_t child = fork();
    if (child == 0) {
        ljt_stats_file_remove(path);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    cr_expect(files(false) == 1);
    ljt_stats_file_remove(path);
    cr_expect(files(false) == 0);
}

/* ---- Keeping it current ---- */

#define S ((uint64_t)1000000000)

static struct ljt_arena *arena(void)
{
    static struct ljt_module module;
    struct ljt_arena *a = &ljt_arenas[0];
    a->module = &module;
    a->stats.mapped = 64 * MIB;
    atomic_store(&a->state, LJT_ARENA_ARMED);
    atomic_store(&ljt_arena_slots, 1);
    return a;
}

static bool rewritten(uint64_t now, uint64_t pause, uint64_t expected_pause)
{
    unlink(path);
    uint64_t got = ljt_stats_keep(now, pause);
    cr_expect(got == expected_pause, "%llu instead of %llu", (unsigned long long)got,
              (unsigned long long)expected_pause);
    return access(path, F_OK) == 0;
}

Test(stats_file, nothing_is_written_when_nothing_changes_and_at_most_once_an_interval)
{
    struct ljt_arena *a = arena();
    strcpy(ljt_config.stats_file, path);
    ljt_config.interval_ms = 5000;
    cr_expect(rewritten(100 * S, UINT64_MAX, UINT64_MAX));
    cr_expect(!rewritten(200 * S, UINT64_MAX, UINT64_MAX), "nothing has changed");
    a->stats.purged += 4096;
    cr_expect(rewritten(300 * S, UINT64_MAX, UINT64_MAX));
    a->stats.purged += 4096;
    cr_expect(!rewritten(302 * S, UINT64_MAX, 3 * S), "too early: the reclaimer is to come back");
    cr_expect(!rewritten(303 * S, S, S));
    cr_expect(rewritten(305 * S, UINT64_MAX, UINT64_MAX));
    a->stats.purged += 4096;
    cr_expect(!rewritten(305 * S + 1, 0, 0), "a reclaimer at work is not sent to sleep");
}

Test(stats_file, failed_write_is_tried_again)
{
    arena();
    lab_catch_stderr();
    snprintf(ljt_config.stats_file, sizeof(ljt_config.stats_file), "%s/later/figures", directory);
    ljt_config.interval_ms = 1000;
    ljt_stats_keep(100 * S, UINT64_MAX);
    strcpy(ljt_config.stats_file, path);
    cr_expect(rewritten(200 * S, UINT64_MAX, UINT64_MAX));
}

Test(stats_file, without_a_file_the_page_alone_is_kept)
{
    struct ljt_arena *a = arena();
    ljt_stats_keep(100 * S, UINT64_MAX);
    uint64_t sequence = atomic_load(&ljtrim_stats_page.sequence);
    cr_expect(sequence != 0 && sequence % 2 == 0);
    cr_expect(ljtrim_stats_page.snapshot->total.value[LJT_STATS_mapped] == 64 * MIB);
    a->stats.mapped = 65 * MIB;
    ljt_stats_keep(100 * S + 1000, 1000);
    cr_expect(atomic_load(&ljtrim_stats_page.sequence) == sequence, "not at every turn of a busy reclaimer");
    ljt_stats_keep(100 * S + 2000, UINT64_MAX);
    cr_expect(ljtrim_stats_page.snapshot->total.value[LJT_STATS_mapped] == 65 * MIB, "but before it sleeps");
    cr_expect(files(false) == 0);
}

/* ---- The end of a process ---- */

static _Atomic unsigned waits;
static _Atomic bool ended;
static void (*real_wait)(const volatile void *word, uint32_t value, uint64_t ns);

static void count_wait(const volatile void *word, uint32_t value, uint64_t ns)
{
    atomic_fetch_add(&waits, 1);
    real_wait(word, value, ns);
}

static void *exit_now(void *unused)
{
    ljt_stats_at_exit();
    atomic_store(&ended, true);
    return unused;
}

/* Else the thread would end with the process, and what it has written so far stay behind. */
Test(stats_file, end_of_the_process_waits_for_a_write_under_way)
{
    pthread_t thread;
    arena();
    strcpy(ljt_config.stats_file, path);
    real_wait = ljt_kernel.futex_wait;
    ljt_kernel.futex_wait = count_wait;
    ljt_lock_acquire(&ljt_wiped.stats_file); /* as the reclaimer has it while it writes */
    pthread_create(&thread, NULL, exit_now, NULL);
    cr_expect(lab_await(atomic_load(&waits) > 0 || atomic_load(&ended)));
    cr_expect_not(atomic_load(&ended));
    ljt_lock_release(&ljt_wiped.stats_file);
    pthread_join(thread, NULL);
}

/* ---- Many who ask ---- */

static _Atomic bool stop;

static void *ask(void *torn)
{
    static __thread char buf[16 << 10];
    while (!atomic_load(&stop))
        if (ljt_stats_format(LJT_STATS_JSON, buf, sizeof(buf)) < 1000 ||
            strcmp(buf + strlen(buf) - 3, "\n}\n") != 0)
            atomic_store((_Atomic bool *)torn, true);
    return NULL;
}

Test(stats_file, those_who_gather_at_once_do_not_disturb_each_other_or_a_reader_of_the_page)
{
    struct ljt_arena *a = arena();
    static struct ljt_stats_row row;
    _Atomic bool torn = false;
    pthread_t thread[3];
    size_t read = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, ask, &torn);
    for (size_t enough = lab_count("STATS_READS", 2000); read < enough && !atomic_load(&torn);) {
        ljt_histogram_add(&a->stats.waits, read); /* its one writer */
        uint64_t before = atomic_load_explicit(&ljtrim_stats_page.sequence, memory_order_acquire);
        for (unsigned k = 0; k < LJT_STATS_FIELDS; k++)
            row.value[k] = lab_glance(&ljtrim_stats_page.snapshot->total.value[k]);
        atomic_thread_fence(memory_order_acquire);
        if (before == 0 || before % 2 != 0 ||
            atomic_load_explicit(&ljtrim_stats_page.sequence, memory_order_relaxed) != before)
            continue;
        read++;
        cr_assert(row.value[LJT_STATS_mapped] == row.value[LJT_STATS_live] + row.value[LJT_STATS_free]);
        cr_assert(row.value[LJT_STATS_pid] == (uint64_t)getpid() && row.value[LJT_STATS_arenas] == 1);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    cr_expect(!torn);
}
