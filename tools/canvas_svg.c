#include "canvas.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

struct svg {
    struct ljt_canvas canvas;
    FILE *file;
    bool own; /* the file is ours */
    size_t darks;
    struct {
        uint32_t colour, dark;
    } dark[LJT_CANVAS_DARKS];
};

void ljt_canvas_escape(FILE *f, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '&': fputs("&amp;", f); break;
        case '"': fputs("&quot;", f); break;
        case '\n': fputc('\n', f); break;
        default: fputc(*text >= ' ' && *text <= '~' ? *text : '?', f);
        }
    }
}

static void svg_rects(struct ljt_canvas *c, uint32_t colour, const struct ljt_rect *rects, size_t count)
{
    FILE *f = ((struct svg *)c)->file;
    if (count == 0)
        return;
    fprintf(f, "<path fill=\"#%06x\" d=\"", colour);
    for (size_t i = 0; i < count; i++) {
        const struct ljt_rect *r = &rects[i];
        fprintf(f, "M%d %dh%dv%dh-%dz%s", r->x, r->y, r->w, r->h, r->w, i % 16 == 15 ? "\n" : "");
    }
    fputs("\"/>\n", f);
}

static void svg_text(struct ljt_canvas *c, int x, int y, int size, uint32_t colour, enum ljt_align align,
                     const char *text)
{
    FILE *f = ((struct svg *)c)->file;
    fprintf(f, "<text x=\"%d\" y=\"%d\" font-size=\"%d\" fill=\"#%06x\"%s>", x, y, size + 1 + size / 7,
            colour, align == LJT_ALIGN_RIGHT ? " text-anchor=\"end\"" : "");
    ljt_canvas_escape(f, text);
    fputs("</text>\n", f);
}

static void svg_curve(struct ljt_canvas *c, uint32_t colour, int dash, const struct ljt_point *points,
                      size_t count)
{
    FILE *f = ((struct svg *)c)->file;
    fprintf(f,
            "<path fill=\"none\" stroke=\"#%06x\" stroke-width=\"2\" stroke-linejoin=\"round\" "
            "shape-rendering=\"auto\"",
            colour);
    if (dash != 0)
        fprintf(f, " stroke-dasharray=\"%d\"", dash);
    fputs(" d=\"", f);
    for (size_t i = 0; i < count; i++)
        fprintf(f, "%c%d %d%s", i == 0 ? 'M' : 'L', points[i].x, points[i].y, i % 16 == 15 ? "\n" : "");
    /* A lone point has no length: a dot. */
    fputs(count == 1 ? "h2\"/>\n" : "\"/>\n", f);
}

static void svg_tip(struct ljt_canvas *c, const struct ljt_rect *r, const char *text)
{
    FILE *f = ((struct svg *)c)->file;
    fprintf(f,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" pointer-events=\"all\"><title>",
            r->x, r->y, r->w, r->h);
    ljt_canvas_escape(f, text);
    fputs("</title></rect>\n", f);
}

static void svg_dark(struct ljt_canvas *c, uint32_t colour, uint32_t dark)
{
    struct svg *s = (struct svg *)c;
    for (size_t i = 0; i < s->darks; i++)
        if (s->dark[i].colour == colour)
            return;
    if (s->darks < LJT_CANVAS_DARKS) {
        s->dark[s->darks].colour = colour;
        s->dark[s->darks++].dark = dark;
    }
}

/* Attributes give way to a style sheet; so what was drawn long ago can still be told its colour in the dark. */
static void write_darks(const struct svg *s)
{
    if (s->darks == 0)
        return;
    fputs("<style>@media (prefers-color-scheme: dark) {\n", s->file);
    for (size_t i = 0; i < s->darks; i++)
        fprintf(s->file, "[fill=\"#%06x\"]{fill:#%06x}[stroke=\"#%06x\"]{stroke:#%06x}\n", s->dark[i].colour,
                s->dark[i].dark, s->dark[i].colour, s->dark[i].dark);
    fputs("}</style>\n", s->file);
}

static int svg_close(struct ljt_canvas *c)
{
    struct svg *s = (struct svg *)c;
    FILE *f = s->file;
    write_darks(s);
    fputs("</svg>\n", f);
    int error = ferror(f) ? -EIO : 0;
    if (s->own && fclose(f) != 0 && error == 0)
        error = -errno;
    free(c);
    return error;
}

static struct svg *begin(FILE *f, const char *path, int width, int height)
{
    struct svg *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->canvas = (struct ljt_canvas){path,      width,   height,   svg_rects, svg_text,
                                    svg_curve, svg_tip, svg_dark, svg_close};
    s->file = f;
    return s;
}

static void write_head(const struct svg *s)
{
    int width = s->canvas.width, height = s->canvas.height;
    fprintf(s->file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "font-family=\"Helvetica, Arial, sans-serif\" shape-rendering=\"crispEdges\"",
            width, height, width, height);
}

struct ljt_canvas *ljt_canvas_open_svg(const char *path, int width, int height)
{
    FILE *f = fopen(path, "we");
    struct svg *s = f == NULL ? NULL : begin(f, path, width, height);
    if (s == NULL) {
        if (f != NULL)
            fclose(f);
        return NULL;
    }
    s->own = true;
    write_head(s);
    fputs(">\n", f);
    return &s->canvas;
}

struct ljt_canvas *ljt_canvas_open_in(FILE *f, int width, int height, const char *name,
                                      const char *description)
{
    struct svg *s = begin(f, "", width, height);
    if (s == NULL)
        return NULL;
    write_head(s);
    fputs(" role=\"img\" aria-label=\"", f);
    ljt_canvas_escape(f, name);
    fputs(". ", f);
    ljt_canvas_escape(f, description);
    fputs("\">\n<title>", f);
    ljt_canvas_escape(f, name);
    fputs("</title>\n<desc>", f);
    ljt_canvas_escape(f, description);
    fputs("</desc>\n", f);
    return &s->canvas;
}
