/* What `ljtrim report` has seen of a process, for who writes it down. */
#ifndef LJT_REPORT_H
#define LJT_REPORT_H

#include <stdio.h>
#include <time.h>

#include "curve.h"
#include "inspection.h"
#include "stats_reader.h"

enum ljt_report_end {
    LJT_REPORT_COMPLETE,
    LJT_REPORT_INTERRUPTED, /* by a signal */
    LJT_REPORT_TARGET_ENDED
};

struct ljt_report {
    pid_t pid;
    char command[1024];      /* line that the report was asked for with */
    struct timespec started; /* CLOCK_REALTIME */
    double seconds;          /* watched */
    enum ljt_report_end end;

    struct ljt_curve curve;
    struct ljt_inspection last; /* the map, the verdict */
    double last_at;             /* when, on the curve's clock */

    bool preloaded;                 /* figures of the curve are libljtrim's own */
    struct ljt_stats_reading stats; /* the last one, if so */

    /* What it has cost the process. */
    unsigned long walks, rough_walks, stops; /* rough: while it ran */
    double longest_stop_us, all_stops_us;
};

/* Well-formed XML in either case. 0 or -errno; errors of f are for the caller to find. */
int ljt_report_write_html(FILE *f, const struct ljt_report *r);
int ljt_report_write_svg(FILE *f, const struct ljt_report *r);

#endif
