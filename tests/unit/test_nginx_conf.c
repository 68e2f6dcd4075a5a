/*
 * nginx's configuration, read as another process has it: what it says, and what it can't make the reader do.
 */
#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tools/nginx_conf.h"
#include "root.h"

static struct ljt_nginx_conf c;

static void begin(void)
{
    lab_init();
    root_make();
}

static void end(void)
{
    ljt_nginx_conf_free(&c);
    root_drop();
}

TestSuite(nginx_conf, .init = begin, .fini = end, .timeout = LAB_TIMEOUT);

/* Reads /etc/nginx.conf below the root, with this text. */
static void read_main(const char *text)
{
    root_write("/etc/nginx.conf", text);
    ljt_nginx_conf_free(&c);
    ljt_nginx_conf_init(&c, "/usr/share/nginx", "/etc/nginx.conf");
    ljt_nginx_conf_read(&c, root);
    cr_expect(c.readable, "%s", c.left_out);
}

static void expect_variables(const char *names)
{
    char all[4096] = "";
    for (size_t i = 0; i < c.nvariables; i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i == 0 ? "" : " ", c.variables[i]);
    cr_expect_str_eq(all, names);
}

/* The line that says so, or a part of it. */
static void expect_left_out(const char *part)
{
    cr_expect(strstr(c.left_out, part) != NULL, "'%s', not '%s'", c.left_out, part);
}

static void expect_all_read(void)
{
    cr_expect_str_eq(c.left_out, "");
}

Test(nginx_conf, says_what_stands_outside_of_braces)
{
    read_main("user www; # env NO1;\n"
              "env LD_PRELOAD;env\tLJTRIM_LOG=/x; 'env' \"LJTRIM MODE\";\n"
              "load_module modules/a.so;\nload_module /opt/b.so;\n"
              "events { env NO2; }\nhttp { server { env NO3; } env NO4; }\nenv A\n;env NO5");
    expect_variables("LD_PRELOAD LJTRIM_LOG LJTRIM MODE A");
    cr_assert_eq(c.nmodules, 2);
    cr_expect_str_eq(c.modules[0], "/usr/share/nginx/modules/a.so");
    cr_expect_str_eq(c.modules[1], "/opt/b.so");
    cr_expect(ljt_nginx_conf_keeps(&c, "LD_PRELOAD") && !ljt_nginx_conf_keeps(&c, "LD_PRELOA"));
    expect_all_read();
}

Test(nginx_conf, includes_files_and_patterns)
{
    root_write("/etc/one.conf", "env ONE;");
    root_write("/etc/a/x/1.conf", "env X1;");
    root_write("/etc/a/y/2.conf", "env Y2;");
    root_write("/etc/a/y/2.confx", "env NO1;");
    root_write("/etc/a/.z/3.conf", "env NO2;");
    root_write("/etc/a/file", "env NO3;");
    root_write("/opt/b*d/q", "env ODD;");
    read_main(
        "include one.conf; include a/*/[0-9].conf; include /opt/*/q; include /opt/none*/q; include none;");
    cr_expect_eq(c.nvariables, 4);
    cr_expect(ljt_nginx_conf_keeps(&c, "ONE") && ljt_nginx_conf_keeps(&c, "X1"));
    cr_expect(ljt_nginx_conf_keeps(&c, "Y2") && ljt_nginx_conf_keeps(&c, "ODD"));
    expect_all_read();
}

/* Each of them includes all: with a bound on depth alone these are 20^8 reads. */
Test(nginx_conf, files_that_include_each_other_are_read_once)
{
    char name[64], text[128];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "/etc/d/%d.conf", i);
        snprintf(text, sizeof(text), "env V%d; include d/*.conf; include ../etc/nginx.conf;", i);
        root_write(name, text);
    }
    read_main("include d/*.conf; include nginx.conf;");
    cr_expect_eq(c.nvariables, 20);
    expect_all_read();
}

/* What the links lead to is there outside of the root, too. */
Test(nginx_conf, pattern_stays_inside_of_the_root)
{
    char outside[64] = "/tmp/ljtrim-outside.XXXXXX", inside[96];
    cr_assert(mkdtemp(outside) != NULL);
    snprintf(inside, sizeof(inside), "%s/ours.conf", outside);
    root_write(inside, "env ABSOLUTE;");
    root_link("/etc/absolute", outside);
    root_write("/tmp/ours.conf", "env UP;");
    root_link("/etc/up", "../../../../../../tmp");
    read_main("include absolute/*.conf; include up/*.conf;");
    expect_variables("ABSOLUTE UP");
    expect_all_read();
    rmdir(outside);
}

Test(nginx_conf, regular_files_alone_are_read)
{
    cr_assert(mkfifo(root_path("/etc/d/pipe"), 0666) == 0);
    root_write("/etc/d/file", "env READ;");
    read_main("include d/*;");
    expect_variables("READ");
    expect_left_out("/etc/d/pipe cannot be read (not a regular file)");
    ljt_nginx_conf_free(&c);
    ljt_nginx_conf_init(&c, "", "/dev/zero");
    ljt_nginx_conf_read(&c, "");
    cr_expect(!c.readable);
    expect_left_out("/dev/zero cannot be read (not a regular file)");
}

/* ---- Bounds ---- */

/* A text of one directive again and again, with a number in it. */
static char *numbered(const char *before, int count)
{
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    for (int i = 0; i < count; i++)
        fprintf(f, "%s%d;", before, i);
    cr_assert(fclose(f) == 0);
    return text;
}

static void expect_bound(char *text, const char *part)
{
    read_main(text);
    free(text);
    expect_left_out(part);
}

Test(nginx_conf, length_has_a_bound)
{
    FILE *f = fopen(root_path("/etc/long"), "we");
    cr_assert(f != NULL && ftruncate(fileno(f), (off_t)1 << 40) == 0 && fclose(f) == 0);
    read_main("include long;");
    expect_left_out("it is longer than 64 MiB");
    cr_expect_eq(c.bytes, (size_t)LJT_NGINX_MIB << 20);
}

Test(nginx_conf, files_have_a_bound)
{
    expect_bound(numbered("include none", LJT_NGINX_FILES + 1), "it includes more than 1000 files");
    cr_expect_eq(c.nfiles, LJT_NGINX_FILES);
}

Test(nginx_conf, names_in_directories_have_a_bound)
{
    char name[64];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "/etc/d/%d", i);
        root_write(name, "");
    }
    expect_bound(numbered("include d/*none", 500), "more than 100000 names");
    cr_expect_eq(c.names, LJT_NGINX_NAMES);
}

Test(nginx_conf, what_it_says_has_a_bound)
{
    expect_bound(numbered("env V", LJT_NGINX_VARIABLES + 1), "it declares more than 256 variables");
    cr_expect_eq(c.nvariables, LJT_NGINX_VARIABLES);
    expect_bound(numbered("load_module m", LJT_NGINX_MODULES + 1), "it loads more than 64 modules");
    cr_expect_eq(c.nmodules, LJT_NGINX_MODULES);
}
