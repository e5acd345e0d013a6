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

# Where root= says so by a partition's id, the kernel shows which partition has it.
find_device() {
    device=$root
    case $root in PARTUUID=*)
        for uevent in /sys/class/block/*/uevent; do
            $bb grep -qx "$root" "$uevent" || continue
            device=${uevent%/uevent}
            device=/dev/${device##*/}
        done
    esac
    [ -b "$device" ]
}

tries=0
until find_device; do
    [ $tries -lt 1200 ] || rescue "$root did not appear within 60 seconds"
    tries=$((tries + 1))
    $bb usleep 50000
done

$bb mount -t ext4 -o rw,noatime "$device" /root || rescue "cannot mount $device"
$bb umount /proc /sys
$bb mount --move /dev /root/dev
exec $bb switch_root /root /sbin/init
