/*
 * stress [--operations N] [--seed S] [--threads T] [--states K] [--every B] [--without EVENT,...]
 *        [--abandon A] [--until FILE] [--leave 1] [--results FILE]
 *
 * N operations (allocate, reallocate, free) on the allocators of T * K Lua states, by T threads. A thread takes a state,
 * works on it for a while, and puts it back: states move between threads, and rest in between. Meanwhile, at random:
 *   fork, _Fork, raw clone   the child checks the state, works on it, and ends by _exit or exit, or closes it first
 *   vfork, posix_spawn       of another program
 *   close                    of a state, and a new one in its place
 *   cancel                   of a thread that works on a state
 *   rest                     of a state that the reclaimer then takes, and that comes back at that moment
 * about every B batches of some 10,000 operations (20), and
 *   jump                     longjmp out of a signal handler, not out of an allocator call
 *   jump_out_of_call         the same out of one, A times (16): its state is never called nor closed again, and leaks; what
 *                            is in it is checked at the end like all else
 * --without leaves some of these out (by the names below); --leave 1 has the process exit while its threads work; with
 * --until it goes on until FILE is there, too. Prints the seed and its progress; ends with status 0 if no byte was other
 * than it should be. With --results: lines of name,value.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>

#include "stress.h"

#define JUMP_SIGNAL (SIGRTMIN + 3)
#define ABANDON_SIGNAL (SIGRTMIN + 4)
#define HANG_SECONDS 180 /* a child that takes so long hangs, and its parent with it */

extern char **environ;
extern pid_t _Fork(void) __attribute__((weak));

enum event { FORK, RAW_FORK, RAW_CLONE, VFORK, SPAWN, CLOSE, CANCEL, REST, EVENTS };
static const char *const event_name[EVENTS] = {"fork",        "_fork", "raw_clone", "vfork",
                                               "posix_spawn", "close", "cancel",    "rest"};

/* How a child ends: its parent has drawn, so that it can be counted. */
enum end { CLOSES, EXITS, ENDS, END_KINDS };

static struct {
    uint64_t operations, seed;
    unsigned threads, states;
    const char *results;
    unsigned without; /* a bit an event */
    unsigned every;   /* batches between two events, on average */
    unsigned abandon;
    const char *until;
    int leave;
} option = {.operations = 10000000, .threads = 4, .states = 4, .every = 20, .abandon = 16};

struct worker {
    pthread_t thread;
    uint64_t random;
    uint64_t operations, abandoned; /* read by main */
    uint64_t quota;                 /* written by main, too */
    uint64_t events[EVENTS], ends[END_KINDS], jumps;
    struct heap *heap; /* which it works on */
    unsigned batch;
};

/* ---- The pool of states ---- */

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct heap *pool_first, **pool_last = &pool_first;
static struct heap *abandoned; /* no part of it any more */

static void pool_put(struct heap *h)
{
    h->next = NULL;
    pthread_mutex_lock(&pool_lock);
    *pool_last = h;
    pool_last = &h->next;
    pthread_mutex_unlock(&pool_lock);
}

static struct heap *pool_take(void)
{
    pthread_mutex_lock(&pool_lock);
    struct heap *h = pool_first;
    pool_first = h->next;
    if (pool_first == NULL)
        pool_last = &pool_first;
    pthread_mutex_unlock(&pool_lock);
    return h;
}

static struct heap *heap_new(uint64_t *random)
{
    struct heap *h = calloc(1, sizeof *h);
    if (!h)
        die("out of memory");
    h->random = random_next(random) | 1;
    heap_open(h);
    return h;
}

/* ---- Jumps ---- */

enum { JUMPED = 1, JUMPED_OUT_OF_CALL };

static __thread sigjmp_buf landing;
static __thread volatile sig_atomic_t may_jump;

static void jump(int signo)
{
    if (may_jump && !stress_inside)
        siglongjmp(landing, JUMPED);
    if (may_jump && stress_calling && signo == ABANDON_SIGNAL)
        siglongjmp(landing, JUMPED_OUT_OF_CALL);
}

/* The thread goes on with a state that is new. */
static void abandon(struct worker *w)
{
    struct heap *h = w->heap;
    heap_abandon(h);
    pthread_mutex_lock(&pool_lock);
    h->next = abandoned;
    abandoned = h;
    pthread_mutex_unlock(&pool_lock);
    w->heap = heap_new(&w->random);
    __atomic_store_n(&w->abandoned, w->abandoned + 1, __ATOMIC_RELAXED);
}

