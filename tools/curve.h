/*
 * The breathing curve: what a process holds, over time, as samples and as a picture.
 *
 * However long it is watched, at most LJT_CURVE_SAMPLES are kept: when these are full, of every four neighbours the
 * two stay in which RSS is the largest and the smallest, so that peaks and troughs outlive the thinning.
 */
#ifndef LJT_CURVE_H
#define LJT_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picture.h"
#include "text.h"

enum { LJT_CURVE_SAMPLES = 1024 };

/* Bytes; at: seconds since the first. */
struct ljt_sample {
    double at;
    uint64_t rss;
    bool told; /* the arenas' figures are known, too */
    uint64_t mapped, resident, floor, live;
};

struct ljt_curve {
    size_t count;
    unsigned long taken; /* all samples, those thinned out included */
    uint64_t peak_rss, peak_resident;
    struct ljt_sample samples[LJT_CURVE_SAMPLES];
};

/* Samples come in the order of time. */
void ljt_curve_add(struct ljt_curve *c, const struct ljt_sample *s);

/* The distance of labels on an axis that reaches up to `most`: 3 to 10 of them. */
uint64_t ljt_curve_byte_step(uint64_t most); /* a power of 2, at least 4 KiB */
double ljt_curve_second_step(double most);   /* a round number of seconds, minutes or hours */

/* "2.5 s", "90 s", "12 min". */
void ljt_curve_time(struct ljt_text *t, double seconds);

/* One line about a sample. */
void ljt_curve_tell(struct ljt_text *t, const struct ljt_sample *s);

/* The canvas is LJT_PICTURE_WIDTH wide; the picture takes LJT_CURVE_HEIGHT pixels from y on. */
enum { LJT_CURVE_HEIGHT = 396 };
void ljt_curve_draw(struct ljt_canvas *canvas, const struct ljt_curve *c, int y);

#endif
