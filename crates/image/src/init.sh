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

# A disk that is partitioned as a card is has its id in bytes 440 to 443 of its first sector.
has_id() {
    [ "$($bb dd if="$1" bs=4 skip=110 count=1 2> /dev/null | $bb od -An -tx4 | $bb tr -d ' ')" = "$2" ]
}

# Where root= says so by the disk's id and the partition's number, looks which disk that is.
find_device() {
    device=$root
    case $root in PARTUUID=*)
        id=${root#PARTUUID=}
        for partition in /sys/class/block/*/partition; do
            [ -e "$partition" ] || continue
            [ "$($bb cat "$partition")" -eq "$((0x${id#*-}))" ] || continue
            part=$($bb readlink -f "${partition%/partition}")
            disk=${part%/*}
            has_id "/dev/${disk##*/}" "${id%-*}" && device=/dev/${part##*/}
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
