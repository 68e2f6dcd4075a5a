# A VM a thread.
title='sysbench, 2 threads'
packages='sysbench'
linkage='libluajit-5.1.so.2'

serve() { host sysbench --threads=2 --events=2 --time=0 "$HOSTS/sysbench.lua" run; }
drive() { wait_for 60 '^all at the peak' "$RUN/out"; }