/* They are due at even distances: by the end of the run all have been. */
static int is_due(uint64_t operations, uint64_t jumps_out_of_calls)
{
    return jumps_out_of_calls < option.abandon &&
           operations >= (jumps_out_of_calls + 1) * (option.operations / (option.abandon + 1));
}

/* ---- What happens at random ---- */

/* Main looks at the sum; while a thread is to be cancelled, that one counts. */
static void step(struct worker *w)
{
    unsigned done = heap_step(w->heap);
    __atomic_store_n(&w->operations, __atomic_load_n(&w->operations, __ATOMIC_RELAXED) + done,
                     __ATOMIC_RELAXED);
}

/* Only what a child of a process with threads may do; libc's locks may be held for ever after a raw clone. */
__attribute__((noreturn)) static void live_as_child(struct worker *w, enum end end)
{
    struct heap *h = w->heap;
    heap_verify(h, "in a child");
    for (unsigned n = (unsigned)random_below(&w->random, 20000); n > 0; n--)
        heap_step(h);
    heap_verify(h, "in a child that has worked");
    if (end == CLOSES)
        heap_close(h);
    if (end == EXITS)
        exit(0);
    _exit(0);
}

static void have_child(struct worker *w, enum event how)
{
    enum end end = (enum end)random_below(&w->random, END_KINDS);
    if (end == EXITS && how != FORK)
        end = ENDS; /* exit takes locks of libc's */
    w->ends[end]++;
    pid_t child = how == FORK       ? fork()
                  : how == RAW_FORK ? (_Fork != NULL ? _Fork() : fork())
                                    : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child < 0)
        die("%s: %s", event_name[how], strerror(errno));
    if (child == 0)
        live_as_child(w, end);
    for (unsigned n = 0; n < 2000; n++) /* both at once */
        step(w);
    expect_success_of(child, event_name[how]);
    w->random++; /* the child has drawn from its copy */
}

static void run_program(int by_vfork)
{
    char *arguments[] = {"true", NULL};
    pid_t child = -1;
    if (by_vfork) {
        child = vfork();
        if (child == 0) {
            execvp("true", arguments);
            _exit(127);
        }
    } else {
        int error = posix_spawnp(&child, "true", NULL, NULL, arguments, environ);
        if (error)
            die("posix_spawn: %s", strerror(error));
    }
    if (child < 0)
        die("vfork: %s", strerror(errno));
    expect_success_of(child, "another program");
}

static void cancelled(void *unused)
{
    (void)unused;
    if (stress_inside)
        die("a thread was cancelled inside an allocator call");
}

