# TeX Live's LuaJIT: no GC64, references of 4 bytes, all of its memory below 2 GB; a state without PRNG, as before June 2020.
title='luajittex (TeX Live)'
packages='texlive-binaries'
linkage='libtexluajit.so.2; no GC64, state of 864 bytes'

serve() { host luajittex --luaonly "$HOSTS/script.lua"; }
