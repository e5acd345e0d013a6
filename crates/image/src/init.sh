#!/bin/busybox sh
# Brings the kernel to its root file system: loads what /etc/modules lists, waits for the disk that
# root= names, and hands over. Whatever goes wrong ends in a shell on the console.
bb=/bin/busybox

rescue() {
    echo "initramfs: $1"
    exec $bb setsid -c $bb sh
}

$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys

while read -r module; do
    $bb insmod "/lib/modules/$module.ko" || echo "initramfs: cannot load $module"
done < /etc/modules

root=
for word in $($bb cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; esac
done
[ -n "$root" ] || rescue "no root= on the kernel's command line"

tries=0
until [ -b "$root" ]; do
    [ $tries -lt 1200 ] || rescue "$root did not appear within 60 seconds"
    tries=$((tries + 1))
    $bb usleep 50000
done

$bb mount -t ext4 -o rw,noatime "$root" /root || rescue "cannot mount $root"
$bb umount /proc /sys
$bb mount --move /dev /root/dev
exec $bb switch_root /root /sbin/init
