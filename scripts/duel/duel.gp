# The duel's picture. scripts/oom-duel sets: out, data (seconds, plain, preloaded in MiB), kills (seconds, limit),
# limit (MiB), last (seconds), plain_text, preloaded_text.

set terminal pngcairo size 1400,640 enhanced font "DejaVu Sans,13" background rgb "#ffffff"
set output out

ink = "#24292f"; faint = "#8c959f"
c_plain = "#cf4a2e"; c_trim = "#0b6fb8"

set lmargin 9; set rmargin 4; set tmargin 7; set bmargin 4
set border 3 lc rgb faint lw 1
set tics nomirror out scale 0.6 textcolor rgb ink
set grid ytics lc rgb "#e3e6ea" lw 1 lt 1
set xrange [0:last]
set yrange [0:limit * 1.25]
set xlabel "seconds" textcolor rgb ink offset 0,0.3
set ylabel "memory charged to the group (MiB)" textcolor rgb ink offset 0.5,0
set label 1 "nginx, four workers, one memory limit; a crowd comes to one worker after the other" at graph 0,1.175 \
    font "DejaVu Sans Bold,16" textcolor rgb ink
set label 2 plain_text at graph 0,1.105 textcolor rgb c_plain font "DejaVu Sans Bold,13"
set label 3 preloaded_text at graph 0,1.045 textcolor rgb c_trim font "DejaVu Sans Bold,13"
set label 4 sprintf("limit: %.0f MiB", limit) at graph 0.01, first limit * 1.035 left textcolor rgb ink
set key off

plot limit with lines lw 2 dt (6,4) lc rgb ink, \
     data using 1:3 with filledcurves y1=0 fc rgb c_trim fs transparent solid 0.10 noborder, \
     data using 1:2 with lines lw 2.5 lc rgb c_plain, \
     data using 1:3 with lines lw 2.5 lc rgb c_trim, \
     kills using 1:2 with points pt 2 ps 2.4 lw 4 lc rgb c_plain, \
     kills using 1:2:("killed") with labels offset 0,1.1 textcolor rgb c_plain
