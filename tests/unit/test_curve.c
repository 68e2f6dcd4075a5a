/* The breathing curve of ljtrim report: thinning of samples, axes, and what is drawn. */
#include "../../tools/curve.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct ljt_curve curve;

static struct ljt_sample sample(double at, uint64_t rss, bool told)
{
    struct ljt_sample s = {.at = at, .rss = rss};
    if (told) {
        s.told = true;
        s.mapped = rss;
        s.resident = rss / 2;
        s.floor = rss / 4;
        s.live = rss / 8;
    }
    return s;
}

static void begin(void)
{
    memset(&curve, 0, sizeof(curve));
}

/* Draws it into memory as SVG; free() it. */
static char *draw(void)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    struct ljt_canvas *canvas =
        ljt_canvas_open_in(f, LJT_PICTURE_WIDTH, LJT_CURVE_HEIGHT, "a \"name\"", "more < less & so on");
    ljt_picture_begin(canvas);
    ljt_curve_draw(canvas, &curve, 0);
    cr_assert_eq(ljt_canvas_close(canvas), 0);
    fclose(f);
    return text;
}

Test(curve, peaks_and_troughs_outlive_the_thinning)
{
    uint64_t most = 0, least = UINT64_MAX;
    begin();
    for (int i = 0; i < 100000; i++) {
        uint64_t rss = i == 7777 ? 900 << 20 : i == 55555 ? 1 << 20 : (uint64_t)(100 + i % 7) << 20;
        struct ljt_sample s = sample(i, rss, true);
        ljt_curve_add(&curve, &s);
        cr_assert_leq(curve.count, (size_t)LJT_CURVE_SAMPLES);
    }
    for (size_t i = 0; i < curve.count; i++) {
        most = curve.samples[i].rss > most ? curve.samples[i].rss : most;
        least = curve.samples[i].rss < least ? curve.samples[i].rss : least;
        cr_assert(i == 0 || curve.samples[i].at > curve.samples[i - 1].at, "time goes back at %zu", i);
    }
    cr_assert_eq(most, (uint64_t)900 << 20);
    cr_assert_eq(least, (uint64_t)1 << 20);
    cr_assert_eq(curve.samples[0].at, 0);
    cr_assert_eq(curve.samples[curve.count - 1].at, 99999);
    cr_assert_eq(curve.taken, 100000ul);
    cr_assert_eq(curve.peak_rss, (uint64_t)900 << 20);
    cr_assert_eq(curve.peak_resident, (uint64_t)450 << 20);
}

Test(curve, figures_outlive_the_thinning_where_few_samples_have_any)
{
    size_t told = 0;
    begin();
    for (int i = 0; i < 5000; i++) {
        struct ljt_sample s = sample(i, (uint64_t)(i % 5 + 1) << 20, i % 16 == 0);
        ljt_curve_add(&curve, &s);
    }
    for (size_t i = 0; i < curve.count; i++)
        told += curve.samples[i].told;
    cr_assert_geq(told, curve.count / 16, "%zu of %zu", told, curve.count);
}

Test(curve, axes_have_three_to_ten_labels)
{
    for (uint64_t most = 16 << 10; most < (uint64_t)1 << 44; most += most / 3) {
        uint64_t step = ljt_curve_byte_step(most);
        cr_assert_eq(step & (step - 1), 0, "%zu is no power of 2", (size_t)step);
        cr_assert(most / step >= 3 && most / step <= 10, "%zu labels up to %zu", (size_t)(most / step),
                  (size_t)most);
    }
    for (double most = 0.5; most < 1e7; most *= 1.1) {
        double step = ljt_curve_second_step(most);
        cr_assert(most / step >= 3 && most / step <= 10.0001, "%g labels up to %g s", most / step, most);
    }
}

Test(curve, times_are_told_in_fitting_units)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0 s"},          {0.25, "0.3 s"},  {59.96, "60 s"}, {90, "90 s"},    {120, "2 min"},
                 {150, "2 min 30 s"}, {3600, "60 min"}, {7200, "2 h"},   {9000, "2.5 h"}, {86400, "24 h"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buf[64];
        struct ljt_text t = LJT_TEXT(buf);
        ljt_curve_time(&t, cases[i].seconds);
        cr_assert_str_eq(buf, cases[i].text);
    }
}

Test(curve, picture_has_lines_tooltips_a_name_and_dark_colours)
{
    begin();
    for (int i = 0; i < 50; i++) {
        struct ljt_sample s = sample(i, (uint64_t)(50 + i) << 20, true);
        ljt_curve_add(&curve, &s);
    }
    char *svg = draw();
    cr_assert(strstr(svg, "role=\"img\" aria-label=\"a &quot;name&quot;. more &lt; less &amp; so on\"") !=
              NULL);
    cr_assert(strstr(svg, "<title>a &quot;name&quot;</title>") != NULL);
    cr_assert(strstr(svg, "prefers-color-scheme: dark") != NULL);
    cr_assert(strstr(svg, ">RSS: 99.0 MiB<") != NULL);
    cr_assert(strstr(svg, "<title>0 s: RSS 50.0 MiB; arenas: resident 25.0 MiB, page floor 12.5 MiB, live "
                          "6.3 MiB</title>") != NULL);
    size_t tips = 0;
    for (const char *at = svg; (at = strstr(at, "pointer-events")) != NULL; at++)
        tips++;
    cr_assert_eq(tips, 128ul);
    free(svg);
}

/* Every coordinate of what is drawn stays inside of the picture. */
Test(curve, one_sample_or_none_without_figures_can_be_drawn)
{
    begin();
    free(draw());
    struct ljt_sample s = sample(0, 0, false);
    ljt_curve_add(&curve, &s);
    char *svg = draw();
    cr_assert(strstr(svg, "page floor: not known<") != NULL);
    cr_assert(strstr(svg, "nan") == NULL && strstr(svg, "inf") == NULL);
    free(svg);
}

/* They are the target's, whose program may write anything there: the axis had labels without end. */
Test(curve, figures_that_can_not_be_are_left_out)
{
    begin();
    struct ljt_sample s = sample(0, (uint64_t)50 << 20, true);
    ljt_curve_add(&curve, &s);
    s = sample(1, (uint64_t)60 << 20, true);
    s.resident = (uint64_t)13 << 60;
    ljt_curve_add(&curve, &s);
    char *svg = draw();
    cr_expect(strstr(svg, "GiB") == NULL);
    cr_expect_eq(curve.peak_resident, (uint64_t)25 << 20);
    free(svg);
}

Test(curve, thousands_of_samples_make_a_small_picture)
{
    begin();
    srand(17);
    for (int i = 0; i < 20000; i++) {
        struct ljt_sample s = sample(i * 0.1, (uint64_t)rand() % ((uint64_t)8 << 30), true);
        ljt_curve_add(&curve, &s);
    }
    char *svg = draw();
    cr_assert_leq(strlen(svg), 120000ul, "%zu bytes", strlen(svg));
    free(svg);
}
