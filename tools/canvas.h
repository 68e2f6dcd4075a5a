/*
 * A canvas for rectangles and lines of text, kept as .svg or as .png. No library is needed for either: the
 * SVG is a path for each colour, the PNG has up to 256 colours, letters of 5 by 7 dots, and runs as its only
 * compression.
 *
 * Coordinates are pixels from the upper left corner. Whether it could be written tells ljt_canvas_close.
 */
#ifndef LJT_CANVAS_H
#define LJT_CANVAS_H

#include <stddef.h>
#include <stdint.h>

struct ljt_rect {
    int x, y, w, h;
};

enum ljt_align { LJT_ALIGN_LEFT, LJT_ALIGN_RIGHT };

struct ljt_canvas;

/* NULL with errno: ENOTSUP if the name ends in neither .svg nor .png. White. */
struct ljt_canvas *ljt_canvas_open(const char *path, int width, int height);

/* Rectangles of one colour, 0xRRGGBB. */
void ljt_canvas_rects(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count);

/*
 * One line of printable ASCII, `size` pixels high from ascender to baseline; y is the baseline. The letters'
 * width is about that of ljt_canvas_text_width, which holds exactly for .png.
 */
void ljt_canvas_text(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                     const char *text);
int ljt_canvas_text_width(int size, const char *text);

/* Writes the file and frees the canvas: 0 or -errno. */
int ljt_canvas_close(struct ljt_canvas *c);

/* ---- For the two kinds ---- */

struct ljt_canvas {
    const char *path;
    int width, height;
    void (*rects)(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count);
    void (*text)(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                 const char *text);
    int (*close)(struct ljt_canvas *c);
};

struct ljt_canvas *ljt_canvas_open_svg(const char *path, int width, int height);
struct ljt_canvas *ljt_canvas_open_png(const char *path, int width, int height);

#endif
