# The breathing curve. scripts/demo sets: out, rss, floor (data files), phases (commands that shade and name
# the phases), last (seconds), highest (MiB), sessions (text), and where to write beside the curves: at_x,
# at_plain, at_preloaded.

set terminal pngcairo size 1400,720 enhanced font "DejaVu Sans,13" background rgb "#ffffff"
set output out

ink = "#24292f"; faint = "#8c959f"
c_plain = "#cf4a2e"; c_trim = "#0b6fb8"; c_floor = "#24292f"

set lmargin 9; set rmargin 4; set tmargin 5; set bmargin 4
set border 3 lc rgb faint lw 1
set tics nomirror out scale 0.6 textcolor rgb ink
set grid ytics lc rgb "#e3e6ea" lw 1 lt 1
set xrange [0:last]
set yrange [0:highest * 1.14]
set xtics 5
set ytics 100
set xlabel "seconds" textcolor rgb ink offset 0,0.3
set ylabel "resident memory of the worker (MiB)" textcolor rgb ink offset 0.5,0
set label 1 "One nginx worker with Lua, twice: the same load on both" at graph 0,1.115 \
    font "DejaVu Sans Bold,17" textcolor rgb ink
set label 2 sessions." users log in and leave, twice; one session in a hundred stays" at graph 0,1.05 \
    textcolor rgb faint
set key off

load phases

set label 10 "plain LuaJIT" at at_x,at_plain offset 0,-1.1 center font "DejaVu Sans Bold,14" \
    textcolor rgb c_plain front
set label 11 "LD\\_PRELOAD=libljtrim.so" at at_x,at_preloaded offset 0,1.6 center font "DejaVu Sans Bold,14" \
    textcolor rgb c_trim front

set label 12 "page floor: what would remain if every page that holds nothing were returned" \
    at at_x, graph 0.03 center font "DejaVu Sans,11" textcolor rgb c_floor front

plot rss using 1:2:3 with filledcurves fc rgb c_plain fs transparent solid 0.07 noborder, \
     rss using 1:3 with filledcurves y1=0 fc rgb c_trim fs transparent solid 0.12 noborder, \
     rss using 1:2 with lines lw 3 lc rgb c_plain, \
     rss using 1:3 with lines lw 3 lc rgb c_trim, \
     floor using 1:2 with lines lw 2 dt (6,4) lc rgb c_floor
