#!/bin/sh
# Makes this machine the node that its card was written for: takes what `bramble flash` left on the boot
# partition, and grows the root file system to the card. May be cut off at any point and run again.
set -eu

from=/boot/firmware/bramble

# The root partition to the end of the card, then the file system to the end of the partition.
root=$(findmnt --noheadings --output SOURCE /)
disk=/dev/$(lsblk --noheadings --output PKNAME "$root")
echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel -N 2 "$disk"
partx --update --nr 2 "$disk"
/usr/lib/systemd/systemd-growfs /

install -d /var/lib/bramble
if [ ! -e "$from/hostname" ]; then
    touch /var/lib/bramble/first-boot-done
    exit 0
fi

install -m 600 "$from/ssh_host_ed25519_key" /etc/ssh/ssh_host_ed25519_key
ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub

name=$(cat "$from/hostname")
echo "$name" > /etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" > /etc/hosts
hostname "$name"

user=$(cat "$from/user")
if ! id "$user" > /dev/null 2>&1; then
    usermod --login "$user" --home "/home/$user" --move-home pi
    groupmod --new-name "$user" pi
fi
install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
install -m 600 -o "$user" -g "$user" "$from/authorized_keys" "/home/$user/.ssh/authorized_keys"
if [ -e "$from/password" ]; then
    chpasswd --encrypted < "$from/password"
fi

# Everything is in its place: secrets leave a partition that knows no owners, and this ends.
sync
for secret in ssh_host_ed25519_key password; do
    if [ -e "$from/$secret" ]; then
        shred --iterations=1 --remove=unlink "$from/$secret"
    fi
done
touch /var/lib/bramble/first-boot-done
rm -f "$from/authorized_keys" "$from/user" "$from/hostname"
sync
systemctl try-restart --no-block systemd-networkd
