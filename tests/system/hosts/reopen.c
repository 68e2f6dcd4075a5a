/*
 * reopen PLUGIN ROUNDS SCRIPT [ARG ...]: opens a plugin that holds LuaJIT, lets it run SCRIPT, and closes it, again and
 * again. Every other round the VM is left open: its heap stays behind when the code that served it is closed, with
 * garbage to be given back.
 */
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv)
{
    if (argc < 4)
        die("usage: reopen PLUGIN ROUNDS SCRIPT [ARG ...]");
    for (int round = 0; round < atoi(argv[2]); round++) {
        int (*run)(int, char **);
        void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);

        if (!plugin)
            die("%s", dlerror());
        *(void **)&run = dlsym(plugin, round % 2 ? "plugin_leave" : "plugin_run");
        if (!run)
            die("%s", dlerror());
        if (run(argc - 3, argv + 3))
            die("the script failed");
        dlclose(plugin);
        sleep_ms(20); /* the silent heap is the reclaimer's */
    }
    printf("done\n");
    return 0;
}
