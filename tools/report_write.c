/* The report as a page or as a picture: the same figures, curve and map in both. See report.h. */
#include "commands.h"
#include "page_map.h"
#include "report.h"
#include "version.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/utsname.h>

/* ---- Facts: a name and a value each, in two lists ---- */

enum { FACTS = 20, VALUE = 512 };

struct fact {
    const char *name;
    char value[VALUE];
};

struct facts {
    size_t count;
    struct fact at[FACTS];
};

/* A builder for the value of the next fact. */
static struct ljt_text add(struct facts *f, const char *name)
{
    struct fact *fact = &f->at[f->count < FACTS - 1 ? f->count++ : FACTS - 1];
    fact->name = name;
    struct ljt_text t;
    ljt_text_init(&t, fact->value, sizeof(fact->value));
    return t;
}

static void add_bytes(struct facts *f, const char *name, uint64_t bytes)
{
    struct ljt_text t = add(f, name);
    ljt_text_bytes(&t, bytes);
}

static void add_last_and_most(struct facts *f, const char *name, uint64_t last, uint64_t most)
{
    struct ljt_text t = add(f, name);
    ljt_text_bytes(&t, last);
    ljt_text_string(&t, ", at most ");
    ljt_text_bytes(&t, most);
}

/* The last sample of which the figures are known, or NULL. */
static const struct ljt_sample *last_told(const struct ljt_curve *c)
{
    for (size_t i = c->count; i-- > 0;)
        if (c->samples[i].told)
            return &c->samples[i];
    return NULL;
}

static void add_library(struct facts *f, const struct ljt_report *r)
{
    const uint64_t *v = r->stats.snapshot.total.value;
    struct ljt_text t = add(f, "Given back so far");
    ljt_text_bytes(&t, v[LJT_STATS_purged]);
    ljt_text_string(&t, ", of which used again ");
    ljt_text_bytes(&t, v[LJT_STATS_refaults]);
    t = add(f, "The library's CPU time");
    ljt_text_duration(&t, v[LJT_STATS_reclaimer_cpu_ns]);
    ljt_text_string(&t, " on its own thread, ");
    ljt_text_duration(&t, v[LJT_STATS_unit_cpu_ns]);
    ljt_text_string(&t, " on the VM's");
    t = add(f, "Waits of the VM");
    ljt_text_unsigned(&t, v[LJT_STATS_waits]);
    if (v[LJT_STATS_waits] != 0) {
        ljt_text_string(&t, ", 99% within ");
        ljt_text_duration(&t, v[LJT_STATS_waits_p99_ns]);
        ljt_text_string(&t, ", the longest ");
        ljt_text_duration(&t, v[LJT_STATS_waits_max_ns]);
    }
}

static void list_figures(struct facts *f, const struct ljt_report *r)
{
    const struct ljt_curve *c = &r->curve;
    const struct ljt_sample *s = last_told(c);
    const struct ljt_inspection *n = &r->last;
    add_last_and_most(f, "RSS of the process", c->samples[c->count - 1].rss, c->peak_rss);
    if (s != NULL) {
        add_last_and_most(f, "Resident in LuaJIT's arenas", s->resident, c->peak_resident);
        add_bytes(f, "Page floor: needed pages", s->floor);
        add_bytes(f, "Live: in use by Lua", s->live);
        if (s->floor != 0) {
            struct ljt_text t = add(f, "Resident / page floor");
            uint64_t ratio = s->resident * 100 / s->floor;
            ljt_text_printf(&t, "%llu.%02llu (1.00 is the best)", (unsigned long long)(ratio / 100),
                            (unsigned long long)(ratio % 100));
        }
    }
    if (n->direct != 0)
        add_bytes(f, "Large blocks besides the arenas", n->direct);
    if (r->preloaded && s != NULL)
        add_library(f, r);
    else if (!n->holders.has_libljtrim)
        add_bytes(f, "libljtrim would return", n->returnable);
    if (n->cgroup_use.charged != 0) {
        struct ljt_text t = add(f, "Its cgroup is charged");
        ljt_text_bytes(&t, n->cgroup_use.charged);
        if (n->cgroup_use.limit != SIZE_MAX) {
            ljt_text_string(&t, " of ");
            ljt_text_bytes(&t, n->cgroup_use.limit);
        }
    }
}

