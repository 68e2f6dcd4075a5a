/*
 * thread: starts a thread of the library's own. Two are: the reclaimer (reclaim.h) and, for a moment, who asks the
 * dynamic loader where another thread may be inside of it (symbols.h).
 */
#ifndef LJT_THREAD_H
#define LJT_THREAD_H

/*
 * Detached, with a small stack and every signal blocked but what can't be; glibc keeps its own (setuid) open.
 * 0 or an errno. Allocates by malloc, as the C library does for any thread.
 */
int ljt_thread_start(void *(*run)(void *), void *arg);

#endif