/* Works until it is cancelled; the worker waits for it meanwhile, so that its fields are ours. */
static void *work_until_cancelled(void *argument)
{
    struct worker *w = argument;
    pthread_cleanup_push(cancelled, NULL);
    for (;;) {
        for (int i = 0; i < 64; i++)
            step(w);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void have_one_cancelled(struct worker *w)
{
    pthread_t victim;
    void *result;
    if (pthread_create(&victim, NULL, work_until_cancelled, w))
        die("no thread to cancel");
    sleep_ms((long)random_below(&w->random, 4));
    pthread_cancel(victim);
    pthread_join(victim, &result);
    if (result != PTHREAD_CANCELED)
        die("a thread has ended without being cancelled");
}

/* The reclaimer holds a heap that has been silent for 3 ms: come back at that moment, again and again. */
static void rest(struct worker *w)
{
    for (int i = 0; i < 32; i++) {
        struct timespec pause = {0, 3000000 + (long)random_below(&w->random, 3000000)};
        nanosleep(&pause, NULL);
        for (int n = 0; n < 500; n++)
            step(w);
    }
}

/* Every 200,000 operations, one of these on average, if --every is not given. */
static void let_something_happen(struct worker *w)
{
    if (random_below(&w->random, option.every) != 0)
        return;
    enum event event = (enum event)random_below(&w->random, EVENTS);
    if (option.without >> event & 1)
        return;
    w->events[event]++;
    switch (event) {
    case FORK:
    case RAW_FORK:
    case RAW_CLONE: have_child(w, event); break;
    case VFORK: run_program(1); break;
    case SPAWN: run_program(0); break;
    case CANCEL: have_one_cancelled(w); break;
    case REST: rest(w); break;
    default:
        heap_close(w->heap);
        heap_open(w->heap);
        break;
    }
    heap_verify(w->heap, event_name[event]);
}

/* ---- Threads ---- */

static void *work(void *argument)
{
    struct worker *w = argument;
    while (w->operations < __atomic_load_n(&w->quota, __ATOMIC_RELAXED)) {
        w->heap = pool_take();
        w->batch = 2000 + (unsigned)random_below(&w->random, 16000);
        switch (sigsetjmp(landing, 1)) {
        case JUMPED: w->jumps++; break;
        case JUMPED_OUT_OF_CALL:
            may_jump = 0;
            abandon(w);
            break;
        default: break;
        }
        may_jump = 1;
        while (w->batch > 0) {
            w->batch--;
            step(w);
        }
        may_jump = 0;
        let_something_happen(w);
        pool_put(w->heap);
    }
    return NULL;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t number(const char *text)
{
    char *end;
    double value = strtod(text, &end); /* 1e9 is a number, too */
    if (*end != '\0' || value < 0)
        die("what is %s?", text);
    return value < 1e15 && strpbrk(text, "eE.") ? (uint64_t)value : strtoull(text, NULL, 10);
}

static unsigned events(char *names)
{
    unsigned bits = 0;
    for (char *name = strtok(names, ","); name != NULL; name = strtok(NULL, ",")) {
        unsigned e = 0;
        while (e < EVENTS && strcmp(name, event_name[e]) != 0)
            e++;
        if (e == EVENTS)
            die("what is %s?", name);
        bits |= 1u << e;
    }
    return bits;
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            die("usage: stress [--operations N] [--seed S] [--threads T] [--states K] [--every B] [--without "
                "EVENT,...] [--abandon A] [--until FILE] [--leave 1] [--results FILE]");
        if (!strcmp(argv[i], "--operations"))
            option.operations = number(argv[i + 1]);
        else if (!strcmp(argv[i], "--seed"))
            option.seed = number(argv[i + 1]);
        else if (!strcmp(argv[i], "--threads"))
            option.threads = (unsigned)number(argv[i + 1]);
        else if (!strcmp(argv[i], "--states"))
            option.states = (unsigned)number(argv[i + 1]);
        else if (!strcmp(argv[i], "--without"))
            option.without = events(argv[i + 1]);
        else if (!strcmp(argv[i], "--every"))
            option.every = (unsigned)number(argv[i + 1]);
        else if (!strcmp(argv[i], "--abandon"))
            option.abandon = (unsigned)number(argv[i + 1]);
        else if (!strcmp(argv[i], "--until"))
            option.until = argv[i + 1];
        else if (!strcmp(argv[i], "--leave"))
            option.leave = number(argv[i + 1]) != 0;
        else if (!strcmp(argv[i], "--results"))
            option.results = argv[i + 1];
        else
            die("what is %s?", argv[i]);
    }
    if (option.seed == 0)
        option.seed = ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid()) & 0xffffffffffff;
    if (option.threads < 1 || option.threads > 256 || option.states < 1 || option.every < 1)
        die("1 to 256 threads, a state each, and not more often than always");
}

static void report(FILE *out, const struct worker *workers, uint64_t operations, uint64_t verified,
                   double took)
{
    fprintf(out, "operations,%llu\nseconds,%.1f\nthreads,%u\nstates,%u\nseed,%llu\n",
            (unsigned long long)operations, took, option.threads, option.threads * option.states,
            (unsigned long long)option.seed);
    for (unsigned e = 0; e < EVENTS; e++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < option.threads; i++)
            sum += workers[i].events[e];
        fprintf(out, "%s,%llu\n", event_name[e], (unsigned long long)sum);
    }
    uint64_t jumps = 0, out_of_calls = 0, ends[END_KINDS] = {0};
    for (unsigned i = 0; i < option.threads; i++) {
        jumps += workers[i].jumps;
        out_of_calls += workers[i].abandoned;
        for (unsigned e = 0; e < END_KINDS; e++)
            ends[e] += workers[i].ends[e];
    }
    fprintf(out, "children_closed,%llu\nchildren_exited,%llu\nchildren_ended,%llu\n",
            (unsigned long long)ends[CLOSES], (unsigned long long)ends[EXITS],
            (unsigned long long)ends[ENDS]);
    fprintf(out,
            "jump,%llu\njump_out_of_call,%llu\nblocks_verified,%llu\npurged_bytes,%lld\npurge_calls,%lld\n"
            "damaged,0\n",
            (unsigned long long)jumps, (unsigned long long)out_of_calls, (unsigned long long)verified,
            library_total("ljtrim_purged_bytes_total"), library_total("ljtrim_purge_calls_total"));
}