static void append_time(struct ljt_text *t, time_t at)
{
    struct tm tm;
    char buf[64];
    if (gmtime_r(&at, &tm) != NULL && strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S", &tm) != 0)
        ljt_text_string(t, buf);
}

/* LJTRIM_ variables as they were when the process was executed; nginx overwrites them. */
static void append_variables(struct ljt_text *t, pid_t pid)
{
    enum { ROOM = 1 << 17 };
    static char environment[ROOM];
    snprintf(environment, sizeof(environment), "/proc/%d/environ", (int)pid);
    FILE *f = fopen(environment, "re");
    size_t n = f == NULL ? 0 : fread(environment, 1, ROOM - 1, f), before = t->len;
    if (f != NULL)
        fclose(f);
    environment[n] = '\0';
    for (size_t at = 0; at < n; at += strlen(environment + at) + 1) {
        if (strncmp(environment + at, "LJTRIM_", 7) != 0)
            continue;
        if (t->len != before)
            ljt_text_string(t, " ");
        ljt_text_foreign(t, environment + at, 80);
    }
    if (t->len == before)
        ljt_text_string(t, "none seen in its environment");
}

static void add_cost(struct facts *f, const struct ljt_report *r)
{
    struct ljt_text t = add(f, "What looking has cost it");
    if (r->stops == 0) {
        ljt_text_string(&t, "never stopped");
    } else {
        ljt_text_printf(&t, "stopped %lu times, ", r->stops);
        ljt_text_duration(&t, (uint64_t)(r->longest_stop_us * 1000));
        ljt_text_string(&t, " at most, ");
        ljt_text_duration(&t, (uint64_t)(r->all_stops_us * 1000));
        ljt_text_string(&t, " in all (");
        ljt_text_percent(&t, (uint64_t)r->all_stops_us, (uint64_t)(r->seconds * 1e6) + 1);
        ljt_text_string(&t, " of the time)");
    }
}

static void list_circumstances(struct facts *f, const struct ljt_report *r)
{
    const struct ljt_inspection *n = &r->last;
    struct utsname u;
    struct ljt_text t = add(f, "Process");
    ljt_text_foreign(&t, n->remote.comm, 32);
    ljt_text_printf(&t, ", %d", (int)r->pid);
    if (n->inner_pid != r->pid)
        ljt_text_printf(&t, " (%d in its container)", (int)n->inner_pid);
    t = add(f, "When");
    append_time(&t, r->started.tv_sec);
    ljt_text_string(&t, " UTC, for ");
    ljt_curve_time(&t, r->seconds);
    if (r->end == LJT_REPORT_TARGET_ENDED)
        ljt_text_string(&t, ": then the process ended");
    else if (r->end == LJT_REPORT_INTERRUPTED)
        ljt_text_string(&t, ": then the report was interrupted");
    t = add(f, "How");
    ljt_text_printf(&t, "%lu samples, ", r->curve.taken);
    if (r->preloaded)
        ljt_text_string(&t, "figures of libljtrim's own as it gathers them");
    else
        ljt_text_printf(&t, "%lu walk%s over the heap", r->walks, r->walks == 1 ? "" : "s");
    if (!r->preloaded && r->rough_walks != 0)
        ljt_text_printf(&t, ", %lu of them while it ran: approximate", r->rough_walks);
    add_cost(f, r);
    t = add(f, "Versions");
    ljt_text_string(&t, "ljtrim " LJT_VERSION);
    if (r->preloaded && r->stats.snapshot.version[0] != '\0')
        ljt_text_printf(&t, ", libljtrim %s in the process", r->stats.snapshot.version);
    else
        ljt_text_string(&t, n->holders.has_libljtrim ? ", libljtrim in the process"
                                                     : ", no libljtrim in the process");
    if (uname(&u) == 0) {
        ljt_text_string(&t, ", Linux ");
        ljt_text_foreign(&t, u.release, 48);
        ljt_text_printf(&t, " on %s, pages of %zu KiB", u.machine, n->remote.page >> 10);
    }
    if (n->holders.has_libljtrim) {
        t = add(f, "The library's options");
        if (r->end == LJT_REPORT_TARGET_ENDED)
            ljt_text_string(&t, "not known any more");
        else
            append_variables(&t, r->pid);
    }
    t = add(f, "Asked for by");
    ljt_text_foreign(&t, r->command, 240);
}

/* ---- Words for the pictures ---- */

static void title(struct ljt_text *t, const struct ljt_report *r)
{
    ljt_text_foreign(t, r->last.remote.comm, 32);
    ljt_text_printf(t, ", process %d: the memory of LuaJIT's allocator", (int)r->pid);
}

static void describe_curve(struct ljt_text *t, const struct ljt_report *r)
{
    const struct ljt_curve *c = &r->curve;
    ljt_text_string(t, "At the beginning, ");
    ljt_curve_tell(t, &c->samples[0]);
    ljt_text_string(t, ". At the end, ");
    ljt_curve_tell(t, &c->samples[c->count - 1]);
    ljt_text_string(t, ". RSS was at most ");
    ljt_text_bytes(t, c->peak_rss);
    ljt_text_string(t, ".");
}

static void describe_map(struct ljt_text *t, const struct ljt_report *r)
{
    const struct ljt_arena_figures *f = &r->last.total;
    ljt_text_bytes(t, f->mapped);
    ljt_text_printf(t, " of address space in %zu arena%s after ", r->last.count,
                    r->last.count == 1 ? "" : "s");
    ljt_curve_time(t, r->last_at);
    ljt_text_string(t, ": ");
    ljt_text_bytes(t, f->floor);
    ljt_text_string(t, " in pages that are needed, ");
    ljt_text_bytes(t, f->reclaimable);
    ljt_text_string(t, " free and resident, ");
    ljt_text_bytes(t, f->purgeable - f->reclaimable);
    ljt_text_string(t, " free and given back or never touched.");
    if (f->approximate)
        ljt_text_string(t, " Read while the process ran: approximate.");
    if (r->last.holders.has_libljtrim)
        ljt_text_string(t, " What libljtrim was about to give back counts as live.");
}

static const char CURVE[] = "Over time", MAP[] = "Page by page";

static void describe_area(struct ljt_text *t, const struct ljt_report *r)
{
    ljt_text_string(t, "The area between resident and page floor is free memory that the process holds.");
    if (!r->preloaded)
        ljt_text_string(t, " Squares, where figures are few, mark what was measured.");
    else
        ljt_text_string(t,
                        " Figures of the arenas are those of libljtrim's last look; RSS is of the moment.");
}

/* ---- .html ---- */

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b2733;--faint:#5b6a78;--paper:#fff;--line:#dde3e8}\n"
    "@media "
    "(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--faint:#9aa8b5;--paper:#12181f;--line:#2c3844}}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 Helvetica,Arial,sans-serif}\n"
    "main{max-width:1208px;margin:0 auto;padding:1.5rem 1rem}\n"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}\n"
    ".verdict{font-size:1.1rem;max-width:70ch;margin:0 0 "
    ".5rem}.note,figcaption{color:var(--faint);max-width:90ch}\n"
    "figure{margin:0}svg{max-width:100%;height:auto;display:block}\n"
    "table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;font-weight:400;\n"
    "padding:.25rem 1.5rem .25rem 0;border-bottom:1px solid var(--line)}th{color:var(--faint)}\n"
    "td{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}\n"
    ".columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:0 3rem}\n"
    "summary{cursor:pointer}.series td,.series th{text-align:right}\n";

