/*
 * nolua_plugin PLUGIN SCRIPT [ARG ...]: opens PLUGIN with RTLD_LOCAL, so that LuaJIT's symbols are visible to the
 * plugin alone, and lets it run SCRIPT. Afterwards the plugin is closed again.
 */
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv)
{
    int (*run)(int, char **);
    void *plugin;
    int status;

    if (argc < 3)
        die("usage: nolua_plugin PLUGIN SCRIPT [ARG ...]");
    plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        die("%s", dlerror());
    *(void **)&run = dlsym(plugin, "plugin_run");
    if (!run)
        die("%s", dlerror());
    if (dlsym(RTLD_DEFAULT, "lua_pcall")) /* lua_newstate would be the library's */
        die("LuaJIT is visible to the whole process: the test shows nothing");
    status = run(argc - 2, argv + 2);
    dlclose(plugin);
    return status;
}
