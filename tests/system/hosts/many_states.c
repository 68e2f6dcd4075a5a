/*
 * many_states STATES THREADS BURSTS: threads take turns in a pool of states. Each state is used by one thread at a time
 * but wanders between threads, as in wrk or dnsdist; now and then one is closed and replaced by a new one.
 */
#include <pthread.h>

#include "churn.h"

struct shared_state {
    pthread_mutex_t lock;
    struct churn churn;
    unsigned bursts;
};

static struct shared_state *states;
static unsigned state_count, bursts_each;

static void open_state(struct shared_state *s, uint64_t seed)
{
    churn_open(&s->churn, luaL_newstate(), 300 + (unsigned)(seed % 900), seed);
}

static void burst(struct shared_state *s)
{
    struct churn *c = &s->churn;

    switch (s->bursts++ % 6) {
    case 0: churn_fill(c); break;
    case 2: churn_drop(c, 25); break;
    case 5:
        churn_verify(c, "before it is replaced");
        if (s->bursts % 4 == 0) {
            uint64_t seed = random_next(&c->random);

            lua_close(c->L);
            churn_release(c);
            open_state(s, seed);
        }
        break;
    default:
        churn_step(c, 150);
        churn_verify(c, "after a burst");
        break;
    }
}

static void *take_turns(void *argument)
{
    uint64_t random = (uint64_t)(uintptr_t)argument;

    for (unsigned done = 0; done < bursts_each;) {
        struct shared_state *s = &states[random_below(&random, state_count)];

        if (pthread_mutex_trylock(&s->lock))
            continue;
        burst(s);
        done++;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned thread_count;
    pthread_t *threads;
    long mappings;

    if (argc != 4)
        die("usage: many_states STATES THREADS BURSTS");
    state_count = (unsigned)atoi(argv[1]);
    thread_count = (unsigned)atoi(argv[2]);
    bursts_each = (unsigned)atoi(argv[3]);
    states = calloc(state_count, sizeof *states);
    threads = calloc(thread_count, sizeof *threads);
    if (!states || !threads)
        die("out of memory");
    mappings = count_mappings();
    for (unsigned i = 0; i < state_count; i++) {
        pthread_mutex_init(&states[i].lock, NULL);
        open_state(&states[i], i + 1);
    }
    for (unsigned i = 0; i < thread_count; i++)
        if (pthread_create(&threads[i], NULL, take_turns, (void *)(uintptr_t)(i + 1000)))
            die("pthread_create failed");
    for (unsigned i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < state_count; i++) {
        churn_verify(&states[i].churn, "at the end");
        lua_close(states[i].churn.L);
        churn_release(&states[i].churn);
    }
    sleep_ms(50);
    /* each thread leaves a stack, an arena of malloc and their guard pages behind; 200 states would leave more */
    if (count_mappings() > mappings + 8 * (long)thread_count + 32)
        die("mappings leak: %ld before, %ld after", mappings, count_mappings());
    printf("%u states on %u threads\n", state_count, thread_count);
    return 0;
}