static void element(FILE *f, const char *open, const char *text, const char *close)
{
    fputs(open, f);
    ljt_canvas_escape(f, text);
    fputs(close, f);
}

static void html_facts(FILE *f, const char *caption, const struct facts *facts)
{
    element(f, "<section>\n<h2>", caption, "</h2>\n<table>\n");
    for (size_t i = 0; i < facts->count; i++) {
        element(f, "<tr><th scope=\"row\">", facts->at[i].name, "</th>");
        element(f, "<td>", facts->at[i].value, "</td></tr>\n");
    }
    fputs("</table>\n</section>\n", f);
}

static void html_cell(FILE *f, bool known, uint64_t bytes)
{
    char buf[32];
    struct ljt_text t = LJT_TEXT(buf);
    if (known)
        ljt_text_bytes(&t, bytes);
    else
        ljt_text_string(&t, "-");
    element(f, "<td>", buf, "</td>");
}

/* The curve for who wants figures, or does not see it: up to 25 samples. */
static void html_series(FILE *f, const struct ljt_curve *c)
{
    enum { ROWS = 24 };
    size_t rows = c->count < ROWS ? c->count - 1 : ROWS;
    fputs("<details><summary>The same in figures</summary>\n<table class=\"series\">\n<tr><th "
          "scope=\"col\">after</th>"
          "<th scope=\"col\">RSS</th><th scope=\"col\">resident</th><th scope=\"col\">page floor</th>"
          "<th scope=\"col\">live</th></tr>\n",
          f);
    for (size_t i = 0; i <= rows; i++) {
        /* Of those between two rows one with figures, if there is any. */
        size_t at = rows == 0 ? 0 : i * (c->count - 1) / rows, next = at + 1;
        if (i < rows)
            next = (i + 1) * (c->count - 1) / rows;
        for (size_t k = at; k < next && !c->samples[at].told; k++)
            at = c->samples[k].told ? k : at;
        const struct ljt_sample *s = &c->samples[at];
        char buf[32];
        struct ljt_text t = LJT_TEXT(buf);
        ljt_curve_time(&t, s->at);
        element(f, "<tr><th scope=\"row\">", buf, "</th>");
        html_cell(f, true, s->rss);
        html_cell(f, s->told, s->resident);
        html_cell(f, s->told, s->floor);
        html_cell(f, s->told, s->live);
        fputs("</tr>\n", f);
    }
    fputs("</table></details>\n", f);
}

