#!/usr/bin/busybox sh
# Starts Redis in the directory that it keeps its data in, whatever a power cut has left there. ext4 may have noted how
# long its file had become before what was added had reached the disk. Then it ends in zeros, and Redis would not start
# with it, now or ever. What is cut off here was not yet flushed; and if there is nothing to save, the queue begins empty:
# whatever was lent out is lent again.
manifest=appendonlydir/appendonly.aof.manifest
saved() {
    echo y | redis-check-aof --fix "$manifest"
}
if [ -e "$manifest" ] && ! { saved && [ -s "$manifest" ]; }; then
    echo "what Redis had kept cannot be read: it begins with nothing"
    busybox rm -r appendonlydir
fi
exec redis-server "$@"
