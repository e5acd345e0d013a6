#!/bin/sh
# Makes a clone somebody: takes the archive on the given disk, which holds what no two machines may share.
set -eu
tar -C / -xpf "$1"
identity=/run/bramble-identity

# The saved machine's clock stood still; the board's goes by the host's.
date --set "@$(cat /sys/class/rtc/rtc0/since_epoch)" > /dev/null

# All clones woke with the same random state; mix in what is theirs alone, and use it at once (0x5207 is
# RNDRESEEDCRNG of random(4)).
perl -e 'open my $in, "<", "/run/bramble-identity/random" or die $!;
         open my $out, "+>", "/dev/urandom" or die $!;
         local $/; syswrite $out, <$in>; ioctl $out, 0x5207, 0 or die "cannot reseed: $!"'
rm $identity/random

user=$(cat $identity/user)
if [ "$user" != pi ]; then
    usermod --login "$user" --home "/home/$user" pi
    groupmod --new-name "$user" pi
fi
hostname "$(cat /etc/hostname)"

# The journal goes on under the machine's old id; whoever reads it looks for the new one.
for old in /run/log/journal/*/ /var/log/journal/*/; do
    [ ! -d "$old" ] || ln -s "$(basename "$old")" "$(dirname "$old")/$(cat /etc/machine-id)"
done

[ ! -x $identity/configure ] || $identity/configure

systemctl start ssh.service
mkdir -p /var/lib/bramble-lab
touch /var/lib/bramble-lab/identity
# Who it is survives a power cut from when it says so; an address takes longer.
sync &
/usr/lib/systemd/systemd-networkd-wait-online --interface=eth0:routable --timeout=300
wait
echo "bramble-lab: online" > /dev/console
