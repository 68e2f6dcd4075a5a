/*
 * delay: pauses of random length at marked points of the protocol, for `make stress ARGS=--delays`.
 *
 * Only a library that is built with -DLJT_DELAYS has them. Each mark stands between two steps whose order matters or
 * that somebody else may come between: a thread that dawdles there must do no harm.
 */
#ifndef LJT_DELAY_H
#define LJT_DELAY_H

#ifdef LJT_DELAYS
/* Both keep errno and are async-signal-safe. */
void ljt_delay(void);  /* where every allocator call passes: seldom */
void ljt_dawdle(void); /* in holds, units, purges, forks, closes: often */
#else
static inline void ljt_delay(void)
{
}
static inline void ljt_dawdle(void)
{
}
#endif

#endif
