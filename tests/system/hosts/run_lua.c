/*
 * run_lua SCRIPT [ARG ...]: the smallest program that is linked against LuaJIT's shared library and runs a script,
 * with `arg` as luajit sets it.
 */
#include "run_script.h"

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: run_lua SCRIPT [ARG ...]");
    return run_script(argc - 1, argv + 1);
}
