title='Neovim, headless'
packages='neovim'
linkage='libluajit-5.1.so.2'

serve() { host nvim --headless -u NONE -i NONE -n -c "luafile $HOSTS/neovim.lua" -c 'qa!'; }