static int html_curve(FILE *f, const struct ljt_report *r)
{
    char text[1024];
    struct ljt_text t = LJT_TEXT(text);
    describe_curve(&t, r);
    element(f, "<h2>", CURVE, "</h2>\n<figure>\n");
    struct ljt_canvas *canvas = ljt_canvas_open_in(f, LJT_PICTURE_WIDTH, LJT_CURVE_HEIGHT, CURVE, text);
    if (canvas == NULL)
        return -ENOMEM;
    ljt_picture_begin(canvas);
    ljt_curve_draw(canvas, &r->curve, 0);
    int error = ljt_canvas_close(canvas);
    ljt_text_init(&t, text, sizeof(text));
    describe_area(&t, r);
    element(f, "<figcaption>", text, "</figcaption>\n");
    html_series(f, &r->curve);
    fputs("</figure>\n", f);
    return error;
}

static int html_map(FILE *f, const struct ljt_report *r)
{
    char text[512];
    struct ljt_text t = LJT_TEXT(text);
    describe_map(&t, r);
    element(f, "<h2>", MAP, "</h2>\n<figure>\n");
    struct ljt_canvas *canvas = ljt_canvas_open_in(
        f, LJT_PICTURE_WIDTH, ljt_page_map_height(&r->last, LJT_PAGE_MAP_SMALL), MAP, text);
    if (canvas == NULL)
        return -ENOMEM;
    ljt_picture_begin(canvas);
    int error = ljt_page_map_draw(canvas, &r->last, LJT_PAGE_MAP_SMALL, 0);
    int closed = ljt_canvas_close(canvas);
    element(f, "<figcaption>", text, "</figcaption>\n</figure>\n");
    return error != 0 ? error : closed;
}

int ljt_report_write_html(FILE *f, const struct ljt_report *r)
{
    static struct facts figures, circumstances;
    char text[512];
    struct ljt_text t = LJT_TEXT(text);
    title(&t, r);
    fputs("<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta "
          "charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
          "<meta name=\"generator\" content=\"ljtrim " LJT_VERSION "\"/>\n",
          f);
    element(f, "<title>", text, "</title>\n");
    fprintf(f, "<style>\n%s</style>\n</head>\n<body>\n<main>\n", style);
    element(f, "<h1>", text, "</h1>\n");
    ljt_text_init(&t, text, sizeof(text));
    ljt_inspection_verdict(&r->last, &t);
    element(f, "<p class=\"verdict\">", text, "</p>\n");
    int error = html_curve(f, r);
    if (error == 0)
        error = html_map(f, r);
    figures.count = circumstances.count = 0;
    list_figures(&figures, r);
    list_circumstances(&circumstances, r);
    fputs("<div class=\"columns\">\n", f);
    html_facts(f, "Figures at the end", &figures);
    html_facts(f, "Circumstances", &circumstances);
    fputs("</div>\n</main>\n</body>\n</html>\n", f);
    return error;
}

/* ---- .svg ---- */

enum { LINE = 21, TOP = 46, HEAD = 24, CHARACTERS = 130 };

