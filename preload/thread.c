#include "thread.h"

#include <pthread.h>

#include "mask.h"

int ljt_thread_start(void *(*run)(void *), void *arg)
{
    sigset_t before;
    pthread_attr_t attr;
    pthread_t thread;
    ljt_mask_signals(&before);
    int err = pthread_attr_init(&attr);
    if (err == 0) {
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, 256 << 10); /* a few pages are touched; static TLS is in it */
        err = pthread_create(&thread, &attr, run, arg);
        pthread_attr_destroy(&attr);
    }
    ljt_mask_restore(&before);
    return err;
}
