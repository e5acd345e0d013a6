#!/bin/sh
# Makes this machine the node that its card was written for: takes what `bramble flash` left on the boot
# partition, and grows the root file system to the card. May be cut off at any point and run again.
set -eu

from=/boot/firmware/bramble

# Between taking and destroying. What is on the boot partition then may be destroyed already, and must not be taken.
taken=/var/lib/bramble/identity-taken

take() {
    install -m 600 "$from/ssh_host_ed25519_key" /etc/ssh/ssh_host_ed25519_key
    ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub

    name=$(cat "$from/hostname")
    echo "$name" > /etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" > /etc/hosts
    hostname "$name"

    user=$(cat "$from/user")
    # Nothing else changes accounts this early: these are of a program that was cut off.
    rm -f /etc/passwd.lock /etc/shadow.lock /etc/group.lock /etc/gshadow.lock
    if ! grep --quiet "^$user:" /etc/passwd; then
        rename_pi
    fi
    install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
    install -m 600 -o "$user" -g "$user" "$from/authorized_keys" "/home/$user/.ssh/authorized_keys"
    if [ -e "$from/password" ]; then
        chpasswd --encrypted < "$from/password"
    fi
}

# Not by usermod, which refuses to go on where it was cut off between two of these files. The one that says that all
# is done is the last.
rename_pi() {
    if [ -e /home/pi ]; then
        mv /home/pi "/home/$user"
    fi
    for file in shadow gshadow group passwd; do
        sed --in-place --regexp-extended \
            "s/^pi:/$user:/; s/([:,])pi(,|\$)/\\1$user\\2/; s|/pi:|/$user:|" "/etc/$file"
        sync
    done
}

# The root partition to the end of the card, then the file system to the end of the partition.
root=$(findmnt --noheadings --output SOURCE /)
disk=/dev/$(lsblk --noheadings --output PKNAME "$root")
echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel -N 2 "$disk"
partx --update --nr 2 "$disk"
/usr/lib/systemd/systemd-growfs /

install -d /var/lib/bramble
if [ -e "$from/hostname" ] && [ ! -e "$taken" ]; then
    take
    sync
    touch "$taken"
    sync
fi

# Everything is in its place: secrets leave a partition that knows no owners, and this ends.
for secret in ssh_host_ed25519_key password; do
    if [ -e "$from/$secret" ]; then
        shred --iterations=1 --remove=unlink "$from/$secret"
    fi
done
rm -f "$from/authorized_keys" "$from/user" "$from/hostname"
sync
touch /var/lib/bramble/first-boot-done
rm -f "$taken"
sync
systemctl try-restart --no-block systemd-networkd