/* Lines of text from y on, or only their number if there is no canvas. Returns where the next one begins. */
static int svg_lines(struct ljt_canvas *canvas, int x, int y, uint32_t colour, const char *text, size_t width)
{
    char wrapped[1536];
    struct ljt_text t = LJT_TEXT(wrapped);
    ljt_text_wrap(&t, text, 0, width);
    char *rest = wrapped;
    for (char *line = strtok_r(rest, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest), y += LINE)
        if (canvas != NULL)
            ljt_canvas_text(canvas, x, y, 14, colour, LJT_ALIGN_LEFT, line);
    return y;
}

static int svg_facts(struct ljt_canvas *canvas, int y, const char *caption, const struct facts *facts)
{
    enum { NAME = 264 };
    if (canvas != NULL)
        ljt_canvas_text(canvas, LJT_PICTURE_LEFT, y, 17, LJT_INK, LJT_ALIGN_LEFT, caption);
    y += HEAD;
    for (size_t i = 0; i < facts->count; i++) {
        if (canvas != NULL)
            ljt_canvas_text(canvas, LJT_PICTURE_LEFT, y, 14, LJT_FAINT, LJT_ALIGN_LEFT, facts->at[i].name);
        y = svg_lines(canvas, LJT_PICTURE_LEFT + NAME, y, LJT_INK, facts->at[i].value, CHARACTERS - 40);
    }
    return y + HEAD;
}

/* Draws, or measures its height if there is no canvas. */
static int svg_report(struct ljt_canvas *canvas, const struct ljt_report *r, int *error)
{
    static struct facts figures, circumstances;
    char text[512];
    int x = LJT_PICTURE_LEFT, y = TOP;
    struct ljt_text t = LJT_TEXT(text);
    title(&t, r);
    if (canvas != NULL)
        ljt_canvas_text(canvas, x, y, 21, LJT_INK, LJT_ALIGN_LEFT, text);
    ljt_text_init(&t, text, sizeof(text));
    ljt_inspection_verdict(&r->last, &t);
    y = svg_lines(canvas, x, y + 30, LJT_INK, text, CHARACTERS) + HEAD;
    if (canvas != NULL) {
        ljt_canvas_text(canvas, x, y, 17, LJT_INK, LJT_ALIGN_LEFT, CURVE);
        ljt_curve_draw(canvas, &r->curve, y + 12);
    }
    ljt_text_init(&t, text, sizeof(text));
    describe_area(&t, r);
    y = svg_lines(canvas, x, y + 12 + LJT_CURVE_HEIGHT + LINE, LJT_FAINT, text, CHARACTERS) + HEAD;
    if (canvas != NULL) {
        ljt_canvas_text(canvas, x, y, 17, LJT_INK, LJT_ALIGN_LEFT, MAP);
        *error = ljt_page_map_draw(canvas, &r->last, LJT_PAGE_MAP_SMALL, y + 16);
    }
    ljt_text_init(&t, text, sizeof(text));
    describe_map(&t, r);
    y += 16 + ljt_page_map_height(&r->last, LJT_PAGE_MAP_SMALL);
    y = svg_lines(canvas, x, y, LJT_FAINT, text, CHARACTERS) + HEAD;
    figures.count = circumstances.count = 0;
    list_figures(&figures, r);
    list_circumstances(&circumstances, r);
    y = svg_facts(canvas, y, "Figures at the end", &figures);
    return svg_facts(canvas, y, "Circumstances", &circumstances);
}

int ljt_report_write_svg(FILE *f, const struct ljt_report *r)
{
    char name[128], text[2048];
    struct ljt_text n = LJT_TEXT(name), t = LJT_TEXT(text);
    int error = 0, height = svg_report(NULL, r, &error);
    title(&n, r);
    ljt_inspection_verdict(&r->last, &t);
    ljt_text_string(&t, " ");
    describe_curve(&t, r);
    ljt_text_string(&t, " ");
    describe_map(&t, r);
    struct ljt_canvas *canvas = ljt_canvas_open_in(f, LJT_PICTURE_WIDTH, height, name, text);
    if (canvas == NULL)
        return -ENOMEM;
    ljt_picture_begin(canvas);
    (void)svg_report(canvas, r, &error);
    int closed = ljt_canvas_close(canvas);
    return error != 0 ? error : closed;
}