static int is_over(uint64_t operations)
{
    return operations >= option.operations && (!option.until || access(option.until, F_OK) == 0);
}

static void take_all_jumps(void)
{
    struct sigaction act = {.sa_handler = jump, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    sigaction(JUMP_SIGNAL, &act, NULL);
    sigaction(ABANDON_SIGNAL, &act, NULL);
}

/* Until the end: interrupts the workers, and dies if they hang. */
static void watch(struct worker *workers, uint64_t random, double began)
{
    uint64_t operations = 0, abandonments = 0, before = 0;
    double moved = began, told = began;
    while (!is_over(operations)) {
        int due = is_due(operations, abandonments);
        sleep_ms(due ? 1 : 2 + (long)random_below(&random, 20));
        struct worker *w = &workers[random_below(&random, option.threads)];
        if (__atomic_load_n(&w->operations, __ATOMIC_RELAXED) < w->quota)
            pthread_kill(w->thread, due ? ABANDON_SIGNAL : JUMP_SIGNAL);
        operations = abandonments = 0;
        for (unsigned i = 0; i < option.threads; i++) {
            operations += __atomic_load_n(&workers[i].operations, __ATOMIC_RELAXED);
            abandonments += __atomic_load_n(&workers[i].abandoned, __ATOMIC_RELAXED);
        }
        if (operations != before)
            moved = seconds();
        before = operations;
        if (seconds() - moved > HANG_SECONDS)
            die("nothing has moved for %d s after %llu operations", HANG_SECONDS,
                (unsigned long long)operations);
        if (seconds() - told >= 10) {
            told = seconds();
            printf("stress: %.1f%%, %llu operations in %.0f s\n",
                   100 * (double)operations / (double)option.operations, (unsigned long long)operations,
                   told - began);
        }
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("stress: --seed %llu --operations %llu --threads %u --states %u\n",
           (unsigned long long)option.seed, (unsigned long long)option.operations, option.threads,
           option.states);
    take_all_jumps();

    struct worker *workers = calloc(option.threads, sizeof *workers);
    if (!workers)
        die("out of memory");
    uint64_t random = option.seed;
    for (unsigned i = 0; i < option.threads * option.states; i++)
        pool_put(heap_new(&random));
    double began = seconds();
    for (unsigned i = 0; i < option.threads; i++) {
        workers[i].random = random_next(&random);
        workers[i].quota = option.leave || option.until ? UINT64_MAX : option.operations / option.threads + 1;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            die("no thread");
    }
    watch(workers, random, began);
    if (option.leave) {
        printf("stress: left\n");
        exit(0);
    }

    uint64_t operations = 0, verified = 0;
    for (unsigned i = 0; i < option.threads; i++) {
        if (option.until)
            __atomic_store_n(&workers[i].quota, 0, __ATOMIC_RELAXED);
        pthread_join(workers[i].thread, NULL);
        operations += workers[i].operations;
    }
    for (struct heap *h = pool_first; h != NULL; h = h->next) {
        heap_verify(h, "at the end");
        verified += h->verified;
    }
    for (struct heap *h = abandoned; h != NULL; h = h->next) {
        heap_verify(h, "at the end, abandoned");
        verified += h->verified;
    }
    double took = seconds() - began;
    report(stdout, workers, operations, verified, took);
    if (option.results) {
        FILE *out = fopen(option.results, "w");
        if (!out)
            die("%s: %s", option.results, strerror(errno));
        report(out, workers, operations, verified, took);
        fclose(out);
    }
    for (struct heap *h = pool_first; h != NULL; h = h->next)
        heap_close(h);
    printf("stress: nothing damaged\n");
    return 0;
}
