# The frontier: a panel a workload, a point an allocator and setting, a line through each family's settings.
# bench/run sets: dir (with frontier.WORKLOAD.dat, written by frontier.lua), out.

set terminal pngcairo size 1500,760 enhanced font "DejaVu Sans,12" background rgb "#ffffff"
set output out

ink = "#24292f"; faint = "#8c959f"
# What column 7 says: the family
array name[5] = ["plain LuaJIT", "LD\\_PRELOAD=libljtrim.so", "jemalloc", "mimalloc", "glibc"]
array colour[5] = [0xcf4a2e, 0x0b6fb8, 0x5f8f2f, 0x9a5bb8, 0xb58900]
of(f, column_) = column(7) == f ? column(column_) : NaN

set border 3 lc rgb faint lw 1
set tics nomirror out scale 0.6 textcolor rgb ink
set grid lc rgb "#e3e6ea" lw 1 lt 1
set xlabel "throughput, in that of plain LuaJIT" textcolor rgb ink
set ylabel "mean resident memory (MB)" textcolor rgb ink offset 1,0
set yrange [0:*]
set offsets graph 0.06, graph 0.12, graph 0.08, 0
set key at screen 0.985,0.985 top right horizontal samplen 1 width 1 textcolor rgb ink
set label 1 "Resident memory against throughput: the lower right is better" at screen 0.05,0.96 \
    font "DejaVu Sans Bold,16" textcolor rgb ink
set label 2 "medians, and quartiles as bars; a line joins one allocator's settings" at screen 0.05,0.925 textcolor rgb faint

set multiplot layout 1,2 margins 0.055,0.985,0.09,0.85 spacing 0.06
do for [i = 1:2] {
    file = dir."/frontier.".word("sawtooth churn", i).".dat"
    set title (i == 1 ? "peaks and troughs" : "a cache that was large once, at work") textcolor rgb ink \
        font "DejaVu Sans Bold,13"
    if (int(system("test -s ".file." && echo 1 || echo 0"))) {
        plot for [f = 1:5] file using (of(f, 1)):2:3:4:5:6 with xyerrorbars lc rgb colour[f] pt 7 ps 0 lw 1 notitle, \
             for [f = 1:5] file using (of(f, 1)):2 with lines lc rgb colour[f] lw 1 dt 3 notitle, \
             for [f = 1:5] file using (of(f, 1)):2:8 with labels left offset 0.9,0.45 noenhanced font "DejaVu Sans,9" \
                textcolor rgb colour[f] notitle, \
             for [f = 1:5] file using (of(f, 1)):2 with points lc rgb colour[f] pt 7 ps (f == 2 ? 1.8 : 1.2) \
                title (i == 1 ? name[f] : "")
    }
    unset label 1
    unset label 2
}
unset multiplot
