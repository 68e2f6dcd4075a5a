/*
 * A canvas for rectangles, curves and lines of text, kept as .svg or as .png. No library is needed for either:
 * the SVG is a path for each colour, the PNG has up to 256 colours, letters of 5 by 7 dots, and runs as its only
 * compression.
 *
 * An SVG follows its reader's wish for dark pictures: each colour of which ljt_canvas_dark was told has a dark
 * counterpart. It has a name for those who hear it, and tooltips.
 *
 * Coordinates are pixels from the upper left corner. Whether it could be written tells ljt_canvas_close.
 */
#ifndef LJT_CANVAS_H
#define LJT_CANVAS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct ljt_rect {
    int x, y, w, h;
};

enum ljt_align { LJT_ALIGN_LEFT, LJT_ALIGN_RIGHT };

struct ljt_point {
    int x, y;
};

struct ljt_canvas;

/* NULL with errno: ENOTSUP if the name ends in neither .svg nor .png. */
struct ljt_canvas *ljt_canvas_open(const char *path, int width, int height);

/*
 * An SVG as a part of the file that is being written to `f`, which stays open; UTF-8, well-formed as XML and inside
 * of HTML. `name` and `description` are read to who does not see it. NULL with errno.
 */
struct ljt_canvas *ljt_canvas_open_in(FILE *f, int width, int height, const char *name,
                                      const char *description);

/* Rectangles of one colour, 0xRRGGBB. */
void ljt_canvas_rects(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count);

/*
 * One line of printable ASCII, `size` pixels high from ascender to baseline; y is the baseline. The letters'
 * width is about that of ljt_canvas_text_width, which holds exactly for .png.
 */
void ljt_canvas_text(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                     const char *text);
int ljt_canvas_text_width(int size, const char *text);

/* A curve through `count` points, 2 pixels wide. dash: pixels drawn and left out in turn, 0: drawn through. */
void ljt_canvas_curve(struct ljt_canvas *c, uint32_t colour, int dash, const struct ljt_point *points,
                      size_t count);

/* What is shown when the pointer rests on this rectangle. Of .svg alone. */
void ljt_canvas_tip(struct ljt_canvas *c, const struct ljt_rect *r, const char *text);

/* What stands for a colour in the dark. Of .svg alone; up to LJT_CANVAS_DARKS colours, others stay as they are. */
enum { LJT_CANVAS_DARKS = 256 };
void ljt_canvas_dark(struct ljt_canvas *c, uint32_t colour, uint32_t dark);

/* Writes the file and frees the canvas: 0 or -errno. */
int ljt_canvas_close(struct ljt_canvas *c);

/* ---- For the two kinds ---- */

struct ljt_canvas {
    const char *path;
    int width, height;
    void (*rects)(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count);
    void (*text)(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                 const char *text);
    void (*curve)(struct ljt_canvas *c, uint32_t colour, int dash, const struct ljt_point *points,
                  size_t count);
    void (*tip)(struct ljt_canvas *c, const struct ljt_rect *r, const char *text); /* or NULL */
    void (*dark)(struct ljt_canvas *c, uint32_t colour, uint32_t dark);            /* or NULL */
    int (*close)(struct ljt_canvas *c);
};

struct ljt_canvas *ljt_canvas_open_svg(const char *path, int width, int height);
struct ljt_canvas *ljt_canvas_open_png(const char *path, int width, int height);

/* A string as XML and HTML want it between tags and inside of quotes; what is not printable ASCII becomes '?'. */
void ljt_canvas_escape(FILE *f, const char *text);

#endif
